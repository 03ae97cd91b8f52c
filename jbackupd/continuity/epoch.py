"""Who may act: the declarations about all sites that this site knows of. Durable, and epochs never decrease."""

from __future__ import annotations

import posixpath
import threading
from collections.abc import Callable, Mapping

from jbackupd.codec.signing import SiteSigner, SiteVerifier
from jbackupd.continuity.authority import FIRST_EPOCH, Lineage, Verdict, judge, taken
from jbackupd.continuity.waiting import Wait, check_all_approved
from jbackupd.format.declaration import (
    Declaration,
    check_approvals,
    decode_declaration,
    encode_declaration,
    is_released,
    release,
)
from jbackupd.model.errors import ChainError, FencedError, RefusedError
from jbackupd.model.ids import SiteId
from jbackupd.storage.files import Files
from jbackupd.storage.journal import Journal

_FOLDER = "site"
_FILE = posixpath.join(_FOLDER, "epochs.journal")


class Epochs:
    """The declarations that this site has accepted; safe for several threads.

    A declaration is durable before anybody is told that it was accepted. It fences the site that acted before: only a
    declaration with a higher epoch can follow.

    Args:
        files: The state folder.
        site: This site.
        officers: Whose approvals count; asked at every declaration, so that a reload takes effect.
        needed: How many approvals it takes.
        sites: Whose releases can be checked: this site's own key and those of its peers.
        signer: Signs this site's releases.
    """

    def __init__(
        self, files: Files, site: SiteId, *, officers: Callable[[], Mapping[str, SiteVerifier]],
        needed: Callable[[], int], sites: Callable[[], Mapping[SiteId, SiteVerifier]] = dict,
        signer: SiteSigner | None = None,
    ) -> None:
        self.site = site
        self._officers = officers
        self._needed = needed
        self._sites = sites
        self._signer = signer
        self.heard: Callable[[Declaration], None] = lambda _declaration: None
        """Told of each declaration that is new here, in whichever thread it came."""
        self.waits: Callable[[Declaration], Wait | None] = lambda _declaration: None
        """How long this site must still wait before a declaration lets it act."""
        self._lock = threading.Lock()
        files.make_folder(_FOLDER)
        self._files = files
        self._lineages: dict[SiteId, Lineage] = {}
        self._journal: Journal | None = self._opened()

    def lineage(self, home: SiteId) -> Lineage:
        """Return all that is known of who acts for a site."""
        return self._lineages.get(home, Lineage(home))

    def epoch_of(self, site: SiteId) -> int:
        """Return the epoch in force for a site; for this site the one that it acts under.

        This site does not rise with its own loss: having been declared lost, it goes on saying its old
        epoch and is refused everywhere, until officers let it return.
        """
        lineage = self.lineage(site)
        return lineage.own_epoch if site == self.site else lineage.epoch

    def may_author(self, site: SiteId, epoch: int) -> bool:
        """Tell whether a site acts now, and its points of an epoch count."""
        return self.lineage(site).acted(epoch)

    def known(self) -> Mapping[SiteId, int]:
        """Return the epochs of all sites that have one above the first."""
        return {site: lineage.epoch for site, lineage in self._lineages.items()}

    def news_for(self, epochs: Mapping[SiteId, int]) -> list[bytes]:
        """Return what somebody may lack who knows these epochs: each site's declarations in order, with our releases.

        Those of the same epoch too: it may be another declaration, and nobody else would ever notice.
        """
        return [
            encode_declaration(self._with_release(lineage, declaration))
            for lineage in self._lineages.values()
            for declaration in (*lineage.declarations, *lineage.conflicts)
            if declaration.statement.epoch >= epochs.get(lineage.home, FIRST_EPOCH)
        ]

    def declarations(self) -> list[Declaration]:
        """Return the newest declaration about every site that there is one about."""
        return [lineage.newest for lineage in self._lineages.values() if lineage.newest is not None]

    def conflicts(self) -> list[Declaration]:
        """Return the declarations that contradict one in force or before; whose epoch is in force stops everybody."""
        return [declaration for lineage in self._lineages.values() for declaration in lineage.conflicts]

    def disputes(self) -> int:
        """Return about how many sites two declarations of the epoch in force contradict each other."""
        return sum(lineage.disputed is not None for lineage in self._lineages.values())

    def loss_of(self, site: SiteId) -> Declaration | None:
        """Return the declaration by which another site acts for this one; None if it acts for itself."""
        newest = self.lineage(site).newest
        return None if newest is None or newest.is_return else newest

    def check_own(self) -> None:
        """Check that this site may act.

        Raises:
            FencedError: It was declared lost, or handed over.
        """
        own = self.loss_of(self.site)
        if own is not None:
            raise FencedError(
                "this site was declared lost on {when}; {acting} acts for it",
                "nothing here is changed; talk to the officers before anything else",
                when=own.statement.made_at.isoformat(timespec="minutes"), acting=own.statement.acting,
            )
        self._check_undisputed(self.site)

    def check_acting(self, lost: SiteId, *, plan: str) -> Declaration:
        """Check that this site may act for a lost one, and return the declaration that says so.

        Args:
            plan: What is to be run, for messages.

        Raises:
            FencedError: This site was declared lost itself.
            RefusedError: The other one is not declared lost, another site acts for it, or two declarations disagree.
        """
        self.check_own()
        declaration = self.loss_of(lost)
        if declaration is None:
            raise RefusedError(
                "unable to run the plan {plan}: its home site {home} is not declared lost",
                "declare the loss first: 'jbackupd site declare-lost {home}'; two sites must never act for one tenant",
                plan=plan, home=lost,
            )
        self._check_undisputed(lost)
        if declaration.statement.acting != self.site:
            raise RefusedError(
                "unable to run the plan {plan}: {acting} acts for {home}, by the declaration {id}",
                "run it there; if {acting} is lost too, declare that, then {home} again from here",
                plan=plan, acting=declaration.statement.acting, home=lost, id=declaration.id,
            )
        return declaration

    def learn(self, declaration: bytes, *, without_waiting: bool = False) -> None:
        """Check a declaration and keep it; it is durable when this returns. Harmless twice.

        Args:
            without_waiting: People want it now. It takes the approval of every officer who is known here.

        Raises:
            FormatError: It is malformed.
            ApprovalError: An approval or release is false.
            RefusedError: It has too few approvals, is a hand-over or return that the acting site has not released, or
                would let this site act before its waiting time is over.
            ChainError: Another declaration with the same or a higher epoch is known for that site. One with the same
                is kept: nobody acts here for that site until a higher one says who does. One that names the same
                acting site too is a RefusedError, and not kept.
        """
        decoded = decode_declaration(declaration)
        check_approvals(decoded, self._officers(), needed=self._needed())
        home = decoded.statement.lost
        with self._lock:
            # Opened anew after a failure first: what stands in it counts before anything else is accepted.
            if self._journal is None:
                self._journal = self._opened()
            known = self.lineage(home)
            verdict = judge(
                known, decoded, released=self._is_released(known, decoded),
                acting_lost=known.acting != home and self.loss_of(known.acting) is not None,
            )
            if verdict is Verdict.TAKE:
                self._check_waited(decoded, without_waiting=without_waiting)
            if verdict in (Verdict.TAKE, Verdict.CONFLICT):
                journal, self._journal = self._journal, None
                journal.append(declaration)
                self._lineages[home], self._journal = taken(known, decoded, verdict), journal
                self.heard(decoded)
        _refuse(known, decoded, verdict)

    def _check_waited(self, declaration: Declaration, *, without_waiting: bool) -> None:
        wait = self.waits(declaration)
        if wait is None:
            return
        if without_waiting:
            check_all_approved(declaration, self._officers().keys())
            return
        raise RefusedError(
            "the declaration {id} has its approvals and waits until {until}: last contact with {site} at {since}",
            "look at the evidence again, then 'jbackupd site proceed {id}'", id=declaration.id,
            until=wait.until.isoformat(timespec="seconds"), site=declaration.statement.lost,
            since=wait.since.isoformat(timespec="seconds"),
        )

    def _is_released(self, known: Lineage, given: Declaration) -> bool:
        if known.acting == self.site:
            # This site brings it into force here by itself: from then on it has stopped.
            return True
        return is_released(given, known.acting, self._sites().get(known.acting))

    def _with_release(self, lineage: Lineage, declaration: Declaration) -> Declaration:
        if self._signer is None or lineage.before(declaration) != self.site:
            return declaration
        return declaration.with_approval(release(declaration, self.site, self._signer))

    def _check_undisputed(self, home: SiteId) -> None:
        lineage = self.lineage(home)
        if lineage.newest is not None and lineage.disputed is not None:
            raise RefusedError(
                "two declarations about {home} disagree: by {id} {acting} acts for it, by {other} {rival}",
                "nobody acts until officers decide: agree by telephone, then declare it once more",
                home=home, id=lineage.newest.id, acting=lineage.acting, other=lineage.disputed.id,
                rival=lineage.disputed.statement.acting,
            )

    def _opened(self) -> Journal:
        """Read the journal; again after a failed append, which closes it."""
        journal = Journal.open(self._files, _FILE)
        self._lineages = _lineages_of(journal)
        return journal


