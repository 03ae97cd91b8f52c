"""The feeds of a site: each is made when it is due, and when somebody asks; how it stands is on the status page."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from jbackupd.desk.audit import DeskAudit
from jbackupd.model.clock import Clock
from jbackupd.model.errors import JbackupdError, NotFoundError
from jbackupd.model.ids import TenantId
from jbackupd.model.texts import _
from jbackupd.runtime.offload import Offload
from jbackupd.service.continuityverbs import Registry
from jbackupd.service.control import Body, Call
from jbackupd.service.feeding import FeedNote, last_note, make_feed
from jbackupd.service.live import Live
from jbackupd.service.log import Log
from jbackupd.service.runner import Runner
from jbackupd.settings.schema import Feed, Settings

LOOK_SECONDS = 30.0
"""As the scheduler: the wall clock may jump, and no wait is longer."""
AGAIN = timedelta(minutes=15)
"""Before a feed that could not be made is tried again."""
GRACE = timedelta(hours=1)
"""For so long after it was due a file is not called late."""


class FeedArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which feed; who wants it."""

    feed: str
    by: str


@dataclass(frozen=True, slots=True)
class FeedFacts:
    """How a feed stands.

    Attributes:
        last: What the newest file is.
        due_at: When the next one is due.
        error: Why the last try made none.
    """

    last: FeedNote | None = None
    due_at: datetime | None = None
    error: JbackupdError | None = None

    def state(self, now: datetime) -> str:
        """Return `fresh`, `late` (due for longer than an hour), `failed`, or `never`."""
        if self.error is not None:
            return "failed"
        if self.due_at is not None and now > self.due_at + GRACE:
            return "late"
        return "fresh" if self.last is not None else "never"


def feed_named(settings: Settings, name: str) -> Feed:
    """Return a feed of the configuration.

    Raises:
        NotFoundError: There is none.
    """
    found = next((feed for feed in settings.feeds if feed.id == name), None)
    if found is None:
        raise NotFoundError("there is no feed {feed} in the configuration", "see 'jbackupd feed list'", feed=name)
    return found


def due_at(feed: Feed, last: FeedNote | None, settings: Settings, begun_at: datetime) -> datetime | None:
    """Return when a feed's next file is due; one that never was made, at once."""
    if last is None:
        return begun_at
    return feed.schedule.next_after(last.made_at, settings.site.zone)


class Feeds:
    """Owns the making of feeds in this run of the daemon.

    Args:
        audit: Opens a tenant's audit log; blocks.
        runner: Knows when the daemon stops, and rings when something has changed.
    """

    def __init__(
        self, live: Live, audit: Callable[[TenantId], DeskAudit], runner: Runner, *, offload: Offload, clock: Clock,
        log: Log,
    ) -> None:
        self.facts: dict[str, FeedFacts] = {}
        self._live = live
        self._audit = audit
        self._runner = runner
        self._offload = offload
        self._clock = clock
        self._log = log
        self._begun_at = clock.now()
        self._not_before: dict[str, datetime] = {}
        self._turn = asyncio.Lock()

    def register(self, control: Registry) -> None:
        """Let commands ask for a feed."""
        control.register("feed.write", FeedArguments, self._asked)

    async def run(self) -> None:
        """Keep to the schedules."""
        while not self._runner.stopping:
            seen = self._runner.news.revision
            wanted = {feed.id: feed for feed in self._live.settings.feeds}
            for gone in self.facts.keys() - wanted.keys():
                del self.facts[gone]
            for feed in wanted.values():
                await self._look(feed)
                if self._is_due(feed):
                    await self._make_due(feed)
            await self._runner.news.within(seen, LOOK_SECONDS)

    def _is_due(self, feed: Feed) -> bool:
        now, due = self._clock.now(), self.facts[feed.id].due_at
        waits = self._not_before.get(feed.id, now) > now
        return due is not None and due <= now and not waits and not self._runner.stopping

    async def _look(self, feed: Feed) -> None:
        last = await self._offload.disk(last_note, feed)
        before = self.facts.get(feed.id, FeedFacts())
        self.facts[feed.id] = FeedFacts(last, due_at(feed, last, self._live.settings, self._begun_at), before.error)

    async def _make_due(self, feed: Feed) -> None:
        try:
            await self._make(feed, by="jbackupd")
        except JbackupdError as error:
            before = self.facts[feed.id].error
            if str(before) != str(error):
                self._log.error(_("the feed {feed} was not made: {reason}"), feed=feed.id, reason=error)
            self.facts[feed.id] = FeedFacts(self.facts[feed.id].last, self.facts[feed.id].due_at, error)
            self._not_before[feed.id] = self._clock.now() + AGAIN
            if str(before) != str(error):
                self._runner.news.ring()

    async def _make(self, feed: Feed, *, by: str) -> FeedNote:
        async with self._turn:
            audit = await self._offload.disk(self._audit, feed.dataset.tenant)
            note = await asyncio.to_thread(
                make_feed, self._live.settings, feed, audit, self._clock.now(), by=by
            )
        self._not_before.pop(feed.id, None)
        self.facts[feed.id] = FeedFacts(note, due_at(feed, note, self._live.settings, self._begun_at))
        self._log.info(
            _("the feed {feed} was made of {point}: {rows} residents"), feed=feed.id, point=note.point, rows=note.rows
        )
        self._runner.news.ring()
        return note

    async def _asked(self, call: Call[FeedArguments]) -> Body:
        note = await self._make(feed_named(self._live.settings, call.arguments.feed), by=call.arguments.by)
        found: Body = msgspec.to_builtins(note)
        return found
