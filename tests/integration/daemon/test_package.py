"""市町村パッケージ: written, refreshed, opened on a bare machine without a network, and brought back."""

from __future__ import annotations

import contextlib
import csv
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from daemons import SiteProcess
from intakes import fields_of

from jbackupd.demo.town import COLUMNS, EXTRACT, IGNORE, make_town
from jbackupd.format.intakekinds import Kind
from jbackupd.service.packages import load
from jbackupd.service.packaging import make_package
from jbackupd.settings.load import load as load_settings
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.identity import load_identity

BARE = ["/usr/bin/env", "-i", "LANG=C.UTF-8", "PATH=/usr/bin:/bin", sys.executable, "-S"]
"""A Python without anything that is installed beside it."""


@pytest.fixture
def extract(town, tmp_path: Path) -> Path:
    """The extract of 200 residents, one household of them under support measures, and its map."""
    made = make_town(str(tmp_path / "town"), residents=200)
    shutil.rmtree(town.data)
    shutil.copytree(Path(made.extract).parent, town.data)
    found = town.data / Path(EXTRACT).name
    head, first, *rest = found.read_text(encoding="cp932").splitlines()
    cells = next(csv.reader([first]))
    cells[next(csv.reader([head])).index("支援措置")] = "1"
    found.write_text("\r\n".join([head, ",".join(cells), *rest, ""]), encoding="cp932", newline="")
    lines = "".join(f"{json.dumps(header, ensure_ascii=False)} = {json.dumps(name, ensure_ascii=False)}\n"
                    for header, name in COLUMNS.items())
    (tmp_path / "map.toml").write_text(
        f'encoding = "cp932"\nignore = {json.dumps(IGNORE, ensure_ascii=False)}\n[columns]\n{lines}'
    )
    return found


@pytest.fixture
def saga(town, extract, tmp_path: Path) -> SiteProcess:
    return town.alone(more=(
        f'[[package]]\nid = "office"\ndataset = "imari/juki"\nfile = "{extract.name}"\n'
        f'map = "{tmp_path}/map.toml"\nto = "{tmp_path}/stick/imari"\ntitle = "伊万里市"\n'
    ))


@pytest.fixture
def stick(tmp_path: Path) -> Path:
    (tmp_path / "stick").mkdir()
    return tmp_path / "stick" / "imari"


def person(extract: Path, number: int) -> dict[str, str]:
    rows = list(csv.DictReader(extract.read_text(encoding="cp932").splitlines()))
    return {COLUMNS[header]: value for header, value in rows[number].items() if header in COLUMNS}


def run(folder: Path, *arguments: str, answers: tuple[str, ...] = (), bare: list[str] = BARE):
    return subprocess.run(
        [*bare, str(folder / "start.py"), *arguments], input="".join(f"{line}\n" for line in answers),
        capture_output=True, text=True, timeout=60, cwd="/",
    )


@contextlib.contextmanager
def laptop(folder: Path, *arguments: str, answers: tuple[str, ...]) -> Iterator[tuple[httpx.Client, str]]:
    """Open a package on a bare Python; yield a browser of that machine, and what the terminal said."""
    process = subprocess.Popen(
        [*BARE, str(folder / "start.py"), "--port", "0", "--no-browser", *arguments], stdin=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, cwd="/",
    )
    try:
        process.stdin.write("".join(f"{line}\n" for line in answers))
        process.stdin.flush()
        said = ""
        while "http://" not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        url = re.search(r"http://127\.0\.0\.1:\d+", said)[0]
        with httpx.Client(base_url=url, follow_redirects=True, trust_env=False) as client:
            yield client, said
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0, process.stderr.read()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def token(page: str) -> str:
    return re.search(r'name="token" value="([^"]+)"', page)[1]


def sign_in(client: httpx.Client, account: str, password: str) -> httpx.Response:
    form = {"account": account, "password": password, "token": token(client.get("/sign-in").text), "purpose": "safety"}
    return client.post("/sign-in", data=form)


def look_up(client: httpx.Client, words: str) -> str:
    page = client.post("/search", data={"words": words, "token": token(client.get("/").text)}).text
    return client.get(re.search(r'href="(/person/[^"]+)"', page)[1]).text


def take_in_a_death(client: httpx.Client, number: str) -> None:
    page = client.get(re.search(r'href="(/intake/person/[^"]+/death)"', look_up(client, number))[1])
    hidden = dict(re.findall(r'name="(token|nonce)" value="([^"]*)"', page.text))
    answer = client.post(page.url.path, data={**fields_of(Kind.DEATH), **hidden, "died_on": "R8.11.23"})
    assert answer.status_code == 200 and "-伊万里-死亡-" in answer.text, answer.text


