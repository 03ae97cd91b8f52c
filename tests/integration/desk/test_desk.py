"""The desk over real HTTP: who gets in, what is shown, what is recorded, and when it does not answer."""

import asyncio
import html
import os
import re
import sqlite3
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from jbackupd.desk.app import RESULTS_MAX, SESSION_COOKIE, create_app
from jbackupd.desk.audit import person_digest, search_digest
from jbackupd.desk.probe import probe_desk
from jbackupd.desk.query import understand
from jbackupd.desk.server import DeskServer
from jbackupd.desk.sessions import IDLE_SECONDS
from jbackupd.model.errors import (
    ConfigError,
    DamageError,
    JbackupdError,
    NotFoundError,
    PeerError,
    RefusedError,
    StorageError,
    TryLaterError,
)
from jbackupd.model.units import Address
from jbackupd.storage.chain import verify_chain
from tests.integration.desk.conftest import ACCOUNT, PASSWORD, Desk, served

AS_OF_TEXT = "令和8年11月23日(2026-11-23) 04:10 JST"


def token(page):
    return re.search(r'name="token" value="([^"]+)"', page)[1]


def links(page):
    return re.findall(r'href="(/person/[^"]+)"', page)


@pytest.fixture
def stranger(desk):
    with httpx.Client(base_url=desk.url, follow_redirects=True, trust_env=False) as client:
        yield client


def sign_in(client, password=PASSWORD, account=ACCOUNT):
    form = {"account": account, "password": password, "token": token(client.get("/sign-in").text), "purpose": "inquiry"}
    return client.post("/sign-in", data=form)


@pytest.fixture
def clerk(stranger):
    assert sign_in(stranger).status_code == 200
    return stranger


def look_up(client, words):
    return client.post("/search", data={"words": words, "token": token(client.get("/").text)})


def rows(desk, where):
    with sqlite3.connect(desk.database) as connection:
        return connection.execute(f"select number, name, town, lot from resident where {where}").fetchall()


def test_the_probe_finds_the_resident_who_moved_that_day_at_the_new_address(desk):
    result = probe_desk(desk.url, ACCOUNT, PASSWORD, desk.report.query, desk.report.address)
    assert result.as_of == AS_OF_TEXT
    assert result.persons >= 1
    assert [entry["what"] for entry in desk.entries()] == ["open", "sign-in", "search", "view", "sign-out"]


def test_the_probe_says_what_is_wrong(desk):
    with pytest.raises(NotFoundError):
        probe_desk(desk.url, ACCOUNT, PASSWORD, desk.report.query, "どこにもない町")
    with pytest.raises(NotFoundError):
        probe_desk(desk.url, ACCOUNT, PASSWORD, "ゼンゼンイナイ", "x")
    with pytest.raises(RefusedError):
        probe_desk(desk.url, ACCOUNT, "wrong", desk.report.query, desk.report.name)
    with pytest.raises(PeerError):
        probe_desk("http://127.0.0.1:1", ACCOUNT, PASSWORD, "x", "x", timeout_seconds=2)
    with pytest.raises(JbackupdError):
        probe_desk("file:///etc/passwd", ACCOUNT, PASSWORD, "x", "x")


def test_every_page_says_degraded_operation_and_as_of_when_in_both_languages(clerk, desk):
    person = links(look_up(clerk, desk.report.query).text)[0]
    for language in ("ja", "en"):
        clerk.post("/language", data={"language": language, "to": "/"})
        pages = [clerk.get("/"), clerk.get(person), look_up(clerk, "さ"), look_up(clerk, "H5.13.1"), clerk.get("/none"),
                 clerk.get("/search"), clerk.post("/search", data={"words": "さ"}), clerk.post("/search", json={})]
        for page in pages:
            assert "縮退運転中" in page.text and AS_OF_TEXT in page.text and f'<html lang="{language}">' in page.text
    fresh = httpx.get(f"{desk.url}/sign-in", trust_env=False)
    assert "縮退運転中" in fresh.text and AS_OF_TEXT in fresh.text


def test_a_page_holds_nothing_from_elsewhere_and_is_never_stored(clerk, desk):
    for page in (clerk.get("/"), look_up(clerk, "さ"), clerk.get("/none"), clerk.post("/search", data={})):
        assert not re.findall(r'(?:src|href|action)="(?!/|#)', page.text)
        assert "<script" not in page.text
        assert page.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert page.headers["referrer-policy"] == "no-referrer"
        assert "server" not in page.headers
    style = clerk.get("/static/desk.css")
    assert style.headers["content-type"].startswith("text/css") and "url(" not in style.text
    assert clerk.get("/static/..%2fapp.py").status_code == 404


