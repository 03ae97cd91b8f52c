"""Site cards and officer cards: who somebody is, as a text file that is handed out.

    # jbackupd card 1
    kind: site
    id: saga
    ssh: <base64 of the 32-byte Ed25519 key; site cards only>
    signing: <base64 of Ed25519 32, ML-DSA-65 1952; may go on over lines that begin with a space>
    check: <first 16 hex digits of the BLAKE3 of everything before this line>

A card holds nothing secret. Who exchanges cards compares the fingerprint by telephone: a card
that somebody replaced on its way is the only way to become a false site.
"""

from __future__ import annotations

import base64
import binascii
import textwrap
from dataclasses import dataclass
from enum import Enum

import blake3

from jbackupd.codec.signing import SiteVerifier
from jbackupd.model.errors import FormatError
from jbackupd.model.ids import is_word

TITLE = "# jbackupd card 1"
CARD_BYTES_MAX = 64 * 1024
SSH_PUBLIC_BYTES = 32
_CHECK_DIGITS = 16


class CardKind(Enum):
    """Whose card it is."""

    SITE = "site"
    OFFICER = "officer"


@dataclass(frozen=True, slots=True)
class Card:
    """A card.

    Attributes:
        ssh_public: 32 bytes, Ed25519; empty for an officer.
    """

    kind: CardKind
    id: str
    verifier: SiteVerifier
    ssh_public: bytes = b""

    @property
    def fingerprint(self) -> str:
        """Five groups of four digits to compare by telephone."""
        digest = blake3.blake3(encode_card(self).encode()).digest(20)
        digits = f"{int.from_bytes(digest, 'big') % 10**20:020d}"
        return " ".join(digits[i : i + 4] for i in range(0, 20, 4))


def encode_card(card: Card) -> str:
    """Return a card's text."""
    signing = textwrap.wrap(base64.b64encode(card.verifier.to_bytes()).decode(), 76)
    lines = [TITLE, f"kind: {card.kind.value}", f"id: {card.id}"]
    if card.kind is CardKind.SITE:
        lines.append("ssh: " + base64.b64encode(card.ssh_public).decode())
    lines += ["signing:", *(" " + line for line in signing)]
    text = "\n".join(lines) + "\n"
    return text + f"check: {_check(text)}\n"


def decode_card(data: bytes, kind: CardKind) -> Card:
    """Read a card.

    Raises:
        FormatError: It is not a card of this kind, or a character of it has changed.
    """
    try:
        text = data[:CARD_BYTES_MAX].decode("ascii").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise FormatError("the card holds characters that no card has") from error
    body, mark, check = text.partition("check: ")
    if not body.startswith(TITLE) or not mark or check.strip() != _check(body):
        raise FormatError(
            "the card is damaged: its check line does not fit", "fetch the card again from the site that made it"
        )
    fields = _fields(body)
    try:
        signing = base64.b64decode(fields["signing"], validate=True)
        ssh = base64.b64decode(fields.get("ssh", ""), validate=True)
        card = Card(CardKind(fields["kind"]), fields["id"], SiteVerifier(signing), ssh)
    except (KeyError, ValueError, binascii.Error) as error:
        raise FormatError("the card is malformed") from error
    if card.kind is not kind or not is_word(card.id) or len(ssh) != (SSH_PUBLIC_BYTES if kind is CardKind.SITE else 0):
        raise FormatError("the card is not of the kind that is needed here: {kind}", kind=kind.value)
    return card


def _check(body: str) -> str:
    return blake3.blake3(body.encode()).hexdigest()[:_CHECK_DIGITS]


def _fields(body: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in body.splitlines()[1:]:
        if line.startswith(" "):
            fields[name] = fields.get(name, "") + line.strip()
        else:
            name, _, value = line.partition(":")
            fields[name] = value.strip()
    return fields
