"""The head of a deposited journal: whose it is, and its key, sealed to the tenant's recovery key.

    offset  size  field
    0       8     magic "JBDEPO1" NUL
    8       n     msgpack array [tenant, site, desk, label, journal id 16, recipient 16, sealed]

    recipient  fingerprint of the recovery key's public half (codec.hpke)
    sealed     HPKE to it, of the journal's key (32 bytes), with "jbackupd 1 deposit" ‖ msgpack of the array's first
               five as its info

A journal's bytes (format.journal, each body sealed under the journal's key) lie beside it as they are at the desk. Who
keeps them for another site learns the desk's name, how many records there are and how long each is.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from jbackupd.codec.hpke import FINGERPRINT_BYTES, RecipientPublic, RecipientSecret
from jbackupd.codec.seal import SESSION_KEY_BYTES
from jbackupd.model.errors import FormatError, KeyringError
from jbackupd.model.ids import SiteId, TenantId, is_word

MAGIC = b"JBDEPO1\0"
HEAD_BYTES_MAX = 4096
ID_BYTES = 16
_LABEL_CHARACTERS_MAX = 64
_decoder = msgspec.msgpack.Decoder(tuple[str, str, str, str, bytes, bytes, bytes])


@dataclass(frozen=True, slots=True)
class DepositHead:
    """A decoded head.

    Attributes:
        journal: Its id, 16 bytes.
        recipient: Fingerprint of the recovery key that opens it.
    """

    tenant: TenantId
    site: SiteId
    desk: str
    label: str
    journal: bytes
    recipient: bytes
    sealed: bytes = field(repr=False)

    @property
    def context(self) -> bytes:
        """What `sealed` is bound to."""
        return _context(self.tenant, self.site, self.desk, self.label, self.journal)

    def open(self, recovery: RecipientSecret) -> bytes:
        """Return the journal's key, 32 bytes.

        Raises:
            KeyringError: It was sealed to another recovery key, or the head was changed.
        """
        try:
            if recovery.public.fingerprint != self.recipient:
                raise KeyringError("it is for another recovery key")
            key = recovery.open(self.sealed, self.context)
        except KeyringError as error:
            raise KeyringError(
                "the deposited journal of desk {label} at {site} does not open: it was sealed to another recovery key, "
                "or changed", "use the shares of the recovery key that was in force then",
                label=self.label, site=self.site,
            ) from error
        if len(key) != SESSION_KEY_BYTES:
            raise KeyringError("the key of a deposited journal has the wrong length")
        return key


def seal_head(
    key: bytes, recovery: RecipientPublic, *, tenant: TenantId, site: SiteId, desk: str, label: str, journal: bytes
) -> bytes:
    """Return a head's bytes."""
    sealed = recovery.seal(key, _context(tenant, site, desk, label, journal))
    return MAGIC + msgspec.msgpack.encode((tenant, site, desk, label, journal, recovery.fingerprint, sealed))


def decode_head(data: bytes) -> DepositHead:
    """Decode a head; what is sealed in it is not looked at.

    Raises:
        FormatError: The bytes are no head.
    """
    if not data.startswith(MAGIC) or len(data) > HEAD_BYTES_MAX:
        raise FormatError("this is not the head of a deposited journal")
    try:
        tenant, site, desk, label, journal, recipient, sealed = _decoder.decode(data[len(MAGIC) :])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FormatError("the head of a deposited journal is malformed") from error
    if (
        not all(map(is_word, (tenant, site, desk))) or not 0 < len(label) <= _LABEL_CHARACTERS_MAX
        or len(journal) != ID_BYTES or len(recipient) != FINGERPRINT_BYTES
    ):
        raise FormatError("the head of a deposited journal is out of range")
    return DepositHead(TenantId(tenant), SiteId(site), desk, label, journal, recipient, sealed)


def _context(tenant: TenantId, site: SiteId, desk: str, label: str, journal: bytes) -> bytes:
    return b"jbackupd 1 deposit" + msgspec.msgpack.encode((tenant, site, desk, label, journal))
