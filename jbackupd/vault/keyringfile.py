"""The keyring's file, STATE/keyring/TENANT: sealed under the site's local key, rewritten whole.

    offset  size  field
    0       12    random nonce
    12      ...   AES-256-GCM of a msgpack array, associated data "jbackupd 1 keyring " ‖ tenant:
                  [tenant, tenant secret, recovery public key, epoch label, epoch public key,
                   epoch key object, [[session id, session key, created at], ...]]

Only this site reads it; another site gets its keys from shares.
"""

from __future__ import annotations

import posixpath
from datetime import datetime

import msgspec

from jbackupd.codec.seal import open_blob, seal_blob
from jbackupd.model.errors import KeyMissingError, KeyringError, NotFoundError
from jbackupd.model.ids import TenantId
from jbackupd.storage.durable import write_durably
from jbackupd.storage.files import Files

FOLDER = "keyring"


class SavedSession(msgspec.Struct, array_like=True, frozen=True):
    """A session key; `created_at` is aware UTC."""

    id: bytes
    key: bytes
    created_at: datetime

    def __repr__(self) -> str:
        return f"SavedSession({self.id.hex()})"


class SavedKeyring(msgspec.Struct, array_like=True, frozen=True):
    """What the file holds."""

    tenant: str
    tenant_secret: bytes
    recovery_public: bytes
    epoch_label: str
    epoch_public: bytes
    epoch_object: bytes
    sessions: tuple[SavedSession, ...] = ()

    def __repr__(self) -> str:
        return f"SavedKeyring({self.tenant})"


def path_of(tenant: TenantId) -> str:
    """Return where a tenant's keyring is in the state folder."""
    return posixpath.join(FOLDER, tenant)


def load(files: Files, tenant: TenantId, local_key: bytes) -> SavedKeyring:
    """Read a keyring.

    Raises:
        KeyMissingError: There is none.
        KeyringError: It does not open with this site's local key, or is damaged.
    """
    try:
        sealed = files.read(path_of(tenant))
    except NotFoundError as error:
        raise KeyMissingError(
            "this site has no keys of {tenant}",
            "a site that only stores has none; to recover, use shares", tenant=tenant,
        ) from error
    try:
        return msgspec.msgpack.decode(open_blob(local_key, sealed, context=_context(tenant)), type=SavedKeyring)
    except (KeyringError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise KeyringError(
            "the keyring of {tenant} does not open: it is damaged, or was made with another identity of this site",
            "write it anew from shares with 'jbackupd key recover {tenant} --keep'", tenant=tenant,
        ) from error


def save(files: Files, saved: SavedKeyring, local_key: bytes) -> None:
    """Write a keyring, durable when it returns; a crash leaves the old one or the new one."""
    tenant = TenantId(saved.tenant)
    path = path_of(tenant)
    files.make_folder(FOLDER)
    data = seal_blob(local_key, msgspec.msgpack.encode(saved), context=_context(tenant))
    write_durably(files, path, data, temporary=path + ".new")


def _context(tenant: TenantId) -> bytes:
    return b"jbackupd 1 keyring " + tenant.encode()
