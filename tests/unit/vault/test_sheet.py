"""A printed sheet says what it is, and what is typed from it is the share."""

import re
from datetime import UTC, datetime

from jbackupd.codec.shares import Share, combine, split
from jbackupd.vault.sheet import share_sheet

SHARES = split(bytes(range(32)), threshold=2, count=3, label="imari")
MADE = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)


def typed(page: str) -> Share:
    """Type what stands in the frame of a sheet."""
    inside = page[page.index("<pre>") : page.index("</pre>")]
    return Share.from_text(re.sub(r"<[^>]*>", "", inside), source="typed")


def test_what_is_typed_from_two_sheets_gives_the_key():
    pages = [share_sheet(share, MADE) for share in SHARES]
    assert combine([typed(pages[0]), typed(pages[2])]) == bytes(range(32))


def test_it_says_whose_it_is_which_of_how_many_how_many_are_needed_and_when_it_was_made():
    text = re.sub(r"<[^>]*>", " ", share_sheet(SHARES[1], MADE))
    for said in ("imari", "2 / 3", "3枚のうち2枚", "2 of 3", "令和8年11月23日", "2026-11-23", SHARES[1].set_id.hex()):
        assert said in text


def test_it_needs_nothing_from_anywhere_and_holds_one_share_only():
    page = share_sheet(SHARES[0], MADE)
    assert re.findall(r"https?:|src=|url\(|@import|<script|<link", page) == []
    assert SHARES[1].to_text().splitlines()[2] not in page


def test_a_label_cannot_write_into_the_page():
    page = share_sheet(split(b"s", threshold=1, count=1, label="<script>&")[0], MADE)
    assert "<script>" not in page and "&lt;script&gt;&amp;" in page
