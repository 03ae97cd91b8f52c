"""When a site was last in touch with another one is known over restarts, and to the moment when a link was cut."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

from jbackupd.model.ids import SiteId
from jbackupd.runtime.news import News
from jbackupd.service.contacts import Contacts
from jbackupd.storage.files import PosixFiles

BEGIN = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
SAGA = SiteId("saga")


class World:
    """A clock and the sites that are up; each look of `Contacts` is told."""

    def __init__(self) -> None:
        self.at = BEGIN
        self.up: set[SiteId] = set()
        self.news = News()

    def now(self) -> datetime:
        return self.at

    async def disk(self, work, *arguments):
        return work(*arguments)


def contacts(folder: Path, world: World) -> Contacts:
    return Contacts(PosixFiles(str(folder)), lambda: world.up, world.news, clock=world, offload=world)  # type: ignore[arg-type]


async def rung(world: World) -> None:
    """Ring, and let whoever waits look."""
    world.news.ring()
    for _turn in range(5):
        await asyncio.sleep(0)


async def _story(folder: Path) -> None:
    (folder / "site").mkdir()
    world = World()
    known = contacts(folder, world)
    assert known.last(SAGA) is None
    running = asyncio.create_task(known.run())
    world.up = {SAGA}
    await rung(world)
    world.at += timedelta(minutes=3)
    assert known.last(SAGA) == world.at, "there is a link now"
    world.up = set()
    await rung(world)
    cut = world.at
    world.at += timedelta(hours=5)
    await rung(world)
    assert known.last(SAGA) == cut
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert contacts(folder, World()).last(SAGA) == cut, "also after a restart"
    (folder / "site" / "contacts.json").write_bytes(b"{")
    assert contacts(folder, World()).last(SAGA) is None, "damaged evidence is none"


def test_the_last_contact_is_the_moment_of_the_cut_and_outlives_a_restart(tmp_path: Path) -> None:
    asyncio.run(_story(tmp_path))
