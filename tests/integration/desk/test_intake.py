"""Receptions over real HTTP: a number is durable before it is shown, one form is one reception."""

import contextlib
import dataclasses
import html
import re
import sqlite3
from datetime import UTC, datetime

import httpx
import pytest

from jbackupd.desk.accounts import Grant
from jbackupd.desk.audit import person_digest
from jbackupd.desk.keeper import Keeper
from jbackupd.desk.roles import LOOK_UP, RECEPTION
from jbackupd.format.intakekinds import SPECS, Kind
from jbackupd.model.clock import ManualClock
from jbackupd.model.errors import NoSpaceError, StorageError
from jbackupd.model.ids import TenantId
from jbackupd.service.intake import Books, read_ledger
from jbackupd.service.intakeplaces import Place
from jbackupd.storage.files import PosixFiles
from jbackupd.storage.journal import Journal
from tests.integration.desk.conftest import ACCOUNT, PASSWORD, Desk, served
from tests.support.intakes import fields_of

KEY = b"l" * 32
TENANT = TenantId("imari")
PLACE = Place(TENANT, False, "desk")
DEATH = {**fields_of(Kind.DEATH), "died_on": "R8.11.23", "place": "伊万里市立病院", "reporter": "佐藤 太郎"}


class WritingDesk(Desk):
    """A desk with a book."""

    def __init__(self, folder, town, accounts):
        super().__init__(folder, *town, accounts)
        self.books = Books(PosixFiles(str(folder)), lambda: KEY, self.clock)
        self.book = self.books.of(TENANT, "desk", "伊万里市", self.audit)
        self.settings = dataclasses.replace(self.settings, book=self.book)

    def on_disk(self):
        return read_ledger(self.files, PLACE, KEY)


@pytest.fixture
def desk(tmp_path, town, accounts):
    with served(WritingDesk(tmp_path, town, accounts)) as desk:
        yield desk


@contextlib.contextmanager
def signed_in(desk):
    with httpx.Client(base_url=desk.url, follow_redirects=True, trust_env=False) as client:
        form = {"account": ACCOUNT, "password": PASSWORD, "purpose": "inquiry"}
        form["token"] = hidden(client.get("/sign-in"), "token")
        assert client.post("/sign-in", data=form).status_code == 200
        yield client


@pytest.fixture
def clerk(desk):
    with signed_in(desk) as client:
        yield client


def hidden(page, name):
    return re.search(rf'name="{name}" value="([^"]*)"', page.text)[1]


def resident(desk, where="not restricted and state = '1'"):
    with sqlite3.connect(desk.database) as connection:
        return connection.execute(f"select number, name, household from resident where {where} limit 1").fetchone()


def look_up(client, words):
    return client.post("/search", data={"words": words, "token": hidden(client.get("/"), "token")})


def person_page(client, number):
    return client.get(re.search(r'href="(/person/[^"]+)"', look_up(client, number).text)[1])


def form_of(client, number, kind):
    address = re.search(rf'href="(/intake/person/[^"]+/{kind.value})"', person_page(client, number).text)[1]
    return client.get(address)


def send(client, page, fields, **more):
    said = {"token": hidden(page, "token"), "nonce": hidden(page, "nonce"), **fields, **more}
    return client.post(page.url.path, data=said)


def text(page):
    return html.unescape(re.sub(r"<[^>]+>", " ", page.text))


def test_a_death_is_taken_in_and_the_person_is_marked_everywhere(clerk, desk):
    number, name, _ = resident(desk)
    done = send(clerk, form_of(clerk, number, Kind.DEATH), DEATH)
    assert done.status_code == 200 and "2026-伊万里-死亡-0001" in done.text and "記録しました" in done.text
    item = desk.on_disk().items["2026-伊万里-死亡-0001"]
    assert (item.persons[0].number, item.persons[0].name, item.fields["died_on"]) == (number, name, "2026-11-23")
    assert (item.first.account, item.first.at) == (ACCOUNT, desk.clock.now())
    for page in (look_up(clerk, number), person_page(clerk, number), done):
        assert "異動受付済(未反映)" in page.text
    assert "記録しました" not in clerk.get(done.url.path).text, "only once"
    slip = clerk.get(f"{done.url.path}/slip")
    assert "受付票" in slip.text and "2026-伊万里-死亡-0001" in slip.text and "証明書ではありません" in slip.text
    assert "2026-伊万里-死亡-0001" in clerk.get("/intake").text


