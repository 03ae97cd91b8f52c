"""Makes a tenant's vault: keys, shares for the officers, folders. In an order that a crash at any moment survives."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from jbackupd.codec.shares import Share, split
from jbackupd.model.clock import Clock
from jbackupd.model.errors import NotFoundError, RefusedError, StorageError
from jbackupd.model.ids import ObjectKind, TenantId
from jbackupd.storage.durable import write_durably
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.identity import SiteIdentity, write_card
from jbackupd.vault.keylog import ShareEvent, note
from jbackupd.vault.keyring import FOLDER as KEYRING_FOLDER
from jbackupd.vault.keyring import Keyring
from jbackupd.vault.sheet import share_sheet
from jbackupd.vault.store import ObjectStore

_BEFORE_OTHERS = (ObjectKind.KEY.folder, "tmp")
"""A vault is there when all of its folders are: by then it must hold the tenant's key objects."""


@dataclass(frozen=True, slots=True)
class Founded:
    """What was made; paths.

    Attributes:
        card: The site's card.
        shares: One file for each share.
        sheets: One page to print for each share, if wanted.
    """

    card: str
    shares: list[str]
    sheets: list[str]


def found_vault(
    files: PosixFiles, store: ObjectStore, identity: SiteIdentity, tenant: TenantId, *, threshold: int, count: int,
    share_folder: str, sheets: bool, clock: Clock,
) -> Founded:
    """Make a tenant's keys and vault; the folders of the vault come last, and only they make it one.

    The recovery key exists in the shares only. Whoever is interrupted before the vault is there begins again: keys that
    no vault was made with have sealed nothing.

    Args:
        share_folder: Made new, or empty; on a medium that leaves the machine.
        sheets: Also write a page to print for each share.

    Raises:
        RefusedError: The tenant has a vault here, or the share folder holds something.
    """
    if store.exists():
        raise RefusedError(
            "{tenant} has a vault at this site already",
            "keep it: new keys would make new points unreadable with the shares that were handed out", tenant=tenant,
        )
    _check_unused(files, store, tenant)
    folder = _new_folder(share_folder)
    _forget_unfinished(files, store, tenant)
    made = Keyring.create(files, tenant, local_key=identity.local_key, now=clock.now())
    shares = split(made.recovery_seed, threshold=threshold, count=count, label=tenant)
    texts, pages = _write_into(folder, shares, clock.now() if sheets else None)
    for name in _BEFORE_OTHERS:
        files.make_folder(f"{store.folder}/{name}")
    for data in made.objects:
        store.put(ObjectKind.KEY, data)
    store.create()
    recovery = made.keyring.recovery_public.fingerprint.hex()
    note(files, tenant, ShareEvent(clock.now(), "made", recovery, shares[0].set_id.hex(), threshold, count))
    return Founded(os.path.join(files.root, write_card(files, identity)), texts, pages)


def write_shares(path: str, shares: Sequence[Share], printed_at: datetime | None) -> tuple[list[str], list[str]]:
    """Write shares into a new or empty folder, durable; return the paths of the texts and of the sheets.

    Args:
        printed_at: With a moment, also a sheet to print is written for each share.

    Raises:
        RefusedError: The folder holds something.
    """
    return _write_into(_new_folder(path), shares, printed_at)


def _write_into(
    folder: PosixFiles, shares: Sequence[Share], printed_at: datetime | None
) -> tuple[list[str], list[str]]:
    texts: list[str] = []
    pages: list[str] = []
    for share in shares:
        name = f"{share.label}-share-{share.index}-of-{share.count}"
        write_durably(folder, name + ".txt", share.to_text().encode(), temporary=name + ".txt.new")
        texts.append(os.path.join(folder.root, name + ".txt"))
        if printed_at is not None:
            page = share_sheet(share, printed_at).encode()
            write_durably(folder, name + ".html", page, temporary=name + ".html.new")
            pages.append(os.path.join(folder.root, name + ".html"))
    return texts, pages


def _new_folder(path: str) -> PosixFiles:
    folder = PosixFiles(path)
    folder.make_folder("")
    if folder.names(""):
        raise RefusedError(
            "{path} is not empty", "name a new folder, so that the shares are all that is in it", path=folder.root
        )
    try:
        os.chmod(folder.root, 0o700)
    except OSError as error:
        raise StorageError(
            "unable to make {path} private: {reason}", "name a folder of your own",
            path=folder.root, reason=os.strerror(error.errno or 0),
        ) from error
    return folder


def _check_unused(files: PosixFiles, store: ObjectStore, tenant: TenantId) -> None:
    """Refuse to begin again where objects lie: a lost empty folder must not cost the keys of a vault."""
    for kind in ObjectKind:
        folder = f"{store.folder}/{kind.folder}"
        if kind is not ObjectKind.KEY and files.exists(folder) and files.names(folder):
            raise RefusedError(
                "the vault of {tenant} is not whole, but holds {kind} objects: a folder of it is missing",
                "make the missing folder of {path} again; new keys would make these objects unreadable",
                tenant=tenant, kind=kind.name.lower(), path=store.folder,
            )


def _forget_unfinished(files: PosixFiles, store: ObjectStore, tenant: TenantId) -> None:
    """Remove what an interrupted call has left: no vault was ever there, so nothing was sealed with these keys."""
    with contextlib.suppress(NotFoundError):
        files.remove(f"{KEYRING_FOLDER}/{tenant}")
        files.sync_folder(KEYRING_FOLDER)
    keys = f"{store.folder}/{ObjectKind.KEY.folder}"
    if files.exists(keys):
        for name in files.names(keys):
            files.remove(f"{keys}/{name}")
        files.sync_folder(keys)
