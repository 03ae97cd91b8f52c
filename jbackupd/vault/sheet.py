"""A share's sheet: one A4 page to print, sign for, and lock away; Japanese and English, no outside asset."""

from __future__ import annotations

import html
from datetime import datetime

from jbackupd.codec.shares import Share
from jbackupd.model.wareki import show_moment

_PAGE = """<!DOCTYPE html>
<html lang="ja">
<head>
<meta charset="utf-8">
<title>分割鍵 {label} {index}/{count}</title>
<style>
@page {{ size: A4; margin: 13mm 18mm }}
body {{ font-family: "Noto Sans CJK JP", "IPAexGothic", "Yu Gothic", "Meiryo", sans-serif; color: #111;
  line-height: 1.55; max-width: 174mm; margin: 0 auto; font-size: 10.5pt }}
header {{ display: flex; justify-content: space-between; align-items: flex-end; border-bottom: 2pt solid #111 }}
h1 {{ font-size: 20pt; line-height: 1.3; margin: 0 0 3mm }}
h1 small {{ font-size: 11pt; font-weight: normal; margin-left: 5mm }}
header b {{ border: 1.5pt solid #111; padding: .5mm 4mm; margin-bottom: 4mm; font-size: 11pt }}
dl {{ display: grid; grid-template-columns: 40mm 1fr; gap: 1mm 4mm; margin: 5mm 0 }}
dt {{ color: #444 }} dd {{ margin: 0; font-weight: bold }}
.lines {{ border: 1pt solid #111; padding: 4mm 5mm; margin: 0; break-inside: avoid }}
.lines p {{ margin: 0 0 2mm; font-size: 9pt; color: #444 }}
pre {{ font: 12.5pt/1.75 "DejaVu Sans Mono", "Consolas", "Menlo", monospace; margin: 0; white-space: pre-wrap }}
pre i {{ font-style: normal; color: #666 }}
ol {{ padding-left: 6mm; margin: 5mm 0 }} li {{ margin-bottom: 1.5mm }}
ol span {{ display: block; color: #444; font-size: 9pt }}
code {{ font-family: "DejaVu Sans Mono", "Consolas", "Menlo", monospace; font-size: 9pt }}
table {{ border-collapse: collapse; width: 100%; table-layout: fixed }}
th {{ border: 1pt solid #111; padding: .5mm 2mm; font-size: 9pt; font-weight: normal; background: #eee }}
td {{ border: 1pt solid #111; height: 10mm }}
</style>
</head>
<body>
<header><h1>復旧鍵の分割鍵<small>Share of a recovery key</small></h1><b>厳秘 / SECRET</b></header>
<dl>
<dt>団体 / tenant</dt><dd>{label}</dd>
<dt>番号 / share</dt><dd>{index} / {count}</dd>
<dt>必要な数 / needed</dt><dd>{count}枚のうち{threshold}枚 / {threshold} of {count}</dd>
<dt>作成日時 / made</dt><dd>{made}</dd>
<dt>組の番号 / set</dt><dd>{set_id}</dd>
</dl>
<div class="lines">
<p>I、L、O、U の文字は使っていません。0 は数字のゼロ、1 は数字のイチです。
The letters I, L, O, U do not occur: 0 is zero, 1 is one.</p>
<pre>{lines}</pre>
</div>
<ol>
<li>この紙は、災害で拠点を失ったときにバックアップを読むための鍵の一部です。
同じ組の{threshold}枚がそろうと、この団体のすべてのデータを読めます。
<span>Part of the key that reads the backup after a site is lost.
{threshold} sheets of one set read everything.</span></li>
<li>ほかの分割鍵とは別の人が、別の建物に、施錠して保管してください。写しや写真を作らないでください。
<span>Keep it locked, in another building and by another person than the other shares.
Make no copy, no photo.</span></li>
<li>使うときは、枠内を1行ずつ文字ファイルに打ち込み、<code>--share ファイル名</code> で指定します。
全角でも小文字でも読めます。打ち間違いは行番号で示されます。
<span>To use it, type the lines into a text file and name it with --share FILE. A mistyped line is told by its
number.</span></li>
<li>年に一度、<code>jbackupd key rehearse {label} --share …</code> で{threshold}枚が使えることを確かめてください。
<span>Once a year prove with that command that the sheets still open the vault.</span></li>
<li>異動のときは後任に引き継ぎ、下の欄に記録してください。紛失や盗難は直ちに届け出て、残りの分割鍵で組を作り直してください。
<span>Hand it over when you move on, and sign below. Report a loss or theft at once; a new set is made from the
others.</span></li>
</ol>
<table>
<tr><th>受領日 / date</th><th>保管者 / holder</th><th>保管場所 / place</th><th>印 / seal</th></tr>
<tr><td></td><td></td><td></td><td></td></tr>
<tr><td></td><td></td><td></td><td></td></tr>
<tr><td></td><td></td><td></td><td></td></tr>
</table>
</body>
</html>
"""


def share_sheet(share: Share, made: datetime) -> str:
    """Return a share's sheet as HTML.

    Args:
        made: When the shares were made, aware.
    """
    lines = [line.split(" ") for line in share.to_text().splitlines()[2:]]
    return _PAGE.format(
        label=html.escape(share.label), index=share.index, count=share.count, threshold=share.threshold,
        set_id=share.set_id.hex(), made=html.escape(show_moment(made)),
        lines="\n".join(f"<i>{number}</i> {groups} {check}" for number, groups, check in lines),
    )
