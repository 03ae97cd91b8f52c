"""The configuration in force: checked wholly before it is taken, then replaced as one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from jbackupd.codec.signing import SiteVerifier
from jbackupd.continuity.epoch import Epochs
from jbackupd.format.identity import Card
from jbackupd.model.errors import ConfigError
from jbackupd.model.ids import DatasetId, SiteId, TenantId
from jbackupd.protocol.handshake import Other
from jbackupd.service.scheduler import Timetable
from jbackupd.service.wiring import officer_verifiers, peer_cards
from jbackupd.settings.schema import Settings
from jbackupd.storage.files import PosixFiles
from jbackupd.transport.ssh import PinnedSite
from jbackupd.vault.identity import SiteIdentity

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True)
class Checked:
    """Settings, and every file that they name, read and found good."""

    settings: Settings
    cards: Mapping[SiteId, Card]
    officers: Mapping[str, SiteVerifier]


def check(settings: Settings) -> Checked:
    """Read what settings name. Blocks.

    Raises:
        ConfigError: A card cannot be used.
    """
    return Checked(settings, peer_cards(settings), officer_verifiers(settings))


def check_successor(old: Settings, new: Settings) -> None:
    """Check that a running daemon may take over a configuration.

    Raises:
        ConfigError: It is another site's, or of another state folder.
    """
    for key, before, after in (
        ("site.id", old.site.id, new.site.id),
        ("site.state", old.site.state, new.site.state),
    ):
        if before != after:
            raise ConfigError(
                "{key} cannot change while the daemon runs: it is {before}, the configuration says {after}",
                "set it back, or stop the daemon and start it again", key=key, before=before, after=after,
            )


class Live:
    """What is in force now. Its mappings stay the same objects over a reload, so whoever holds one sees the new state.

    Args:
        checked: What to begin with.
        identity: Who this site is.
    """

    def __init__(self, checked: Checked, identity: SiteIdentity) -> None:
        self.settings = checked.settings
        self.identity = identity
        self.cards: dict[SiteId, Card] = {}
        self.verifiers: dict[SiteId, SiteVerifier] = {}
        self.officers: dict[str, SiteVerifier] = {}
        self.take(checked)

    def take(self, checked: Checked) -> None:
        """Let a configuration be in force."""
        self.settings = checked.settings
        _become(self.cards, checked.cards)
        _become(self.officers, checked.officers)
        own = {self.identity.site: self.identity.signer.public}
        _become(self.verifiers, {site: card.verifier for site, card in checked.cards.items()} | own)

    def pin(self, site: SiteId) -> PinnedSite | None:
        """Return the keys that another site must prove; None for a stranger."""
        card = self.cards.get(site)
        return None if card is None else PinnedSite(Other(site, card.verifier), card.ssh_public)

    def timetable(self) -> Timetable:
        """Return when what is to be taken."""
        settings = self.settings
        return Timetable(settings.site.zone, {dataset.id: dataset.schedule for dataset in settings.datasets})

    def peers_of(self, dataset: DatasetId) -> list[SiteId]:
        """Return the peers that must hold a dataset."""
        found = self.settings.dataset(dataset)
        return [] if found is None else [peer.id for peer in self.settings.peers_of(found)]

    def is_own(self, tenant: TenantId) -> bool:
        """Tell whether a tenant's data is taken here."""
        return self.settings.tenant(tenant) is not None


class ConfiguredRights:
    """Who may do what at the listening side, by the configuration in force and the declarations of lost sites.

    A peer may write what the configuration holds for it, and what it holds for a site that was declared lost and for
    which this peer acts. Every pinned peer may read what is held here: it is sealed, and after a disaster the only site
    that still has it must not refuse it over a line that is missing in its configuration.
    """

    def __init__(self, live: Live, epochs: Epochs) -> None:
        self._live = live
        self._epochs = epochs

    def may_write(self, peer: SiteId, tenant: TenantId) -> bool:
        """Tell whether this site holds the tenant's objects for this peer."""
        for site in self._live.settings.peers:
            if tenant in site.holds:
                declaration = self._epochs.loss_of(site.id)
                acting = site.id if declaration is None else declaration.statement.acting
                if peer == acting:
                    return True
        return False

    def may_read(self, peer: SiteId, tenant: TenantId) -> bool:
        """Tell whether this peer may have the tenant's (sealed) objects."""
        return peer in self._live.cards

    def may_deposit(self, peer: SiteId, tenant: TenantId) -> bool:
        """Tell whether journals of this peer's desks are kept here: where the tenant is at home, or held."""
        held = any(tenant in site.holds for site in self._live.settings.peers)
        return peer in self._live.cards and (held or self._live.is_own(tenant))

    def quota(self, tenant: TenantId) -> int | None:
        """Return how many bytes the tenant may use here; unlimited in this version."""
        return None


def open_epochs(files: PosixFiles, live: Live) -> Epochs:
    """Open the declarations that this site has accepted. Blocks.

    Raises:
        DamageError: The journal is damaged.
    """
    return Epochs(
        files, live.identity.site, officers=lambda: live.officers,
        needed=lambda: live.settings.approval.declare_lost, sites=lambda: live.verifiers, signer=live.identity.signer,
    )


def _become(target: dict[K, V], source: Mapping[K, V]) -> None:
    """Make a dictionary hold what another one holds, without ever lacking what both have."""
    target.update(source)
    for gone in target.keys() - source.keys():
        del target[gone]
