"""Approvals by telephone: what a code approves, what it does not, once, and how often it may be guessed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jbackupd.codec.dictated import draw_digits, show_digits
from jbackupd.codec.signing import SiteSigner, SiteVerifier
from jbackupd.continuity.codebook import CodeLine, Matter, make_book, matters_of
from jbackupd.continuity.codepage import codes_page
from jbackupd.continuity.codes import WRONG_MAX, WRONG_WITHIN, Codes, usable_promises
from jbackupd.continuity.epoch import Epochs
from jbackupd.continuity.officer import OfficerKey
from jbackupd.continuity.pending import PendingDeclarations
from jbackupd.format import promise
from jbackupd.format.declaration import (
    Approval,
    Declaration,
    Statement,
    approve,
    approve_by_code,
    check_approvals,
    declare,
    decode_declaration,
    encode_declaration,
)
from jbackupd.format.promise import BOOK_BYTES_MAX, PROMISES_MAX, decode_book, encode_book
from jbackupd.model.errors import (
    ApprovalError,
    FormatError,
    NotFoundError,
    RefusedError,
    TryLaterError,
    UsageError,
)
from jbackupd.model.ids import SiteId
from jbackupd.storage.files import PosixFiles

NOW = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
YEAR = timedelta(days=365)
SAGA, KYOTO, NARA = SiteId("saga"), SiteId("kyoto"), SiteId("nara")
SIGNERS = {name: SiteSigner(name.encode().ljust(64, b".")) for name in ("mori", "abe", "kudo")}
PUBLIC: dict[str, SiteVerifier] = {name: signer.public for name, signer in SIGNERS.items()}
MATTERS = [Matter(SAGA, KYOTO, 2), Matter(SAGA, NARA, 2), Matter(SAGA, KYOTO, 3)]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Derive each code once: 0.2 s and 64 MiB are for who guesses."""
    monkeypatch.setattr(promise, "_MEMORY_KIB", 64)
    yield


def book_of(
    name: str, *, each: int = 2, made_at: datetime = NOW - YEAR / 2, matters: list[Matter] = MATTERS
) -> list[CodeLine]:
    return make_book(
        OfficerKey(name, SIGNERS[name]), matters, each=each, made_at=made_at, valid_until=made_at + YEAR
    )


def line_for(lines: list[CodeLine], matter: Matter, which: int = 0) -> CodeLine:
    found = [
        line for line in lines
        if (line.promise.promise.lost, line.promise.promise.acting, line.promise.promise.epoch)
        == (matter.lost, matter.acting, matter.epoch)
    ]
    return found[which]


def statement(acting: SiteId = KYOTO, epoch: int = 2, nonce: bytes = b"n" * 16, planned: bool = False) -> Statement:
    return Statement(SAGA, epoch, acting, NOW, "flooded", b"e" * 32, nonce, planned)


def told(name: str, lines: list[CodeLine], wanted: Declaration, matter: Matter = MATTERS[0]) -> Declaration:
    line = line_for(lines, matter)
    return wanted.with_approval(approve_by_code(line.promise, line.code))


def counted(declaration: Declaration, needed: int = 1) -> None:
    """Check it as any other site does: with the officers' cards alone, from its bytes."""
    check_approvals(decode_declaration(encode_declaration(declaration)), PUBLIC, needed=needed)


def test_a_code_counts_at_every_site_that_has_the_officers_card() -> None:
    wanted = declare(statement())
    by_telephone = told("mori", book_of("mori"), wanted)
    counted(by_telephone)
    with pytest.raises(RefusedError, match="has 1 of 2 approvals"):
        counted(by_telephone, needed=2)
    counted(told("abe", book_of("abe"), by_telephone), needed=2)
    counted(by_telephone.with_approval(approve(wanted, "abe", SIGNERS["abe"])), needed=2)


