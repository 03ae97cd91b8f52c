"""`jbackupd desk` and `jbackupd audit` by their texts and exit codes."""

import json
import os
import signal
import subprocess
import sys

import pytest

from jbackupd.cli import desk as commands
from jbackupd.cli.output import Frame
from jbackupd.demo.town import COLUMNS, IGNORE, advance_day, make_town
from jbackupd.desk.accounts import load_accounts, save_accounts
from jbackupd.desk.audit import Clerk
from jbackupd.desk.probe import probe_desk
from jbackupd.model.clock import SystemClock
from jbackupd.model.errors import ConfigError, DamageError, NotFoundError, RefusedError, UsageError
from jbackupd.service.auditlogs import AuditLogs
from jbackupd.storage.files import PosixFiles

AS_OF = "2026-11-23T04:10+09:00"


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "jbackupd.toml"
    path.write_text(
        f'version = 1\n[site]\nid = "kyoto"\nstate = "{tmp_path}/state"\n[desk]\nlisten = "127.0.0.1:0"\n'
        '[[tenant]]\nid = "imari"\nname = "伊万里市"\n', encoding="utf-8",
    )
    return str(path)


@pytest.fixture
def call(config, capsys):
    def run(*arguments):
        group = getattr(commands, arguments[0])
        code = group.main(list(arguments[1:]), standalone_mode=False, obj=Frame(config, json=True))
        out = capsys.readouterr().out
        return code, json.loads(out) if out else None

    return run


@pytest.fixture
def town(tmp_path):
    made = make_town(str(tmp_path / "town"), residents=1000)
    report = advance_day(str(tmp_path / "town"))
    columns = "\n".join(f'"{column}" = "{field}"' for column, field in COLUMNS.items())
    (tmp_path / "map.toml").write_text(f"ignore = {list(IGNORE)}\n[columns]\n{columns}\n", encoding="utf-8")
    return made.extract, str(tmp_path / "map.toml"), report


def load(call, town):
    return call("desk", "load", town[0], "--map", town[1], "--as-of", AS_OF)


def test_an_extract_is_loaded_by_hand(call, town):
    _code, document = load(call, town)
    assert document["rows"] > 1000 and document["restrictions_trusted"]


