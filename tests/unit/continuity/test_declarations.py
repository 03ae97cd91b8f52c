"""A site is declared lost by enough known officers, once, for ever; everything else is refused and named."""

from __future__ import annotations

import resource
import signal
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jbackupd.codec.signing import SiteSigner
from jbackupd.continuity.epoch import Epochs
from jbackupd.continuity.officer import make_officer, open_officer
from jbackupd.continuity.pending import PendingDeclarations
from jbackupd.format.declaration import (
    Declaration,
    Statement,
    approve,
    declare,
    decode_declaration,
    encode_declaration,
)
from jbackupd.model.errors import (
    ApprovalError,
    ChainError,
    FencedError,
    FormatError,
    KeyringError,
    NoSpaceError,
    NotFoundError,
    RefusedError,
    UsageError,
)
from jbackupd.model.ids import SiteId
from jbackupd.protocol.refusal import closes_link
from jbackupd.storage.files import PosixFiles

NOW = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
SAGA, KYOTO = SiteId("saga"), SiteId("kyoto")
OFFICERS = {name: SiteSigner(name.encode().ljust(64, b".")) for name in ("mori", "abe", "kudo")}
STRANGER = SiteSigner(b"x" * 64)


def statement(epoch: int = 2, nonce: bytes = b"n" * 16) -> Statement:
    return Statement(SAGA, epoch, KYOTO, NOW, "flooded", b"e" * 32, nonce)


def approved(*names: str, wanted: Declaration | None = None) -> bytes:
    declaration = wanted or declare(statement())
    for name in names:
        declaration = declaration.with_approval(approve(declaration, name, OFFICERS[name]))
    return encode_declaration(declaration)


def book(folder: Path, site: SiteId = KYOTO) -> Epochs:
    public = {name: signer.public for name, signer in OFFICERS.items()}
    return Epochs(PosixFiles(str(folder)), site, officers=lambda: public, needed=lambda: 2)


def test_two_officers_bring_a_loss_into_force_and_it_survives_a_restart(tmp_path: Path) -> None:
    epochs = book(tmp_path)
    assert epochs.epoch_of(SAGA) == 1
    given_by_two = approved("mori", "abe")
    epochs.learn(given_by_two)
    assert epochs.epoch_of(SAGA) == 2
    again = book(tmp_path)
    assert (again.epoch_of(SAGA), dict(again.known())) == (2, {SAGA: 2})
    assert again.news_for({}) == [given_by_two] and again.news_for({SAGA: 3}) == []


def test_the_same_declaration_twice_is_harmless(tmp_path: Path) -> None:
    epochs = book(tmp_path)
    epochs.learn(approved("mori", "abe"))
    epochs.learn(approved("mori", "abe"))
    epochs.learn(approved("abe", "kudo"))
    assert epochs.epoch_of(SAGA) == 2


@pytest.mark.parametrize("names", [(), ("mori",), ("mori", "mori")])
def test_too_few_officers_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    epochs = book(tmp_path)
    with pytest.raises(RefusedError, match=f"has {len(set(names))} of 2 approvals"):
        epochs.learn(approved(*names))
    assert epochs.epoch_of(SAGA) == 1


def test_a_stranger_and_a_forger_are_named(tmp_path: Path) -> None:
    wanted = declare(statement())
    stranger = wanted.with_approval(approve(wanted, "tanaka", STRANGER))
    with pytest.raises(ApprovalError, match=r"tanaka approved the declaration .* but is no officer"):
        book(tmp_path).learn(approved("mori", wanted=stranger))
    with_enough_others = decode_declaration(approved("mori", "abe", wanted=stranger))
    epochs = book(tmp_path / "differs")
    epochs.learn(encode_declaration(with_enough_others))
    assert epochs.epoch_of(SAGA) == 2, "an officer whom one site does not know yet is no hindrance"
    forged = wanted.with_approval(approve(wanted, "abe", STRANGER))
    with pytest.raises(ApprovalError, match="the approval of abe does not fit"):
        book(tmp_path).learn(approved("mori", wanted=forged))


def test_approvals_are_worth_nothing_for_another_declaration(tmp_path: Path) -> None:
    given_for = decode_declaration(approved("mori", "abe"))
    other = declare(statement(nonce=b"m" * 16))
    with pytest.raises(ApprovalError):
        book(tmp_path).learn(encode_declaration(replace(other, approvals=given_for.approvals)))