def test_the_same_form_sent_twice_is_one_reception_with_one_number(clerk, desk):
    page = form_of(clerk, resident(desk)[0], Kind.DEATH)
    first, second = send(clerk, page, DEATH), send(clerk, page, {**DEATH, "place": "別の場所"})
    assert first.url == second.url and "0001" in second.text
    assert [item.number for item in desk.on_disk().items.values()] == ["2026-伊万里-死亡-0001"]
    assert [one["what"] for one in desk.entries()].count("intake") == 1


def test_what_is_wrong_stands_beside_its_field_with_what_was_typed_and_nothing_is_recorded(clerk, desk):
    page = form_of(clerk, resident(desk)[0], Kind.DEATH)
    wrong = send(clerk, page, {**DEATH, "died_on": "R8.13.1", "place": "", "reporter": "<佐藤>"})
    assert wrong.status_code == 400 and desk.on_disk().items == {}
    assert 'id="died_on-wrong"' in wrong.text and 'id="place-wrong"' in wrong.text
    assert 'id="reporter-wrong"' not in wrong.text
    assert 'value="R8.13.1"' in wrong.text and 'value="&lt;佐藤&gt;"' in wrong.text
    assert hidden(wrong, "nonce") == hidden(page, "nonce")
    assert "0001" in send(clerk, wrong, DEATH).text


def test_somebody_who_is_not_in_the_register_is_typed_in(clerk, desk):
    page = clerk.get("/intake/new/death")
    typed = {"person_name": "氏名不詳", "person_kana": "ふしょう", "person_number": "99999999"}
    wrong = send(clerk, page, {**DEATH, **typed})
    assert 'id="person_number-wrong"' in wrong.text and "99999999" in text(wrong)
    done = send(clerk, wrong, {**DEATH, **typed, "person_number": ""})
    assert "氏名不詳" in done.text and desk.on_disk().items["2026-伊万里-死亡-0001"].persons[0].number == ""
    assert clerk.get("/intake/new/move-out").status_code == 404
    said = {"token": hidden(page, "token"), "nonce": hidden(page, "nonce") + "x", **fields_of(Kind.MOVE_OUT)}
    assert clerk.post("/intake/new/move-out", data=said).status_code == 404


def test_members_of_the_household_are_taken_in_together(clerk, desk):
    number, *_ = resident(desk, "state = '1' and not restricted and household_key in "
                                 "(select household_key from resident where state = '1' group by 1 "
                                 "having count(*) > 2)")
    page = form_of(clerk, number, Kind.MOVE_OUT)
    members = re.findall(r'name="(member-[^"]+)"', page.text)
    assert members
    send(clerk, page, fields_of(Kind.MOVE_OUT), **dict.fromkeys(members, "on"))
    assert len(desk.on_disk().items["2026-伊万里-転出-0001"].persons) == 1 + len(members)
    assert person_page(clerk, number).text.count("異動受付済(未反映)") == 2 + len(members)


def test_a_correction_and_a_cancellation_refer_to_the_first_and_overwrite_nothing(clerk, desk):
    number = resident(desk)[0]
    done = send(clerk, form_of(clerk, number, Kind.DEATH), DEATH)
    page = clerk.get(f"{done.url.path}/correct")
    assert "value=\"伊万里市立病院\"" in page.text
    refused = send(clerk, page, {**DEATH, "place": "自宅"})
    assert 'id="reason-wrong"' in refused.text
    corrected = send(clerk, refused, {**DEATH, "place": "自宅", "reason": "聞き違い"})
    assert "2026-伊万里-訂正-0001" in corrected.text and "聞き違い" in corrected.text and "自宅" in corrected.text
    fields = {"token": hidden(corrected, "token"), "nonce": hidden(corrected, "nonce")}
    assert clerk.post(f"{done.url.path}/cancel", data={**fields, "reason": " "}).status_code == 400
    cancelled = clerk.post(f"{done.url.path}/cancel", data={**fields, "reason": "二重受付"})
    assert "2026-伊万里-取消-0001" in cancelled.text
    item = desk.on_disk().items["2026-伊万里-死亡-0001"]
    assert item.first.fields["place"] == "伊万里市立病院" and item.fields["place"] == "自宅" and item.cancelled
    assert "異動受付済" not in person_page(clerk, number).text
    again = send(clerk, page, {**DEATH, "reason": "遅い"}, nonce="n" * 24)
    assert again.status_code == 403 and "取り消されています" in again.text


