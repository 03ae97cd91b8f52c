"""Accounts, roles and the record over real HTTP, as a supervisor and a lent colleague use them."""

import html
import re

import httpx
import pytest

from jbackupd.desk.accounts import Account, Accounts, Grant, load_accounts, save_accounts
from jbackupd.desk.keeper import FileKeeper
from jbackupd.storage.files import PosixFiles
from tests.integration.desk.conftest import PASSWORD, Desk, served

CHIEF = "mori"


@pytest.fixture
def files(tmp_path):
    found = PosixFiles(str(tmp_path))
    save_accounts(found, "accounts.json", Accounts([
        Account.make(CHIEF, PASSWORD, Grant("supervisor", "森 薫")), Account.make("ota", PASSWORD, Grant("look-up")),
    ]))
    return found


@pytest.fixture
def desk(tmp_path, town, files):
    with served(Desk(tmp_path, *town, FileKeeper(files, "accounts.json"))) as desk:
        yield desk


@pytest.fixture
def browser(desk):
    made = []

    def new():
        made.append(httpx.Client(base_url=desk.url, follow_redirects=True, trust_env=False))
        return made[-1]

    yield new
    for client in made:
        client.close()


def token(page):
    return re.search(r'name="token" value="([^"]+)"', page.text)[1]


def sign_in(client, account, password=PASSWORD):
    form = {"account": account, "password": password, "token": token(client.get("/sign-in")), "purpose": "safety"}
    return client.post("/sign-in", data=form)


def signed_in(browser, account):
    client = browser()
    assert sign_in(client, account).status_code == 200
    return client


def new_account(chief, **said):
    form = {"account": "s.ota", "person": "太田 しのぶ", "from": "佐賀市", "role": "reception", "until": "2026-12-01"}
    return chief.post("/accounts/new", data={**form, **said, "token": token(chief.get("/accounts/new"))})


def page_of(chief, name):
    return re.search(rf'href="(/accounts/of/[0-9a-f]+)">{re.escape(name)}<', chief.get("/accounts").text)[1]


def test_a_lent_colleague_gets_an_account_chooses_a_password_and_works(browser, desk):
    chief, colleague = signed_in(browser, CHIEF), browser()
    slip = new_account(chief)
    first = re.search(r'class="password">([^<]+)<', slip.text)[1]
    assert slip.status_code == 200 and "太田 しのぶ" in slip.text and "令和8年12月1日" in slip.text
    assert first not in chief.get("/accounts").text
    page = sign_in(colleague, "s.ota", first)
    assert page.url.path == "/password"
    assert colleague.get("/").url.path == "/password", "nothing is shown before"
    typed = {"new": "いちごだいふく二つ!", "again": "いちごだいふく二つ!", "token": token(page)}
    assert colleague.post("/password", data=typed).url.path in ("/", "/purpose")
    colleague.post("/purpose", data={"purpose": "shelter", "token": token(colleague.get("/purpose"))})
    found = colleague.post("/search", data={"words": "さとう", "token": token(colleague.get("/"))})
    assert found.status_code == 200
    assert sign_in(browser(), "s.ota", first).status_code == 401
    told = [(entry["what"], entry.get("did")) for entry in desk.entries() if entry["what"] == "account"]
    assert told == [("account", "added"), ("account", "chose")]
    assert desk.entries()[-2 if desk.entries()[-1]["what"].startswith("sign-in") else -1]["purpose"] == "shelter"


def test_who_may_not_supervise_sees_no_accounts_and_is_told_who_can(browser):
    colleague = signed_in(browser, "ota")
    for path in ("/accounts", "/accounts/new", "/record"):
        refused = colleague.get(path)
        assert refused.status_code == 403 and "森 薫" in refused.text
    assert 'href="/accounts"' not in colleague.get("/").text
    assert 'class="no-print"' in colleague.get("/").text