def test_code_and_card_of_one_officer_are_one_approval() -> None:
    wanted = declare(statement())
    lines = book_of("mori")
    for both in (
        told("mori", lines, wanted.with_approval(approve(wanted, "mori", SIGNERS["mori"]))),
        told("mori", lines, wanted).with_approval(approve(wanted, "mori", SIGNERS["mori"])),
    ):
        with pytest.raises(RefusedError, match="has 1 of 2 approvals"):
            counted(both, needed=2)
    twice = told("mori", lines, wanted)
    forged = replace(twice, approvals=(*twice.approvals, approve(wanted, "mori", SIGNERS["mori"])))
    with pytest.raises(RefusedError, match="has 1 of 2 approvals"):
        counted(forged, needed=2)


@pytest.mark.parametrize("wrong", [
    statement(acting=NARA), statement(epoch=3), replace(statement(), lost=NARA),
    statement(planned=True), replace(statement(), made_at=NOW + YEAR), replace(statement(epoch=3), acting=SAGA),
], ids=["acting", "epoch", "lost", "hand-over", "too late", "return"])
def test_a_code_approves_nothing_but_its_own_matter(wrong: Statement) -> None:
    with pytest.raises(ApprovalError, match="does not approve"):
        counted(told("mori", book_of("mori"), declare(wrong)))


