"""Journals of this site's desks, deposited at the other sites as they grow: a second disaster must not take them."""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from jbackupd.codec.signing import SiteVerifier
from jbackupd.format.deposit import seal_head
from jbackupd.format.journal import scan
from jbackupd.model.errors import ChainError, JbackupdError, RefusedError, UsageError
from jbackupd.model.ids import SiteId, TenantId
from jbackupd.model.texts import _
from jbackupd.protocol.messages import DEPOSIT_BYTES_MAX
from jbackupd.runtime.offload import Offload
from jbackupd.service.intake import read_ledger
from jbackupd.service.intakeplaces import Place, places, purpose_of, tenants_with_intake
from jbackupd.service.log import Log
from jbackupd.service.queue import Line
from jbackupd.service.wiring import store_of
from jbackupd.storage.files import PosixFiles
from jbackupd.storage.sealedjournal import JOURNAL_NAME, load_key
from jbackupd.vault.recoverykey import recovery_public

LOOK_SECONDS = 1.0
"""Between two looks at the lengths of the journals."""
AGAIN_SECONDS = 10.0
"""Before a site is tried again that did not take it."""


class _Sealed(NamedTuple):
    """A journal as it leaves the site."""

    journal: bytes
    head: bytes
    data: bytes
    length: int


@dataclass
class DeskDeposits:
    """How far a desk's journal is deposited.

    Attributes:
        length: Of the file, at the last look.
        size: Bytes of its whole records.
        at: How many of them each other site has, durable.
        troubles: Why a site has not all of them.
    """

    length: int = 0
    size: int = 0
    at: dict[SiteId, int] = field(default_factory=dict)
    troubles: dict[SiteId, JbackupdError] = field(default_factory=dict)

    @property
    def undeposited(self) -> int:
        """Bytes that lie at this site alone."""
        return self.size - max(self.at.values(), default=0)


class Depositing:
    """Owns the depositing of a site's journals. Lives on the loop.

    Args:
        site_key: Opens this site's journals.
        verifiers: Who may sign points: the newest point says to whom deposits are sealed.
        others: The sites to which there is a line just now.
        line: Returns the line to one of them.
        changed: Called when something was sent, or could not be.
    """

    def __init__(
        self, files: PosixFiles, site: SiteId, site_key: Callable[[], bytes], verifiers: Mapping[SiteId, SiteVerifier],
        *, others: Callable[[], Sequence[SiteId]], line: Callable[[SiteId], Awaitable[Line]],
        changed: Callable[[], None], offload: Offload, log: Log,
    ) -> None:
        self.desks: dict[Place, DeskDeposits] = {}
        self._files = files
        self._site = site
        self._site_key = site_key
        self._verifiers = verifiers
        self._others = others
        self._line = line
        self._changed = changed
        self._offload = offload
        self._log = log
        self._unwilling: set[tuple[SiteId, TenantId]] = set()
        self._not_before: dict[SiteId, float] = {}

    async def run(self) -> None:
        """Look and send, for ever."""
        while True:
            try:
                await self._look()
            except JbackupdError as error:
                self._log.error(_("journals of desks are not deposited: {reason}"), reason=error)
                await asyncio.sleep(AGAIN_SECONDS)
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self) -> None:
        sizes = await self._offload.disk(self._sizes)
        for gone in self.desks.keys() - sizes.keys():
            del self.desks[gone]
        for place, length in sizes.items():
            desk = self.desks.get(place, DeskDeposits())
            if length < desk.length:
                # Erased, and begun anew: another journal.
                desk = DeskDeposits()
            self.desks[place] = desk
            behind = [
                site for site in self._waiting(place.tenant)
                if length != desk.length or desk.at.get(site) != desk.size
            ]
            if behind:
                await self._send(place, desk, behind)

    def _sizes(self) -> dict[Place, int]:
        own = [
            place for tenant in tenants_with_intake(self._files) for place in places(self._files, tenant)
            if not place.received
        ]
        return {place: self._files.size(posixpath.join(place.folder, JOURNAL_NAME)) for place in own}

    def _waiting(self, tenant: TenantId) -> list[SiteId]:
        """Return the sites to be tried now."""
        now = asyncio.get_running_loop().time()
        return [
            site for site in self._others()
            if (site, tenant) not in self._unwilling and self._not_before.get(site, 0.0) <= now
        ]

    async def _send(self, place: Place, desk: DeskDeposits, sites: Sequence[SiteId]) -> None:
        sealed = await self._offload.disk(self._sealed, place)
        desk.length, desk.size = sealed.length, len(sealed.data)
        await asyncio.gather(*(self._send_to(site, place, desk, sealed) for site in sites))
        self._changed()

    async def _send_to(self, site: SiteId, place: Place, desk: DeskDeposits, sealed: _Sealed) -> None:
        try:
            line = await self._line(site)
            # Asked with nothing, it says how much it has.
            here = await line.deposit(place.tenant, sealed.journal, sealed.head, len(sealed.data), b"")
            if here > len(sealed.data):
                raise ChainError(
                    "{site} has more of the journal of desk {desk} than there is here: this one has lost its end",
                    "bring the rest back with 'jbackupd desk journal' before the desk is opened again",
                    site=site, desk=place.name,
                )
            while here < len(sealed.data):
                piece = sealed.data[here : here + DEPOSIT_BYTES_MAX]
                here = await line.deposit(place.tenant, sealed.journal, b"", here, piece)
            desk.at[site] = here
            desk.troubles.pop(site, None)
        except JbackupdError as error:
            self._note(site, place, desk, error)

    def _note(self, site: SiteId, place: Place, desk: DeskDeposits, error: JbackupdError) -> None:
        if error.code in (RefusedError.code, UsageError.code):
            # It has nothing to do with this tenant, is too old, or has no address: not to be asked again and again.
            self._unwilling.add((site, place.tenant))
        self._not_before[site] = asyncio.get_running_loop().time() + AGAIN_SECONDS
        if site not in desk.troubles:
            self._log.warning(
                _("{peer} did not take the journal of desk {desk}: {reason}"), peer=site, desk=place.name, reason=error
            )
        desk.troubles[site] = error

    def _sealed(self, place: Place) -> _Sealed:
        """Return a journal's whole records, synced, and a head that the recovery key opens. Blocks."""
        site_key = self._site_key()
        key = load_key(self._files, place.folder, site_key, purpose=purpose_of(place.tenant))
        path = posixpath.join(place.folder, JOURNAL_NAME)
        data = self._files.read(path)
        # What leaves the site must not be gone here after a power cut: the two would be two histories.
        with contextlib.closing(self._files.append(path)) as handle:
            handle.sync()
        begin = read_ledger(self._files, place, site_key).begin
        recovery = recovery_public(store_of(self._files, place.tenant), self._verifiers)
        head = seal_head(
            key.key, recovery, tenant=place.tenant, site=self._site, desk=place.name,
            label=begin.label if begin is not None else place.name, journal=key.id,
        )
        return _Sealed(key.id, head, data[: scan(data).length], len(data))
