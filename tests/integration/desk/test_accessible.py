"""The desk's pages for everybody: contrast, labels, focus order, a phone's width, nothing from elsewhere."""

import pytest
from playwright.sync_api import expect

from tests.integration.desk.test_browser import browser, sign_in  # noqa: F401 - a fixture

CONTRAST = """() => {
  const part = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = one => {
    for (; one; one = one.parentElement) {
      const color = part(getComputedStyle(one).backgroundColor);
      if (color.length < 4 || color[3] > 0) return color;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const one of document.querySelectorAll("body *")) {
    const own = [...one.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
    if (!own || !one.getClientRects().length) continue;
    const [a, b] = [light(part(getComputedStyle(one).color)), light(ground(one))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) found.push(one.className + ": " + one.textContent.trim());
  }
  return found;
}"""
"""Source: WCAG 2.2, relative luminance and contrast ratio."""
UNLABELLED = """() => [...document.querySelectorAll("input:not([type=hidden]), select, textarea, button")]
  .filter(one => !(one.labels && one.labels.length))
  .filter(one => !one.textContent.trim() && !one.ariaLabel).map(one => one.name)"""


@pytest.fixture(params=[(1280, 720), (360, 740)])
def page(browser, desk, request):  # noqa: F811
    width, height = request.param
    context = browser.new_context(base_url=desk.url, locale="ja-JP", viewport={"width": width, "height": height})
    page = context.new_page()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    yield page
    assert asked and all(url.startswith(desk.url) for url in asked)
    context.close()


def check(page):
    assert page.evaluate(CONTRAST) == []
    assert page.evaluate(UNLABELLED) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for landmark in ("banner", "main", "contentinfo"):
        expect(page.get_by_role(landmark)).to_have_count(1)
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    assert page.evaluate("document.documentElement.lang") in ("ja", "en")


def look_up(page, words):
    page.locator("#words").fill(words)
    with page.expect_navigation():
        page.keyboard.press("Enter")


def test_every_page_can_be_read_and_used_by_everybody(page, desk):
    page.goto("/")
    check(page)
    sign_in(page)
    page.locator("#words").wait_for()
    page.wait_for_load_state()
    check(page)
    for words in ("！", "ぬぬぬ", "さ"):
        look_up(page, words)
        check(page)
    with page.expect_navigation():
        page.locator("table.list a").first.click()
    check(page)
    with page.expect_navigation():
        page.get_by_role("button", name="English").click()
    check(page)


def test_the_keyboard_comes_first_to_the_way_around_the_header_and_the_focus_is_seen(page, desk):
    sign_in(page)
    look_up(page, "さ")
    page.keyboard.press("Tab")
    skip = page.locator(".skip")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.locator("#words")).to_be_focused()


def test_all_results_are_reached_by_links_to_their_pages(page, desk):
    sign_in(page)
    look_up(page, "さ")
    first = page.locator("table.list th[scope=row]").first.inner_text()
    page.get_by_role("link", name="次のページ").click()
    expect(page.get_by_text("2 / ")).to_be_visible()
    page.get_by_role("link", name="前のページ").click()
    expect(page.get_by_text("1 / ")).to_be_visible()
    expect(page.locator("table.list th[scope=row]").first).to_have_text(first, use_inner_text=True)
