"""What the deeds of one run share: the tenant's keys while they are at hand, its vault, and what other sites have."""

from __future__ import annotations

import asyncio
import posixpath
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from jbackupd.catalog.database import Catalog
from jbackupd.codec.shares import Share, combine
from jbackupd.continuity.record import RunRecord, run_folder
from jbackupd.engine.survey import Survey
from jbackupd.model.clock import Clock
from jbackupd.model.errors import KeyMissingError, NotFoundError
from jbackupd.model.ids import DatasetId, ObjectKind, PointSelector
from jbackupd.runtime.offload import settled
from jbackupd.service.counter import Restored
from jbackupd.service.premises import Premises
from jbackupd.settings.steps import ExportStep, MountStep, RestoreStep, Step
from jbackupd.vault.keyring import RecoveredKeys
from jbackupd.vault.rebuild import reconcile
from jbackupd.vault.store import ObjectStore
from jbackupd.vault.vault import StoredPoint, Vault

Tell = Callable[[Mapping[str, Any]], None]
TELL_SECONDS = 1.0


class Deed(Protocol):
    """Does the steps of one kind in one run; made once for the run, before its first step."""

    async def perform(self, step: Any, stopped: threading.Event, tell: Tell) -> Mapping[str, Any]:
        """Do a step; see `continuity.run.Actions.perform`."""
        ...

    async def undo(self, step: Any) -> None:
        """Take a step back, also one of an earlier process; see `continuity.run.Actions.undo`."""
        ...

    async def close(self) -> None:
        """End what lives in this process; the run can be resumed. Called once."""
        ...


