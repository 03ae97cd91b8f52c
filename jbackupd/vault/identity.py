"""A site's own identity: what it signs with, its SSH key, and the key of its local files.

STATE/site/identity.key, mode 0600, is a msgpack array [1, site id, signing seed 64, SSH seed 32, local key 32,
check 8]; the check is the begin of the BLAKE3 of the array's first five, encoded. Without it a flipped bit would
make another site of this one.
"""

from __future__ import annotations

import posixpath
import secrets
from dataclasses import dataclass, field

import blake3
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from jbackupd.codec.signing import SIGNING_SEED_BYTES, SiteSigner
from jbackupd.format.identity import Card, CardKind, encode_card
from jbackupd.model.errors import KeyringError, NotFoundError, RefusedError
from jbackupd.model.ids import SiteId
from jbackupd.storage.durable import write_durably
from jbackupd.storage.files import Files

FOLDER = "site"
VERSION = 1
KEY_BYTES = 32
CHECK_BYTES = 8
_FILE = posixpath.join(FOLDER, "identity.key")


class _Saved(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    version: int
    site: str
    signing_seed: bytes
    ssh_seed: bytes
    local_key: bytes
    check: bytes = b""

    def checked(self) -> _Saved:
        """Return this with the check that fits."""
        first = msgspec.msgpack.encode((self.version, self.site, self.signing_seed, self.ssh_seed, self.local_key))
        return msgspec.structs.replace(self, check=blake3.blake3(first).digest(CHECK_BYTES))

    def __repr__(self) -> str:
        return f"_Saved({self.site})"


@dataclass(frozen=True, slots=True)
class SiteIdentity:
    """Who this site is.

    Attributes:
        ssh_seed: 32 bytes, Ed25519: host key when listening, client key when dialling.
        local_key: 32 bytes; seals the keyrings of this site.
    """

    site: SiteId
    signer: SiteSigner = field(repr=False)
    ssh_seed: bytes = field(repr=False)
    local_key: bytes = field(repr=False)

    @property
    def card(self) -> Card:
        """What other sites are given."""
        public = Ed25519PrivateKey.from_private_bytes(self.ssh_seed).public_key().public_bytes_raw()
        return Card(CardKind.SITE, self.site, self.signer.public, public)


def create_identity(files: Files, site: SiteId) -> SiteIdentity:
    """Make a site's identity and save it, mode 0600, with its card beside it; durable.

    Raises:
        RefusedError: This state folder has an identity.
    """
    if files.exists(_FILE):
        raise RefusedError(
            "this state folder has an identity already", "use another folder for another site, or keep this one"
        )
    saved = _Saved(
        VERSION, site, secrets.token_bytes(SIGNING_SEED_BYTES), secrets.token_bytes(KEY_BYTES),
        secrets.token_bytes(KEY_BYTES),
    ).checked()
    identity = _identity(saved)
    files.make_folder(FOLDER)
    write_durably(files, _FILE, msgspec.msgpack.encode(saved), temporary=_FILE + ".new")
    write_card(files, identity)
    return identity


def load_identity(files: Files, site: SiteId) -> SiteIdentity:
    """Load the identity of this state folder.

    Raises:
        NotFoundError: There is none yet.
        KeyringError: It is damaged, or belongs to another site than the configuration says.
    """
    try:
        saved = msgspec.msgpack.decode(files.read(_FILE), type=_Saved)
    except NotFoundError as error:
        raise NotFoundError(
            "this site has no identity yet", "make one with 'jbackupd site init' or 'jbackupd vault init TENANT'"
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _damaged() from error
    lengths = (len(saved.signing_seed), len(saved.ssh_seed), len(saved.local_key))
    if (
        saved != saved.checked() or saved.version != VERSION
        or lengths != (SIGNING_SEED_BYTES, KEY_BYTES, KEY_BYTES)
    ):
        raise _damaged()
    if saved.site != site:
        raise KeyringError(
            "the state folder belongs to the site {found}, the configuration is of {site}",
            "check [site] id and state in the configuration", found=saved.site, site=site,
        )
    return _identity(saved)


def _damaged() -> KeyringError:
    return KeyringError("the site's identity is damaged", "restore the file from its copy")


def load_or_create(files: Files, site: SiteId) -> SiteIdentity:
    """Load the identity of this state folder, or make it."""
    try:
        return load_identity(files, site)
    except NotFoundError:
        return create_identity(files, site)


def write_card(files: Files, identity: SiteIdentity) -> str:
    """Write the site's card beside its identity; return its path."""
    path = posixpath.join(FOLDER, f"{identity.site}.card")
    write_durably(files, path, encode_card(identity.card).encode(), temporary=path + ".new")
    return path


def _identity(saved: _Saved) -> SiteIdentity:
    return SiteIdentity(SiteId(saved.site), SiteSigner(saved.signing_seed), saved.ssh_seed, saved.local_key)
