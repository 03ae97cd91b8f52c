"""What the daemon knows of points and receipts, kept up to date; what the queues of the peers live on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from jbackupd.continuity.codes import Codes
from jbackupd.continuity.epoch import Epochs
from jbackupd.engine.replicate import Progress, replicate
from jbackupd.format.declaration import decode_declaration
from jbackupd.model.errors import DamageError, JbackupdError, RefusedError
from jbackupd.model.ids import DatasetId, SiteId, TenantId
from jbackupd.model.texts import _
from jbackupd.runtime.news import News
from jbackupd.runtime.offload import Offload
from jbackupd.service.ledger import DatasetFacts, Ledger, PointFacts
from jbackupd.service.live import Live
from jbackupd.service.log import Log
from jbackupd.service.queue import Line, Waiting


class Board:
    """Facts about every dataset, from looks into the vaults; belongs to the event loop.

    Attributes:
        taken: Datasets of this site.
        held: Datasets that are held for other sites, with the newest point.
        news: Rings when there may be something new for a peer.
    """

    def __init__(
        self, live: Live, ledger: Ledger, epochs: Epochs, tenants: Callable[[], list[TenantId]], *, codes: Codes,
        offload: Offload, log: Log, above: News | None = None,
    ) -> None:
        self.taken: dict[DatasetId, DatasetFacts] = {}
        self.held: dict[DatasetId, PointFacts | None] = {}
        self.news = News(above)
        self._live = live
        self._ledger = ledger
        self._epochs = epochs
        self._codes = codes
        self._tenants = tenants
        self._offload = offload
        self._log = log

    async def refresh(self, dataset: DatasetId) -> None:
        """Look how a dataset of this site stands."""
        facts = await self._offload.db(self._ledger.look, dataset, self._live.peers_of(dataset))
        before = self.taken.get(dataset, DatasetFacts())
        if facts.error is not None:
            if str(before.error) != str(facts.error):
                self._log.error(_("{dataset}: unable to read the vault: {reason}"), dataset=dataset, reason=facts.error)
            facts = DatasetFacts(before.newest, before.copies, facts.error)
        self.taken[dataset] = facts
        self.news.ring()

    async def refresh_all(self) -> None:
        """Look at everything; forgets what is no longer in the configuration."""
        wanted = [dataset.id for dataset in self._live.settings.datasets]
        for gone in self.taken.keys() - set(wanted):
            del self.taken[gone]
        for dataset in wanted:
            await self.refresh(dataset)
        self.held = {}
        for tenant in await self._offload.db(self._tenants):
            if not self._live.is_own(tenant):
                await self.refresh_held(tenant)

    async def refresh_held(self, tenant: TenantId) -> None:
        """Look what is held of a tenant for another site."""
        try:
            self.held |= await self._offload.db(self._newest_of, tenant)
        except JbackupdError as error:
            self._log.error(_("{tenant}: unable to read what is held of it: {reason}"), tenant=tenant, reason=error)
        self.news.ring()

    def _newest_of(self, tenant: TenantId) -> dict[DatasetId, PointFacts | None]:
        return {dataset: self._ledger.look(dataset, ()).newest for dataset in self._ledger.datasets(tenant)}

    # What the queues ask.

    def waiting(self, peer: SiteId) -> Sequence[Waiting]:
        """Return the datasets that have points for a peer."""
        found = []
        for dataset in self._live.settings.datasets:
            copy = self.taken.get(dataset.id, DatasetFacts()).copies.get(peer)
            if copy is not None and copy.waiting_since is not None:
                found.append(Waiting(dataset.tier, copy.waiting_since, dataset.id))
        return found

    def signed_at(self, peer: SiteId) -> datetime | None:
        """Return when a peer last signed for a point of this site; None if it never did."""
        copies = (facts.copies[peer] for facts in self.taken.values() if peer in facts.copies)
        return max((copy.received_at for copy in copies if copy.received_at is not None), default=None)

    async def greet(self, line: Line) -> None:
        """Hand over the declarations of lost sites that a peer does not know, and take those that it knows."""
        for declaration in self._epochs.news_for(line.epochs):
            await self._declare(line, decode_declaration(declaration).statement.lost, declaration)
        for declaration in await line.losses(self._epochs.known()) if line.epochs else ():
            await self._learn(line, declaration)
        await self._hand_promises(line)

    async def _hand_promises(self, line: Line) -> None:
        """Hand over the officers' promises that a peer lacks: any site may be the one that acts."""
        try:
            if not await self._offload.disk(self._codes.all):
                return
            for piece in await self._offload.disk(self._codes.pieces_for, await line.promises()):
                await line.promises(piece)
        except (RefusedError, DamageError) as error:
            # An older program, another list of officers, a damaged file: nothing else waits for that.
            self._log.warning(_("{peer} does not take officers' codes: {reason}"), peer=line.site, reason=error)

    async def _learn(self, line: Line, declaration: bytes) -> None:
        try:
            await self._offload.disk(self._epochs.learn, declaration)
        except RefusedError as error:
            self._log.error(_("{peer} hands over a declaration that is not accepted here: {reason}"),
                            peer=line.site, reason=error)

    async def _declare(self, line: Line, lost: SiteId, declaration: bytes) -> None:
        try:
            await line.declare(declaration)
        except RefusedError as error:
            # Its list of officers may be older than ours: no reason to carry it nothing else.
            self._log.error(
                _("{peer} does not accept that {site} is lost: {reason}"), peer=line.site, site=lost, reason=error
            )
        else:
            self._log.info(_("{peer} was told that {site} is lost"), peer=line.site, site=lost)

    async def send(self, line: Line, dataset: DatasetId, told: Callable[[Progress], None]) -> int:
        """Bring a dataset's points to a peer and look at the receipts; return how many points it signed for."""
        chain = await self._offload.db(self._ledger.chain, dataset)
        try:
            delivered = await replicate(
                line, self._ledger.store(dataset.tenant), chain, verifier=self._live.verifiers[line.site],
                on_progress=told, offload=self._offload.disk,
            )
        finally:
            # Also after a cut: receipts that came in count.
            await self.refresh(dataset)
        return len(delivered)
