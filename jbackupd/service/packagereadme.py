"""The page that lies in a package for whoever finds the stick: what it is, and how it is opened. In both languages."""

from __future__ import annotations

from jbackupd.format.package import Manifest
from jbackupd.model.wareki import show_moment

README = "README.txt"
_TEXT = """\
市町村パッケージ  {title}
========================================================================
災害で住民記録システムが使えないとき、この端末だけで住民を照会し、
受付を記録するためのものです。個人情報は暗号化されています。

  基準日時   {as_of}
  作成       {made} ({site})
  使用期限   {expires}
  住民数     {residents:,}

開き方
  1. このフォルダーを端末に置く(USBメモリのままでもよい)。
  2. Python 3.11 以降が入った Linux の端末で:   python3 start.py
  3. 利用者名と合言葉を入力する。合言葉がないときは、復旧鍵の
     分割鍵のファイルで開く:   python3 start.py --share FILE --share FILE
  4. ブラウザーで、表示されたアドレスを開く。終わりは Ctrl+C。

受け付けたものの返し方
  フォルダーごと復旧した庁舎に持ち帰り、運用担当者に渡す。
  ファイルだけを送るとき:   python3 start.py --export FILE

落とし物を拾った方へ: 開けません。{title} にお届けください。

------------------------------------------------------------------------
Package of {title}. To look residents up and take receptions in while the
town's systems are lost, on this one machine. Personal data is encrypted.

  Data as of {as_of}; opens until {expires}.

  Open:        python3 start.py            (Linux, Python 3.11 or later)
               python3 start.py --share FILE --share FILE
  Bring back:  the whole folder, or        python3 start.py --export FILE
"""


def readme(manifest: Manifest) -> str:
    """Return the page."""
    return _TEXT.format(
        title=manifest.title, site=manifest.site, residents=manifest.residents, as_of=show_moment(manifest.as_of),
        made=show_moment(manifest.made_at), expires=show_moment(manifest.expires_at),
    )
