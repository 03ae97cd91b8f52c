"""What a site needs when another one is lost: what the others say, what they have, and telling them all."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from jbackupd.continuity.epoch import Epochs
from jbackupd.continuity.pending import PendingDeclarations
from jbackupd.engine.fetch import fetch
from jbackupd.engine.survey import Survey, survey
from jbackupd.model.clock import Clock
from jbackupd.model.errors import JbackupdError, PeerError
from jbackupd.model.ids import DatasetId, SiteId, TenantId
from jbackupd.model.texts import _, language
from jbackupd.runtime.offload import Offload
from jbackupd.service.board import Board
from jbackupd.service.continuityverbs import ContinuityVerbs
from jbackupd.service.control import Control
from jbackupd.service.live import Live
from jbackupd.service.log import Log
from jbackupd.service.peers import PeerSet
from jbackupd.service.recovering import Recoveries
from jbackupd.service.steps import Premises
from jbackupd.service.wiring import existing_store
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.peer import Peer
from jbackupd.vault.store import ObjectStore

ASK_SECONDS = 20.0
"""In a disaster some sites do not answer; nobody waits for a TCP timeout of minutes to learn it."""


class Succession:
    """Declarations and recovery runs of this site, wired to its peers.

    Args:
        peers: The lines to the other sites.
    """

    def __init__(
        self, live: Live, epochs: Epochs, pending: PendingDeclarations, files: PosixFiles, board: Board, peers: PeerSet,
        *, offload: Offload, clock: Clock, log: Log,
    ) -> None:
        self._live = live
        self._epochs = epochs
        self._files = files
        self._board = board
        self._peers = peers
        self._offload = offload
        self._clock = clock
        self._log = log
        self.recoveries = Recoveries(files, epochs=epochs, clock=clock, premises_of=self._premises_of)
        self._verbs = ContinuityVerbs(
            live.identity.site, epochs=epochs, pending=pending, recoveries=self.recoveries, clock=clock,
            evidence=self.evidence, spread=self.spread,
        )

    def register(self, control: Control) -> None:
        """Let the commands about losses and recoveries be answered."""
        self._verbs.register(control)

    async def close(self) -> None:
        """Settle the runs; they stay journalled as they are."""
        await self.recoveries.close()

    def evidence(self) -> dict[str, Any]:
        """Return what this site knows of every other: how the line stands, since when, and what it signed for."""
        found: dict[str, Any] = {}
        for site, facts in self._peers.facts().items():
            copies = [known.copies[site] for known in self._board.taken.values() if site in known.copies]
            received = max((copy.received_at for copy in copies if copy.received_at is not None), default=None)
            state = facts.state
            found[site] = {
                "link": "up" if state.up or facts.links_from else "down",
                "since": state.changed_at.isoformat(timespec="seconds") if state.changed_at else None,
                "reason": str(state.error) if state.error is not None else None,
                "last_receipt": received.isoformat(timespec="seconds") if received is not None else None,
            }
        return found

    async def spread(self) -> None:
        """Tell every peer that can be reached of the declarations in force; the others hear of it when they answer."""
        lost = self._epochs.known()
        await asyncio.gather(*(self._tell(site) for site in self._live.cards if site not in lost))

    async def freshen(self, tenant: TenantId) -> Mapping[str, Any]:
        """Ask the other sites for newer points of a tenant and fetch them; return what each said.

        A site that does not answer, or whose answer is wrong, is named and does not stop the others.
        """
        store = existing_store(self._files, tenant)
        peers = await self._lines()
        found = await survey(
            peers, tenant, verifiers=self._live.verifiers, own=(self._live.identity.site, store),
            offload=self._offload.disk,
        )
        for alarm in found.alarms:
            self._log.error(_("{tenant}: {reason}"), tenant=tenant, reason=alarm)
        said: dict[str, Any] = {
            sighting.site: str(sighting.error) if sighting.error is not None else "ok" for sighting in found.sightings
        }
        for site in await self._fetch_newer(found, peers, store, tenant):
            said[site] = "fetched"
        return said

    async def _fetch_newer(
        self, found: Survey, peers: Mapping[SiteId, Peer | JbackupdError], store: ObjectStore, tenant: TenantId
    ) -> list[SiteId]:
        """Fetch what is newer elsewhere, each dataset from the first site that shows it; return who gave something."""
        gave: list[SiteId] = []
        for dataset, newest in found.newest.items():
            if self._live.identity.site in newest.holders:
                continue
            for site in newest.holders:
                peer = peers.get(site)
                if peer is None or isinstance(peer, JbackupdError):
                    continue
                if await self._fetch(peer, store, tenant, dataset):
                    gave.append(site)
                    break
        await self._board.refresh_held(tenant)
        return gave

    async def _fetch(self, peer: Peer, store: ObjectStore, tenant: TenantId, dataset: DatasetId) -> bool:
        try:
            await fetch(
                peer, store, tenant, verifiers=self._live.verifiers, datasets=[dataset], offload=self._offload.disk
            )
        except JbackupdError as error:
            self._log.error(_("{dataset}: unable to fetch it from {peer}: {reason}"), dataset=dataset, peer=peer.site,
                            reason=error)
            return False
        return True

    async def _lines(self) -> dict[SiteId, Peer | JbackupdError]:
        """Return the line to every other site that is not lost, or why there is none."""
        sites = [site for site in self._live.cards if self._epochs.declaration_of(site) is None]
        lines = await asyncio.gather(*(self._line(site) for site in sites))
        return dict(zip(sites, lines, strict=True))

    async def _line(self, site: SiteId) -> Peer | JbackupdError:
        try:
            async with asyncio.timeout(ASK_SECONDS):
                return await self._peers.queue(site).use()
        except TimeoutError:
            return PeerError("{site} does not answer", site=site)
        except JbackupdError as error:
            return error

    async def _tell(self, site: SiteId) -> None:
        try:
            async with asyncio.timeout(ASK_SECONDS):
                await self._board.greet(await self._peers.queue(site).use())
        except TimeoutError:
            self._log.warning(_("{peer} does not answer and was not told of the declaration yet"), peer=site)
        except JbackupdError as error:
            self._log.warning(_("{peer} was not told of the declaration yet: {reason}"), peer=site, reason=error)

    def _premises_of(self, tenant: TenantId) -> Premises:
        return Premises(
            files=self._files, store=existing_store(self._files, tenant), verifiers=self._live.verifiers,
            clock=self._clock, freshen=self.freshen, language=self._live.settings.language or language(),
        )