def test_a_stopped_account_is_out_at_the_next_page_and_may_come_back(browser, desk):
    chief, colleague = signed_in(browser, CHIEF), signed_in(browser, "ota")
    path = page_of(chief, "ota")

    def do(did, **said):
        return chief.post(path, data={"did": did, "token": token(chief.get(path)), **said})

    do("stop")
    assert colleague.get("/").url.path == "/sign-in"
    assert sign_in(browser(), "ota").status_code == 401
    do("allow")
    assert sign_in(colleague, "ota").url.path == "/"
    assert do("grant", person="太田", role="supervisor", until="2026-12-24").status_code == 200
    assert colleague.get("/accounts").status_code == 200, "a role holds at once"
    for wrong in ("2026-11-01", "2027-12-24", "x", ""):
        assert do("grant", person="太田", role="supervisor", until=wrong).status_code in (200, 400)
    first = re.search(r'class="password">([^<]+)<', do("reset").text)[1]
    assert colleague.get("/").url.path == "/sign-in"
    assert sign_in(colleague, "ota", first).url.path == "/password"
    did = [entry["did"] for entry in desk.entries() if entry["what"] == "account"]
    assert did[:2] == ["stopped", "allowed"] and did[-1] == "reset" and set(did[2:-1]) == {"granted"}


def test_nobody_changes_the_own_account_nor_with_anothers_form(browser):
    chief = signed_in(browser, CHIEF)
    path = page_of(chief, CHIEF)
    assert chief.post(path, data={"did": "stop", "token": token(chief.get("/accounts/new"))}).status_code == 403
    other = page_of(chief, "ota")
    assert chief.post(other, data={"did": "stop", "token": "forged"}).status_code == 403
    assert chief.get("/accounts/of/" + "0" * 24).status_code == 404


@pytest.mark.parametrize("said", [
    {"account": "ota"}, {"account": ""}, {"account": "oidc:x"}, {"person": ""}, {"until": ""}, {"until": "2026-11-01"},
    {"until": "2028-01-01"}, {"role": "king"}, {"person": "x" * 99},
])
def test_what_cannot_be_an_account_is_told_and_nothing_is_made(browser, files, said):
    chief = signed_in(browser, CHIEF)
    answer = new_account(chief, **said)
    assert answer.status_code == 400 and 'role="alert"' in answer.text
    assert {account.name for account in load_accounts(files, "accounts.json")} == {CHIEF, "ota"}


def test_the_record_tells_who_looked_up_what_for_and_that_it_was_read(browser, desk):
    chief, colleague = signed_in(browser, CHIEF), signed_in(browser, "ota")
    colleague.post("/search", data={"words": "さとう", "token": token(colleague.get("/"))})
    colleague.post("/purpose", data={"purpose": "inquiry", "token": token(colleague.get("/purpose"))})
    colleague.post("/search", data={"words": "やまだ", "token": token(colleague.get("/"))})
    shown = html.unescape(chief.get("/record").text)
    assert shown.count("<td>検索") == 2 and "さとう" not in shown
    asked = {"who": "ota", "purpose": "inquiry", "what": "search", "token": token(chief.get("/record"))}
    assert chief.post("/record", data=asked).text.count("<td>検索") == 1
    last = desk.entries()[-1]
    assert (last["what"], last["who"], last["of"], last["for"]) == ("review", CHIEF, "ota", "inquiry")


def test_a_change_by_command_is_seen_and_recorded_and_a_damaged_file_changes_nothing(browser, desk, files):
    chief, colleague = signed_in(browser, CHIEF), signed_in(browser, "ota")
    accounts = load_accounts(files, "accounts.json")
    save_accounts(files, "accounts.json", accounts.without("ota"))
    assert colleague.get("/").url.path == "/sign-in"
    entry = next(entry for entry in desk.entries() if entry["what"] == "account")
    assert (entry["who"], entry["did"], entry["account"]) == ("(command)", "removed", "ota")
    with open(f"{files.root}/accounts.json", "wb") as file:
        file.write(b"damaged")
    assert chief.get("/").status_code == 200, "the counter stays open"
    assert new_account(chief).status_code in (400, 403)
    assert files.read("accounts.json") == b"damaged"
