"""Lines to other sites for a command that works without the daemon, or beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from jbackupd.continuity.authority import Lineage
from jbackupd.continuity.epoch import read_lineages
from jbackupd.engine.bring import Place, SiteLine
from jbackupd.format.identity import Card
from jbackupd.model.errors import NotFoundError, RefusedError, UsageError
from jbackupd.model.ids import SiteId
from jbackupd.model.units import Address
from jbackupd.protocol.handshake import Other, Own
from jbackupd.service.wiring import open_site
from jbackupd.settings.schema import Settings
from jbackupd.storage.files import PosixFiles
from jbackupd.transport.dial import dial
from jbackupd.transport.ssh import LocalSite, PinnedSite


class ReadEpochs:
    """The epochs that this site knows of, for who only asks: nothing is learned. See `protocol.handshake.EpochBook`.

    Args:
        files: The state folder.
        site: This site.
    """

    def __init__(self, files: PosixFiles, site: SiteId) -> None:
        self._site = site
        self._lineages = read_lineages(files)

    def epoch_of(self, site: SiteId) -> int:
        """Return the epoch in force for a site; for this site the one that it acts under."""
        lineage = self._lineages.get(site, Lineage(site))
        return lineage.own_epoch if site == self._site else lineage.epoch

    def known(self) -> Mapping[SiteId, int]:
        """Return the epochs of all sites that have one above the first."""
        return {site: lineage.epoch for site, lineage in self._lineages.items()}

    def may_author(self, site: SiteId, epoch: int) -> bool:
        """Tell whether a site acts now, and its points of an epoch count."""
        return self._lineages.get(site, Lineage(site)).acted(epoch)

    def news_for(self, epochs: Mapping[SiteId, int]) -> list[bytes]:
        """Return nothing: who only asks tells nothing."""
        return []

    def learn(self, declaration: bytes) -> None:
        """Refuse: who asks is told nothing."""
        raise RefusedError("a command that reads takes no declarations")


def places_of(settings: Settings, names: Sequence[str] = ()) -> list[Place]:
    """Return the sites that can be dialled from here. Blocks.

    Args:
        names: Only these, in this order; all without, as the configuration lists them.

    Raises:
        NotFoundError: There is no such peer, or this site has no identity.
        UsageError: A named peer has no address.
    """
    site = open_site(settings)
    local = LocalSite(Own(site.identity.site, site.identity.signer, ReadEpochs(site.files, site.identity.site)),
                      site.identity.ssh_seed)
    return [
        Place(peer, partial(_dial, local, site.cards[peer], address))
        for peer, address in _addresses(settings, names).items()
    ]


def _addresses(settings: Settings, names: Sequence[str]) -> dict[SiteId, Address]:
    found: dict[SiteId, Address] = {}
    for name in names:
        peer = settings.peer(SiteId(name))
        if peer is None:
            raise NotFoundError(
                "there is no peer {peer} in the configuration", "see 'jbackupd config show'", peer=name
            )
        if peer.address is None:
            raise UsageError(
                "unable to reach {peer}: it has no address", "add its address to the [[peer]]", peer=name
            )
        found[peer.id] = peer.address
    return found or {peer.id: peer.address for peer in settings.peers if peer.address is not None}


async def _dial(local: LocalSite, card: Card, address: Address) -> SiteLine:
    pinned = PinnedSite(Other(SiteId(card.id), card.verifier), card.ssh_public)
    return await dial(local, pinned, address.host, address.port)
