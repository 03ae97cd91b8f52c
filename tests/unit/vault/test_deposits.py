"""A journal that lies at another site is what its desk wrote so far, whatever was sent twice, torn or forged."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jbackupd.codec.hpke import RecipientSecret, new_seed
from jbackupd.format.deposit import decode_head, seal_head
from jbackupd.format.journal import NO_CHECK, encode_record, scan
from jbackupd.model.errors import ChainError, FormatError, KeyringError, RefusedError
from jbackupd.model.ids import SiteId, TenantId
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.deposits import JOURNALS_MAX, Deposits

KYOTO, IMARI, JOURNAL = SiteId("kyoto"), TenantId("imari"), b"j" * 16
RECOVERY = RecipientSecret(new_seed())
KEY = b"k" * 32


def head(journal: bytes = JOURNAL) -> bytes:
    return seal_head(KEY, RECOVERY.public, tenant=IMARI, site=KYOTO, desk="desk", label="伊万里", journal=journal)


def written(*bodies: bytes) -> bytes:
    data, check = b"", NO_CHECK
    for number, body in enumerate(bodies):
        data += encode_record(number, body, check)
        check = scan(data).check
    return data


HEAD = head()
WHOLE = written(*(bytes([number]) * (30 * number + 1) for number in range(12)))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, len(WHOLE)), st.integers(0, 400)), max_size=12))
def test_pieces_in_any_order_make_a_beginning_of_the_journal(tmp_path_factory, pieces) -> None:
    files = PosixFiles(str(tmp_path_factory.mktemp("state")))
    deposits, here = Deposits(files), 0
    for offset, length in pieces:
        here = deposits.take(KYOTO, IMARI, JOURNAL, HEAD, offset, WHOLE[offset : offset + length])
        path = f"deposits/imari/kyoto/{JOURNAL.hex()}/journal"
        assert (files.read(path) if files.exists(path) else b"") == WHOLE[:here]
    while here < len(WHOLE):
        here = deposits.take(KYOTO, IMARI, JOURNAL, b"", here, WHOLE[here : here + 100]) if pieces else (
            deposits.take(KYOTO, IMARI, JOURNAL, HEAD, here, WHOLE[here:])
        )
    (found,) = deposits.all()
    assert deposits.read(found) == WHOLE
    assert found.head.open(RECOVERY) == KEY


def test_what_a_power_cut_has_torn_or_damaged_is_sent_again(tmp_path: Path) -> None:
    deposits = Deposits(PosixFiles(str(tmp_path)))
    assert deposits.take(KYOTO, IMARI, JOURNAL, HEAD, 0, WHOLE) == len(WHOLE)
    path = tmp_path / "deposits" / "imari" / "kyoto" / JOURNAL.hex() / "journal"
    path.write_bytes(WHOLE[:-7])
    again = Deposits(PosixFiles(str(tmp_path)))
    here = again.take(KYOTO, IMARI, JOURNAL, HEAD, len(WHOLE), b"")
    assert here == scan(WHOLE[:-7]).length == path.stat().st_size
    path.write_bytes(b"x" + WHOLE[1:])
    assert Deposits(PosixFiles(str(tmp_path))).take(KYOTO, IMARI, JOURNAL, b"", 0, WHOLE) == len(WHOLE)
    assert path.read_bytes() == WHOLE
    assert path.with_name("journal.damaged").exists()


def test_another_history_another_site_s_head_and_too_many_are_refused(tmp_path: Path) -> None:
    deposits = Deposits(PosixFiles(str(tmp_path)))
    with pytest.raises(FormatError):
        deposits.take(KYOTO, IMARI, JOURNAL, b"", 0, WHOLE)
    with pytest.raises(FormatError):
        deposits.take(SiteId("hokkaido"), IMARI, JOURNAL, HEAD, 0, WHOLE)
    deposits.take(KYOTO, IMARI, JOURNAL, HEAD, 0, WHOLE)
    with pytest.raises(ChainError):
        deposits.take(KYOTO, IMARI, JOURNAL, b"", 0, written(b"another", b"history"))
    for number in range(1, JOURNALS_MAX):
        (tmp_path / "deposits" / "imari" / "kyoto" / f"{number:032x}").mkdir()
    with pytest.raises(RefusedError):
        deposits.take(KYOTO, IMARI, b"n" * 16, head(b"n" * 16), 0, b"")
    (found,) = deposits.all()
    assert deposits.read(found) == WHOLE, "nothing of all that has touched what was there"


def test_only_the_recovery_key_opens_and_an_erased_deposit_is_gone(tmp_path: Path) -> None:
    deposits = Deposits(PosixFiles(str(tmp_path)))
    deposits.take(KYOTO, IMARI, JOURNAL, HEAD, 0, WHOLE)
    (found,) = deposits.all()
    with pytest.raises(KeyringError):
        found.head.open(RecipientSecret(new_seed()))
    deposits.erase(found)
    assert deposits.all() == []
    assert not any(path.is_file() for path in (tmp_path / "deposits").rglob("*"))


@given(st.binary(max_size=80), st.integers(0, len(HEAD) - 1))
def test_a_changed_head_is_refused_or_does_not_open(data: bytes, at: int) -> None:
    with pytest.raises(FormatError):
        decode_head(data)
    changed = HEAD[:at] + bytes([HEAD[at] ^ 1]) + HEAD[at + 1 :]
    with pytest.raises((FormatError, KeyringError)):
        decode_head(changed).open(RECOVERY)
