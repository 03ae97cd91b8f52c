"""What officers and witnesses hold in their hands is whole on A4: codes on one line each, nothing beyond the edge."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, sync_playwright

from jbackupd.codec.dictated import draw_digits
from jbackupd.codec.signing import SiteSigner
from jbackupd.continuity.codebook import CodeLine, matters_of
from jbackupd.continuity.codepage import codes_page
from jbackupd.continuity.evidencepage import evidence_page
from jbackupd.format.promise import Promise, sign_promise
from jbackupd.model.ids import SiteId
from jbackupd.model.texts import in_language
from jbackupd.model.wareki import show_moment

CHROMIUM = "/usr/bin/chromium"
AT = datetime(2026, 12, 31, 23, 59, tzinfo=UTC)
LONG = "a-site-with-a-name-of-32-signs-x"
A4_WIDTH, A4_HEIGHT = 794 - 90, 1123
"""In pixels of CSS, without the margins."""


@pytest.fixture(scope="module")
def paper() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": A4_WIDTH, "height": A4_HEIGHT})
        page.emulate_media(media="print")
        yield page
        browser.close()


def lines(sites: list[str]) -> list[CodeLine]:
    """Return the lines of a page; promises without a real commitment."""
    signer, names = SiteSigner(b"m" * 64), [SiteId(site) for site in sites]
    return [
        CodeLine(sign_promise(Promise(
            "mori", matter.lost, matter.acting, matter.epoch, number, AT, AT + timedelta(days=400), b"s" * 16, b"c" * 32
        ), signer), draw_digits())
        for number, matter in enumerate(matters_of(names, names, [2, 3]), 1)
    ]


def shown(paper: Page, folder: Path, html: str) -> bytes:
    """Show a page, check that nothing lies beyond its edge, and return it printed."""
    file = folder / "page.html"
    file.write_text(html, encoding="utf-8")
    paper.goto(file.as_uri())
    assert paper.evaluate("document.documentElement.scrollWidth") <= A4_WIDTH
    assert paper.evaluate("document.querySelectorAll('script, link, img').length") == 0
    return paper.pdf(prefer_css_page_size=True)


@pytest.mark.parametrize("language", ["ja", "en"])
@pytest.mark.parametrize(
    "sites", [["saga", "kyoto", "hokkaido"], [LONG, LONG[:-1] + "y", "kyoto"]], ids=["usual", "long"]
)
def test_every_code_stands_on_one_line(paper: Page, tmp_path: Path, language: str, sites: list[str]) -> None:
    with in_language(language):
        printed = shown(paper, tmp_path, codes_page(lines(sites), show_moment))
    boxes = paper.eval_on_selector_all(".codes td:nth-child(4)", """cells => cells.map(cell => {
        const range = document.createRange();
        range.selectNodeContents(cell);
        return range.getClientRects().length;
    })""")
    assert boxes == [1] * 12
    assert printed.count(b"/Type /Page\n") <= 2


@pytest.mark.parametrize("language", ["ja", "en"])
def test_the_evidence_is_whole_however_much_was_said(paper: Page, tmp_path: Path, language: str) -> None:
    at = AT.isoformat()
    document: dict[str, Any] = {
        "about": LONG, "by": "kyoto", "at": at, "suspected_at": at, "declaration": "302caa58", "digest": "ab" * 32,
        "contacts": [{"site": LONG, "up": False, "error": None, "last_contact": at, "last_receipt": at}] * 5,
        "datasets": [{
            "dataset": f"{LONG}/{LONG}", "sequence": 123456, "taken_at": at, "incomplete": False, "objects": 10**6,
            "verified": 10**6, "unsound": 0, "verified_since": at,
            "receipts": [{"site": LONG, "sequence": 123456, "at": at}] * 3,
        }] * 3,
        "checklist": [
            {"at": at, "item": "power", "says": "unclear", "words": "x" * 300, "by": "y" * 80},
            {"at": at, "item": "telephone", "says": "lost", "words": "代表・夜間直通とも呼出音のみ。" * 20, "by": "森"},
        ],
    }
    with in_language(language):
        printed = shown(paper, tmp_path, evidence_page(document, show_moment))
    assert printed.count(b"/Type /Page\n") <= 3
    assert paper.locator(".signed tr").count() == 4
