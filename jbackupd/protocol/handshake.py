"""Hello and prove: who is there, which version is spoken, who is fenced.

SSH has already checked both keys when this begins. The handshake repeats it with the sites' own signing keys
over everything that must not be mixed up: both SSH host keys, the SSH session id, both hellos as they were
sent (nonces, versions, epochs), the chosen version and the signer's role. So a faulty SSH configuration, a
message injected before the encryption, a replayed proof, or a stripped version is found here.

The asker proves first; a site whose epoch is no longer in force is refused before anything is signed.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from jbackupd.model.errors import FencedError, IdentityError, ProtocolError
from jbackupd.model.ids import SiteId
from jbackupd.protocol.framing import Frame
from jbackupd.protocol.messages import NONCE_BYTES, Hello, Prove, decode_message

VERSIONS = (1, 2, 3)
"""Versions this program speaks: the newest and the two before it."""
CONTEXT = b"jbackupd line"


class Role(Enum):
    """Which side of the link; the dialler asks, the listener answers."""

    ASKER = b"asker"
    ANSWERER = b"answerer"

    @property
    def other(self) -> Role:
        """The other side."""
        return Role.ANSWERER if self is Role.ASKER else Role.ASKER


class Signer(Protocol):
    """A site's signing key (codec.signing.SiteSigner)."""

    def sign(self, context: bytes, message: bytes) -> bytes:
        """Return a signature over the message in this context."""
        ...


class Verifier(Protocol):
    """A site's pinned public signing key (codec.signing.SiteVerifier)."""

    def verify(self, context: bytes, message: bytes, signature: bytes) -> None:
        """Return, or raise IdentityError."""
        ...


class EpochBook(Protocol):
    """The durable, never decreasing epochs that this site knows of (continuity.epoch)."""

    def epoch_of(self, site: SiteId) -> int:
        """Return the epoch in force for a site; the first epoch for one that was never declared lost."""
        ...

    def known(self) -> Mapping[SiteId, int]:
        """Return the epochs of all sites that have one above the first; cheap."""
        ...

    def may_author(self, site: SiteId, epoch: int) -> bool:
        """Tell whether a site acts now, and its points of an epoch count."""
        ...

    def news_for(self, epochs: Mapping[SiteId, int]) -> list[bytes]:
        """Return the declarations that somebody may lack who knows these epochs, each site's in order."""
        ...

    def learn(self, declaration: bytes) -> None:
        """Verify a declaration of a site's loss and keep it durably; harmless twice. Blocks.

        Raises:
            JbackupdError: It is malformed, not approved by enough officers, or older than what is known.
        """
        ...


@dataclass(frozen=True, slots=True)
class Own:
    """What a side says of itself."""

    site: SiteId
    signer: Signer
    book: EpochBook
    versions: tuple[int, ...] = VERSIONS


@dataclass(frozen=True, slots=True)
class Other:
    """What a side knows of the other from its pinned card."""

    site: SiteId
    verifier: Verifier


@dataclass(frozen=True, slots=True)
class Binding:
    """The SSH connection below: both sides' host keys as SSH public key blobs, and the session id."""

    asker_key: bytes
    answerer_key: bytes
    session_id: bytes


class Handshake:
    """One side of the handshake; gives messages out and takes the other's in."""

    def __init__(
        self, role: Role, own: Own, other: Other, binding: Binding,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self.role = role
        self.own = own
        self.other = other
        self.version = 0
        self.theirs: Hello | None = None
        self.fenced: FencedError | None = None
        """One of the two does not act: such a link is for reading, and for handing declarations over."""
        self._binding = binding
        self._random = random
        self._hellos: dict[Role, bytes] = {}

    def hello(self) -> Hello:
        """Return our hello; ask once, then report what was sent to `sent_hello`."""
        book = self.own.book
        return Hello(
            site=self.own.site,
            versions=list(self.own.versions),
            epoch=book.epoch_of(self.own.site),
            epochs={site: epoch for site, epoch in book.known().items() if site != self.own.site},
            nonce=self._random(NONCE_BYTES),
        )

    def sent_hello(self, payload: bytes) -> None:
        """Take note of our hello as it went out."""
        self._hellos[self.role] = payload

    def heard_hello(self, frame: Frame) -> None:
        """Take the other side's hello.

        Raises:
            ProtocolError: It is malformed or shares no version with us.
            IdentityError: It comes from another site than the one whose SSH key was used.
        """
        hello = decode_message(frame)
        assert isinstance(hello, Hello)
        self._hellos[self.role.other] = bytes(frame.payload)
        if hello.site != self.other.site:
            raise IdentityError(
                "unable to link with {expected}: it says that it is {site}",
                "check that the card of {expected} and its address belong together",
                expected=self.other.site, site=hello.site,
            )
        common = set(hello.versions) & set(self.own.versions)
        if not common:
            raise ProtocolError(
                "unable to link with {site}: it speaks versions {theirs}, this site {ours}",
                "bring the older site to a version of jbackupd at most two before the newer one",
                site=hello.site, theirs=sorted(hello.versions), ours=sorted(self.own.versions),
            )
        self.fenced = self._fence(hello)
        self.version = max(common)
        self.theirs = hello

    def _fence(self, hello: Hello) -> FencedError | None:
        """Return which of the two acts under an epoch that is no longer in force."""
        in_force = self.own.book.epoch_of(self.other.site)
        if hello.epoch < in_force:
            return fenced(self.other.site, hello.epoch, in_force)
        ours = self.own.book.epoch_of(self.own.site)
        told = hello.epochs.get(self.own.site, 0)
        return fenced(self.own.site, ours, told) if ours < told else None

    def prove(self) -> Prove:
        """Return our proof; both hellos must have passed."""
        return Prove(signature=self.own.signer.sign(CONTEXT, self._transcript(self.role)))

    def heard_prove(self, frame: Frame) -> None:
        """Take the other side's proof.

        Raises:
            ProtocolError: It is malformed.
            IdentityError: It was not made by the pinned key of that site, for this connection and this role.
        """
        prove = decode_message(frame)
        assert isinstance(prove, Prove)
        try:
            self.other.verifier.verify(CONTEXT, self._transcript(self.role.other), prove.signature)
        except IdentityError as error:
            raise IdentityError(
                "unable to link with {site}: its proof does not fit its pinned card and this connection",
                "compare the card of {site} with the one that its officers hand out",
                site=self.other.site,
            ) from error

    def _transcript(self, signer: Role) -> bytes:
        parts = (
            self.version.to_bytes(2, "big"),
            signer.value,
            self._binding.asker_key,
            self._binding.answerer_key,
            self._binding.session_id,
            self._hellos[Role.ASKER],
            self._hellos[Role.ANSWERER],
        )
        return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def fenced(site: SiteId, epoch: int, in_force: int) -> FencedError:
    """Return the error of a site that acts under an old epoch."""
    return FencedError(
        "{site} is fenced: it acts under epoch {epoch}, but epoch {in_force} is in force",
        "it was declared lost: another site acts in its place; its officers decide when it comes back",
        site=site, epoch=epoch, in_force=in_force,
    )
