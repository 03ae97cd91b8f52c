"""What the line needs of the floors above it, in words: who holds objects, how fast, and who does blocking work."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from jbackupd.model.ids import ObjectName, ObjectRef, SiteId, TenantId
from jbackupd.protocol.messages import ContactIs, HeadItem, ObjectItem, PointItem
from jbackupd.runtime.pacing import Pacer

T = TypeVar("T")


class Offload(Protocol):
    """Runs blocking work in a thread, a whole piece at a time; asyncio.to_thread is one."""

    async def __call__(self, function: Callable[..., T], /, *args: Any) -> T:
        """Return what the function returns, or raise what it raises."""
        ...


@dataclass(frozen=True)
class Limits:
    """How fast one link may send and receive, in bytes a second; both change live."""

    send: Pacer = field(default_factory=Pacer)
    receive: Pacer = field(default_factory=Pacer)


class Holder(Protocol):
    """What the listening side keeps for its peers (vault/holder.py).

    All calls block and come from the disk executor, for one link one after the other, for several links at once. Every
    call checks by itself that this peer may do this with this tenant (RefusedError). Nothing here deletes.
    """

    def have(self, peer: SiteId, tenant: TenantId, items: Sequence[ObjectItem]) -> list[int]:
        """Return, for each item, how many of its bytes are here and durable; its size when it is whole."""
        ...

    def begin(self, peer: SiteId, tenant: TenantId, item: ObjectItem, offset: int) -> None:
        """Return when a put of this object from this offset on is welcome.

        Raises:
            NoSpaceError: It does not fit the quota.
            ProtocolError: There are fewer bytes here than the offset says.
        """
        ...

    def write(self, peer: SiteId, tenant: TenantId, item: ObjectItem, offset: int, data: bytes) -> None:
        """Append bytes; not durable. Bytes that are here already are passed over."""
        ...

    def flush(self, peer: SiteId, tenant: TenantId, item: ObjectItem) -> int:
        """Make what has arrived of an object durable; return how many bytes that are."""
        ...

    def finish(self, peer: SiteId, tenant: TenantId, item: ObjectItem) -> None:
        """Verify a whole object against its name and make it durable under it.

        Raises:
            DamageError: The bytes do not hash to the name; they were thrown away.
        """
        ...

    def commit(self, peer: SiteId, tenant: TenantId, point: ObjectName) -> bytes:
        """Check a point that was put, list it durably, and return the receipt object; harmless twice.

        Raises:
            IdentityError: The point is not signed by the site it names.
            ChainError: It does not continue its dataset's chain here.
            FencedError: It was made under an epoch that is no longer in force.
            MissingObjectError: The point, or an object that it needs, is not here whole.
        """
        ...

    def deposit(
        self, peer: SiteId, tenant: TenantId, journal: bytes, head: bytes, offset: int, data: bytes
    ) -> int:
        """Keep a piece of a journal of the peer's desk, durably; return how many bytes of the journal are here.

        Raises:
            ChainError: They are not those that are here.
        """
        ...

    def contact(self, peer: SiteId, other: SiteId) -> ContactIs:
        """Return when this site was last in touch with a third one; called in the loop, does not block.

        Raises:
            RefusedError: It is not known here.
        """
        ...

    def promises(self, peer: SiteId, promises: bytes) -> Mapping[str, tuple[int, int]]:
        """Keep promises of an officer, durably, if there are any; return which books are here.

        Raises:
            ApprovalError: They are of nobody known here.
            RefusedError: Newer ones are here.
        """
        ...

    def heads(self, peer: SiteId, tenant: TenantId) -> list[HeadItem]:
        """Return the newest point of each dataset."""
        ...

    def points(self, peer: SiteId, tenant: TenantId, dataset: str, from_sequence: int) -> list[PointItem]:
        """Return points of a dataset in order, from a sequence number on; at most POINTS_MAX."""
        ...

    def read(self, peer: SiteId, tenant: TenantId, ref: ObjectRef, offset: int, length: int) -> tuple[bytes, int]:
        """Return a range of an object, shorter only at its end, and the size of the whole object."""
        ...
