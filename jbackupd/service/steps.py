"""The deeds of a recovery run's steps at this site: unlock, restore, inspect, desk, check."""

from __future__ import annotations

import asyncio
import contextlib
import os
import posixpath
import stat
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from jbackupd.catalog.database import Catalog
from jbackupd.codec.shares import Share, combine
from jbackupd.continuity.record import RunRecord, run_folder
from jbackupd.engine.survey import Survey
from jbackupd.model.clock import Clock
from jbackupd.model.errors import JbackupdError, KeyMissingError, NotFoundError
from jbackupd.model.ids import DatasetId, ObjectKind, PointSelector
from jbackupd.model.texts import to_translate
from jbackupd.restore.options import RestoreOptions, RestoreResult
from jbackupd.restore.place import restore
from jbackupd.runtime.offload import settled
from jbackupd.service.counter import Counter, Restored
from jbackupd.service.leases import reading
from jbackupd.service.premises import Premises
from jbackupd.settings.plan import CheckStep, DeskStep, InspectStep, RestoreStep, Step, UnlockStep
from jbackupd.storage.beneath import Beneath
from jbackupd.vault.keyring import RecoveredKeys
from jbackupd.vault.rebuild import reconcile
from jbackupd.vault.vault import StoredPoint, Vault

Tell = Callable[[Mapping[str, Any]], None]
TELL_SECONDS = 1.0


