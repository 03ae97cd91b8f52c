"""Builds everything from settings: the only place that knows which class stands behind which protocol.

For commands that work without the daemon (--local, reading, verifying) these are plain blocking functions; the daemon
builds on the same ones.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from jbackupd.catalog.database import Catalog, discard
from jbackupd.codec.signing import SiteVerifier
from jbackupd.continuity.epoch import Epochs
from jbackupd.format.identity import Card, CardKind, decode_card
from jbackupd.model.clock import SystemClock
from jbackupd.model.errors import BusyError, ConfigError, FormatError, KeyMissingError, NotFoundError, StorageError
from jbackupd.model.ids import DatasetId, ObjectKind, SiteId, TenantId, is_word
from jbackupd.model.records import Access, Preset
from jbackupd.service.leases import reading
from jbackupd.service.lock import state_lock
from jbackupd.settings import schema
from jbackupd.settings.schema import Dataset, Settings
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.commit import Authorship
from jbackupd.vault.identity import SiteIdentity, load_identity, load_or_create
from jbackupd.vault.keyring import HISTORY_DAYS, Keyring, KeySource
from jbackupd.vault.rebuild import Reconciliation, rebuild, reconcile
from jbackupd.vault.soundness import Soundness
from jbackupd.vault.store import ObjectStore
from jbackupd.vault.unsound import forget_unsound
from jbackupd.vault.vault import PointList, Vault

if TYPE_CHECKING:
    # What takes points brings numpy, asyncio and its threads: a fifth of a second that no reading command has.
    from jbackupd.service.founding import Founded
    from jbackupd.service.taken import Take, Taken
    from jbackupd.service.taking import OwnVault
    from jbackupd.sources.port import Source

VAULTS = "vaults"
CATALOGS = "catalog"


@dataclass(frozen=True)
class Site:
    """This site as its settings and its state folder make it.

    Attributes:
        files: The state folder.
        cards: The cards of the peers.
        verifiers: Who may sign points and receipts: the peers and this site itself.
    """

    settings: Settings
    files: PosixFiles
    identity: SiteIdentity
    cards: Mapping[SiteId, Card]
    verifiers: Mapping[SiteId, SiteVerifier]


def open_site(settings: Settings) -> Site:
    """Read this site's identity and the cards of its peers. Blocks.

    Raises:
        NotFoundError: The site has no identity yet.
        ConfigError: A card cannot be used.
    """
    files = PosixFiles(settings.site.state)
    identity = load_identity(files, settings.site.id)
    cards = peer_cards(settings)
    verifiers = {site: card.verifier for site, card in cards.items()} | {identity.site: identity.signer.public}
    return Site(settings, files, identity, cards, verifiers)


def peer_cards(settings: Settings) -> dict[SiteId, Card]:
    """Read the cards of all peers. Blocks.

    Raises:
        ConfigError: A card is missing, damaged, or another site's.
    """
    return {peer.id: read_card(peer.card, CardKind.SITE, peer.id) for peer in settings.peers}


def officer_verifiers(settings: Settings) -> dict[str, SiteVerifier]:
    """Read the cards of all officers. Blocks.

    Raises:
        ConfigError: A card is missing, damaged, or another person's.
    """
    return {
        officer.id: read_card(officer.card, CardKind.OFFICER, officer.id).verifier for officer in settings.officers
    }


def read_card(path: str, kind: CardKind, expected: str) -> Card:
    """Read a card that the configuration names.

    Raises:
        ConfigError: It is missing, damaged, or somebody else's.
    """
    try:
        with open(path, "rb") as file:
            card = decode_card(file.read(), kind)
    except (OSError, FormatError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(
            "unable to use the card of {id}: {path}: {reason}", "fetch the card from {id} and compare its fingerprint",
            id=expected, path=path, reason=reason,
        ) from error
    if card.id != expected:
        raise ConfigError(
            "unable to use the card of {id}: {path} is the card of {found}", "name the right file",
            id=expected, path=path, found=card.id,
        )
    return card


def store_of(files: PosixFiles, tenant: TenantId) -> ObjectStore:
    """Return the objects of a tenant, its own or held."""
    return ObjectStore(files, f"{VAULTS}/{tenant}")


def tenants_here(files: PosixFiles) -> list[TenantId]:
    """Return the tenants that have a vault in a state folder, own and held, sorted."""
    if not files.exists(VAULTS):
        return []
    return [TenantId(name) for name in files.names(VAULTS) if is_word(name)]


def clear_leftovers(files: PosixFiles) -> None:
    """Remove what interrupted writes left in every vault; nothing else may be at work in the state folder. Blocks."""
    for tenant in tenants_here(files):
        store = store_of(files, tenant)
        if store.exists():
            store.clear_temporary()


def known_verifiers(settings: Settings) -> dict[SiteId, SiteVerifier]:
    """Return who may sign points, as far as it is known here: a machine without an identity still reads. Blocks."""
    found = {site: card.verifier for site, card in peer_cards(settings).items()}
    with contextlib.suppress(NotFoundError):
        identity = load_identity(PosixFiles(settings.site.state), settings.site.id)
        found[identity.site] = identity.signer.public
    return found


def point_lists(settings: Settings, tenant: TenantId | None = None) -> list[PointList]:
    """Return the points of one tenant's vault, or of every vault of this site; needs no keys and no lock. Blocks.

    Raises:
        NotFoundError: The tenant has no vault here.
    """
    files, verifiers = PosixFiles(settings.site.state), known_verifiers(settings)
    tenants = tenants_here(files) if tenant is None else [tenant]
    return [PointList(existing_store(files, name), verifiers) for name in tenants]


def existing_store(files: PosixFiles, tenant: TenantId) -> ObjectStore:
    """Return the objects of a tenant.

    Raises:
        NotFoundError: The tenant has no vault here.
    """
    store = store_of(files, tenant)
    if not store.exists():
        raise NotFoundError(
            "there is no vault of {tenant} in {state}", "make it with 'jbackupd vault init {tenant}'",
            tenant=tenant, state=files.root,
        )
    return store


class NoKeys:
    """The keys of a site that only stores: none."""

    def __init__(self, tenant: TenantId) -> None:
        self._tenant = tenant

    def content_hash(self) -> NoReturn:
        """Refuse."""
        raise self._missing()

    def session_key(self, session_id: bytes) -> NoReturn:
        """Refuse."""
        raise self._missing()

    def object_key(self, session_id: bytes, object_id: bytes, kind: ObjectKind) -> NoReturn:
        """Refuse."""
        raise self._missing()

    def _missing(self) -> KeyMissingError:
        return KeyMissingError(
            "this site holds {tenant} sealed, without its keys",
            "read it at the site that owns it, or recover the keys from shares with 'jbackupd key recover'",
            tenant=self._tenant,
        )


def keys_of(files: PosixFiles, tenant: TenantId, identity: SiteIdentity | None) -> KeySource:
    """Return what keys of a tenant this site has: its keyring, or none."""
    if identity is not None:
        with contextlib.suppress(KeyMissingError):
            return Keyring.open(files, tenant, local_key=identity.local_key)
    return NoKeys(tenant)


@contextlib.contextmanager
def open_vault(settings: Settings, tenant: TenantId, keys: KeySource | None = None) -> Iterator[Vault]:
    """Open a tenant's vault for reading, whether or not a daemon is running. Blocks.

    The catalog on disk is used under the state folder's lock; while somebody else holds it, or the folder cannot be
    written, a catalog in memory is made from the vault's indexes.

    Args:
        settings: Of this site.
        tenant: Whose vault.
        keys: Instead of this site's own, for example recovered from shares.

    Raises:
        NotFoundError: The tenant has no vault here.
    """
    files = PosixFiles(settings.site.state)
    store = existing_store(files, tenant)
    identity: SiteIdentity | None = None
    with contextlib.suppress(NotFoundError):
        identity = load_identity(files, settings.site.id)
    keys = keys or keys_of(files, tenant, identity)
    with reading(settings.site.state, tenant), _catalog_for_reading(settings, tenant) as (catalog, is_shared):
        reconcile(store, catalog, keys, tenant=tenant, with_chunks=is_shared)
        yield Vault(store, catalog, keys, tenant=tenant, verifiers=known_verifiers(settings))


@contextlib.contextmanager
def _catalog_for_reading(settings: Settings, tenant: TenantId) -> Iterator[tuple[Catalog, bool]]:
    """Yield a catalog, and whether it is the one on disk that backups use as well."""
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(state_lock(settings.site.state))
            path = catalog_path(settings, tenant)
        except (BusyError, StorageError):
            path = ":memory:"
        catalog = held.enter_context(contextlib.closing(Catalog(path)))
        yield catalog, path != ":memory:"


def catalog_path(settings: Settings, tenant: TenantId) -> str:
    """Return where a tenant's catalog lies."""
    return f"{settings.site.state}/{CATALOGS}/{tenant}.sqlite"


