"""Who may act: the epochs of all sites that this site knows of. Durable, and they never decrease."""

from __future__ import annotations

import posixpath
import threading
from collections.abc import Callable, Mapping

from jbackupd.codec.signing import SiteVerifier
from jbackupd.format.declaration import Declaration, check_approvals, decode_declaration, encode_declaration
from jbackupd.model.errors import ChainError, FencedError, RefusedError
from jbackupd.model.ids import SiteId
from jbackupd.storage.files import Files
from jbackupd.storage.journal import Journal

FIRST_EPOCH = 1
"""The epoch of a site that was never declared lost."""
_FOLDER = "site"
_FILE = posixpath.join(_FOLDER, "epochs.journal")


class Epochs:
    """The declarations that this site has accepted; safe for several threads.

    A declaration is durable before anybody is told that it was accepted. It fences the lost site
    for ever at this one: only a declaration with a higher epoch can follow.

    Args:
        files: The state folder.
        site: This site.
        officers: Whose approvals count; asked at every declaration, so that a reload takes effect.
        needed: How many approvals it takes.
    """

    def __init__(
        self, files: Files, site: SiteId, *, officers: Callable[[], Mapping[str, SiteVerifier]],
        needed: Callable[[], int],
    ) -> None:
        self.site = site
        self._officers = officers
        self._needed = needed
        self._lock = threading.Lock()
        files.make_folder(_FOLDER)
        self._files = files
        self._newest: dict[SiteId, Declaration] = {}
        self._journal: Journal | None = self._opened()

    def epoch_of(self, site: SiteId) -> int:
        """Return the epoch in force for a site; for this site the one that it acts under.

        This site does not rise with its own loss: having been declared lost, it goes on saying its old
        epoch and is refused everywhere, until it is brought back.
        """
        if site == self.site or site not in self._newest:
            return FIRST_EPOCH
        return self._newest[site].statement.epoch

    def known(self) -> Mapping[SiteId, int]:
        """Return the epochs of all sites that have one above the first."""
        return {site: declaration.statement.epoch for site, declaration in self._newest.items()}

    def declarations(self) -> list[bytes]:
        """Return the newest declaration of every lost site, to hand on."""
        return [encode_declaration(declaration) for declaration in self._newest.values()]

    def declaration_of(self, site: SiteId) -> Declaration | None:
        """Return the newest declaration that a site is lost; None if it is not."""
        return self._newest.get(site)

    def check_own(self) -> None:
        """Check that this site may act.

        Raises:
            FencedError: It was declared lost.
        """
        own = self._newest.get(self.site)
        if own is not None:
            raise FencedError(
                "this site was declared lost on {when}; {acting} acts for it",
                "nothing here is changed; talk to the officers before anything else",
                when=own.statement.made_at.isoformat(timespec="minutes"), acting=own.statement.acting,
            )

    def check_acting(self, lost: SiteId, *, plan: str) -> Declaration:
        """Check that this site may act for a lost one, and return the declaration that says so.

        Args:
            plan: What is to be run, for messages.

        Raises:
            FencedError: This site was declared lost itself.
            RefusedError: The other one is not declared lost, or another site acts for it.
        """
        self.check_own()
        declaration = self._newest.get(lost)
        if declaration is None:
            raise RefusedError(
                "unable to run the plan {plan}: its home site {home} is not declared lost",
                "declare the loss first: 'jbackupd site declare-lost {home}'; two sites must never act for one tenant",
                plan=plan, home=lost,
            )
        if declaration.statement.acting != self.site:
            raise RefusedError(
                "unable to run the plan {plan}: {acting} acts for {home}, by the declaration {id}",
                "run it there; if {acting} is lost too, declare that, then {home} again from here",
                plan=plan, acting=declaration.statement.acting, home=lost, id=declaration.id,
            )
        return declaration

    def learn(self, declaration: bytes) -> None:
        """Check a declaration and keep it; it is durable when this returns. Harmless twice.

        Raises:
            FormatError: It is malformed.
            ApprovalError: An approval is false.
            RefusedError: It has too few approvals.
            ChainError: Another declaration with the same or a higher epoch is known for that site.
        """
        decoded = decode_declaration(declaration)
        check_approvals(decoded, self._officers(), needed=self._needed())
        with self._lock:
            # Opened anew after a failure first: what stands in it counts before anything else is accepted.
            if self._journal is None:
                self._journal = self._opened()
            known = self._newest.get(decoded.statement.lost)
            if known is not None and known.signed == decoded.signed:
                return
            if known is not None and decoded.statement.epoch <= known.statement.epoch:
                raise ChainError(
                    "the declaration {id} about {site} has epoch {epoch}, but {other} with epoch {known} is in force",
                    "two groups of officers have declared the same loss: agree on one by telephone",
                    id=decoded.id, site=decoded.statement.lost, epoch=decoded.statement.epoch, other=known.id,
                    known=known.statement.epoch,
                )
            journal, self._journal = self._journal, None
            journal.append(declaration)
            self._newest[decoded.statement.lost], self._journal = decoded, journal

    def _opened(self) -> Journal:
        """Read the journal; again after a failed append, which closes it."""
        journal = Journal.open(self._files, _FILE)
        self._newest.update(_newest_of(journal))
        return journal


def read_declarations(files: Files) -> dict[SiteId, Declaration]:
    """Return the declarations in force by lost site, for a look; whoever acts opens `Epochs` under the lock.

    Raises:
        DamageError: The journal is damaged.
    """
    if not files.exists(_FILE):
        return {}
    journal = Journal.open(files, _FILE)
    journal.close()
    return _newest_of(journal)


def _newest_of(journal: Journal) -> dict[SiteId, Declaration]:
    declarations = [decode_declaration(record) for record in journal.records]
    return {declaration.statement.lost: declaration for declaration in declarations}