class SiteSteps:
    """Does the steps of one run; keeps keys and open desks in memory only.

    Args:
        record: The run's record, to look earlier outcomes up.
        shares: As the officers gave them; forgotten after the unlocking.
    """

    def __init__(self, premises: Premises, record: RunRecord, shares: Sequence[Share]) -> None:
        self._premises = premises
        self._record = record
        self._plan = record.plan
        self._folder = run_folder(record.beginning.run)
        self._shares: Sequence[Share] = shares
        self._seed: bytes | None = None
        self._survey: asyncio.Task[Survey] | None = None
        # One catalog for all restores of the run: two connections on one SQLite file are not safe.
        self._catalog: Catalog | None = None
        self._reconciling = threading.Lock()
        self._counter = Counter(premises, posixpath.join(self._folder, "desk"))

    async def perform(self, step: Step, stopped: threading.Event, tell: Tell) -> Mapping[str, Any]:
        """Do a step; see `continuity.run.Actions`."""
        match step:
            case UnlockStep():
                await self._fetch_keys(tell)
                return await settled(asyncio.to_thread(self._unlock))
            case RestoreStep():
                said = await self._look_elsewhere(step.dataset, tell)
                return {**await settled(asyncio.to_thread(self._restore, step, stopped, tell)), **said}
            case InspectStep():
                return await settled(asyncio.to_thread(self._inspect, step))
            case DeskStep():
                return await self._counter.open(step, self._restored(step.data))
            case CheckStep():
                return await settled(asyncio.to_thread(self._counter.check, step))

    async def forget(self) -> None:
        """Forget the keys and all that only restores need; desks stay open, for days perhaps."""
        self._seed, self._shares = None, ()
        if self._survey is not None:
            self._survey.cancel()
            await asyncio.wait({self._survey})
        if self._catalog is not None:
            self._catalog.close()
            self._catalog = None

    async def close(self) -> None:
        """Forget the keys and close the desks."""
        await self.forget()
        await self._counter.close()

    async def _fetch_keys(self, tell: Tell) -> None:
        """At a site that never held anything of the tenant, fetch the most urgent dataset: its keys come with it."""
        if not await asyncio.to_thread(self._holds_keys):
            restores = [step for step in self._plan.steps if isinstance(step, RestoreStep)]
            for step in sorted(restores, key=lambda step: step.tier)[:1]:
                await self._look_elsewhere(step.dataset, tell)

    def _holds_keys(self) -> bool:
        return self._premises.store.exists() and bool(self._premises.store.names(ObjectKind.KEY))

    def _unlock(self) -> Mapping[str, Any]:
        seed = combine(self._shares)
        shares, self._shares = len(self._shares), ()
        keys = self._keys_of(seed)
        self._seed = seed
        return {"shares": shares, "damaged_keys": [str(error) for error in keys.damaged]}

    def _keys_of(self, seed: bytes) -> RecoveredKeys:
        if not self._premises.store.exists():
            raise NotFoundError(
                "this site holds nothing of {tenant}, and no other site gave anything",
                "see to the lines to the other sites: 'jbackupd site status'", tenant=self._plan.tenant,
            )
        return RecoveredKeys.from_store(seed, self._plan.tenant, self._premises.store)

    async def _look_elsewhere(self, dataset: DatasetId, tell: Tell) -> Mapping[str, Any]:
        """Fetch what other sites have newer of a dataset; return what every site said, for the report.

        A dataset alone, not all of the tenant: the register must not wait for the office's files on a thin line.
        """
        if self._survey is None:
            self._survey = asyncio.create_task(self._premises.others.survey(self._plan.tenant), name="survey")
        # The others wait for the same answers: a step that runs out of time must not take them away.
        found = await asyncio.shield(self._survey)
        gave = await self._premises.others.fetch(found, dataset, _counting(self._premises.clock, tell))
        return {
            "sites": {sight.site: "ok" if sight.error is None else str(sight.error) for sight in found.sightings},
            "alarms": [str(alarm) for alarm in found.alarms],
            "fetched_from": gave,
        }

    def _restore(self, step: RestoreStep, stopped: threading.Event, tell: Tell) -> Mapping[str, Any]:
        with reading(self._premises.files.root, self._plan.tenant):
            return self._restore_leased(step, stopped, tell)

    def _restore_leased(self, step: RestoreStep, stopped: threading.Event, tell: Tell) -> Mapping[str, Any]:
        vault, damaged = self._open_vault()
        stored = vault.points.find(PointSelector.parse(f"{step.dataset}@{step.point}"))
        target = self._data_folder(step, stored)

        def progress(done: RestoreResult) -> None:
            tell({"event": "progress", "point": stored.label, "bytes": done.bytes_read, "files": done.files})

        result = restore(
            vault.open_point(stored), target, RestoreOptions(resume=True, label=stored.label), progress=progress,
            stopped=stopped.is_set,
        )
        if result.tree_error is not None:
            raise result.tree_error
        if result.problems:
            raise _not_whole(stored, result)
        return {
            "point": stored.label, "as_of": stored.header.begun_at.isoformat(), "files": result.files + result.kept,
            "bytes": result.bytes, "kept": result.kept, "folder": target, "incomplete": stored.header.incomplete,
            "damaged_indexes": damaged,
        }

    def _open_vault(self) -> tuple[Vault, int]:
        """Return the tenant's vault under the recovered keys, and how many indexes of it are damaged."""
        if self._seed is None:
            raise KeyMissingError("the keys are not unlocked", "let the step need the unlock step")
        premises = self._premises
        with self._reconciling:
            # Read again each time: a point that was fetched since brought its session's key with it.
            keys = self._keys_of(self._seed)
            if self._catalog is None:
                premises.files.make_folder(self._folder)
                self._catalog = Catalog(posixpath.join(premises.files.root, self._folder, "catalog.sqlite"))
            found = reconcile(premises.store, self._catalog, keys, tenant=self._plan.tenant, with_chunks=False)
        vault = Vault(
            premises.store, self._catalog, keys, tenant=self._plan.tenant, verifiers=premises.verifiers
        )
        return vault, len(found.damaged)

    def _inspect(self, step: InspectStep) -> Mapping[str, Any]:
        restored = self._restored(step.data)
        with contextlib.closing(Beneath(restored.folder)) as beneath:
            for path in step.files:
                status = beneath.status(os.fsencode(path))
                if status is None or not stat.S_ISREG(status.st_mode) or not status.st_size:
                    raise NotFoundError(
                        "{point} has no file {path}, or an empty one", "look at the point with 'jbackupd ls {point}'",
                        point=restored.point, path=path,
                    )
        count = self._record.steps[step.data].detail["files"]
        if count < step.files_min:
            raise NotFoundError(
                "{point} has {count} files, the plan expects {least}", "look at the point with 'jbackupd ls {point}'",
                point=restored.point, count=count, least=step.files_min,
            )
        return {"files": count, "inspected": len(step.files)}

    def _restored(self, restore_step: str) -> Restored:
        detail = self._record.steps[restore_step].detail
        return Restored(detail["point"], datetime.fromisoformat(detail["as_of"]), detail["folder"])

    def _data_folder(self, step: RestoreStep, point: StoredPoint) -> str:
        """Return where a point goes; another point, found when the run is resumed, never mixes with the first."""
        name = f"{step.id}@{point.header.sequence}"
        return posixpath.join(self._premises.files.root, self._folder, "data", name)


def _counting(clock: Clock, tell: Tell) -> Callable[[int], None]:
    """Return what counts bytes as they come, and tells of them now and then."""
    came, told_at = 0, clock.monotonic()

    def count(size: int) -> None:
        nonlocal came, told_at
        came += size
        if clock.monotonic() - told_at >= TELL_SECONDS:
            told_at = clock.monotonic()
            tell({"event": "progress", "fetched_bytes": came})

    return count


def _not_whole(stored: StoredPoint, result: RestoreResult) -> JbackupdError:
    """Return the first problem, or, when there are several, one that counts them."""
    first = result.problems[0].error
    if len(result.problems) == 1:
        return first
    return type(first)(
        to_translate("{count} files of {point} were not restored; the first: {reason}"), "{advice}",
        count=len(result.problems) + result.problems_more, point=stored.label, reason=str(first),
        advice=first.render(first.hint),
    )