def test_safety_is_marked_with_one_button_for_a_person_and_for_the_household(clerk, desk):
    number, *_ = resident(desk, "state = '1' and not restricted and household_key in "
                                 "(select household_key from resident where state = '1' group by 1 "
                                 "having count(*) = 3)")
    page = person_page(clerk, number)
    action = re.search(r'action="(/intake/person/[^"]+/mark)"', page.text)[1]
    fields = {"token": hidden(page, "token"), "source": "family", "shelter": "大坪小学校"}
    nonces = iter("abcdef")
    marked = clerk.post(action, data={**fields, "nonce": next(nonces) * 24, "all": "safe"})
    assert marked.url.path == page.url.path and "安否: 無事" in marked.text
    assert len(desk.on_disk().items["2026-伊万里-安否-0001"].persons) == 3
    clerk.post(action, data={**fields, "nonce": next(nonces) * 24, "one": "hurt"})
    shelters = text(clerk.get("/intake/shelters"))
    assert "大坪小学校: 3人" in shelters and re.search(r"無事\s+2 /\s+負傷\s+1", shelters)
    assert "安否: 負傷" in look_up(clerk, number).text
    assert clerk.post(action, data={**fields, "nonce": next(nonces) * 24, "one": "?"}).status_code == 400


def test_persons_under_support_measures_get_no_provisional_form_and_no_list_says_where_they_are(clerk, desk):
    number, name, _ = resident(desk, "restricted and state = '1'")
    refused = form_of(clerk, number, Kind.PROVISIONAL)
    assert refused.status_code == 403 and "住所を表示してはならない" in refused.text
    said = {**fields_of(Kind.EVACUATION), "movement": "in", "shelter": "秘密の場所", "needs": "奥の部屋"}
    done = send(clerk, form_of(clerk, number, Kind.EVACUATION), said)
    assert desk.on_disk().items["2026-伊万里-避難-0001"].fields["shelter"] == "秘密の場所"
    pages = (done, clerk.get(f"{done.url.path}/slip"), clerk.get(f"{done.url.path}/correct"), clerk.get("/intake"),
             person_page(clerk, number))
    for page in pages:
        assert "秘密の場所" not in page.text and "奥の部屋" not in page.text
    shelters = clerk.get("/intake/shelters")
    assert name not in html.unescape(shelters.text) and "支援措置の対象者1人" in shelters.text


def test_a_provisional_form_says_what_it_is_and_of_when(clerk, desk):
    number, name, _ = resident(desk)
    done = send(clerk, form_of(clerk, number, Kind.PROVISIONAL), fields_of(Kind.PROVISIONAL))
    form = clerk.get(f"{done.url.path}/certificate")
    as_of = "令和8年11月23日(2026-11-23) 04:10 JST"
    for words in ("災害時暫定", "2026-伊万里-暫定-0001", as_of, "公印は押していません", "法的な効力を約束"):
        assert words in form.text
    assert name in text(form)
    send(clerk, form_of(clerk, number, Kind.DEATH), DEATH)
    assert "まだ反映していない異動" in clerk.get(f"{done.url.path}/certificate").text
    assert clerk.get("/intake/entry/00000000-1/certificate").status_code == 404


def test_every_kind_of_form_can_be_opened_sent_and_shown_in_both_languages(clerk, desk):
    beginning = form_of(clerk, resident(desk)[0], Kind.DEATH).url.path.removesuffix("death")
    for language in ("en", "ja"):
        clerk.post("/language", data={"language": language, "to": "/"})
        for kind, spec in SPECS.items():
            new = spec.about.value == "new"
            person = {"person_name": "伊万里 太郎", "person_birth": "5081101"}
            page = clerk.get(f"/intake/new/{kind.value}" if new else f"{beginning}{kind.value}")
            done = send(clerk, page, {**fields_of(kind), **(person if new else {})})
            assert done.status_code == 200 and f"-{spec.prefix}-" in done.text, kind
    for page in ("/intake", "/intake/all", "/intake/shelters"):
        assert clerk.get(page).status_code == 200
    assert clerk.get("/intake/new/other").status_code == 404


@pytest.mark.parametrize("error", [NoSpaceError("full"), StorageError("sync failed")], ids=["full", "broken"])
def test_on_a_disk_that_fails_the_clerk_gets_no_number_and_the_same_form_works_later(clerk, desk, monkeypatch, error):
    page = form_of(clerk, resident(desk)[0], Kind.DEATH)

    def fail(self, record):
        self.close()
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", fail)
        answer = send(clerk, page, DEATH)
    assert answer.status_code == 503 and "記録できませんでした" in answer.text and "死亡-0001" not in answer.text
    assert desk.on_disk().items == {}
    assert [one["what"] for one in desk.entries()][-2:] == ["intake", "intake-failed"]
    assert "2026-伊万里-死亡-0001" in send(clerk, page, DEATH).text