def test_a_moment_without_an_offset_and_a_wrong_map_are_refused(call, town, tmp_path):
    with pytest.raises(UsageError):
        call("desk", "load", town[0], "--map", town[1], "--as-of", "2026-11-23")
    (tmp_path / "map.toml").write_text('[column]\n"a" = "氏名"\n', encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(call, town)
    assert "map.toml" in str(caught.value)


def test_accounts_are_made_listed_and_removed(call):
    _code, made = call("desk", "account", "add", "kubo")
    assert len(made["password"]) == 14
    assert [one["account"] for one in call("desk", "account", "list")[1]["accounts"]] == ["kubo"]
    call("desk", "account", "remove", "kubo")
    assert call("desk", "account", "list")[1]["accounts"] == []
    with pytest.raises(NotFoundError):
        call("desk", "account", "remove", "kubo")


def test_an_account_is_made_once_and_its_password_is_only_drawn_anew_when_asked(call, config):
    def accepts(password):
        return load_accounts(PosixFiles(os.path.dirname(config) + "/state"), commands.ACCOUNTS).check("kubo", password)

    with pytest.raises(NotFoundError):
        call("desk", "account", "reset", "kubo")
    first = call("desk", "account", "add", "kubo")[1]["password"]
    with pytest.raises(RefusedError) as caught:
        call("desk", "account", "add", "kubo")
    assert caught.value.exit_code == 5 and "reset" in caught.value.hint
    assert accepts(first)
    second = call("desk", "account", "reset", "kubo")[1]["password"]
    assert accepts(second) and not accepts(first)


@pytest.mark.parametrize(("language", "said"), [("en", "no header line"), ("ja", "見出し行ではありません")])
def test_an_extract_without_its_header_line_ends_with_four_and_names_no_person(town, config, capsys, language, said):
    from jbackupd.cli.main import main

    with open(town[0], "rb") as file:
        rows = file.readlines()[1:]
    with open(town[0], "wb") as file:
        file.writelines(rows)
    code = main(["-c", config, "--language", language, "desk", "load", town[0], "--map", town[1], "--as-of", AS_OF])
    told = capsys.readouterr()
    assert (code, said in told.err, told.out) == (4, True, "")
    assert not any(word in told.err for word in rows[0].decode("cp932").split(",") if len(word) > 1)


def test_a_desk_without_accounts_or_data_does_not_start(call):
    with pytest.raises(NotFoundError, match="account"):
        call("desk", "serve")
    call("desk", "account", "add", "kubo")
    with pytest.raises(NotFoundError, match="data"):
        call("desk", "serve")


def as_chosen(config, name, password):
    """Let a password be the clerk's own, as after the first sign-in."""
    files = PosixFiles(os.path.dirname(config) + "/state")
    accounts = load_accounts(files, commands.ACCOUNTS)
    save_accounts(files, commands.ACCOUNTS, accounts.with_account(accounts.get(name).with_password(password)))


def test_a_served_desk_answers_records_and_ends_when_it_is_told(call, town, config, tmp_path):
    load(call, town)
    password = call("desk", "account", "add", "kubo")[1]["password"]
    as_chosen(config, "kubo", password)
    report = town[2]
    arguments = [sys.executable, "-m", "jbackupd", "-c", config, "--language", "en", "desk", "serve"]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
        try:
            url = process.stderr.readline().split()[4].rstrip(";")
            probe_desk(url, "kubo", password, report.query, report.address)
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    entries = call("audit", "show")[1]["entries"]
    assert [entry["what"] for entry in entries] == ["open", "sign-in", "search", "view", "sign-out"]
    assert [e["what"] for e in call("audit", "show", "--number", report.number)[1]["entries"]] == ["view"]
    assert [e["what"] for e in call("audit", "show", "--words", report.query)[1]["entries"]] == ["search"]
    assert call("audit", "show", "--words", "だれか")[1]["entries"] == []
    code, document = call("audit", "verify")
    assert (code, document["entries"], document["broken"]) == (0, 5, None)
    log = tmp_path / "state/audit/imari/desk.chain"
    log.write_bytes(log.read_bytes().replace(b'"what":"search"', b'"what":"nothing"'))
    for arguments in ((), ("--file", str(log))):
        code, document = call("audit", "verify", *arguments)
        assert (code, document["broken"]["line"]) == (DamageError.exit_code, 3)


def test_a_missing_log_is_told(call):
    for arguments in ((), ("--tenant", "imari")):
        with pytest.raises(NotFoundError):
            call("audit", "verify", *arguments)


def test_every_municipality_has_an_audit_log_and_a_key_of_its_own(call, config):
    files = PosixFiles(os.path.dirname(config) + "/state")
    files.make_folder("")
    logs = AuditLogs(files, SystemClock())
    logs.of("imari").opened(loaded_from="x", as_of="y", rows=1)
    assert call("audit", "verify")[1]["entries"] == 1
    assert logs.of("imari") is logs.of("imari")
    for account in ("kubo", "mori"):
        logs.of("arita").signed_in(Clerk(account, "127.0.0.1"), role="issue")
    with pytest.raises(UsageError, match="arita, imari"):
        call("audit", "verify")
    assert call("audit", "verify", "--tenant", "arita")[1]["entries"] == 2
    assert [entry["what"] for entry in call("audit", "show", "--tenant", "imari")[1]["entries"]] == ["open"]
    assert files.read("audit/imari/desk.key") != files.read("audit/arita/desk.key")
    with pytest.raises(UsageError):
        call("audit", "verify", "--tenant", "../audit/imari")


def test_a_desk_by_hand_must_know_whose_residents_it_shows(call, config):
    call("desk", "account", "add", "kubo")
    with open(config, "a", encoding="utf-8") as file:
        file.write('[[tenant]]\nid = "arita"\n')
    with pytest.raises(UsageError) as caught:
        call("desk", "serve")
    assert "--tenant" in caught.value.hint
