"""What the other sites say and hold, asked over their lines when a tenant is to be recovered here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from jbackupd.continuity.epoch import Epochs
from jbackupd.engine.bring import Place
from jbackupd.engine.fetch import fetch
from jbackupd.engine.survey import Survey, survey
from jbackupd.format.declaration import decode_declaration
from jbackupd.model.errors import JbackupdError, PeerError
from jbackupd.model.ids import DatasetId, SiteId, TenantId
from jbackupd.model.texts import _
from jbackupd.runtime.offload import Offload
from jbackupd.service.board import Board
from jbackupd.service.leases import reading
from jbackupd.service.live import Live
from jbackupd.service.log import Log
from jbackupd.service.peers import PeerSet
from jbackupd.service.queue import Line
from jbackupd.service.wiring import store_of
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.commit import Authorship

ASK_SECONDS = 20.0
"""In a disaster some sites do not answer; nobody waits for a TCP timeout of minutes to learn it."""


class Elsewhere:
    """The other sites; see `service.premises.Others`."""

    def __init__(
        self, live: Live, epochs: Epochs, files: PosixFiles, board: Board, peers: PeerSet, *, offload: Offload,
        log: Log,
    ) -> None:
        self._live = live
        self._epochs = epochs
        self._files = files
        self._board = board
        self._peers = peers
        self._offload = offload
        self._log = log

    async def survey(self, tenant: TenantId) -> Survey:
        """Ask every site that is not lost."""
        sites = self.standing()
        lines = dict(zip(sites, await asyncio.gather(*(self._reached(site) for site in sites)), strict=True))
        store = store_of(self._files, tenant)
        own = (self._live.identity.site, store) if await self._offload.disk(store.exists) else None
        found = await survey(lines, tenant, verifiers=self._live.verifiers, own=own, offload=self._offload.disk)
        for alarm in found.alarms:
            self._log.error("{tenant}: {reason}", tenant=tenant, reason=alarm)
        return found

    async def fetch(self, found: Survey, dataset: DatasetId, on_bytes: Callable[[int], None]) -> SiteId | None:
        """Fetch from the first site that shows the newest point and gives it; a site that fails is logged."""
        newest = found.newest.get(dataset)
        if newest is None or self._live.identity.site in newest.holders:
            return None
        for site in newest.holders:
            if await self._fetch_from(site, dataset, on_bytes):
                await self._board.refresh_held(dataset.tenant)
                return site
        return None

    def standing(self) -> list[SiteId]:
        """Return the sites that are not declared lost."""
        return [site for site in self._live.cards if self._epochs.loss_of(site) is None]

    def places(self, sites: Sequence[SiteId]) -> list[Place]:
        """Return where packs can be read on demand, each over a line of its own."""
        return [Place(site, partial(self._peers.line_of_its_own, site)) for site in sites if site in self._live.cards]

    async def tell_of_loss(self, lost: SiteId) -> Mapping[SiteId, JbackupdError | None]:
        """Hand the declaration over to every site that does not know it; return why where that failed."""
        others = self.standing()
        return dict(zip(others, await asyncio.gather(*(self._told(site, lost) for site in others)), strict=True))

    async def _told(self, site: SiteId, lost: SiteId) -> JbackupdError | None:
        try:
            line = await self.line(site)
            for declaration in self._epochs.news_for(line.epochs):
                if decode_declaration(declaration).statement.lost == lost:
                    await line.declare(declaration)
        except JbackupdError as error:
            return error
        return None

    def _author(self) -> Authorship:
        identity = self._live.identity
        return Authorship(identity.site, self._epochs.epoch_of(identity.site), identity.signer)

    async def line(self, site: SiteId) -> Line:
        """Return the line to a site, dialled at once if there is none.

        Raises:
            PeerError: It does not answer in time.
        """
        try:
            async with asyncio.timeout(ASK_SECONDS):
                return await self._peers.queue(site).use()
        except TimeoutError:
            raise PeerError("{site} does not answer", site=site) from None

    async def _reached(self, site: SiteId) -> Line | JbackupdError:
        try:
            return await self.line(site)
        except JbackupdError as error:
            return error

    async def _fetch_from(self, site: SiteId, dataset: DatasetId, on_bytes: Callable[[int], None]) -> bool:
        store = store_of(self._files, dataset.tenant)
        try:
            line = await self.line(site)
            if not await self._offload.disk(store.exists):
                # This site never held anything of the tenant.
                await self._offload.disk(store.create)
            # What comes in is named by no point before all of it is here.
            with reading(self._files.root, dataset.tenant):
                await fetch(
                    line, store, dataset.tenant, verifiers=self._live.verifiers, datasets=[dataset],
                    on_bytes=on_bytes, author=self._author(), offload=self._offload.disk,
                )
        except JbackupdError as error:
            self._log.error(
                _("{dataset}: unable to fetch it from {peer}: {reason}"), dataset=dataset, peer=site, reason=error
            )
            return False
        return True