def open_epochs(site: Site) -> Epochs:
    """Open the declarations that this site has accepted; whoever calls holds the lock. Blocks.

    Raises:
        DamageError: The journal is damaged.
        ConfigError: An officer's card cannot be used.
    """
    officers = officer_verifiers(site.settings)
    return Epochs(
        site.files, site.identity.site, officers=lambda: officers,
        needed=lambda: site.settings.approval.declare_lost, sites=lambda: site.verifiers, signer=site.identity.signer,
    )


def author_of(identity: SiteIdentity, epochs: Epochs) -> Authorship:
    """Return who signs points here.

    Raises:
        FencedError: This site was declared lost; it takes no points any more.
    """
    epochs.check_own()
    return Authorship(identity.site, epochs.epoch_of(identity.site), identity.signer)


def source_of(dataset: Dataset) -> Source:
    """Return what reads a dataset.

    Raises:
        SourceError: Its paths contradict each other.
    """
    from jbackupd.sources.command import CommandSource
    from jbackupd.sources.files import FilesSource

    wanted = dataset.source
    if isinstance(wanted, schema.FilesSource):
        return FilesSource(
            [os.fsencode(path) for path in wanted.paths], exclude=[os.fsencode(name) for name in wanted.exclude],
            one_file_system=wanted.one_file_system,
        )
    return CommandSource(
        wanted.command, file_name=os.fsencode(wanted.file_name), allow_empty=wanted.allow_empty,
        timeout_seconds=wanted.timeout.total_seconds(),
    )


