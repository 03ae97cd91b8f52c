"""Declarations that wait for approvals: one file each, so that they can be carried to who must approve."""

from __future__ import annotations

import posixpath
import secrets
from datetime import datetime

import blake3

from jbackupd.continuity.authority import FIRST_EPOCH, Lineage
from jbackupd.continuity.epoch import Epochs
from jbackupd.format.declaration import (
    NONCE_BYTES,
    Approval,
    Declaration,
    Statement,
    declare,
    decode_declaration,
    encode_declaration,
)
from jbackupd.model.errors import ApprovalError, NotFoundError, RefusedError
from jbackupd.model.ids import SiteId
from jbackupd.storage.durable import write_durably
from jbackupd.storage.files import Files

_FOLDER = "site/pending"
_EVIDENCE_FOLDER = "site/evidence"
_ENDING = ".declaration"


class PendingDeclarations:
    """The declarations of one state folder that are not in force yet.

    Args:
        files: The state folder.
        epochs: Where they go once they have enough approvals.
    """

    def __init__(self, files: Files, epochs: Epochs) -> None:
        self._files = files
        self._epochs = epochs
        files.make_folder(_FOLDER)
        files.make_folder(_EVIDENCE_FOLDER)

    def begin(
        self, lost: SiteId, acting: SiteId, *, reason: str, evidence: bytes, now: datetime, planned: bool = False
    ) -> Declaration:
        """Begin a declaration; it waits for approvals, durable.

        Of this site by itself it is a hand-over; of a site that this one acts for, in favour of that site, its return.

        Args:
            evidence: The page that was shown; it is kept, and its BLAKE3 is part of what officers sign.
            planned: It shall count only once the site that acts now has released it.

        Raises:
            RefusedError: The site is declared lost already, and who acts for it is not; another declaration about
                it waits here; or a site would return for which this one does not act.
        """
        known = self._epochs.lineage(lost)
        self._check_sense(known, acting)
        waiting = next((one for one in self.all() if one.statement.lost == lost), None)
        if waiting is not None:
            # Officers who sign two statements about one loss would be short of one approval each.
            raise RefusedError(
                "the declaration {id} about {site} waits for approvals already",
                "approve it, or take it back with 'jbackupd site withdraw {id}'", id=waiting.id, site=lost,
            )
        digest = blake3.blake3(evidence).digest()
        declaration = declare(
            Statement(lost, known.epoch + 1, acting, now, reason, digest, secrets.token_bytes(NONCE_BYTES), planned)
        )
        kept = _evidence_path(declaration.id)
        write_durably(self._files, kept, evidence, temporary=kept + ".new")
        self._write(declaration)
        return declaration

    def _check_sense(self, known: Lineage, acting: SiteId) -> None:
        """Refuse what would take the authority from a site that acts, and neither is lost nor is this one."""
        lost, now = known.home, known.acting
        mine = now == self._epochs.site and acting != now
        if known.disputed is not None or mine or self._epochs.loss_of(now) is not None:
            return
        if acting == lost:
            raise RefusedError(
                "{site} is let return at the site that acts for it: {acting}", "begin it there, so that it stops first",
                site=lost, acting=now,
            )
        if now != lost:
            raise RefusedError(
                "{site} is declared lost already, by the declaration {id}, and {acting} acts for it",
                "go on with the recovery plan there; if {acting} is lost too, declare that first",
                site=lost, id=known.newest.id if known.newest else "", acting=now,
            )

    def evidence(self, name: str) -> bytes | None:
        """Return the page that was shown when a declaration was begun here; None if it was begun elsewhere."""
        path = _evidence_path(name)
        return self._files.read(path) if name.isalnum() and self._files.exists(path) else None

    def find(self, name: str) -> Declaration:
        """Return a pending declaration by its id.

        Raises:
            NotFoundError: There is none.
        """
        path = _path(name)
        if not name.isalnum() or not self._files.exists(path):
            raise NotFoundError("there is no pending declaration {id}", "see 'jbackupd site status'", id=name)
        return decode_declaration(self._files.read(path))

    def approvals_of(self, name: str) -> tuple[Approval, ...]:
        """Return who has approved a declaration that waits here; nobody for one that does not."""
        path = _path(name)
        return decode_declaration(self._files.read(path)).officers if self._files.exists(path) else ()

    def all(self) -> list[Declaration]:
        """Return all declarations that still wait; not those that another one has overtaken."""
        names = [name for name in self._files.names(_FOLDER) if name.endswith(_ENDING)]
        found = [decode_declaration(self._files.read(posixpath.join(_FOLDER, name))) for name in names]
        known = self._epochs.known()
        return [one for one in found if one.statement.epoch > known.get(one.statement.lost, FIRST_EPOCH)]

    def withdraw(self, name: str) -> Declaration:
        """Take back a declaration that is not in force, durably; return it.

        Raises:
            NotFoundError: There is none.
        """
        found = self.find(name)
        self._remove(found)
        return found

    def submit(
        self, given: Declaration, *, without_waiting: bool = False
    ) -> tuple[Declaration, RefusedError | None]:
        """Add a declaration's approvals to what is here; bring it into force if they are enough.

        Args:
            without_waiting: See `Epochs.learn`.

        Returns:
            The declaration with all approvals so far, and what is still missing; None if it is in force now.

        Raises:
            ApprovalError: An approval is false, or none of the officers is new; nothing was changed.
            ChainError: Another declaration about the site is in force.
            RefusedError: So is one that names the same acting site: nothing is left to decide.
        """
        path = _path(given.id)
        here = decode_declaration(self._files.read(path)) if self._files.exists(path) else None
        merged = here or given
        for approval in given.approvals:
            merged = merged.with_approval(approval)
        try:
            self._epochs.learn(encode_declaration(merged), without_waiting=without_waiting)
        except RefusedError as missing:
            overtaken = merged.statement.epoch <= self._epochs.lineage(merged.statement.lost).epoch
            if missing.code != RefusedError.code or overtaken:
                raise
            if here is not None and given.approvals and len(merged.approvals) == len(here.approvals):
                raise ApprovalError(
                    "{officer} approved the declaration {id} before: one officer counts once",
                    "let another officer approve it", id=given.id,
                    officer=", ".join(approval.officer for approval in given.approvals),
                ) from missing
            self._write(merged)
            return merged, missing
        if here is not None:
            self._remove(here)
        return merged, None

    def _remove(self, declaration: Declaration) -> None:
        self._files.remove(_path(declaration.id))
        self._files.sync_folder(_FOLDER)

    def _write(self, declaration: Declaration) -> None:
        path = _path(declaration.id)
        write_durably(self._files, path, encode_declaration(declaration), temporary=path + ".new")


def _path(name: str) -> str:
    return posixpath.join(_FOLDER, name + _ENDING)


def _evidence_path(name: str) -> str:
    return posixpath.join(_EVIDENCE_FOLDER, name + ".json")
