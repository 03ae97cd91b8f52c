"""The other sites: a queue and a limit for each, and the port where they dial this one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from jbackupd.continuity.codes import Codes
from jbackupd.continuity.epoch import Epochs
from jbackupd.format.identity import Card
from jbackupd.model.clock import Clock
from jbackupd.model.errors import NotFoundError, UsageError
from jbackupd.model.ids import ObjectName, SiteId, TenantId
from jbackupd.model.texts import _
from jbackupd.model.units import Address
from jbackupd.protocol.handshake import Own
from jbackupd.protocol.messages import ContactIs
from jbackupd.runtime.news import News
from jbackupd.runtime.offload import Offload
from jbackupd.runtime.pacing import Pacer
from jbackupd.runtime.supervisor import Supervisor
from jbackupd.service.contacts import Contacts
from jbackupd.service.live import ConfiguredRights, Live
from jbackupd.service.log import Log
from jbackupd.service.queue import Desk, Line, PeerQueue, QueueState
from jbackupd.service.status import PeerFacts
from jbackupd.settings.schema import Peer
from jbackupd.storage.files import PosixFiles
from jbackupd.transport.dial import dial
from jbackupd.transport.endpoint import Endpoint
from jbackupd.transport.holding import Limits
from jbackupd.transport.link import Link
from jbackupd.transport.ssh import LocalSite
from jbackupd.vault.holder import VaultHolder


class PeerSet:
    """All peers of the configuration in force.

    Args:
        live: The configuration in force.
        desk: What the queues live on.
        tasks: Owns the queues' tasks.
        codes: Officers' promises.
        received: Called, in a thread, when a point of a tenant has come in.
    """

    def __init__(
        self, live: Live, epochs: Epochs, files: PosixFiles, desk: Desk, tasks: Supervisor, *, codes: Codes,
        received: Callable[[TenantId], None], offload: Offload, clock: Clock, log: Log, above: News | None = None,
    ) -> None:
        self._live = live
        self._desk = desk
        self._tasks = tasks
        self._offload = offload
        self._clock = clock
        self._log = log
        self._above = above
        self._queues: dict[SiteId, PeerQueue] = {}
        self._begun: dict[SiteId, tuple[Peer, Card]] = {}
        self._limits: dict[SiteId, Limits] = {}
        self._endpoint: Endpoint | None = None
        identity = live.identity
        self.contacts = Contacts(files, self._up, above, clock=clock, offload=offload)
        """When this site was last in touch with the others."""
        self._local = LocalSite(Own(identity.site, identity.signer, epochs), identity.ssh_seed)
        self._holder = _HeardHolder(
            received, files, site=identity.site, signer=identity.signer, verifiers=live.verifiers,
            rights=ConfiguredRights(live, epochs), book=epochs, clock=clock,
            met=self.met, promised=lambda given: codes.known(given, clock.now()),
        )

    # Opening, changing, closing.

    async def new_endpoint(self, address: Address | None) -> Endpoint | None:
        """Return a listener that listens already, or None where nobody may dial.

        Raises:
            PeerError: The address cannot be used.
        """
        if address is None:
            return None
        endpoint = Endpoint(
            self._local, self._live.pin, self._holder, limits_of=self.limits_of, offload=self._offload.disk,
            clock=self._clock,
        )
        await endpoint.start(address.host, address.port)
        self._log.info(_("listening for peers at {host}:{port}"), host=address.host, port=endpoint.port)
        return endpoint

    async def use_endpoint(self, endpoint: Endpoint | None) -> None:
        """Let a listener take the place of the one before, which is closed."""
        before, self._endpoint = self._endpoint, endpoint
        if before is not None:
            await before.close()

    async def follow(self) -> None:
        """Let queues and limits be those of the configuration in force."""
        wanted = {peer.id: (peer, self._live.cards[peer.id]) for peer in self._live.settings.peers}
        for site in [site for site, begun in self._begun.items() if wanted.get(site) != begun]:
            await self._tasks.stop(_task(site))
            del self._begun[site], self._queues[site]
        for gone in self._limits.keys() - wanted.keys():
            del self._limits[gone]
        for site, (peer, card) in wanted.items():
            self.limits_of(site).send.set_rate(peer.limit_bytes_per_second)
            if site not in self._begun and peer.address is not None:
                self._begun[site] = (peer, card)
                self._queues[site] = self._new_queue(site, peer.address)
                self._tasks.start(_task(site), self._queues[site].run)

    async def close(self) -> None:
        """Stop all queues and the listener; what has arrived is durable when this returns."""
        for site in list(self._begun):
            await self._tasks.stop(_task(site))
        await self.use_endpoint(None)

    def _new_queue(self, site: SiteId, address: Address) -> PeerQueue:
        async def connect() -> Line:
            return await self._dial(site, address)

        return PeerQueue(site, connect, self._desk, clock=self._clock, log=self._log, above=self._above)

    async def _dial(self, site: SiteId, address: Address) -> Link:
        pin = self._live.pin(site)
        if pin is None:
            raise NotFoundError("there is no peer {peer} in the configuration", peer=site)
        return await dial(
            self._local, pin, address.host, address.port, limits=self.limits_of(site), offload=self._offload.disk,
            clock=self._clock,
        )

    # What is asked of them.

    @property
    def port(self) -> int | None:
        """Where this site listens; None where nobody may dial."""
        return self._endpoint.port if self._endpoint is not None else None

    def queue(self, site: SiteId) -> PeerQueue:
        """Return a peer's queue.

        Raises:
            NotFoundError: There is no such peer.
            UsageError: The peer dials this site, never the other way round.
        """
        if site in self._queues:
            return self._queues[site]
        if self._live.settings.peer(site) is None:
            raise NotFoundError(
                "there is no peer {peer} in the configuration", "see 'jbackupd config show'", peer=site
            )
        raise UsageError("unable to reach {peer}: it has no address", "add its address to the [[peer]]", peer=site)

    async def line_of_its_own(self, site: SiteId) -> Link:
        """Return a new line to a peer, which belongs to whoever asked: nothing is sent on it that would hold him up.

        Raises:
            NotFoundError: There is no such peer, or it has no address.
            PeerError: It cannot be reached.
        """
        peer = self._live.settings.peer(site)
        if peer is None or peer.address is None:
            raise NotFoundError("unable to reach {peer}: it has no address", peer=site)
        return await self._dial(site, peer.address)

    def limits_of(self, site: SiteId) -> Limits:
        """Return the limits of all links with a peer together."""
        if site not in self._limits:
            peer = self._live.settings.peer(site)
            rate = peer.limit_bytes_per_second if peer is not None else None
            self._limits[site] = Limits(send=Pacer(rate, self._clock), receive=Pacer(None, self._clock))
        return self._limits[site]

    def limits(self) -> dict[SiteId, tuple[float | None, int | None]]:
        """Return the limit in force and the configured one of each peer."""
        return {
            peer.id: (self.limits_of(peer.id).send.rate, peer.limit_bytes_per_second)
            for peer in self._live.settings.peers
        }

    def set_limit(self, site: SiteId, bytes_per_second: int | None) -> None:
        """Change how fast a peer is sent to, until a reload or the end.

        Raises:
            NotFoundError: There is no such peer.
            UsageError: The limit is negative.
        """
        if self._live.settings.peer(site) is None:
            raise NotFoundError(
                "there is no peer {peer} in the configuration", "see 'jbackupd config show'", peer=site
            )
        if bytes_per_second is not None and bytes_per_second < 0:
            raise UsageError("a limit is 0 or more bytes per second")
        self.limits_of(site).send.set_rate(bytes_per_second)
        self._log.info(_("the limit of {peer} is now {limit} bytes per second"), peer=site, limit=bytes_per_second)

    def facts(self) -> dict[SiteId, PeerFacts]:
        """Return how each peer's line stands."""
        links = self._endpoint.links if self._endpoint is not None else {}
        return {
            peer.id: PeerFacts(
                self._queues[peer.id].state if peer.id in self._queues else QueueState(),
                self.limits_of(peer.id).send.rate, links.get(peer.id, 0),
            )
            for peer in self._live.settings.peers
        }

    def _up(self) -> list[SiteId]:
        return [site for site, facts in self.facts().items() if facts.state.up or facts.links_from]

    def met(self, site: SiteId) -> ContactIs | None:
        """Return what this site knows of its contact with another one; None if there is no such site."""
        facts = self.facts().get(site)
        if facts is None:
            return None
        return ContactIs(
            up=facts.state.up or facts.links_from > 0, at=_micros(self.contacts.last(site)),
            receipt=_micros(self._desk.signed_at(site)),
        )


class _HeardHolder(VaultHolder):
    """Holds objects for peers, and tells when a point has come in."""

    def __init__(self, received: Callable[[TenantId], None], files: PosixFiles, **others: object) -> None:
        super().__init__(files, **others)  # type: ignore[arg-type]
        self._received = received

    def commit(self, peer: SiteId, tenant: TenantId, point: ObjectName) -> bytes:
        """Check a point that was put, list it durably, and return the receipt."""
        receipt = super().commit(peer, tenant, point)
        self._received(tenant)
        return receipt


def _micros(moment: datetime | None) -> int:
    return 0 if moment is None else (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _task(site: SiteId) -> str:
    return f"queue of {site}"