def test_a_promise_without_its_code_or_of_another_officer_is_refused() -> None:
    lines, wanted = book_of("mori"), declare(statement())
    right = line_for(lines, MATTERS[0])
    other = draw_digits()
    with pytest.raises(ApprovalError, match="does not approve"):
        counted(wanted.with_approval(approve_by_code(right.promise, other)))
    with pytest.raises(ApprovalError, match="does not fit"):
        counted(wanted.with_approval(replace(approve_by_code(right.promise, right.code), officer="abe")))
    assert all(line.code.encode() not in encode_book([each.promise for each in lines]) for line in lines)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_changed_bit_of_an_approval_by_code_is_refused(data: st.DataObject) -> None:
    whole = told("mori", _lines(), declare(statement()))
    approval = whole.approvals[0]
    field = data.draw(st.sampled_from(["signature", "promise", "code"]))
    before = getattr(approval, field)
    changed = bytearray(before.encode() if field == "code" else before)
    bit = data.draw(st.integers(0, len(changed) * 8 - 1))
    changed[bit // 8] ^= 1 << bit % 8
    after = changed.decode("latin-1") if field == "code" else bytes(changed)
    bad = whole.with_approval(replace(approval, **{field: after}))
    with pytest.raises((FormatError, ApprovalError)):
        counted(bad)


@cache
def _lines() -> list[CodeLine]:
    return book_of("mori")


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_book_or_a_format_error(data: bytes) -> None:
    for attempt in (data, promise.MAGIC + data):
        with pytest.raises(FormatError):
            decode_book(attempt)


# At the site where the code is heard.


class Kyoto:
    """The site that takes over, with officers and their books."""

    def __init__(self, folder: Path) -> None:
        self.files = PosixFiles(str(folder))
        self.epochs = Epochs(self.files, KYOTO, officers=lambda: PUBLIC, needed=lambda: 2)
        self.pending = PendingDeclarations(self.files, self.epochs)
        self.books = {name: book_of(name) for name in ("mori", "abe")}
        for lines in self.books.values():
            self.codes().take(encode_book([line.promise for line in lines]), NOW)

    def codes(self) -> Codes:
        """Open the codes as after a restart."""
        return Codes(self.files, lambda: PUBLIC)

    def begin(self) -> Declaration:
        return self.pending.begin(SAGA, KYOTO, reason="flooded", evidence=b"{}", now=NOW)

    def hear(
        self, name: str, wanted: Declaration, matter: Matter = MATTERS[0], which: int = 0, at: datetime = NOW
    ) -> Approval:
        return self.codes().approval(wanted, show_digits(line_for(self.books[name], matter, which).code), at)


@pytest.fixture
def kyoto(tmp_path: Path) -> Kyoto:
    return Kyoto(tmp_path)


def test_two_codes_bring_a_loss_into_force(kyoto: Kyoto) -> None:
    wanted = kyoto.begin()
    merged, missing = kyoto.pending.submit(wanted.with_approval(kyoto.hear("mori", wanted)))
    assert missing is not None
    with pytest.raises(ApprovalError, match=r"mori approved the declaration .* before"):
        kyoto.pending.submit(wanted.with_approval(kyoto.hear("mori", wanted, which=1)))
    merged, missing = kyoto.pending.submit(wanted.with_approval(kyoto.hear("abe", wanted)))
    assert missing is None and {each.officer for each in merged.officers} == {"mori", "abe"}
    assert kyoto.epochs.check_acting(SAGA, plan="counter").id == wanted.id


def test_a_code_is_good_for_one_declaration(kyoto: Kyoto) -> None:
    first = kyoto.begin()
    kyoto.hear("mori", first)
    kyoto.hear("mori", first)
    kyoto.pending.withdraw(first.id)
    second = kyoto.begin()
    with pytest.raises(RefusedError, match=f"was read out for the declaration {first.id} already"):
        kyoto.hear("mori", second)
    kyoto.hear("mori", second, which=1)
    assert len(kyoto.codes().heard().spent) == 2 and kyoto.codes().heard().wrong == ()


def test_a_code_for_another_site_opens_nothing_and_guesses_are_counted_over_restarts(kyoto: Kyoto) -> None:
    wanted = kyoto.begin()
    for number in range(WRONG_MAX):
        with pytest.raises(ApprovalError, match="opens none of the officers' promises for saga, kyoto and epoch 2"):
            kyoto.hear("mori", wanted, MATTERS[1], at=NOW + timedelta(minutes=number))
    with pytest.raises(TryLaterError, match=f"{WRONG_MAX} wrong codes .* after 2026-11-23T05:00:00"):
        kyoto.hear("mori", wanted, at=NOW + timedelta(minutes=20))
    assert len(kyoto.codes().heard().wrong) == WRONG_MAX
    assert kyoto.hear("mori", wanted, at=NOW + WRONG_WITHIN).officer == "mori"


def test_a_misheard_digit_is_no_guess(kyoto: Kyoto) -> None:
    wanted = kyoto.begin()
    code = line_for(kyoto.books["mori"], MATTERS[0]).code
    with pytest.raises(UsageError):
        kyoto.codes().approval(wanted, code[:-1] + str((int(code[-1]) + 1) % 10), NOW)
    assert kyoto.codes().heard().wrong == ()


def test_expired_codes_and_codes_of_nobody_are_told_apart_from_wrong_ones(kyoto: Kyoto) -> None:
    wanted = kyoto.begin()
    with pytest.raises(NotFoundError, match="no officer has given codes for saga, kyoto and epoch 2 that are valid"):
        kyoto.hear("mori", wanted, at=NOW + YEAR)
    with pytest.raises(RefusedError, match="a code approves the loss of a site only"):
        kyoto.hear("mori", declare(statement(planned=True)))


def test_a_newer_book_replaces_the_older_one_and_no_older_one_comes_back(kyoto: Kyoto) -> None:
    wanted, old = kyoto.begin(), kyoto.books["mori"]
    newer = book_of("mori", made_at=NOW - timedelta(days=1))
    kyoto.codes().take(encode_book([line.promise for line in newer]), NOW)
    with pytest.raises(ApprovalError, match="opens none"):
        kyoto.hear("mori", wanted)
    with pytest.raises(RefusedError, match="newer ones are here already"):
        kyoto.codes().take(encode_book([line.promise for line in old]), NOW)
    kyoto.books["mori"] = newer
    assert kyoto.hear("mori", wanted).officer == "mori"


def test_a_book_may_come_in_pieces_and_twice(kyoto: Kyoto) -> None:
    lines = book_of("kudo")
    for piece in (lines[:2], lines[1:], lines):
        kept = kyoto.codes().take(encode_book([line.promise for line in piece]), NOW)
    assert [each.promise.number for each in kept] == list(range(1, len(lines) + 1))


def test_promises_of_a_clock_that_is_wrong_are_refused(kyoto: Kyoto) -> None:
    """A book of the year 2030 would replace every one that the officer makes before."""
    with pytest.raises(ApprovalError, match="still to come"):
        kyoto.codes().take(encode_book([line.promise for line in book_of("mori", made_at=NOW + YEAR)]), NOW)
    assert kyoto.hear("mori", kyoto.begin()).officer == "mori"


def test_codes_of_a_card_that_was_replaced_are_worth_nothing(kyoto: Kyoto) -> None:
    wanted, others = kyoto.begin(), {**PUBLIC, "mori": SIGNERS["kudo"].public}
    codes = Codes(kyoto.files, lambda: others)
    with pytest.raises(ApprovalError, match="opens none"):
        codes.approval(wanted, line_for(kyoto.books["mori"], MATTERS[0]).code, NOW)
    assert sorted(usable_promises(kyoto.files, others)) == ["abe"]
    assert codes.approval(wanted, line_for(kyoto.books["abe"], MATTERS[0]).code, NOW).officer == "abe"


def test_a_site_hands_on_what_another_one_lacks(kyoto: Kyoto, tmp_path: Path) -> None:
    nara = Codes(PosixFiles(str(tmp_path / "nara")), lambda: PUBLIC)
    many = book_of("kudo", each=20, made_at=NOW)
    kyoto.codes().take(encode_book([line.promise for line in many[:50]]), NOW)
    pieces = kyoto.codes().pieces_for(nara.known(b"", NOW))
    # Cut off after the first pieces, it goes on with what is not there.
    for piece in pieces[:-1]:
        nara.known(piece, NOW)
    for piece in kyoto.codes().pieces_for(nara.known(b"", NOW)):
        known = nara.known(piece, NOW)
    assert known == kyoto.codes().known(b"", NOW) and known["kudo"][1] == 50
    assert kyoto.codes().pieces_for(known) == [] == nara.pieces_for(kyoto.codes().known(b"", NOW))
    # What is older there is replaced, what is newer there is not touched.
    kyoto.codes().take(encode_book([line.promise for line in book_of("mori", made_at=NOW)]), NOW)
    assert len(kyoto.codes().pieces_for(known)) == 1 and nara.pieces_for(kyoto.codes().known(b"", NOW)) == []


def test_promises_of_strangers_and_forged_ones_are_not_kept(kyoto: Kyoto) -> None:
    stranger = make_book(OfficerKey("tanaka", SIGNERS["kudo"]), MATTERS, each=1, made_at=NOW, valid_until=NOW + YEAR)
    with pytest.raises(ApprovalError, match="tanaka, who is no officer here"):
        kyoto.codes().take(encode_book([line.promise for line in stranger]), NOW)
    forged = make_book(OfficerKey("mori", SIGNERS["kudo"]), MATTERS, each=1, made_at=NOW, valid_until=NOW + YEAR)
    with pytest.raises(ApprovalError, match="does not fit its officer's card"):
        kyoto.codes().take(encode_book([line.promise for line in forged]), NOW)
    assert sorted(kyoto.codes().all()) == ["abe", "mori"]


# Making them.


def test_a_book_has_a_line_for_every_case_and_no_site_for_itself() -> None:
    matters = matters_of([SAGA, KYOTO], [SAGA, KYOTO, NARA], [2, 3])
    assert len(matters) == 8 and all(each.lost != each.acting for each in matters)
    lines = book_of("mori", matters=matters, each=2)
    assert len({line.code for line in lines}) == len(lines) == 16
    assert all(line.promise.promise.opened_by(line.code) for line in lines[:2])


def test_the_largest_book_is_within_its_bounds() -> None:
    matters = matters_of([SAGA], [KYOTO], range(2, PROMISES_MAX + 2))
    data = encode_book([line.promise for line in book_of("mori", each=1, matters=matters)])
    assert len(decode_book(data)) == PROMISES_MAX and len(data) <= BOOK_BYTES_MAX
    with pytest.raises(UsageError, match=f"1 to {PROMISES_MAX} lines"):
        book_of("mori", each=2, matters=matters)
    with pytest.raises(UsageError, match="never be valid"):
        book_of("mori", matters=[Matter(SAGA, KYOTO, 1)])


def test_the_page_holds_every_code_once_and_the_rules() -> None:
    lines = book_of("mori")
    page = codes_page(lines, lambda moment: moment.isoformat())
    assert all(page.count(show_digits(line.code)) == 1 for line in lines)
    assert "Hang up" in page and "<script" not in page and "http" not in page.replace("http-equiv", "")