def test_an_epoch_never_decreases_and_a_fork_is_named(tmp_path: Path) -> None:
    epochs = book(tmp_path)
    epochs.learn(approved("mori", "abe", wanted=declare(statement(epoch=5))))
    for epoch in (2, 5):
        other = replace(statement(epoch=epoch, nonce=b"z" * 16), acting=SiteId("nara"))
        with pytest.raises(ChainError, match="with epoch 5 is in force"):
            epochs.learn(approved("mori", "abe", wanted=declare(other)))
    assert epochs.epoch_of(SAGA) == 5


def test_a_second_statement_in_favour_of_the_same_site_is_refused_and_stops_nobody(tmp_path: Path) -> None:
    """It says nothing new, and whoever heard the codes of a loss could make any number: none may cut a line."""
    epochs = book(tmp_path)
    epochs.learn(approved("mori", "abe"))
    size = (tmp_path / "site" / "epochs.journal").stat().st_size
    for nonce in (b"y" * 16, b"z" * 16):
        with pytest.raises(RefusedError, match="says nothing new") as refused:
            epochs.learn(approved("mori", "abe", wanted=declare(statement(nonce=nonce))))
        assert not closes_link(refused.value)
    assert epochs.check_acting(SAGA, plan="counter") and epochs.conflicts() == []
    assert (tmp_path / "site" / "epochs.journal").stat().st_size == size


def test_a_site_that_hears_of_its_own_loss_keeps_its_epoch_and_stops_acting(tmp_path: Path) -> None:
    epochs = book(tmp_path, SAGA)
    epochs.check_own()
    epochs.learn(approved("mori", "abe"))
    assert epochs.epoch_of(SAGA) == 1
    with pytest.raises(FencedError, match="this site was declared lost"):
        epochs.check_own()


def test_a_site_cannot_declare_itself_lost() -> None:
    with pytest.raises(RefusedError):
        declare(replace(statement(), acting=SAGA))


