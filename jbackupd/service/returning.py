"""A site that acts again after its loss: it fetches what the others have of its tenants before it takes a point.

Without that a rebuilt site would begin a second chain beside the one that its peers hold, and one that was only cut
off would not know what happened meanwhile.
"""

from __future__ import annotations

import asyncio
import posixpath
from collections.abc import Callable
from typing import Any

from jbackupd.continuity.epoch import Epochs
from jbackupd.engine.survey import Survey
from jbackupd.model.errors import JbackupdError, TryLaterError
from jbackupd.model.ids import DatasetId, SiteId, TenantId
from jbackupd.model.texts import _
from jbackupd.service.log import Log
from jbackupd.service.premises import Others
from jbackupd.storage.durable import write_durably
from jbackupd.storage.files import Files

AGAIN_SECONDS = 30.0
"""Between two tries while sites do not answer."""
_FOLDER = "site/returned"


class Returning:
    """Owns the fetching after a return.

    Args:
        tenants: Those whose points this site takes.
        turn: What whoever writes a tenant's vault holds meanwhile.
        refresh: Looks at a tenant's vault anew.
    """

    def __init__(
        self, files: Files, epochs: Epochs, others: Others, *, tenants: Callable[[], list[TenantId]],
        turn: Callable[[TenantId], asyncio.Lock], refresh: Callable[[], Any], log: Log,
    ) -> None:
        self._files = files
        self._epochs = epochs
        self._others = others
        self._tenants = tenants
        self._turn = turn
        self._refresh = refresh
        self._log = log
        self._heard = asyncio.Event()
        self._fetched: dict[TenantId, int] = {}
        self._alarms: dict[TenantId, list[str]] = {}
        files.make_folder(_FOLDER)

    def hear(self) -> None:
        """Look now: something was declared. In the loop."""
        self._heard.set()

    def missing(self) -> list[TenantId]:
        """Return the tenants that are not fetched yet since this site returned. Blocks for a moment."""
        epoch = self._epoch()
        if epoch is None:
            return []
        return [tenant for tenant in self._tenants() if not self._files.exists(_mark(tenant, epoch))]

    def check(self, tenant: TenantId) -> None:
        """Check that points of a tenant may be taken.

        Raises:
            TryLaterError: This site has returned, and has not fetched yet what the others have.
        """
        if tenant in self.missing():
            raise TryLaterError(
                "no point of {tenant} is taken yet: this site has returned, and fetches first what the others have",
                "see to the lines to the other sites: 'jbackupd site status'", tenant=tenant,
            )

    def facts(self) -> dict[str, Any]:
        """Return what is fetched: under each tenant `bytes`, `done`, and the `alarms` that keep it from being done."""
        missing = self.missing()
        return {
            tenant: {
                "bytes": self._fetched.get(tenant, 0), "done": tenant not in missing,
                "alarms": self._alarms.get(tenant, []) if tenant in missing else [],
            }
            for tenant in self._tenants() if self._epoch() is not None
        }

    async def run(self) -> None:
        """Fetch whenever this site has returned, until it has all of it."""
        while True:
            self._heard.clear()
            missing = await asyncio.to_thread(self.missing)
            for tenant in missing:
                await self._bring(tenant)
            if not missing:
                await self._heard.wait()
                continue
            try:
                async with asyncio.timeout(AGAIN_SECONDS):
                    await self._heard.wait()
            except TimeoutError:
                pass

    async def _bring(self, tenant: TenantId) -> None:
        epoch = self._epoch()
        if epoch is None:
            return
        async with self._turn(tenant):
            found = await self._others.survey(tenant)
            for dataset in sorted(found.newest):
                await self._fetch(found, dataset, tenant)
            found = await self._others.survey(tenant)
            self._alarms[tenant] = [str(alarm) for alarm in found.alarms]
            if not _is_whole(found, self._epochs.site):
                self._log.warning(
                    _("{tenant}: not all that the other sites have is here yet; no point is taken"), tenant=tenant
                )
                return
            await asyncio.to_thread(
                write_durably, self._files, _mark(tenant, epoch), b"", temporary=_mark(tenant, epoch) + ".new"
            )
        self._log.info(
            _("{tenant}: this site has all that the others have ({bytes} bytes fetched) and takes points again"),
            tenant=tenant, bytes=self._fetched.get(tenant, 0),
        )
        self._refresh()

    async def _fetch(self, found: Survey, dataset: DatasetId, tenant: TenantId) -> None:
        def count(size: int) -> None:
            self._fetched[tenant] = self._fetched.get(tenant, 0) + size

        try:
            await self._others.fetch(found, dataset, count)
        except JbackupdError as error:
            self._log.error(_("{dataset}: unable to fetch it: {reason}"), dataset=dataset, reason=error)

    def _epoch(self) -> int | None:
        """Return the epoch under which this site acts again; None if it was never lost, or still is."""
        newest = self._epochs.lineage(self._epochs.site).newest
        return newest.statement.epoch if newest is not None and newest.is_return else None


def _is_whole(found: Survey, own: SiteId) -> bool:
    """Tell whether somebody answered, nobody who did has a newer point than this site, and nothing contradicts it.

    A fork is such a contradiction: two states of one dataset, of which people must say which one counts.
    """
    answered = [sight for sight in found.sightings if sight.site != own and sight.error is None]
    return bool(answered) and not found.alarms and all(own in newest.holders for newest in found.newest.values())


def _mark(tenant: TenantId, epoch: int) -> str:
    return posixpath.join(_FOLDER, f"{tenant}.{epoch}")
