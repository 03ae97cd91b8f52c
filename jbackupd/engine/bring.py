"""Bringing packs from other sites: at once what a reader waits for, in the gaps all the rest, by priority.

A line answers in order, so what is filled in is asked for in small pieces and never much ahead (policy.window). Every
byte goes to its pack's part; a pack that is whole becomes an object of the vault.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from jbackupd.engine.fillorder import FillOrder
from jbackupd.engine.givers import Givers
from jbackupd.model.clock import Clock, SystemClock
from jbackupd.model.errors import (
    DamageError,
    JbackupdError,
    MissingObjectError,
    NotFoundError,
    PeerError,
    RefusedError,
    Retry,
)
from jbackupd.model.ids import ObjectKind, ObjectName, ObjectRef, SiteId, TenantId
from jbackupd.policy.window import Window
from jbackupd.runtime.offload import settled
from jbackupd.runtime.supervisor import Backoff
from jbackupd.vault.parts import Part, Parts
from jbackupd.vault.peer import Peer
from jbackupd.vault.ranges import Ranges

DEMAND_BYTES = 64 * 1024
"""A range that a reader waits for is asked for in pieces of so much: behind a whole frame the line would be idle for a
round trip, until the fill was asked for again."""
PATIENCE_SECONDS = 60.0
"""So long a reader waits while no byte comes from any site."""
LOOK_SECONDS = 1.0
THREADS = 2
SAVE_SECONDS = 5.0
"""What a crash loses at most, to be fetched again."""


_ITS_OWN = (MissingObjectError, NotFoundError, RefusedError)
"""Why a site does not give a pack, and another one may."""


class SiteLine(Peer, Protocol):
    """A line to a site, of its own for this work: a put on the daemon's line would hold it up for a whole pack."""

    async def close(self) -> None:
        """Close it; harmless twice."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """A site that may have what is missing.

    Attributes:
        dial: Makes a line to it; raises PeerError.
    """

    site: SiteId
    dial: Callable[[], Awaitable[SiteLine]]


class Wanted(NamedTuple):
    """A range of a pack."""

    part: Part
    begin: int
    end: int


@dataclass(slots=True)
class Brought:
    """How far the filling is.

    Attributes:
        total_bytes: Of all packs that are filled; 0 until that is known.
        here_bytes: Of those.
        received_bytes: Over the lines, for readers and filling, since the beginning.
        waited: How often a reader waited for a line.
        hopeless: Packs that no site gives; they are left out.
        error: Why nothing comes just now.
    """

    total_bytes: int = 0
    here_bytes: int = 0
    received_bytes: int = 0
    waited: int = 0
    hopeless: int = 0
    error: JbackupdError | None = None


@dataclass(slots=True)
class _Fetch:
    begin: int
    end: int
    task: asyncio.Task[JbackupdError | None]


class Bringer:
    """Brings packs of one tenant. Lives on one event loop; `brings.Brings` is its face for threads. Close it after use.

    Args:
        parts: Where the bytes go.
    """

    def __init__(
        self, parts: Parts, tenant: TenantId, *, clock: Clock | None = None, backoff: Backoff | None = None
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.state = Brought()
        self._parts = parts
        self._tenant = tenant
        self._places: list[Place] = []
        self._clock = clock or SystemClock()
        self._backoff = backoff or Backoff(0.25, 5.0)
        self._lines: dict[SiteId, SiteLine] = {}
        self._dialling = asyncio.Lock()
        self._givers = Givers()
        # Threads of its own: those of whoever waits for what is written here may all be taken.
        self._threads = ThreadPoolExecutor(THREADS, "parts")
        self._under_way: dict[ObjectName, list[_Fetch]] = {}
        self._outstanding = 0
        self._window = Window(self._clock.monotonic())
        self._order = FillOrder()
        self._wishes: dict[object, Sequence[Part]] = {}
        self._filled: dict[ObjectName, Part] = {}
        self._here: dict[ObjectName, int] = {}
        self._changed = asyncio.Event()
        self._idle = asyncio.Event()
        self._is_closed = False
        self._came_at = self._clock.monotonic()
        self._tasks: list[asyncio.Task[object]] = [asyncio.create_task(self._save_now_and_then(), name="parts")]

    async def close(self) -> None:
        """Stop, save what came, and hang up; harmless twice."""
        self._is_closed = True
        fetches = [fetch.task for found in self._under_way.values() for fetch in found]
        for task in (*self._tasks, *fetches):
            task.cancel()
        await asyncio.gather(*self._tasks, *fetches, return_exceptions=True)
        for line in self._lines.values():
            await line.close()
        self._lines.clear()
        await self._on_disk(self._parts.close)
        self._threads.shutdown(wait=False)

    def ask_also(self, places: Sequence[Place]) -> None:
        """Ask these sites too, the nearest first, behind those that are asked already; of each one line is made."""
        known = {place.site for place in self._places}
        is_first = not self._places
        self._places += [place for place in places if place.site not in known]
        if is_first and self._places:
            # The first read must not wait until both sides have proved who they are.
            self._tasks.append(asyncio.create_task(self._line(frozenset()), name="first line"))

    def fill(self, parts: Sequence[Part]) -> Callable[[], None]:
        """Begin to fetch packs that nobody waits for, in this order, around what readers touch.

        Several may wish so: the first one's packs come first.

        Returns:
            Takes the wish back.
        """
        wish = object()
        if not self._wishes:
            self._tasks.append(asyncio.create_task(self._fill(), name="fill"))
        self._wishes[wish] = parts
        self._wishes_changed()

        def take_back() -> None:
            del self._wishes[wish]
            self._wishes_changed()

        return take_back

    def _wishes_changed(self) -> None:
        self._filled = {part.name: part for parts in self._wishes.values() for part in parts}
        self._order.set(list(self._filled))
        self.state.total_bytes = sum(part.size for part in self._filled.values())
        self.state.here_bytes = 0
        self._here.clear()
        for part in self._filled.values():
            self._count(part)
        self._idle.clear()
        self._changed.set()

    @property
    def is_idle(self) -> bool:
        """Whether the filling is at its end: all is here that can be had."""
        return self._idle.is_set()

    async def filled(self) -> None:
        """Wait until all that is filled is here, or cannot be had."""
        await self._idle.wait()

    async def bring(self, wanted: Sequence[Wanted]) -> None:
        """Return once ranges are here.

        Raises:
            PeerError: No site gave a byte for PATIENCE_SECONDS.
            MissingObjectError: No site has one of the packs.
            NoSpaceError: They do not fit here.
        """
        for want in wanted:
            self._order.touch(want.part.name, want.end)
        begun, waited = self._clock.monotonic(), False
        while True:
            lacking = [want for want in wanted if not want.part.covers(want.begin, want.end)]
            if not lacking:
                break
            if self._is_closed:
                raise PeerError("unable to read on: the lines were closed here")
            waited = True
            tasks = {task for want in lacking for task in self._asked(want)}
            if not tasks:
                continue  # the last of it has just come
            done, _ = await asyncio.wait(tasks, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                error = task.result() if not task.cancelled() else None
                if error is not None and error.retry is not Retry.RECONNECT:
                    self._raise_if_hopeless(lacking, error)
            if not done and self._clock.monotonic() - max(begun, self._came_at) > PATIENCE_SECONDS:
                raise self.state.error or PeerError("no site gives anything", "check the lines to the other sites")
        self.state.waited += waited

    # Asking.

    def _asked(self, want: Wanted) -> list[asyncio.Task[JbackupdError | None]]:
        """Ask for what of a range is neither here nor on its way; return what brings it."""
        under_way = self._under_way.get(want.part.name, [])
        coming = Ranges((fetch.begin, fetch.end) for fetch in under_way)
        for begin, end in want.part.holes(want.begin, want.end):
            for first, last in coming.holes(begin, end):
                for at in range(first, last, DEMAND_BYTES):
                    self._start(want.part, at, min(last, at + DEMAND_BYTES), is_demand=True)
        return [
            fetch.task for fetch in self._under_way.get(want.part.name, [])
            if fetch.begin < want.end and want.begin < fetch.end
        ]

    def _start(self, part: Part, begin: int, end: int, *, is_demand: bool) -> None:
        task = asyncio.create_task(self._fetch(part, begin, end, is_demand=is_demand), name="fetch")
        fetch = _Fetch(begin, end, task)
        self._under_way.setdefault(part.name, []).append(fetch)
        self._outstanding += end - begin

        def ended(_: object) -> None:
            self._outstanding -= end - begin
            self._under_way[part.name].remove(fetch)
            if not self._under_way[part.name]:
                del self._under_way[part.name]
            self._count(part)
            self._changed.set()

        task.add_done_callback(ended)

    async def _fetch(self, part: Part, begin: int, end: int, *, is_demand: bool) -> JbackupdError | None:
        """Fetch a range; return why it did not come."""
        place: Place | None = None
        line: SiteLine | None = None
        try:
            place, line = await self._line_for(part)
            asked_at, position = self._clock.monotonic(), begin
            ref = ObjectRef(ObjectKind.PACK, part.name)
            async for piece in line.get(self._tenant, ref, begin, end - begin):
                if not await self._took(part, place.site, position, piece):
                    return None
                position += len(piece)
                self.state.received_bytes += len(piece)
            if position < end:
                raise MissingObjectError(
                    "{object} is shorter at {site} than its index says", object=ref, site=place.site
                )
            self._came_at = self._clock.monotonic()
            self.state.error = None
            if not is_demand:
                self._window.note(self._came_at - asked_at, end - begin, self._came_at)
            if not part.holes(0, part.size):
                await self._finish(part)
        except JbackupdError as error:
            await self._note(part, place, line, error)
            return error
        return None

    async def _took(self, part: Part, site: SiteId, position: int, piece: bytes) -> bool:
        """Write what came; return whether it counts: not from a site that turned out to give wrong bytes meanwhile."""
        end = position + len(piece)
        if site not in self._givers.refused(part.name):
            self._givers.gave(part.name, site, position, end)
            await self._on_disk(part.write, position, piece)
        counts = site not in self._givers.refused(part.name)
        if not counts:
            part.forget(position, end)
        return counts

    async def _finish(self, part: Part) -> None:
        try:
            await self._on_disk(part.finish)
        except DamageError:
            self._blame(part, 0, part.size)
            raise

    async def doubt(self, part: Part, offset: int, length: int) -> None:
        """Hear that bytes turned out wrong, and were thrown away."""
        self._blame(part, offset, offset + length)

    async def _on_disk(self, function: Callable[..., None], *args: object) -> None:
        await settled(self.loop.run_in_executor(self._threads, function, *args))

    def _refuse(self, part: Part, sites: Iterable[SiteId]) -> None:
        """Let sites not be asked for a pack any more."""
        was_hopeless = self._is_hopeless(part)
        self._givers.refuse(part.name, sites)
        self.state.hopeless += self._is_hopeless(part) and not was_hopeless

    def _blame(self, part: Part, begin: int, end: int) -> None:
        """Hear that a range of a pack is wrong: forget all that whoever gave it gave."""
        wrong, sites = self._givers.blame(part.name, begin, end, len(self._places))
        for first, last in wrong:
            part.forget(first, last)
        self._refuse(part, sites)

    async def _note(self, part: Part, place: Place | None, line: SiteLine | None, error: JbackupdError) -> None:
        self._order.restart()
        self.state.error = error
        if place is None or line is None:
            return
        if isinstance(error, _ITS_OWN):
            self._refuse(part, {place.site})
        elif error.retry is Retry.RECONNECT and self._lines.get(place.site) is line:
            del self._lines[place.site]
            await line.close()

    def _raise_if_hopeless(self, lacking: Sequence[Wanted], error: JbackupdError) -> None:
        if any(self._is_hopeless(want.part) for want in lacking):
            raise error
        if not isinstance(error, (*_ITS_OWN, DamageError)):
            # Ours: a full disk, for example. Another site would not help.
            raise error

    def _is_hopeless(self, part: Part) -> bool:
        return len(self._givers.refused(part.name)) >= len(self._places)

    # Lines.

    async def _line_for(self, part: Part) -> tuple[Place, SiteLine]:
        """Return a line to a site that may have a pack; waits until one is reached.

        Raises:
            MissingObjectError: No site has it.
        """
        if self._is_hopeless(part):
            raise MissingObjectError(
                "no site gives {object}", "see 'jbackupd site status' which sites answer",
                object=ObjectRef(ObjectKind.PACK, part.name),
            )
        return await self._line(self._givers.refused(part.name))

    async def _line(self, refused: frozenset[SiteId]) -> tuple[Place, SiteLine]:
        """Return a line to a site that is not among some; waits until one is reached."""
        places, failures = [place for place in self._places if place.site not in refused], 0
        async with self._dialling:
            while True:
                for place in places:
                    if place.site in self._lines:
                        return place, self._lines[place.site]
                for place in places:
                    try:
                        self._lines[place.site] = await place.dial()
                    except JbackupdError as error:
                        self.state.error = error
                    else:
                        return place, self._lines[place.site]
                failures += 1
                await asyncio.sleep(self._backoff.pause(failures))

    # Filling.

    async def _fill(self) -> None:
        while True:
            self._changed.clear()
            piece = self._window.piece_bytes
            has_room = not self._outstanding or self._outstanding + piece <= self._window.bytes
            found = self._order.next(self._first_hole, piece) if has_room else None
            if found is not None:
                name, begin, end = found
                self._start(self._filled[name], begin, end, is_demand=False)
                continue
            if has_room and not self._under_way:
                self._idle.set()
            await self._changed.wait()
            if self.state.error is not None and not self._outstanding:
                # A disk that is full, or a site that refuses: not again at once.
                await asyncio.sleep(LOOK_SECONDS)

    def _first_hole(self, name: ObjectName, offset: int) -> tuple[int, int] | None:
        part = self._filled[name]
        if self._is_hopeless(part):
            return None
        coming = self._under_way.get(name)
        for hole in part.holes(offset, part.size):
            if not coming:
                return hole
            left = Ranges((fetch.begin, fetch.end) for fetch in coming).holes(*hole)
            if left:
                return left[0]
        return None

    def _count(self, part: Part) -> None:
        if part.name in self._filled:
            before, self._here[part.name] = self._here.get(part.name, 0), part.here_bytes
            self.state.here_bytes += self._here[part.name] - before

    async def _save_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(SAVE_SECONDS)
            with contextlib.suppress(JbackupdError):
                await self._on_disk(self._parts.save)