@settings(max_examples=60)
@given(st.data())
def test_any_changed_bit_of_an_approved_declaration_is_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    whole = approved("mori", "abe")
    changed = bytearray(whole)
    bit = data.draw(st.integers(0, len(whole) * 8 - 1))
    changed[bit // 8] ^= 1 << bit % 8
    epochs = book(tmp_path_factory.mktemp("book"))
    with pytest.raises((FormatError, RefusedError)):
        epochs.learn(bytes(changed))
    assert epochs.epoch_of(SAGA) == 1


@given(st.binary(max_size=200))
def test_any_bytes_are_a_declaration_or_a_format_error(data: bytes) -> None:
    for attempt in (data, b"JBDECL\x01\x00" + data):
        with pytest.raises(FormatError):
            decode_declaration(attempt)


def test_approvals_that_arrive_one_by_one_are_gathered(tmp_path: Path) -> None:
    epochs = book(tmp_path)
    pending = PendingDeclarations(PosixFiles(str(tmp_path)), epochs)
    begun = pending.begin(SAGA, KYOTO, reason="flooded", evidence=b"e" * 32, now=NOW)
    assert [d.id for d in pending.all()] == [begun.id]
    one = begun.with_approval(approve(begun, "mori", OFFICERS["mori"]))
    _, missing = pending.submit(one)
    assert missing is not None and epochs.epoch_of(SAGA) == 1
    other = begun.with_approval(approve(begun, "kudo", OFFICERS["kudo"]))
    merged, missing = pending.submit(other)
    assert missing is None
    assert {approval.officer for approval in merged.approvals} == {"mori", "kudo"}
    assert (epochs.epoch_of(SAGA), pending.all()) == (2, [])
    with pytest.raises(RefusedError, match="declared lost already"):
        pending.begin(SAGA, KYOTO, reason="again", evidence=b"e" * 32, now=NOW)


def test_one_officer_counts_once_and_is_told_so(tmp_path: Path) -> None:
    epochs = book(tmp_path)
    pending = PendingDeclarations(PosixFiles(str(tmp_path)), epochs)
    begun = pending.begin(SAGA, KYOTO, reason="", evidence=b"", now=NOW)
    one = begun.with_approval(approve(begun, "mori", OFFICERS["mori"]))
    assert pending.submit(one)[1] is not None
    with pytest.raises(ApprovalError, match=r"mori approved the declaration .* before"):
        pending.submit(begun.with_approval(approve(begun, "mori", OFFICERS["mori"])))
    assert epochs.epoch_of(SAGA) == 1


def test_one_declaration_about_a_site_waits_at_a_time_and_can_be_taken_back(tmp_path: Path) -> None:
    epochs = book(tmp_path)
    pending = PendingDeclarations(PosixFiles(str(tmp_path)), epochs)
    first = pending.begin(SAGA, KYOTO, reason="typing mistkae", evidence=b"{}", now=NOW)
    with pytest.raises(RefusedError, match=f"the declaration {first.id} about saga waits"):
        pending.begin(SAGA, KYOTO, reason="again", evidence=b"{}", now=NOW)
    assert pending.withdraw(first.id) == first
    with pytest.raises(NotFoundError):
        pending.withdraw(first.id)
    second = pending.begin(SAGA, KYOTO, reason="again", evidence=b"{}", now=NOW)
    # Meanwhile the officers have met elsewhere: what waits here is overtaken.
    epochs.learn(approved("mori", "abe"))
    assert pending.all() == []
    signed = second
    for name in ("mori", "abe"):
        signed = signed.with_approval(approve(signed, name, OFFICERS[name]))
    with pytest.raises(RefusedError, match="says nothing new"):
        pending.submit(signed)
    assert pending.evidence(second.id) == b"{}"


def test_only_the_site_that_the_officers_chose_acts(tmp_path: Path) -> None:
    hokkaido = SiteId("hokkaido")
    books = {site: book(tmp_path / site, site) for site in (KYOTO, hokkaido)}
    for epochs in books.values():
        with pytest.raises(RefusedError, match="is not declared lost"):
            epochs.check_acting(SAGA, plan="counter")
        epochs.learn(approved("mori", "abe"))
    assert books[KYOTO].check_acting(SAGA, plan="counter").statement.acting == KYOTO
    with pytest.raises(RefusedError, match="kyoto acts for saga"):
        books[hokkaido].check_acting(SAGA, plan="counter")

    # Kyoto is lost as well: then, and only then, another site may take over what it had taken over.
    pending = PendingDeclarations(PosixFiles(str(tmp_path / hokkaido)), books[hokkaido])
    with pytest.raises(RefusedError, match="kyoto acts for it"):
        pending.begin(SAGA, hokkaido, reason="", evidence=b"", now=NOW)
    for lost in (KYOTO, SAGA):
        begun = pending.begin(lost, hokkaido, reason="", evidence=b"", now=NOW)
        for name in ("mori", "kudo"):
            begun = begun.with_approval(approve(begun, name, OFFICERS[name]))
        _, missing = pending.submit(begun)
        assert missing is None
        books[KYOTO].learn(encode_declaration(begun))
    assert books[hokkaido].known() == {SAGA: 3, KYOTO: 2}
    assert books[hokkaido].check_acting(SAGA, plan="counter").statement.epoch == 3
    with pytest.raises(FencedError):
        books[KYOTO].check_acting(SAGA, plan="counter")


def test_a_false_approval_does_not_spoil_a_pending_declaration(tmp_path: Path) -> None:
    epochs = book(tmp_path)
    pending = PendingDeclarations(PosixFiles(str(tmp_path)), epochs)
    begun = pending.begin(SAGA, KYOTO, reason="", evidence=b"e" * 32, now=NOW)
    pending.submit(begun.with_approval(approve(begun, "mori", OFFICERS["mori"])))
    with pytest.raises(ApprovalError):
        pending.submit(begun.with_approval(approve(begun, "abe", STRANGER)))
    assert [a.officer for a in pending.find(begun.id).approvals] == ["mori"]


def test_an_officers_key_opens_with_its_passphrase_only() -> None:
    key, data = make_officer("mori", "four calm words here")
    opened = open_officer(data, "four calm words here")
    assert (opened.officer, opened.card) == ("mori", key.card)
    with pytest.raises(KeyringError, match="the key of mori does not open"):
        open_officer(data, "four calm words hear")
    with pytest.raises(KeyringError, match="not an officer's key"):
        open_officer(b"hello", "x")
    with pytest.raises(UsageError):
        make_officer("mori", "short")


def test_after_a_full_disk_the_same_declaration_is_accepted_without_a_restart(tmp_path: Path) -> None:
    epochs = book(tmp_path)
    given_by_two = approved("mori", "abe")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(NoSpaceError):
            epochs.learn(given_by_two)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)
    assert epochs.epoch_of(SAGA) == 1
    epochs.learn(given_by_two)
    assert (epochs.epoch_of(SAGA), book(tmp_path).epoch_of(SAGA)) == (2, 2)
