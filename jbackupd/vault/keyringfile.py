"""The keyring's file, STATE/keyring/TENANT: sealed under the site's local key, rewritten whole.

    offset  size  field
    0       12    random nonce
    12      ...   AES-256-GCM of a msgpack array, associated data "jbackupd 1 keyring " ‖ tenant:
                  [tenant, tenant secret, recovery public key, epoch label, epoch public key,
                   epoch key object, [[session id, session key, created at], ...],
                   [key object, ...], [name of a key object, ...],
                   [[session id, kind, object id, object key, created at], ...],
                   [[session id, session key, created at], ...]]

The last four are empty in most files: key objects that are not in the vault yet, key objects that must never be
there again, keys of single objects of an erased epoch, and sessions that open nothing before those key objects are
in the vault. A file of an earlier version ends before them.

Beside it may lie TENANT.new and TENANT.next, unfinished writes, and TENANT.old, a keyring that is being destroyed;
while there is no TENANT, TENANT.old is the keyring. TENANT.rotate holds the name of the epoch that somebody wishes to
end: the next session begins another one.

Only this site reads it; another site gets its keys from shares.
"""

from __future__ import annotations

import contextlib
import posixpath
from datetime import datetime

import msgspec

from jbackupd.codec.seal import open_blob, seal_blob
from jbackupd.model.errors import KeyMissingError, KeyringError, NotFoundError, StorageError
from jbackupd.model.ids import TenantId
from jbackupd.storage.durable import destroy_durably, rename_durably, write_durably
from jbackupd.storage.files import Files

FOLDER = "keyring"
_NEW, _NEXT, _OLD, _ROTATE = ".new", ".next", ".old", ".rotate"


class SavedSession(msgspec.Struct, array_like=True, frozen=True):
    """A session key; `created_at` is aware UTC."""

    id: bytes
    key: bytes
    created_at: datetime

    def __repr__(self) -> str:
        return f"SavedSession({self.id.hex()})"


class SavedKept(msgspec.Struct, array_like=True, frozen=True):
    """The key of a single object whose session's key is no more; `created_at` is the session's, aware UTC."""

    session_id: bytes
    kind: int
    object_id: bytes
    key: bytes
    created_at: datetime

    def __repr__(self) -> str:
        return f"SavedKept({self.object_id.hex()})"


class SavedKeyring(msgspec.Struct, array_like=True, frozen=True):
    """What the file holds.

    Attributes:
        unplaced: Key objects that belong into the vault before anything else is sealed.
        pending: Sessions that count only when nothing is unplaced any more.
        doomed: Names of key objects that are to be destroyed in the vault, whenever they are there.
    """

    tenant: str
    tenant_secret: bytes
    recovery_public: bytes
    epoch_label: str
    epoch_public: bytes
    epoch_object: bytes
    sessions: tuple[SavedSession, ...] = ()
    unplaced: tuple[bytes, ...] = ()
    doomed: tuple[bytes, ...] = ()
    kept: tuple[SavedKept, ...] = ()
    pending: tuple[SavedSession, ...] = ()

    def __repr__(self) -> str:
        return f"SavedKeyring({self.tenant})"


def path_of(tenant: TenantId) -> str:
    """Return where a tenant's keyring is in the state folder."""
    return posixpath.join(FOLDER, tenant)


def exists(files: Files, tenant: TenantId) -> bool:
    """Tell whether a tenant has a keyring here, good or not."""
    return files.exists(path_of(tenant)) or files.exists(path_of(tenant) + _OLD)


def load(files: Files, tenant: TenantId, local_key: bytes) -> SavedKeyring:
    """Read a keyring.

    Raises:
        KeyMissingError: There is none.
        KeyringError: It does not open with this site's local key, or is damaged.
    """
    path = path_of(tenant)
    try:
        # Between the two renames of `replace` there is none under its own name.
        sealed = files.read(path if files.exists(path) else path + _OLD)
    except NotFoundError as error:
        raise KeyMissingError(
            "this site has no keys of {tenant}",
            "a site that only stores has none; to recover, use shares", tenant=tenant,
        ) from error
    try:
        saved = msgspec.msgpack.decode(open_blob(local_key, sealed, context=_context(tenant)), type=SavedKeyring)
        if saved.tenant != tenant:
            raise msgspec.ValidationError("another tenant")
        return saved
    except (KeyringError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise KeyringError(
            "the keyring of {tenant} does not open: it is damaged, or was made with another identity of this site",
            "write it anew from shares with 'jbackupd key recover {tenant} --keep'", tenant=tenant,
        ) from error


def save(files: Files, saved: SavedKeyring, local_key: bytes) -> None:
    """Write a keyring, durable when it returns; a crash leaves the old one or the new one."""
    path = path_of(TenantId(saved.tenant))
    files.make_folder(FOLDER)
    write_durably(files, path, _sealed(saved, local_key), temporary=path + _NEW)


def replace(files: Files, saved: SavedKeyring, local_key: bytes) -> None:
    """Write a keyring and destroy the one before; a crash leaves one of them, see `settle`."""
    path = path_of(TenantId(saved.tenant))
    write_durably(files, path + _NEXT, _sealed(saved, local_key), temporary=path + _NEW)
    rename_durably(files, path, path + _OLD)
    rename_durably(files, path + _NEXT, path)
    destroy_durably(files, path + _OLD)


def settle(files: Files, tenant: TenantId) -> None:
    """Finish what an interrupted `replace` has left: the new keyring if it has its name, else the old one."""
    path = path_of(tenant)
    if not files.exists(path) and files.exists(path + _OLD):
        rename_durably(files, path + _OLD, path)
    for ending in (_OLD, _NEXT, _NEW):
        if files.exists(path + ending):
            destroy_durably(files, path + ending)


def ask_rotation(files: Files, saved: SavedKeyring) -> None:
    """Wish that the epoch of a keyring ends; durable when it returns, harmless twice."""
    path = path_of(TenantId(saved.tenant)) + _ROTATE
    write_durably(files, path, saved.epoch_label.encode(), temporary=path + _NEW)


def is_rotation_asked(files: Files, saved: SavedKeyring) -> bool:
    """Tell whether somebody wishes that the epoch of a keyring ends; a wish that cannot be read stops no backup."""
    path = path_of(TenantId(saved.tenant)) + _ROTATE
    with contextlib.suppress(StorageError):
        return files.exists(path) and files.read(path) == saved.epoch_label.encode()
    return False


def forget_rotation(files: Files, tenant: TenantId) -> None:
    """Remove a wish that was granted; one that comes back after a power cut names an epoch that has ended."""
    path = path_of(tenant) + _ROTATE
    with contextlib.suppress(StorageError):
        if files.exists(path):
            files.remove(path)


def _sealed(saved: SavedKeyring, local_key: bytes) -> bytes:
    return seal_blob(local_key, msgspec.msgpack.encode(saved), context=_context(TenantId(saved.tenant)))


def _context(tenant: TenantId) -> bytes:
    return b"jbackupd 1 keyring " + tenant.encode()
