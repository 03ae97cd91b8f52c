"""When this site was last in touch with each other one; it outlives restarts, since people decide by it.

    STATE/site/contacts.json    {site: moment, RFC 3339}, at most ten minutes behind
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Collection
from datetime import datetime, timedelta

import msgspec

from jbackupd.model.clock import Clock
from jbackupd.model.ids import SiteId
from jbackupd.runtime.news import News
from jbackupd.runtime.offload import Offload
from jbackupd.storage.durable import write_durably
from jbackupd.storage.files import Files

LOOK_SECONDS = 30.0
SAVE_EVERY = timedelta(minutes=10)
_PATH = posixpath.join("site", "contacts.json")


class Contacts:
    """The last contact with every site; belongs to the event loop.

    Args:
        files: The state folder.
        up: With which sites there is a link now.
        news: Rings when that may have changed.
    """

    def __init__(
        self, files: Files, up: Callable[[], Collection[SiteId]], news: News | None, *, clock: Clock, offload: Offload
    ) -> None:
        self._files = files
        self._up = up
        self._news = news or News()
        self._clock = clock
        self._offload = offload
        self._met = last_contacts(files)
        self._before: frozenset[SiteId] = frozenset()
        self._saved_at: datetime | None = None

    def last(self, site: SiteId) -> datetime | None:
        """Return when there was a link with a site, as far as is known; now where there is one."""
        return self._clock.now() if site in self._up() else self._met.get(site)

    async def run(self) -> None:
        """Note contacts until cancelled."""
        while True:
            seen = self._news.revision
            if self._note():
                await self._offload.disk(_save, self._files, dict(self._met))
            await self._news.within(seen, LOOK_SECONDS)

    def _note(self) -> bool:
        """Note with whom there is a link now; tell whether that is to be written down."""
        now, up = self._clock.now(), frozenset(self._up())
        # Who was up at the last look was so until now, or until a change that rang.
        for site in up | self._before:
            self._met[site] = now
        changed, self._before = up != self._before, up
        if not changed and (not up or (self._saved_at is not None and now - self._saved_at < SAVE_EVERY)):
            return False
        self._saved_at = now
        return True


def last_contacts(files: Files) -> dict[SiteId, datetime]:
    """Return what was written down of the last contact with each site; for a machine without a daemon too."""
    if not files.exists(_PATH):
        return {}
    try:
        found = msgspec.json.decode(files.read(_PATH), type=dict[str, datetime])
    except (msgspec.DecodeError, UnicodeDecodeError):
        # It is evidence for people, and nothing else hangs on it: a damaged one begins anew.
        return {}
    return {SiteId(site): at for site, at in found.items() if at.tzinfo is not None}


def _save(files: Files, met: dict[SiteId, datetime]) -> None:
    write_durably(files, _PATH, msgspec.json.encode(met), temporary=_PATH + ".new")
