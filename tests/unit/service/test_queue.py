"""The queue of a peer: what goes first, what happens when it is refused, when it comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from jbackupd.engine.replicate import Progress
from jbackupd.model.clock import SystemClock
from jbackupd.model.errors import JbackupdError, NoSpaceError, PeerError, RefusedError
from jbackupd.model.ids import DatasetId, SiteId, TenantId
from jbackupd.runtime.news import News
from jbackupd.runtime.supervisor import Backoff
from jbackupd.service.log import Log
from jbackupd.service.queue import PeerQueue, Waiting

KYOTO = SiteId("kyoto")
BEGIN = datetime(2026, 11, 23, tzinfo=UTC)
QUICK = Backoff(first_seconds=0.01, longest_seconds=0.04, jitter=0)


def dataset(name: str) -> DatasetId:
    return DatasetId(TenantId("imari"), name)


def waiting(name: str, tier: int, minutes: int = 0) -> Waiting:
    return Waiting(tier, BEGIN + timedelta(minutes=minutes), dataset(name))


class Line:
    """A line that is up until it is cut."""

    site = KYOTO
    bytes_sent = 100
    bytes_received = 10

    def __init__(self) -> None:
        self.epochs: dict[SiteId, int] = {}
        self.closed = False
        self.ended = asyncio.Event()

    async def ping(self) -> float:
        return 0.02

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_: object) -> None:
        self.closed = True


class Desk:
    """Datasets that wait, and how sending each of them goes."""

    def __init__(self, *items: Waiting) -> None:
        self.items = list(items)
        self.news = News()
        self.sent: list[str] = []
        self.begun: list[str] = []
        self.stopped: list[str] = []
        self.errors: dict[str, list[JbackupdError]] = {}
        self.held: dict[str, asyncio.Event] = {}
        self.changed = asyncio.Event()

    def waiting(self, peer: SiteId) -> list[Waiting]:
        return self.items

    async def greet(self, line: Line) -> None:
        pass

    async def send(self, line: Line, wanted: DatasetId, told: Callable[[Progress], None]) -> int:
        name = wanted.name
        self.begun.append(name)
        self.changed.set()
        try:
            if name in self.held:
                await self.held[name].wait()
        except asyncio.CancelledError:
            self.stopped.append(name)
            raise
        if self.errors.get(name):
            raise self.errors[name].pop(0)
        self.sent.append(name)
        self.items = [item for item in self.items if item.dataset != wanted]
        self.changed.set()
        return 1

    async def until(self, wanted: Callable[[], bool]) -> None:
        while not wanted():
            self.changed.clear()
            await self.changed.wait()


class Sending:
    """A queue at work."""

    def __init__(self, desk: Desk, dial=None) -> None:
        self.lines: list[Line] = []

        async def connect() -> Line:
            self.lines.append(Line())
            return self.lines[-1]

        self.queue = PeerQueue(KYOTO, dial or connect, desk, clock=SystemClock(), log=Log(), backoff=QUICK)

    async def __aenter__(self):
        self._task = asyncio.create_task(self.queue.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])


def test_tiers_go_first_then_what_waits_longest(run) -> None:
    async def scenario() -> None:
        desk = Desk(waiting("files", 3, 0), waiting("tax", 1, 9), waiting("juki", 1, 2), waiting("photos", 5, 1))
        async with Sending(desk) as sending:
            await desk.until(lambda: not desk.items)
            assert desk.sent == ["juki", "tax", "files", "photos"]
            while sending.queue.state.delivered_points < 4:
                await sending.queue.news.after(sending.queue.news.revision)

    run(scenario())


def test_a_more_urgent_tier_interrupts_and_the_other_goes_on_afterwards(run) -> None:
    async def scenario() -> None:
        desk = Desk(waiting("photos", 5))
        desk.held["photos"] = asyncio.Event()
        async with Sending(desk) as sending:
            await desk.until(lambda: desk.begun == ["photos"])
            desk.items.append(waiting("juki", 1))
            desk.news.ring()
            await desk.until(lambda: desk.sent == ["juki"])
            assert desk.stopped == ["photos"]
            desk.held["photos"].set()
            await desk.until(lambda: desk.sent == ["juki", "photos"])
            assert len(sending.lines) == 1

    run(scenario())


def test_the_same_tier_does_not_interrupt(run) -> None:
    async def scenario() -> None:
        desk = Desk(waiting("photos", 3))
        desk.held["photos"] = asyncio.Event()
        async with Sending(desk):
            await desk.until(lambda: desk.begun == ["photos"])
            desk.items.append(waiting("files", 3, -5))
            desk.news.ring()
            await asyncio.sleep(0)
            desk.held["photos"].set()
            await desk.until(lambda: not desk.items)
            assert (desk.sent, desk.stopped) == (["photos", "files"], [])

    run(scenario())


@pytest.mark.parametrize("error", [RefusedError("not held"), NoSpaceError("full")])
def test_a_refused_dataset_does_not_hold_up_the_others_and_is_tried_again(run, error) -> None:
    async def scenario() -> None:
        desk = Desk(waiting("juki", 1), waiting("files", 3))
        desk.errors["juki"] = [error, error]
        async with Sending(desk) as sending:
            await desk.until(lambda: desk.sent == ["files"])
            assert str(sending.queue.state.troubles[dataset("juki")]) == str(error)
            await desk.until(lambda: desk.sent == ["files", "juki"])
            seen = sending.queue.news.revision
            if sending.queue.state.troubles:
                await sending.queue.news.after(seen)
            assert sending.queue.state.troubles == {}
            assert len(sending.lines) == 1

    run(scenario())


def test_a_cut_link_is_dialled_again_and_the_sending_goes_on(run) -> None:
    async def scenario() -> None:
        desk = Desk(waiting("juki", 1))
        desk.errors["juki"] = [PeerError("cut"), PeerError("cut")]
        async with Sending(desk) as sending:
            await desk.until(lambda: desk.sent == ["juki"])
            assert len(sending.lines) == 3
            assert [line.closed for line in sending.lines[:2]] == [True, True]
            assert sending.queue.state.up
            assert sending.queue.state.error is None

    run(scenario())


def test_a_peer_that_is_away_is_told_as_down_with_the_reason(run) -> None:
    async def scenario() -> None:
        async def unreachable() -> Line:
            raise PeerError("unable to reach {site}", site=KYOTO)

        desk = Desk()
        async with Sending(desk, unreachable) as sending:
            with pytest.raises(PeerError, match="unable to reach kyoto"):
                await sending.queue.ping()
            assert not sending.queue.state.up

    run(scenario())


def test_a_new_point_wakes_an_idle_queue(run) -> None:
    async def scenario() -> None:
        desk = Desk()
        async with Sending(desk) as sending:
            assert await sending.queue.ping() == 0.02
            desk.items.append(waiting("juki", 1))
            desk.news.ring()
            await desk.until(lambda: desk.sent == ["juki"])

    run(scenario())
