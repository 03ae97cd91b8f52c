"""A clerk in a real browser, with scripts switched off and the keyboard alone: filings, prints, safety."""

import pytest
from playwright.sync_api import expect

from tests.integration.desk.test_browser import browser, page, sign_in, type_into_the_box
from tests.integration.desk.test_intake import WritingDesk, resident, served

__all__ = ["browser", "page"]


@pytest.fixture
def desk(tmp_path, town, accounts):
    with served(WritingDesk(tmp_path, town, accounts)) as desk:
        yield desk


def open_person(page, number):
    type_into_the_box(page, number)
    page.locator("table.list a[href^='/person/']").first.click()


def test_a_clerk_takes_in_a_death_prints_the_slip_and_sees_the_mark_in_the_search(page, desk):
    number, *_ = resident(desk)
    sign_in(page)
    open_person(page, number)
    page.get_by_role("link", name="死亡届").click()
    page.get_by_label("死亡年月日").fill("R8.11.23")
    page.get_by_label("死亡した場所").fill("伊万里市立病院")
    page.get_by_label("死亡診断書").check()
    page.get_by_label("届出人", exact=False).first.fill("佐藤 太郎")
    page.get_by_label("続柄・資格").fill("同居の親族")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("1か所")
    expect(page.get_by_label("死亡した場所")).to_have_value("伊万里市立病院")
    page.locator("input[name=cremation][value=yes]").check()
    page.get_by_role("button", name="受け付ける").click()
    expect(page.get_by_role("status")).to_contain_text("記録しました")
    expect(page.get_by_role("heading", level=1)).to_contain_text("2026-伊万里-死亡-0001")
    page.get_by_role("link", name="受付票を印刷").click()
    page.emulate_media(media="print")
    expect(page.locator(".slip")).to_contain_text("2026-伊万里-死亡-0001")
    expect(page.locator(".back")).to_be_hidden()
    page.emulate_media(media="screen")
    page.goto("/")
    type_into_the_box(page, number)
    expect(page.locator("table.list .mark")).to_have_text("異動受付済(未反映)")


def test_an_application_is_taken_in_with_the_keyboard_alone(page, desk):
    sign_in(page)
    page.goto("/intake/new/damage")
    page.get_by_label("氏名").focus()
    typed = ("不詳 一郎", "フショウ イチロウ", "", "", "R8.11.22")
    for text in typed:
        page.keyboard.type(text)
        page.keyboard.press("Tab")
    page.keyboard.press("Space")  # the first cause
    page.keyboard.press("Tab")
    page.keyboard.type("本町1番")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    for text in ("屋根が落ちた", "3", "不詳 一郎", "090-0000-0000", "大坪小学校"):
        page.keyboard.type(text)
        page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("2026-伊万里-罹災-0001")
    assert desk.on_disk().items["2026-伊万里-罹災-0001"].fields["cause"] == "quake"


def test_two_clicks_of_a_nervous_finger_are_one_reception_and_safety_is_one_press(page, desk):
    number, *_ = resident(desk)
    sign_in(page)
    open_person(page, number)
    button = page.get_by_role("button", name="無事").first
    # A browser without a window does not act on access keys.
    expect(button).to_have_attribute("accesskey", "1")
    button.press("Enter")
    expect(page.locator(".head .mark")).to_have_text("安否: 無事")
    page.get_by_role("link", name="転出届").click()
    page.get_by_label("異動(予定)年月日").fill("R8.12.1")
    page.get_by_label("転出先住所").fill("佐賀市")
    page.get_by_label("世帯の一部").check()
    page.get_by_label("届出人").fill("本人")
    page.get_by_role("button", name="受け付ける").dblclick()
    expect(page.get_by_role("heading", level=1)).to_contain_text("2026-伊万里-転出-0001")
    assert list(desk.on_disk().items) == ["2026-伊万里-安否-0001", "2026-伊万里-転出-0001"]