def files_of(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_laptop_shows_residents_takes_in_and_everything_comes_back(saga, stick, extract, tmp_path: Path) -> None:
    saga.command("tenant", "package", "write", "office", "--local", expect=2)
    saga.command("backup", "imari/juki", "--local")
    clerks = ("--clerk", "mori=supervisor", "--clerk", "kubo")
    made = saga.command("tenant", "package", "write", "office", *clerks, "--local")
    assert made["residents"] == 200 and made["serial"] == 1 and set(made["passphrases"]) == {"mori", "kubo"}
    word = made["passphrases"]["kubo"]
    saga.command("tenant", "package", "verify", "office")
    someone = person(extract, 7)
    with laptop(stick, answers=("kubo", word)) as (client, said):
        assert "伊万里市" in said and "令和" in said
        assert sign_in(client, "kubo", word).status_code == 200
        shown = look_up(client, someone["宛名番号"])
        assert someone["氏名"] in shown and "縮退運転中" in shown
        assert person(extract, 0)["町字"] not in look_up(client, person(extract, 0)["宛名番号"])
        take_in_a_death(client, someone["宛名番号"])
    names = (someone["氏名"].encode(), someone["氏名"].encode("cp932"))
    assert [path for path in files_of(stick) if any(name in path.read_bytes() for name in names)] == []
    assert not list(stick.rglob("__pycache__"))
    back = saga.command("tenant", "package", "returned", "office")
    assert back["record_entries"] >= 5 and back["record_broken_line"] is None
    assert [(one["label"], one["records"], one["new"]) for one in back["journals"]] == [("伊万里", 1, 1)]
    assert saga.command("tenant", "package", "returned", "office")["journals"][0]["new"] == 0
    assert (saga.state / "audit" / "imari" / "packages" / "office" / "desk.chain").exists()


def founded(saga: SiteProcess, *arguments: str) -> str:
    """Take a point, write the package, and return a clerk's passphrase."""
    saga.command("backup", "imari/juki", "--local")
    made = saga.command("tenant", "package", "write", "office", "--clerk", "kubo", "--local", *arguments)
    return made["passphrases"]["kubo"]


def made_before(saga: SiteProcess, age: timedelta) -> None:
    """Write the package as it would have been written a while ago."""
    settings = load_settings(str(saga.config))
    files, identity = PosixFiles(str(saga.state)), load_identity(PosixFiles(str(saga.state)), settings.site.id)
    known = load(files, "office", identity.local_key)
    make_package(settings, settings.packages[0], known, identity.signer, datetime.now(UTC) - age)


def test_the_daemon_writes_it_anew_at_every_point_and_waits_for_a_stick_that_is_away(saga, stick, extract) -> None:
    word = founded(saga)
    with laptop(stick, answers=("kubo", word)) as (client, _said):
        sign_in(client, "kubo", word)
        take_in_a_death(client, person(extract, 7)["宛名番号"])
    saga.start()
    saga.until(lambda page: page["packages"] and page["packages"][0]["state"] == "fresh")
    stick.parent.rename(stick.parent.with_name("elsewhere"))
    saga.command("backup", "imari/juki")
    saga.until(lambda page: page["packages"][0]["state"] == "away")
    stick.parent.with_name("elsewhere").rename(stick.parent)
    page = saga.until(lambda page: page["packages"][0]["state"] == "fresh")
    assert page["packages"][0]["point"] == "imari/juki@2" and page["packages"][0]["error"] is None
    assert saga.metrics()['jbackupd_package_failed{package="office"}'] == 0
    saga.stop()
    assert len(list(stick.glob("data-*.sealed"))) == 1 and not (stick / "new").exists()
    saga.command("tenant", "package", "verify", "office")
    with laptop(stick, answers=("kubo", word)) as (client, _said):
        assert sign_in(client, "kubo", word).status_code == 200
        assert "異動受付済" in look_up(client, person(extract, 7)["宛名番号"])
    assert saga.command("tenant", "package", "returned", "office")["journals"][0]["records"] == 1


def test_k_of_n_shares_open_it_and_nothing_less_does(saga, stick, town, extract) -> None:
    founded(saga)
    shares = [str(town.folder / "shares" / f"imari-share-{number}-of-3.txt") for number in (1, 3)]
    with laptop(stick, "--share", shares[0], "--share", shares[1], answers=()) as (client, said):
        account, password = re.search(r"利用者名 (\S+)、パスワード (\S+) ", said).groups()
        assert sign_in(client, account, password).status_code == 200
        assert person(extract, 7)["氏名"] in look_up(client, person(extract, 7)["宛名番号"])
    assert run(stick, "--share", shares[0]).returncode == 6
    wrong = run(stick, answers=("kubo", "wrong", "kubo", "wrong", "nobody", "wrong"))
    assert wrong.returncode == 6 and wrong.stderr.count("kubo の合言葉が違います") == 2 and "nobody" in wrong.stderr


def test_a_damaged_or_unfit_stick_says_so_in_both_languages_and_shows_nothing(saga, stick, tmp_path: Path) -> None:
    word = founded(saga)
    library = next(path for path in sorted(stick.rglob("*.py")) if path.parent.name == "starlette")
    whole = library.read_bytes()
    library.write_bytes(whole[:-1] + b"#")
    told = run(stick, answers=("kubo", word))
    assert told.returncode == 4 and "壊れています" in told.stderr and "damaged" in told.stderr
    saga.command("tenant", "package", "verify", "office", expect=4)
    library.write_bytes(whole)
    data = stick / "data-1.sealed"
    sealed = bytearray(data.read_bytes())
    sealed[len(sealed) // 2] ^= 1
    data.write_bytes(bytes(sealed))
    told = run(stick, answers=("kubo", word))
    assert told.returncode == 4 and "写し直してください" in told.stderr
    manifest = (stick / "manifest.json").read_bytes()
    (stick / "manifest.json").write_bytes(manifest.replace(b"linux-", b"amiga-"))
    told = run(stick, answers=("kubo", word))
    assert told.returncode == 4 and "amiga-" in told.stderr
    saga.command("tenant", "package", "verify", "office", expect=8)
    (stick / "manifest.json").unlink()
    assert run(stick).returncode == 4
    # Writing again makes it whole; what is not a package's is never written over.
    saga.command("tenant", "package", "write", "office", "--local")
    saga.command("tenant", "package", "verify", "office")
    shutil.move(stick, tmp_path / "kept")
    stick.mkdir()
    (stick / "photos").mkdir()
    saga.command("tenant", "package", "write", "office", "--local", expect=5)
    assert [path.name for path in stick.iterdir()] == ["photos"]


def test_an_expired_package_opens_no_more_but_gives_back_what_was_taken_in(saga, stick, extract, tmp_path) -> None:
    word = founded(saga)
    with laptop(stick, answers=("kubo", word)) as (client, _said):
        sign_in(client, "kubo", word)
        take_in_a_death(client, person(extract, 7)["宛名番号"])
    made_before(saga, timedelta(days=32))
    told = run(stick, answers=("kubo", word))
    assert told.returncode == 5 and "期限" in told.stderr
    file, secret = tmp_path / "carried.jbi", tmp_path / "secret"
    told = run(stick, "--export", str(file), answers=("kubo", word))
    assert told.returncode == 0, told.stderr
    secret.write_text(re.search(r"合言葉[::] *(\S+)|パスフレーズ[::] *(\S+)", told.stderr)[1] + "\n")
    brought = saga.command("desk", "journal", "import", str(file), "--passphrase-file", str(secret))
    assert brought["entries"] == 1
    assert saga.command("tenant", "package", "verify", "office", expect=5)["error"]["code"] == "refused"


def test_a_clock_that_was_set_back_does_not_open_it_longer(saga, stick) -> None:
    word = founded(saga)
    made_before(saga, -timedelta(days=2))
    told = run(stick, answers=("kubo", word))
    assert told.returncode == 5 and "時計" in told.stderr


def test_two_copies_that_went_on_apart_are_two_histories_and_none_is_lost(saga, stick, extract, tmp_path) -> None:
    word = founded(saga)
    number = person(extract, 7)["宛名番号"]
    with laptop(stick, answers=("kubo", word)) as (client, _said):
        sign_in(client, "kubo", word)
        take_in_a_death(client, number)
    copy = tmp_path / "copy"
    shutil.copytree(stick, copy)
    for folder in (stick, copy):
        with laptop(folder, answers=("kubo", word)) as (client, _said):
            sign_in(client, "kubo", word)
            take_in_a_death(client, person(extract, 9)["宛名番号"])
    assert saga.command("tenant", "package", "returned", "office")["journals"][0]["records"] == 2
    saga.command("tenant", "package", "returned", "office", "--folder", str(copy), expect=5)
    assert saga.command("tenant", "package", "returned", "office")["journals"][0]["new"] == 0


def test_a_package_that_is_forgotten_is_not_written_again_and_its_folder_does_not_open(saga, stick) -> None:
    word = founded(saga)
    saga.command("tenant", "package", "write", "office", "--clerk", "mori", "--local", expect=5)
    assert saga.command("tenant", "package", "erase", "office", "--yes")["folder_destroyed"] is True
    assert run(stick, answers=("kubo", word)).returncode == 4
    assert list((saga.state / "packages" / "office").iterdir()) == []
    saga.command("tenant", "package", "erase", "office", "--yes", expect=10)
    saga.command("tenant", "package", "write", "office", "--local", expect=2)
    saga.command("tenant", "package", "write", "nothing", "--local", expect=10)
