"""Who acts, checked exhaustively: three sites, two officers, every order in which things can happen.

The sites are real `Epochs` over real journals in memory, the declarations real ones with real signatures; only the
world around them is a model: messages that come late, twice or never, crashes, and officers who sign.

A site *may act* for saga when the program would let it: saga takes points, another one runs plans. What must hold in
every state that can be reached:

    one epoch    no two sites may act for saga under one epoch, as soon as they have heard of each other; and where
                 officers sign one declaration an epoch, not even before
    released     a hand-over or a return never lets two sites act at once
    told         a site that knows of a higher epoch does not act under a lower one

Officers may also read codes out over the telephone. A code that was told is no secret: anybody may put it under any
statement about the same sites and epoch, also under ones that no officer ever heard of, and carry that to any site.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache

import pytest

from jbackupd.codec.signing import SiteSigner, SiteVerifier
from jbackupd.continuity import authority, epoch
from jbackupd.continuity.codebook import CodeLine, Matter, make_book
from jbackupd.continuity.epoch import Epochs
from jbackupd.continuity.officer import OfficerKey
from jbackupd.format import declaration as declarations_module
from jbackupd.format import promise
from jbackupd.format.declaration import (
    Declaration,
    Statement,
    approve,
    approve_by_code,
    declare,
    decode_declaration,
    encode_declaration,
)
from jbackupd.model.errors import JbackupdError, RefusedError
from jbackupd.model.ids import SiteId
from jbackupd.storage.journal import Journal
from tests.crash.memory import MemoryFiles

NOW = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
SAGA, KYOTO, NARA = SITES = (SiteId("saga"), SiteId("kyoto"), SiteId("nara"))
OFFICERS = ("mori", "abe")
SIGNERS = {name: SiteSigner(name.encode().ljust(64, b".")) for name in (*SITES, *OFFICERS)}


class Verifier:
    """A real verifier that looks at each signature once: the same ones come in thousands of states."""

    def __init__(self, real: SiteVerifier) -> None:
        self.verify = cache(real.verify)


PUBLIC = {name: Verifier(signer.public) for name, signer in SIGNERS.items()}


class Signer:
    """A real signer that signs each message once."""

    def __init__(self, real: SiteSigner) -> None:
        self.sign = cache(real.sign)


@dataclass(frozen=True)
class Paper:
    """A declaration on its way: who began it, what it says, who has signed."""

    statement: Statement
    signed_by: frozenset[str] = frozenset()
    at: SiteId = SAGA


Told = tuple[str, SiteId, int]
"""Whose code was read out, for which site that acts and which epoch."""


@dataclass(frozen=True)
class World:
    """A state: what every site's journal holds, the papers that are about, and the codes that were read out."""

    journals: tuple[tuple[bytes, ...], ...] = ((), (), ())
    papers: frozenset[Paper] = frozenset()
    codes: frozenset[Told] = frozenset()
    met: frozenset[frozenset[SiteId]] = frozenset()
    """Pairs of sites that have told each other all since either learned something."""

    def book(self, site: SiteId) -> Epochs:
        return _book(site, self.journals[SITES.index(site)])


@cache
def _book(site: SiteId, journal: tuple[bytes, ...]) -> Epochs:
    """Return a site as it is after a restart: only its journal remains. It is not changed."""
    return opened(site, journal, MemoryFiles())


def opened(site: SiteId, journal: tuple[bytes, ...], files: MemoryFiles) -> Epochs:
    files.make_folder("site")
    written = Journal.open(files, "site/epochs.journal")
    for record in journal:
        written.append(record)
    written.close()
    return Epochs(
        files, site, officers=lambda: {name: PUBLIC[name] for name in OFFICERS},  # type: ignore[misc]
        needed=lambda: 2, sites=lambda: {name: PUBLIC[name] for name in SITES},  # type: ignore[misc]
        signer=Signer(SIGNERS[site]),  # type: ignore[arg-type]
    )


@cache
def signed(paper: Paper, codes: frozenset[Told] = frozenset()) -> bytes:
    """Return a paper with its signatures, and with whatever codes anybody could put under it."""
    made = declare(paper.statement)
    for officer in sorted(paper.signed_by):
        made = made.with_approval(approve(made, officer, Signer(SIGNERS[officer])))  # type: ignore[arg-type]
    for code in sorted(codes):
        line = code_of(*code)
        made = made.with_approval(approve_by_code(line.promise, line.code))
    return encode_declaration(made)


