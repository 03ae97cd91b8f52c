"""A share's sheet is one page of A4, whatever the tenant is called."""

from datetime import UTC, datetime

import pytest
from playwright.sync_api import sync_playwright

from jbackupd.codec.shares import split
from jbackupd.vault.sheet import share_sheet

CHROMIUM = "/usr/bin/chromium"


@pytest.mark.parametrize("label", ["imari", "a-tenant-with-a-name-of-32-signs"])
def test_it_fills_one_page(tmp_path, label):
    share = split(bytes(range(32)), threshold=9, count=16, label=label)[15]
    page_file = tmp_path / "sheet.html"
    page_file.write_text(share_sheet(share, datetime(2026, 12, 31, tzinfo=UTC)), encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(page_file.as_uri())
        printed = page.pdf(prefer_css_page_size=True)
        browser.close()
    assert printed.count(b"/Type /Page\n") == 1
    assert b"/MediaBox [0 0 594" in printed
