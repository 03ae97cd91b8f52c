"""Accounts and passwords."""

import json
import os
import re
import stat

import pytest

from jbackupd.desk.accounts import Account, Accounts, generate_password, load_accounts, save_accounts
from jbackupd.model.errors import FormatError, UsageError
from jbackupd.storage.files import PosixFiles


def test_accounts_survive_their_file_and_no_password_stands_in_it(tmp_path):
    files = PosixFiles(str(tmp_path))
    save_accounts(files, "accounts", Accounts([Account.make("久保", "bcdf-ghjk-mnpq")]))
    accounts = load_accounts(files, "accounts")
    assert accounts.names == ("久保",)
    assert accounts.check("久保", "bcdf-ghjk-mnpq")
    assert accounts.check("久保", " ｂｃｄｆ-ｇｈｊｋ-ｍｎｐｑ ")
    assert not accounts.check("久保", "bcdf-ghjk-mnpr")
    assert not accounts.check("久保 ", "bcdf-ghjk-mnpq")
    assert not accounts.check("", "")
    assert b"bcdf" not in files.read("accounts")
    assert stat.S_IMODE(os.stat(tmp_path / "accounts").st_mode) == 0o600


def test_a_hash_is_never_shown_by_mistake():
    account = Account.make("kubo", "secret")
    assert account.digest.hex() not in repr(account) and repr(account.digest) not in repr(account)


def test_accounts_are_replaced_and_removed():
    accounts = Accounts().with_account(Account.make("a", "1")).with_account(Account.make("a", "2"))
    assert (len(accounts), accounts.check("a", "1"), accounts.check("a", "2")) == (1, False, True)
    assert len(accounts.without("a")) == 0


@pytest.mark.parametrize("name", ["", " a", "a\n", "\0", "x" * 41])
def test_a_name_that_cannot_be_typed_is_refused(name):
    with pytest.raises(UsageError):
        Account.make(name, "secret")


def test_generated_passwords_are_easy_to_type_and_all_different():
    passwords = {generate_password() for _ in range(200)}
    assert len(passwords) == 200
    assert all(re.fullmatch(r"[bcdfghjkmnp-z2-9]{4}(-[bcdfghjkmnp-z2-9]{4}){2}", password) for password in passwords)


@pytest.mark.parametrize("change", [
    {"version": 3}, {"accounts": [{}]},
    {"accounts": [{"name": "a", "salt": "!", "hash": "", "n": 16384, "r": 8, "p": 1}]},
    {"accounts": [{"name": "a", "salt": "", "hash": "", "n": 2**30, "r": 8, "p": 1}]}, {"accounts": 1},
])
def test_a_damaged_file_is_told_and_costs_no_memory(change):
    with pytest.raises(FormatError):
        Accounts.decode(json.dumps({"version": 1, "accounts": [], **change}).encode())
    with pytest.raises(FormatError):
        Accounts.decode(b"\xff")
