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
@page {{ size: A4; margin: 18mm }}
body {{ font-family: "Noto Sans CJK JP", "IPAexGothic", "Yu Gothic", sans-serif; color: #111; line-height: 1.6 }}
h1 {{ font-size: 20pt; margin: 0; border-bottom: 2pt solid #111; padding-bottom: 4mm }}
h1 small {{ font-size: 11pt; font-weight: normal; margin-left: 6mm }}
dl {{ display: grid; grid-template-columns: 52mm 1fr; gap: 1.5mm 4mm; margin: 6mm 0 }}
dt {{ color: #444 }} dd {{ margin: 0; font-weight: bold }}
pre {{ font: 10.5pt/1.9 "Noto Sans Mono CJK JP", "DejaVu Sans Mono", monospace; border: 1pt solid #111;
  padding: 5mm; white-space: pre-wrap }}
ol {{ padding-left: 6mm }} li {{ margin-bottom: 1.5mm }}
.en {{ color: #444; font-size: 9.5pt }}
table {{ border-collapse: collapse; width: 100%; margin-top: 8mm }}
td {{ border: 1pt solid #111; height: 14mm; width: 25%; padding: 1.5mm; font-size: 9pt; vertical-align: top }}
</style>
</head>
<body>
<h1>復旧鍵の分割鍵<small>Share of a recovery key</small></h1>
<dl>
<dt>団体 / tenant</dt><dd>{label}</dd>
<dt>番号 / share</dt><dd>{index} / {count}</dd>
<dt>必要な数 / needed</dt><dd>{count}枚のうち{threshold}枚</dd>
<dt>作成日時 / made</dt><dd>{made}</dd>
<dt>組の番号 / set</dt><dd>{set_id}</dd>
</dl>
<pre>{text}</pre>
<ol>
<li>この紙は、災害で拠点を失ったとき、バックアップを読むための鍵の一部です。{threshold}枚そろうと、すべてのデータを読めます。
<span class="en">Part of the key that reads the backup after a site is lost.
{threshold} sheets together read everything.</span></li>
<li>ほかの分割鍵とは別の人が、別の場所に、施錠して保管してください。写しを作らないでください。
<span class="en">Keep it locked, apart from the other shares, by another person. Make no copy.</span></li>
<li>使うときは、枠内を1行ずつ文字ファイルに打ち込み、--share で指定します。打ち間違いは行番号で示されます。
<span class="en">To use it, type the lines into a text file and name it with --share.
A mistyped line is told by its number.</span></li>
<li>異動のときは後任に引き継ぎ、下の欄に記録してください。紛失したら直ちに届け出てください。
<span class="en">Hand it over when you move on, and sign below. Report a loss at once.</span></li>
</ol>
<table><tr><td>保管者</td><td>保管場所</td><td>受領日</td><td>印</td></tr>
<tr><td></td><td></td><td></td><td></td></tr></table>
</body>
</html>
"""


def share_sheet(share: Share, made: datetime) -> str:
    """Return a share's sheet as HTML.

    Args:
        made: When the shares were made, aware.
    """
    return _PAGE.format(
        label=html.escape(share.label), index=share.index, count=share.count, threshold=share.threshold,
        set_id=share.set_id.hex(), made=html.escape(show_moment(made)), text=html.escape(share.to_text()),
    )
