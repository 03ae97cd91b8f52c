"""What the commands share that read a point wherever it lies: keys, other sites, and a loop that brings."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from jbackupd.model.ids import PointSelector, TenantId

if TYPE_CHECKING:
    from jbackupd.engine.bring import Place
    from jbackupd.service.reaching import KeysOf, Reached
    from jbackupd.settings.schema import Settings


def other_sites(settings: Settings, sites: tuple[str, ...]) -> list[Place]:
    """Return where to ask for what this site lacks.

    Args:
        sites: Those to be asked first.
    """
    if not settings.peers and not sites:
        return []
    # SSH takes a fifth of a second to import: only a site with peers pays for it.
    from jbackupd.service.dialling import places_of

    return places_of(settings, sites)


def keys_of(settings: Settings, tenant: TenantId, shares: tuple[str, ...]) -> KeysOf:
    """Return what opens a tenant's keys: this site's own, or with shares of its recovery key. Blocks."""
    from jbackupd.service.reaching import keys_from_seed, own_keys

    if not shares:
        return own_keys(settings, tenant)
    from jbackupd.cli.key import read_shares
    from jbackupd.service.adopting import recovery_seed

    return keys_from_seed(settings, tenant, recovery_seed(tenant, read_shares(shares)))


@contextlib.contextmanager
def reached(
    settings: Settings, selector: PointSelector, sites: tuple[str, ...], shares: tuple[str, ...]
) -> Iterator[Reached]:
    """Open a point, for a command that blocks; what brings from other sites runs on a thread of its own."""
    from jbackupd.service.bringers import Bringers
    from jbackupd.service.reaching import reached_point
    from jbackupd.service.wiring import known_verifiers
    from jbackupd.storage.files import PosixFiles

    files = PosixFiles(settings.site.state)
    opening = reached_point(
        files, selector, keys_of(settings, selector.dataset.tenant, shares), other_sites(settings, sites),
        Bringers(files), verifiers=known_verifiers(settings), ask_first=bool(sites),
    )
    with _loop() as loop:
        point = asyncio.run_coroutine_threadsafe(opening.__aenter__(), loop).result()
        try:
            yield point
        finally:
            asyncio.run_coroutine_threadsafe(opening.__aexit__(None, None, None), loop).result()


@contextlib.contextmanager
def _loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="loop", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