@cache
def code_of(officer: str, acting: SiteId, epoch: int) -> CodeLine:
    """Return an officer's code for one site and epoch."""
    (line,) = make_book(
        OfficerKey(officer, SIGNERS[officer]), [Matter(SAGA, acting, epoch)], each=1, made_at=NOW,
        valid_until=NOW + timedelta(days=400),
    )
    return line


def codes_for(world: World, paper: Paper) -> frozenset[Told]:
    """Return what somebody tries who knows all codes that were read out: the right ones, else any, also for nothing."""
    fitting = (paper.statement.acting, paper.statement.epoch)
    best: dict[str, Told] = {}
    for code in sorted(world.codes, key=lambda code: (code[1:] == fitting, code)):
        best[code[0]] = code
    return frozenset(code for officer, code in best.items() if officer not in paper.signed_by)


@pytest.fixture(autouse=True, scope="module")
def _quick_codes() -> Iterator[None]:
    """Derive each code once, and cheaply: thousands of states try the same ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(promise, "_MEMORY_KIB", 8)
        patch.setattr(promise, "commitment_of", cache(promise.commitment_of))
        yield


def may_act(world: World, site: SiteId) -> bool:
    """Tell whether the program would let a site act for saga."""
    book = world.book(site)
    try:
        if site == SAGA:
            book.check_own()
        else:
            book.check_acting(SAGA, plan="counter")
    except JbackupdError:
        return False
    return True


def learned(world: World, site: SiteId, declarations: tuple[bytes, ...]) -> World:
    """Return the world after a site was handed declarations."""
    index = SITES.index(site)
    journal = _learned(site, world.journals[index], declarations)
    if journal == world.journals[index]:
        return world
    journals = tuple(journal if at == index else old for at, old in enumerate(world.journals))
    return replace(world, journals=journals, met=frozenset(pair for pair in world.met if site not in pair))


@cache
def _learned(site: SiteId, journal: tuple[bytes, ...], declarations: tuple[bytes, ...]) -> tuple[bytes, ...]:
    files = MemoryFiles()
    book = opened(site, journal, files)
    for declaration in declarations:
        # What is refused is told to whoever hands it in.
        with contextlib.suppress(JbackupdError):
            book.learn(declaration)
    return records_of(files)


def records_of(files: MemoryFiles) -> tuple[bytes, ...]:
    """Return what a crash leaves of a site."""
    journal = Journal.open(files, "site/epochs.journal")
    journal.close()
    return tuple(journal.records)


def next_worlds(
    world: World, *, careful: bool, epoch_max: int, telephones: frozenset[str]
) -> Iterator[tuple[str, World]]:
    """Yield all that may happen next.

    Args:
        telephones: Officers who approve losses by telephone, and sign the rest.
    """
    yield from beginnings(world, epoch_max)
    for paper in world.papers:
        yield from calls(world, paper, telephones, careful=careful)
        by_hand = frozenset(OFFICERS) - (telephones if is_loss(paper) else frozenset())
        if not careful and by_hand - paper.signed_by:
            # Whoever signs everything signs it at once: half a paper is worth nothing.
            more = replace(paper, signed_by=by_hand)
            yield f"both sign {told(paper)}", replace(world, papers=world.papers - {paper} | {more})
        for officer in sorted(by_hand - paper.signed_by) if careful else ():
            if not has_approved(world, officer, paper):
                more = replace(paper, signed_by=paper.signed_by | {officer})
                yield f"{officer} signs {told(paper)}", replace(world, papers=world.papers - {paper} | {more})
        yield from carried(world, paper)
    for one, other in ((a, b) for a in SITES for b in SITES if a < b):
        after = world
        for giver, taker in ((one, other), (other, one)):
            after = learned(after, taker, tuple(after.book(giver).news_for(after.book(taker).known())))
        after = replace(after, met=after.met | {frozenset((one, other))})
        if after != world:
            yield f"{one} and {other} meet", after


def carried(world: World, paper: Paper) -> Iterator[tuple[str, World]]:
    """Yield that a paper is handed in at any site, as a file, as soon as it could count anywhere."""
    codes = codes_for(world, paper)
    if paper.signed_by | {code[0] for code in codes} != set(OFFICERS):
        return
    for site in SITES:
        after = learned(world, site, (signed(paper, codes),))
        if after != world:
            yield f"{told(paper)} is handed in at {site}", after


def calls(world: World, paper: Paper, telephones: frozenset[str], *, careful: bool) -> Iterator[tuple[str, World]]:
    """Yield the codes that may be read out for a paper, and that somebody puts them under a statement of his own."""
    if not is_loss(paper):
        return
    statement = paper.statement
    for officer in sorted(telephones):
        code = (officer, statement.acting, statement.epoch)
        if code not in world.codes and not (careful and has_approved(world, officer, paper)):
            yield f"{officer} reads a code out for {told(paper)}", replace(world, codes=world.codes | {code})
    forged = replace(paper, statement=replace(statement, nonce=b"forged".ljust(16, b".")), signed_by=frozenset())
    yield from carried(world, forged)


def is_loss(paper: Paper) -> bool:
    return not paper.statement.planned and paper.statement.acting != SAGA


def beginnings(world: World, epoch_max: int) -> Iterator[tuple[str, World]]:
    """Yield every declaration that may be begun: losses at kyoto and nara, hand-overs and returns where one acts."""
    for at in SITES if epoch_max > 2 else (KYOTO, NARA):
        lineage = world.book(at).lineage(SAGA)
        if lineage.epoch >= epoch_max:
            continue
        for acting in SITES if epoch_max > 2 else (at,):
            if (at == acting) == (at == SAGA) and not (at != SAGA and acting == SAGA):
                continue
            releasing = may_act(world, at)
            if acting == SAGA and not releasing:
                continue
            if at == SAGA and not releasing:
                continue
            if acting != SAGA and at != SAGA and lineage.acting not in (SAGA, at) and lineage.disputed is None:
                continue
            nonce = f"{at}{acting}{lineage.epoch}".encode().ljust(16, b".")[:16]
            statement = Statement(SAGA, lineage.epoch + 1, acting, NOW, "", b"e" * 32, nonce, planned=at == SAGA)
            paper = Paper(statement, at=at)
            if not any(other.statement == paper.statement for other in world.papers):
                yield f"{told(paper)} is begun", replace(world, papers=world.papers | {paper})


def has_approved(world: World, officer: str, wanted: Paper) -> bool:
    """Tell whether an officer has approved another declaration of this epoch: signed it, or read a code out for it."""
    epoch, acting = wanted.statement.epoch, wanted.statement.acting
    return any(
        officer in paper.signed_by and paper.statement.epoch == epoch and paper != wanted for paper in world.papers
    ) or any(
        who == officer and when == epoch and (site != acting or not is_loss(wanted)) for who, site, when in world.codes
    )


def told(paper: Paper) -> str:
    return f"{paper.statement.acting} for saga, epoch {paper.statement.epoch}, of {paper.at}"


def broken(world: World, *, careful: bool) -> str | None:
    """Return which promise a state breaks."""
    acting = [site for site in SITES if may_act(world, site)]
    under = {site: world.book(site).lineage(SAGA).epoch for site in acting}
    for one in acting:
        for other in acting:
            if one >= other:
                continue
            if under[one] == under[other] and (careful or frozenset((one, other)) in world.met):
                return f"{one} and {other} both act under epoch {under[one]}"
            if frozenset((one, other)) in world.met:
                return f"{one} and {other} both act, and have told each other all"
            higher, lower = (one, other) if under[one] > under[other] else (other, one)
            if careful and was_released(world, higher, lower):
                return f"{lower} still acts, although it has released {higher}"
    return None


def was_released(world: World, higher: SiteId, lower: SiteId) -> bool:
    """Tell whether a site acts by what the other one had to release."""
    lineage = world.book(higher).lineage(SAGA)
    assert lineage.newest is not None
    return lineage.newest.needs_release and lineage.before(lineage.newest) == lower


def search(
    *, careful: bool, epoch_max: int, telephones: frozenset[str] = frozenset(), most: int = 3_000_000
) -> tuple[int, str | None]:
    """Look at every state that can be reached; return how many, and the way to the first that is wrong."""
    seen = {World(): ("", None)}
    edge: list[World] = [World()]
    while edge:
        later: list[World] = []
        for world in edge:
            if (wrong := broken(world, careful=careful)) is not None:
                return len(seen), f"{wrong}: {way_to(world, seen)}"
            for what, after in next_worlds(
                world, careful=careful, epoch_max=epoch_max, telephones=telephones
            ):
                if after not in seen:
                    seen[after] = (what, world)
                    later.append(after)
        assert len(seen) < most, "the model has grown too large to be looked at as a whole"
        edge = later
    return len(seen), None


def way_to(world: World, seen: Mapping[World, tuple[str, World | None]]) -> str:
    steps: list[str] = []
    at: World | None = world
    while at is not None:
        what, at = seen[at]
        steps.append(what)
    return "; ".join(reversed(steps))


def test_careful_officers_never_have_two_sites_act_under_one_epoch() -> None:
    """Officers who sign one declaration an epoch: losses, hand-overs and returns up to epoch 3."""
    states, wrong = search(careful=True, epoch_max=3)
    assert wrong is None
    assert states > 10_000


def test_officers_who_sign_everything_stop_everybody_who_hears_of_it() -> None:
    """Two groups declare one loss in favour of two sites: once these have met, neither acts."""
    states, wrong = search(careful=False, epoch_max=2)
    assert wrong is None
    assert states > 500


@pytest.mark.parametrize(
    ("telephones", "epoch_max", "states_min"),
    [
        pytest.param({"abe"}, 3, 10_000, id="one of two"),
        pytest.param(set(OFFICERS), 2, 500, id="both, epoch 2"),
        # 183,408 states in 51 s.
        pytest.param(set(OFFICERS), 3, 100_000, id="both, epoch 3", marks=pytest.mark.soak),
    ],
)
def test_careful_officers_may_approve_losses_by_telephone(
    telephones: set[str], epoch_max: int, states_min: int
) -> None:
    """Codes are heard by everybody, and put under statements that no officer knows."""
    states, wrong = search(careful=True, epoch_max=epoch_max, telephones=frozenset(telephones))
    assert wrong is None
    assert states > states_min


def test_officers_who_read_codes_out_for_two_sites_stop_both() -> None:
    """Two codes for one lost site and epoch are what two signatures are: nobody acts once the sites have met."""
    states, wrong = search(careful=False, epoch_max=2, telephones=frozenset(OFFICERS))
    assert wrong is None
    assert states > 500


def everything_counts(known: authority.Lineage, given: Declaration, **_facts: bool) -> authority.Verdict:
    """The mutant that takes every declaration with a higher epoch, released or not."""
    higher = given.statement.epoch > known.epoch
    return authority.Verdict.TAKE if higher else authority.Verdict.KNOWN


def conflicts_are_old(known: authority.Lineage, given: Declaration, **facts: bool) -> authority.Verdict:
    """The mutant that refuses another declaration of the same epoch and goes on acting, as until version 0.1."""
    found = authority.judge(known, given, released=facts["released"], acting_lost=facts["acting_lost"])
    return authority.Verdict.OLD if found is authority.Verdict.CONFLICT else found


def the_last_one_counts(known: authority.Lineage, given: Declaration, **_facts: bool) -> authority.Verdict:
    """The mutant that lets an epoch go back."""
    same = given.signed in {d.signed for d in known.declarations}
    return authority.Verdict.KNOWN if same else authority.Verdict.TAKE


@pytest.mark.parametrize(
    ("mutant", "careful", "said"),
    [
        (everything_counts, True, "although it has released"),
        (conflicts_are_old, False, "both act under epoch 2"),
        (the_last_one_counts, False, "both act"),
    ],
)
def test_the_model_sees_a_rule_that_is_missing(
    monkeypatch: pytest.MonkeyPatch, mutant: object, careful: bool, said: str
) -> None:
    monkeypatch.setattr(epoch, "judge", mutant)
    with forgotten():
        _states, wrong = search(careful=careful, epoch_max=3 if careful else 2)
        assert wrong is not None and said in wrong


@contextlib.contextmanager
def forgotten() -> Iterator[None]:
    """Remember nothing of the program without the mutant, and nothing of the mutant afterwards."""
    for remembered in (_book, _learned):
        remembered.cache_clear()
    try:
        yield
    finally:
        for remembered in (_book, _learned):
            remembered.cache_clear()


def test_the_model_sees_a_code_that_counts_for_any_site(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant that looks at the officer's signature and the code, and not at what they are for."""
    monkeypatch.setattr(declarations_module, "fits", lambda _promise, _statement: True)
    with forgotten():
        _states, wrong = search(careful=True, epoch_max=2, telephones=frozenset(OFFICERS))
        assert wrong is not None and "both act under epoch 2" in wrong


def test_a_gap_is_refused_where_it_matters() -> None:
    """A return whose predecessor is not known here cannot be judged, so it does not count."""
    files = MemoryFiles()
    book = opened(NARA, (), files)
    paper = Paper(Statement(SAGA, 3, SAGA, NOW, "", b"e" * 32, b"n" * 16), frozenset(OFFICERS), KYOTO)
    with pytest.raises(RefusedError, match="not known here"):
        book.learn(signed(paper))
    assert records_of(files) == ()
    assert decode_declaration(signed(paper)).needs_release