def test_no_address_of_a_page_holds_personal_data(clerk, desk):
    page = look_up(clerk, desk.report.query)
    person = clerk.get(links(page.text)[0])
    for url in (page.url, person.url):
        assert re.fullmatch(r"/(results|person)/[A-Za-z0-9_-]{12}", url.path) and not url.query
    assert desk.report.number in person.text


def test_nobody_sees_anything_without_signing_in(stranger, clerk, desk):
    person = links(look_up(clerk, desk.report.query).text)[0]
    with httpx.Client(base_url=desk.url, trust_env=False) as other:
        for path in ("/", person, "/results/abc"):
            answer = other.get(path)
            assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
        assert other.post("/search", data={"words": "さ", "token": ""}).headers["location"] == "/sign-in"


def test_a_session_knows_only_its_own_pages(clerk, desk):
    page = look_up(clerk, desk.report.query)
    with httpx.Client(base_url=desk.url, follow_redirects=True, trust_env=False) as other:
        sign_in(other)
        assert "/search" in other.get(links(page.text)[0]).text
        assert desk.report.name not in other.get(links(page.text)[0]).text
        assert desk.report.name not in other.get(page.url.path).text


def test_the_session_cookie_is_out_of_reach_and_forgotten_at_signing_out(stranger, desk):
    form = {"account": ACCOUNT, "password": PASSWORD, "token": token(stranger.get("/sign-in").text)}
    answer = stranger.post("/sign-in", data=form, follow_redirects=False)
    cookie = answer.headers["set-cookie"].lower()
    assert cookie.startswith(SESSION_COOKIE) and "httponly" in cookie and "samesite=strict" in cookie
    value = stranger.cookies[SESSION_COOKIE]
    stranger.post("/sign-out", data={"token": token(stranger.get("/").text)})
    with httpx.Client(base_url=desk.url, cookies={SESSION_COOKIE: value}, trust_env=False) as thief:
        assert thief.get("/").status_code == 303


def test_a_session_that_is_not_used_falls_asleep(clerk, desk):
    assert 'action="/search"' in clerk.get("/").text
    desk.clock.advance(IDLE_SECONDS + 1)
    assert 'action="/search"' not in clerk.get("/").text


@pytest.mark.parametrize("path", ["/search", "/sign-out", "/sign-in"])
def test_a_form_from_elsewhere_is_refused(clerk, path):
    for wrong in ({}, {"token": "x"}, {"token": "あ"}):
        assert clerk.post(path, data={**wrong, "words": "さ", "account": ACCOUNT}).status_code == 403
    assert 'action="/search"' in clerk.get("/").text


@pytest.mark.parametrize("body", [b"a=%ff%fe&token=x", b"x" * 20_000, b"&".join([b"a=1"] * 50), b"\xff\xfe"])
def test_a_body_that_is_no_form_is_refused(clerk, body):
    answer = clerk.post("/search", content=body, headers={"content-type": "application/x-www-form-urlencoded"})
    assert answer.status_code in (400, 403) and "縮退運転中" in answer.text


def test_the_language_switch_leads_nowhere_else(clerk):
    for target in ("//evil.example", "https://evil.example", "/\\evil.example", "/a?b", "/../x"):
        answer = clerk.post("/language", data={"language": "en", "to": target}, follow_redirects=False)
        assert answer.headers["location"] == "/"


def test_wrong_passwords_cost_more_and_more_time_for_known_and_unknown_names(stranger, desk):
    for account in (ACCOUNT, "nobody"):
        assert [sign_in(stranger, "wrong", account).status_code for _ in range(4)] == [401] * 4
        assert sign_in(stranger, PASSWORD, account).status_code == 429
        desk.clock.advance(2)
        assert sign_in(stranger, "wrong", account).status_code == 401
        assert sign_in(stranger, PASSWORD, account).status_code == 429
        desk.clock.advance(4)
    assert sign_in(stranger).status_code == 200
    refused = [entry for entry in desk.entries() if entry["what"] == "sign-in-refused"]
    assert [entry["who"] for entry in refused] == [ACCOUNT] * 5 + ["?"] * 5


def test_a_result_shows_the_state_and_only_so_many_persons(clerk, desk):
    page = look_up(clerk, "さ").text
    assert len(links(page)) == RESULTS_MAX
    gone = rows(desk, "state = '3' and not restricted limit 1")[0]
    page = clerk.get(links(look_up(clerk, gone[0]).text)[0]).text
    assert 'class="state state-3"' in page and gone[1] in html.unescape(re.sub("<[^>]+>", "", page))