def dataset_named(settings: Settings, wanted: DatasetId) -> Dataset:
    """Return a dataset of the configuration.

    Raises:
        NotFoundError: There is none of that name.
    """
    found = settings.dataset(wanted)
    if found is None:
        raise NotFoundError(
            "there is no dataset {dataset} in the configuration", "see 'jbackupd config show'", dataset=wanted
        )
    return found


@contextlib.contextmanager
def open_own_vault(site: Site, tenant: TenantId, epochs: Epochs) -> Iterator[OwnVault]:
    """Open the vault of a tenant of this site for writing; whoever calls holds the state folder's lock. Blocks.

    Raises:
        NotFoundError: The tenant has no vault here.
        KeyMissingError: This site has none of its keys.
        FencedError: This site was declared lost.
    """
    from jbackupd.service.taking import OwnVault

    settings = site.settings
    author = author_of(site.identity, epochs)
    store = existing_store(site.files, tenant)
    keyring = Keyring.open(site.files, tenant, local_key=site.identity.local_key, zone=settings.site.zone)
    keyring.settle(store)
    found = settings.tenant(tenant)
    with contextlib.closing(Catalog(catalog_path(settings, tenant))) as catalog:
        damaged = {ref.name for ref in Soundness(store).unsound(ObjectKind.PACK)}
        # Those that were healed since are learned anew, with all of their frames.
        catalog.forget_packs(catalog.packs_with_lost_frames() - damaged)
        reconcile(store, catalog, keyring, tenant=tenant)
        forget_unsound(store, catalog, keyring, damaged, tenant=tenant)
        vault = Vault(store, catalog, keyring, tenant=tenant, verifiers=site.verifiers)
        yield OwnVault(vault, keyring, author, found.history_days if found else HISTORY_DAYS)


@contextlib.contextmanager
def take_locally(settings: Settings) -> Iterator[Take]:
    """Take points in this process; holds the state folder's lock.

    Raises:
        BusyError: The daemon or another command is at work.
    """
    from jbackupd.service.taking import take_point

    with state_lock(settings.site.state):
        site = open_site(settings)
        epochs = open_epochs(site)
        clear_leftovers(site.files)

        def take(
            dataset: DatasetId, progress: Callable[[int, int], None], stopped: Callable[[], bool], /
        ) -> Taken:
            chosen = dataset_named(settings, dataset)
            with open_own_vault(site, dataset.tenant, epochs) as own:
                return take_point(
                    own, dataset, source_of(chosen), preset=Preset(chosen.preset), access=Access(chosen.access),
                    clock=SystemClock(), progress=progress, stopped=stopped,
                )

        yield take


def look_at(settings: Settings, dataset: DatasetId, progress: Callable[[int, int], None]) -> Taken:
    """Read a dataset's source and store nothing; needs no lock. Blocks."""
    from jbackupd.service.taking import look_through

    return look_through(source_of(dataset_named(settings, dataset)), progress)


def rebuild_catalog(settings: Settings, tenant: TenantId) -> Reconciliation:
    """Make a tenant's catalog anew from its vault; holds the state folder's lock. Blocks.

    Raises:
        BusyError: The daemon or another command is at work.
        NotFoundError: The tenant has no vault here.
    """
    with state_lock(settings.site.state):
        site = open_site(settings)
        store = existing_store(site.files, tenant)
        path = catalog_path(settings, tenant)
        discard(path)
        with contextlib.closing(Catalog(path)) as catalog:
            return rebuild(store, catalog, keys_of(site.files, tenant, site.identity), tenant=tenant)


def create_vault(
    settings: Settings, tenant: TenantId, *, threshold: int, count: int, share_folder: str, sheets: bool = False
) -> Founded:
    """Make a tenant's vault and keys, and the site's identity if there is none; holds the lock. Blocks.

    Args:
        settings: Of this site.
        tenant: A tenant of the configuration.
        threshold: How many shares open the recovery key.
        count: How many shares there are.
        share_folder: Where they are written; new or empty.
        sheets: Also write a page to print for each share.

    Raises:
        RefusedError: The tenant has a vault here, or the folder holds something.
        BusyError: The daemon or another command is at work.
    """
    from jbackupd.service.founding import found_vault

    with state_lock(settings.site.state):
        files = PosixFiles(settings.site.state)
        identity = load_or_create(files, settings.site.id)
        return found_vault(
            files, store_of(files, tenant), identity, tenant, threshold=threshold, count=count,
            share_folder=share_folder, sheets=sheets, clock=SystemClock(),
        )
