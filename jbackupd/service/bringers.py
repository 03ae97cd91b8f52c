"""What brings packs from other sites in this process: one for each tenant, shared by all that read its points."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from jbackupd.engine.bring import Bringer, Place
from jbackupd.model.ids import ObjectName, TenantId
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.parts import Parts
from jbackupd.vault.store import ObjectStore

SizeOf = Callable[[ObjectName], int | None]


@dataclass
class _Shared:
    parts: Parts
    bringer: Bringer
    users: int = 0


class Bringers:
    """The bringers of a process. Lives on one event loop.

    An export and a mount of one tenant in one plan read the same packs perhaps, and write the same parts: two bringers
    would fetch everything twice, and neither would know what the other has.

    Args:
        files: The state folder.
    """

    def __init__(self, files: PosixFiles) -> None:
        self._files = files
        self._shared: dict[TenantId, _Shared] = {}
        self._turns: defaultdict[TenantId, asyncio.Lock] = defaultdict(asyncio.Lock)

    def turn(self, tenant: TenantId) -> asyncio.Lock:
        """Return the lock under which a tenant's points are outlined: one at a time writes what came."""
        return self._turns[tenant]

    @contextlib.asynccontextmanager
    async def of(
        self, tenant: TenantId, store: ObjectStore, places: Sequence[Place], size_of: SizeOf
    ) -> AsyncIterator[tuple[Parts, Bringer]]:
        """Hold the tenant's bringer; the last who lets go closes it.

        Args:
            store: Of the tenant; where whole packs go.
            places: Sites that may have what is missing, besides those that are known already.
            size_of: Tells how long packs are, as long as this is held.

        Raises:
            BusyError: Another process fills packs of the tenant.
        """
        async with self._turns[tenant]:
            shared = self._shared.get(tenant)
            if shared is None:
                parts = await asyncio.to_thread(Parts, self._files, ObjectStore(self._files, store.folder))
                shared = self._shared[tenant] = _Shared(parts, Bringer(parts, tenant))
            shared.users += 1
        try:
            shared.bringer.ask_also(places)
            with shared.parts.sizes_from(size_of):
                yield shared.parts, shared.bringer
        finally:
            async with self._turns[tenant]:
                shared.users -= 1
                if not shared.users:
                    del self._shared[tenant]
                    await shared.bringer.close()