def test_nothing_is_taken_in_that_cannot_stand_in_the_audit_log(clerk, desk, monkeypatch):
    page = form_of(clerk, resident(desk)[0], Kind.DEATH)

    def full(_fields):
        raise NoSpaceError("full")

    with monkeypatch.context() as patch:
        patch.setattr(desk.audit.chain, "append", full)
        assert send(clerk, page, DEATH).status_code == 503
    assert desk.on_disk().items == {}
    send(clerk, page, DEATH)
    entry = next(one for one in desk.entries() if one["what"] == "intake")
    assert (entry["number"], entry["kind"], entry["who"]) == ("2026-伊万里-死亡-0001", "death", ACCOUNT)
    assert entry["record"] == 1
    assert entry["taken_persons"] == [person_digest(desk.files.read("audit/desk.key"), resident(desk)[0])]


def test_a_form_from_elsewhere_or_without_its_nonce_takes_nothing_in(clerk, desk):
    page = form_of(clerk, resident(desk)[0], Kind.DEATH)
    for wrong in ({"token": "x"}, {"nonce": ""}, {"nonce": "short"}, {"nonce": "あ" * 20}, {"nonce": "n" * 65}):
        assert send(clerk, page, {**DEATH, **wrong}).status_code in (400, 403)
    assert desk.on_disk().items == {}
    with httpx.Client(base_url=desk.url, trust_env=False) as stranger:
        for path in ("/intake", page.url.path, "/intake/shelters", "/intake/entry/00000000-1"):
            assert stranger.get(path).headers["location"] == "/sign-in"
        assert stranger.post(page.url.path, data=DEATH).headers["location"] == "/sign-in"


def test_another_desk_of_the_town_sees_the_marks_and_cannot_change_them(clerk, desk):
    number = resident(desk)[0]
    other = desk.books.of(TENANT, "south", "伊万里市", desk.audit)
    send(clerk, form_of(clerk, number, Kind.DEATH), DEATH)
    item = other.items()[0]
    assert other.marks()[number].pending == (item,) and not other.is_own(item)
    assert other.ledger.begin.label == "伊万里2", "numbers say which desk gave them"


def test_a_desk_that_is_opened_again_goes_on_counting(tmp_path, desk, clerk):
    send(clerk, form_of(clerk, resident(desk)[0], Kind.DEATH), DEATH)
    clock = ManualClock(datetime(2026, 12, 1, tzinfo=UTC))
    again = Books(PosixFiles(str(tmp_path)), lambda: KEY, clock).of(TENANT, "desk", "別の名前", desk.audit)
    assert again.ledger.next_number("死亡", clock.now()) == "2026-伊万里-死亡-0002"


def give(keeper, role):
    account = keeper.current.get(ACCOUNT)
    changed = dataclasses.replace(account, grant=Grant(role.name))
    keeper.change(lambda accounts: accounts.with_account(changed), lambda _changes: None)


def test_an_account_without_the_right_takes_nothing_in_and_issues_nothing(tmp_path, town, accounts):
    desk = WritingDesk(tmp_path, town, accounts)
    desk.settings = dataclasses.replace(desk.settings, accounts=(keeper := Keeper(accounts)))
    with served(desk), signed_in(desk) as clerk:
        number = resident(desk)[0]
        page = form_of(clerk, number, Kind.DEATH)
        provisional = form_of(clerk, number, Kind.PROVISIONAL)
        give(keeper, RECEPTION)
        assert send(clerk, provisional, fields_of(Kind.PROVISIONAL)).status_code == 403
        assert send(clerk, page, DEATH).status_code == 200
        give(keeper, LOOK_UP)
        assert send(clerk, page, DEATH, nonce="n" * 24).status_code == 403
        assert clerk.get("/intake").status_code == 403 and "/intake/" not in person_page(clerk, number).text
        assert list(desk.on_disk().items) == ["2026-伊万里-死亡-0001"]


def test_a_list_that_is_too_long_for_a_page_says_so(clerk, desk, monkeypatch):
    monkeypatch.setattr("jbackupd.desk.intake_pages.LISTED_MAX", 1)
    page = form_of(clerk, resident(desk)[0], Kind.DEATH)
    for count in "ab":
        send(clerk, page, DEATH, nonce=count * 24)
    listed = clerk.get("/intake")
    assert "死亡-0002" in listed.text and "死亡-0001" not in listed.text and "2件のうち新しい1件" in listed.text
    assert desk.entries()[-1]["entries"] == 1