def test_restricted_persons_and_their_households_show_no_address_anywhere(clerk, desk):
    restricted = rows(desk, "restricted and state = '1'")
    assert restricted
    for number, name, town, lot in restricted[:3]:
        result = look_up(clerk, number)
        person = clerk.get(links(result.text)[0])
        assert name in html.unescape(person.text)
        for page in (result, person):
            assert town + lot not in page.text and 'class="masked"' in page.text
        assert 'role="alert"' in person.text


def test_a_household_is_listed_in_its_order(clerk, desk):
    household = rows(desk, "household_key = (select household_key from resident group by 1 having count(*) = 4 limit 1)"
                           " order by state <> '1', position")
    page = clerk.get(links(look_up(clerk, household[-1][0]).text)[0]).text
    cells = re.findall(r'<span class="name">(.*?)</span></a>', page)
    names = [html.unescape(re.sub("<[^>]+>", "", cell)) for cell in cells]
    assert names == [member[1] for member in household]


def test_every_look_up_is_recorded_without_the_words(clerk, desk):
    page = look_up(clerk, desk.report.query)
    clerk.get(links(page.text)[0])
    search, view = desk.entries()[-2:]
    key = desk.files.read("audit/desk.key")
    assert (search["what"], search["who"], search["client"]) == ("search", ACCOUNT, "127.0.0.1")
    assert search["persons"] == len(links(page.text)) and "kana" in search["kinds"]
    assert search["words"] == search_digest(key, understand(desk.report.query))
    assert (view["what"], view["person"]) == ("view", person_digest(key, desk.report.number))
    log = desk.files.read("audit/desk.chain").decode()
    assert desk.report.number not in log and desk.report.name.split()[0] not in log
    assert verify_chain(desk.files, "audit/desk.chain").broken is None


def test_the_desk_does_not_answer_what_it_cannot_record(clerk, desk, monkeypatch):
    person = links(look_up(clerk, desk.report.query).text)[0]
    before = len(desk.entries())

    def full(_fields):
        raise StorageError("no")

    monkeypatch.setattr(desk.audit.chain, "append", full)
    for answer in (look_up(clerk, desk.report.query), clerk.get(person)):
        assert answer.status_code == 503
        assert desk.report.name not in answer.text and "縮退運転中" in answer.text
    assert len(desk.entries()) == before
    with httpx.Client(base_url=desk.url, follow_redirects=True, trust_env=False) as other:
        assert sign_in(other).status_code == 503 and SESSION_COOKIE not in other.cookies
    with pytest.raises(TryLaterError):
        create_app(desk.settings)


def test_a_log_that_somebody_removed_stops_the_desk(clerk, desk):
    os.unlink(os.path.join(desk.files.root, "audit/desk.chain"))
    assert look_up(clerk, "さ").status_code == 503


def test_a_desk_does_not_start_on_a_broken_log(tmp_path, town, accounts):
    Desk(tmp_path, *town, accounts).audit.opened(loaded_from="x", as_of="y", rows=1)
    with open(tmp_path / "audit/desk.chain", "r+b") as file:
        file.write(b"0")
    with pytest.raises(DamageError):
        Desk(tmp_path, *town, accounts)


def make_certificate(folder):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "desk")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return str(folder / "cert.pem"), str(folder / "key.pem")


def test_https_with_a_certificate_of_the_house(tmp_path, town, accounts):
    certificate, key = make_certificate(tmp_path)
    trusted = ssl.create_default_context(cafile=certificate)
    with served(Desk(tmp_path, *town, accounts, secure=True), certificate=certificate, private_key=key) as desk:
        assert desk.url.startswith("https://")
        probe_desk(desk.url, ACCOUNT, PASSWORD, desk.report.query, desk.report.name, trusted=trusted)
        with pytest.raises(PeerError):
            probe_desk(desk.url, ACCOUNT, PASSWORD, desk.report.query, desk.report.name)
        with httpx.Client(base_url=desk.url, verify=trusted, trust_env=False) as client:
            assert "secure" in client.get("/sign-in").headers["set-cookie"].lower()


async def started(app, address, **tls):
    server = DeskServer(app, address, **tls)
    await server.start()
    return server


def test_an_address_in_use_and_a_bad_certificate_are_told(tmp_path, town, accounts, desk):
    app = create_app(Desk(tmp_path / "second", *town, accounts).settings)
    with pytest.raises(ConfigError):
        asyncio.run(started(app, Address("127.0.0.1", int(desk.url.rsplit(":", 1)[1]))))
    with pytest.raises(ConfigError):
        asyncio.run(started(app, Address("127.0.0.1", 0), certificate=__file__, private_key=__file__))