def read_lineages(files: Files) -> dict[SiteId, Lineage]:
    """Return what is known of who acts for which site, for a look; whoever acts opens `Epochs` under the lock.

    Raises:
        DamageError: The journal is damaged.
    """
    if not files.exists(_FILE):
        return {}
    journal = Journal.open(files, _FILE)
    journal.close()
    return _lineages_of(journal)


def _lineages_of(journal: Journal) -> dict[SiteId, Lineage]:
    """Fold what was accepted: a record is in force, or in conflict with one before it."""
    found: dict[SiteId, Lineage] = {}
    for record in journal.records:
        declaration = decode_declaration(record)
        home = declaration.statement.lost
        known = found.get(home, Lineage(home))
        found[home] = taken(known, declaration, judge(known, declaration, released=True, acting_lost=True))
    return found


def _refuse(known: Lineage, given: Declaration, verdict: Verdict) -> None:
    statement = given.statement
    match verdict:
        case Verdict.TWIN:
            # No ChainError: that would cut the line to an honest site at every meeting.
            raise RefusedError(
                "the declaration {id} about {site} says nothing new: {acting} is named for epoch {epoch} already",
                "nothing more is needed; see 'jbackupd site status'",
                id=given.id, site=known.home, acting=statement.acting, epoch=statement.epoch,
            )
        case Verdict.OLD | Verdict.CONFLICT:
            same = [d for d in known.declarations if d.statement.epoch == statement.epoch]
            in_force = (same or [known.declarations[-1]])[0]
            raise ChainError(
                "the declaration {id} about {site} has epoch {epoch}, but {other} with epoch {known} is in force",
                "two groups of officers have declared the same loss: agree on one by telephone",
                id=given.id, site=known.home, epoch=statement.epoch, other=in_force.id,
                known=in_force.statement.epoch,
            )
        case Verdict.UNRELEASED:
            raise RefusedError(
                "the declaration {id} about {site} does not count yet: {acting} has not signed that it stopped",
                "hand it in at {acting}, or wait until that is in touch: 'jbackupd site status'",
                id=given.id, site=known.home, acting=known.acting,
            )
        case Verdict.GAP:
            raise RefusedError(
                "the declaration {id} about {site} has epoch {epoch}; what was declared before it is not known here",
                "hand the declarations before it over too", id=given.id, site=known.home, epoch=statement.epoch,
            )
