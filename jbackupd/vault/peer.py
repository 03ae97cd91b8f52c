"""What engine and restore know of another site, in words; transport.link.Link is one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

from jbackupd.model.ids import ObjectName, ObjectRef, SiteId, TenantId
from jbackupd.protocol.messages import Head, ObjectItem

__all__ = ["Head", "ObjectItem", "Peer"]


class Peer(Protocol):
    """Another site over one connection; several tasks may use it at once.

    Every call may raise PeerError (try again over a new connection), and what the peer answers: RefusedError,
    NoSpaceError, NotFoundError and so on, as the same class. Nothing that a peer returns has been checked against a
    signature. No call deletes.
    """

    @property
    def site(self) -> SiteId:
        """The peer's id; its keys were checked."""
        ...

    async def have(self, tenant: TenantId, items: Sequence[ObjectItem]) -> list[int]:
        """Return from which offset on the peer wants each object; its size when the peer holds it whole."""
        ...

    async def put(
        self, tenant: TenantId, item: ObjectItem, offset: int, read: Callable[[int, int], bytes],
        on_kept: Callable[[int], None] | None = None,
    ) -> None:
        """Send an object's bytes from an offset on; return when the peer holds it whole, verified and durable."""
        ...

    async def commit(self, tenant: TenantId, point: ObjectName) -> bytes:
        """Have a point checked and listed; return the receipt object. Harmless twice."""
        ...

    async def heads(self, tenant: TenantId) -> list[Head]:
        """Return the newest point of each dataset, with the receipts that the peer has for it."""
        ...

    async def points(self, tenant: TenantId, dataset: str, from_sequence: int) -> list[bytes]:
        """Return points in order from a sequence number on, at most 256; empty when there are none."""
        ...

    def get(self, tenant: TenantId, ref: ObjectRef, offset: int, length: int) -> AsyncIterator[bytes]:
        """Yield a range of an object; it ends early only where the object ends."""
        ...

    async def declare(self, declaration: bytes) -> None:
        """Hand over a site-loss declaration; the receiver verifies it by itself."""
        ...