class Work:
    """What one run works with; keys are in memory only, until they are forgotten.

    Args:
        record: The run's record, to look earlier outcomes up.
        shares: As the officers gave them; forgotten after the unlocking.
    """

    def __init__(self, premises: Premises, record: RunRecord, shares: Sequence[Share]) -> None:
        self.premises = premises
        self.record = record
        self.plan = record.plan
        self.folder = run_folder(record.beginning.run)
        """The run's, in the state folder."""
        self._shares: Sequence[Share] = shares
        self._seed: bytes | None = None
        self._survey: asyncio.Task[Survey] | None = None
        # One catalog for all that reads the vault in this run: two connections on one SQLite file are not safe.
        self._catalog: Catalog | None = None
        self._reconciling = threading.Lock()

    @property
    def root(self) -> str:
        """The run's folder as a whole path."""
        return posixpath.join(self.premises.files.root, self.folder)

    async def forget(self) -> None:
        """Forget the keys and all that only reading the vault needs. May be called twice."""
        self._seed, self._shares = None, ()
        survey, self._survey = self._survey, None
        if survey is not None:
            survey.cancel()
            await asyncio.wait({survey})
        catalog, self._catalog = self._catalog, None
        if catalog is not None:
            await settled(asyncio.to_thread(catalog.close))

    async def unlock(self, tell: Tell) -> Mapping[str, Any]:
        """Make the tenant's recovery key of the shares; return what to note.

        Raises:
            ShareError: They do not give it.
            NotFoundError: No site gives anything of the tenant.
        """
        await self._fetch_keys(tell)
        return await settled(asyncio.to_thread(self._unlock))

    async def look_elsewhere(self, dataset: DatasetId, tell: Tell) -> Mapping[str, Any]:
        """Fetch what other sites have newer of a dataset; return what every site said, for the report.

        A dataset alone, not all of the tenant: the register must not wait for the office's files on a thin line.
        """
        found = await self.survey()
        gave = await self.premises.others.fetch(found, dataset, counting(self.premises.clock, tell))
        return said_by(found) | {"fetched_from": gave}

    async def survey(self) -> Survey:
        """Return what the other sites say, asked once in a run."""
        if self._survey is None:
            self._survey = asyncio.create_task(self.premises.others.survey(self.plan.tenant), name="survey")
        # The others wait for the same answers: a step that runs out of time must not take them away.
        return await asyncio.shield(self._survey)

    def open_vault(self) -> tuple[Vault, int]:
        """Return the tenant's vault under the recovered keys, and how many indexes of it are damaged. Blocks.

        Raises:
            KeyMissingError: The keys are not unlocked.
        """
        if self._seed is None:
            raise KeyMissingError("the keys are not unlocked", "let the step need the unlock step")
        premises = self.premises
        with self._reconciling:
            # Read again each time: a point that was fetched since brought its session's key with it.
            keys = self._keys_of(self._seed)
            if self._catalog is None:
                premises.files.make_folder(self.folder)
                self._catalog = Catalog(posixpath.join(self.root, "catalog.sqlite"))
            found = reconcile(premises.store, self._catalog, keys, tenant=self.plan.tenant, with_chunks=False)
        vault = Vault(premises.store, self._catalog, keys, tenant=self.plan.tenant, verifiers=premises.verifiers)
        return vault, len(found.damaged)

    def keys(self, store: ObjectStore) -> RecoveredKeys:
        """Return the tenant's keys, of the key objects of a store. Blocks.

        Raises:
            KeyMissingError: The keys are not unlocked.
        """
        if self._seed is None:
            raise KeyMissingError("the keys are not unlocked", "let the step need the unlock step")
        return RecoveredKeys.from_store(self._seed, self.plan.tenant, store)

    def find(self, vault: Vault, dataset: DatasetId, choice: str) -> StoredPoint:
        """Return the point that a plan chooses.

        Raises:
            NotFoundError: There is none.
        """
        return vault.points.find(PointSelector.parse(f"{dataset}@{choice}"))

    def restored(self, step: str) -> Restored:
        """Return what a step of kind restore or mount has brought."""
        detail = self.record.steps[step].detail
        return Restored(detail["point"], datetime.fromisoformat(detail["as_of"]), detail["folder"])

    def folder_of(self, step: Step, point: StoredPoint) -> str:
        """Return where a point goes; another one, found when the run is resumed, never mixes with the first."""
        return posixpath.join(self.root, "data", f"{step.id}@{point.header.sequence}")

    async def _fetch_keys(self, tell: Tell) -> None:
        """At a site that never held anything of the tenant, fetch the most urgent dataset: its keys come with it."""
        if not await asyncio.to_thread(self._holds_keys):
            wanted = [step for step in self.plan.steps if isinstance(step, (RestoreStep, ExportStep, MountStep))]
            for step in sorted(wanted, key=lambda step: step.tier)[:1]:
                await self.look_elsewhere(step.dataset, tell)

    def _holds_keys(self) -> bool:
        return self.premises.store.exists() and bool(self.premises.store.names(ObjectKind.KEY))

    def _unlock(self) -> Mapping[str, Any]:
        seed = combine(self._shares)
        shares, self._shares = len(self._shares), ()
        keys = self._keys_of(seed)
        self._seed = seed
        return {"shares": shares, "damaged_keys": [str(error) for error in keys.damaged]}

    def _keys_of(self, seed: bytes) -> RecoveredKeys:
        if not self.premises.store.exists():
            raise NotFoundError(
                "this site holds nothing of {tenant}, and no other site gave anything",
                "see to the lines to the other sites: 'jbackupd site status'", tenant=self.plan.tenant,
            )
        return RecoveredKeys.from_store(seed, self.plan.tenant, self.premises.store)


def environment_of(work: Work, step: Step) -> dict[str, str]:
    """Return what an operator's program is told: of which run and step it is, and where the step's data lies."""
    plan, beginning = work.plan, work.record.beginning
    told = {
        "RUN": beginning.run, "PLAN": plan.id, "TENANT": plan.tenant, "HOME": plan.home, "MODE": beginning.mode,
        "STEP": step.id, "FOLDER": work.root,
    }
    data = getattr(step, "data", None)
    if isinstance(data, str):
        told["DATA"] = work.restored(data).folder
    return {f"JBACKUPD_{name}": value for name, value in told.items()}


def said_by(found: Survey) -> dict[str, Any]:
    """Return what the sites said, as a report keeps it."""
    return {
        "sites": {sight.site: "ok" if sight.error is None else str(sight.error) for sight in found.sightings},
        "alarms": [str(alarm) for alarm in found.alarms],
    }


def counting(clock: Clock, tell: Tell) -> Callable[[int], None]:
    """Return what counts bytes as they come, and tells of them now and then."""
    came, told_at = 0, clock.monotonic()

    def count(size: int) -> None:
        nonlocal came, told_at
        came += size
        if clock.monotonic() - told_at >= TELL_SECONDS:
            told_at = clock.monotonic()
            tell({"event": "progress", "fetched_bytes": came})

    return count
