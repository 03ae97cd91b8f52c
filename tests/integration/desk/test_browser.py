"""The desk in a real browser, with scripts switched off: a clerk finds a resident, and the page prints."""

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.integration.desk.conftest import ACCOUNT, PASSWORD

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, desk):
    context = browser.new_context(java_script_enabled=False, base_url=desk.url, locale="ja-JP")
    page = context.new_page()
    page.asked = []
    page.on("request", lambda request: page.asked.append(request.url))
    yield page
    assert all(url.startswith(desk.url) for url in page.asked)
    context.close()


def sign_in(page):
    page.goto("/")
    page.get_by_label("利用者名").fill(ACCOUNT)
    page.get_by_label("パスワード").fill(PASSWORD)
    page.get_by_label("問合せ").check()
    page.get_by_role("button", name="サインイン").click()


def type_into_the_box(page, words):
    """Type without touching the box: the page has put the focus there, as soon as it is drawn."""
    expect(page.get_by_label("氏名・生年月日・住所・番号")).to_be_focused()
    page.keyboard.type(words)
    page.keyboard.press("Enter")


def test_a_clerk_finds_a_resident_with_the_keyboard_alone(page, desk):
    sign_in(page)
    type_into_the_box(page, desk.report.query)
    page.get_by_role("link", name=desk.report.name.split()[0]).first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(desk.report.name.split()[1])
    expect(page.locator("table.facts")).to_contain_text(desk.report.address.split("号")[0])
    expect(page.locator("table.facts")).to_contain_text(desk.report.number)
    for words in ("縮退運転中", "基準日時", "令和8年11月23日(2026-11-23) 04:10 JST"):
        expect(page.locator("body")).to_contain_text(words)


def test_going_back_and_reloading_works_without_questions(page, desk):
    sign_in(page)
    page.get_by_label("氏名・生年月日・住所・番号").fill("さ")
    page.get_by_role("button", name="検索").click()
    results = page.url
    page.locator("table.list a").first.click()
    page.go_back()
    assert page.url == results
    page.reload()
    expect(page.locator("table.list")).to_be_visible()


def test_the_language_switch_stays_on_the_page(page, desk):
    sign_in(page)
    page.get_by_role("button", name="English").click()
    expect(page.get_by_role("heading", name="Find a resident")).to_be_visible()
    page.get_by_role("button", name="日本語").click()
    expect(page.get_by_role("heading", name="住民を探す")).to_be_visible()


def test_a_print_says_what_it_is_and_leaves_the_controls_out(page, desk):
    sign_in(page)
    type_into_the_box(page, desk.report.query)
    page.locator("table.list a").first.click()
    page.emulate_media(media="print")
    for shown in (".degraded", ".as-of", ".print-only", "table.facts"):
        expect(page.locator(shown)).to_be_visible()
    for hidden in (".box", ".tools"):
        expect(page.locator(hidden)).to_be_hidden()
    expect(page.locator("footer")).to_contain_text("証明書ではありません")
