"""Who does which step: the deeds of one run, put together."""

from __future__ import annotations

import posixpath
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from jbackupd.codec.shares import Share
from jbackupd.continuity.record import RunRecord
from jbackupd.model.errors import JbackupdError
from jbackupd.service.counter import Counter
from jbackupd.service.deeds.checking import Checking
from jbackupd.service.deeds.desks import Desking, Unlocking
from jbackupd.service.deeds.export import Exporting
from jbackupd.service.deeds.mount import Mounting
from jbackupd.service.deeds.people import Fencing, Hooking, Notifying
from jbackupd.service.deeds.postgres import Databases
from jbackupd.service.deeds.restoring import Inspecting, Restoring
from jbackupd.service.deeds.services import Serving
from jbackupd.service.deeds.work import Deed, Tell, Work
from jbackupd.service.premises import Premises
from jbackupd.settings.steps import Step


class SiteDeeds:
    """Does the steps of one run; see `continuity.run.Actions`.

    Args:
        record: The run's record, to look earlier outcomes up.
        shares: As the officers gave them; forgotten after the unlocking.
    """

    def __init__(self, premises: Premises, record: RunRecord, shares: Sequence[Share]) -> None:
        work = self._work = Work(premises, record, shares)
        counter = Counter(
            premises, posixpath.join(work.folder, "desk"), record.plan.tenant, drill=record.beginning.mode == "rehearse"
        )
        databases = Databases(work)
        self._deeds: dict[str, Deed] = {
            "unlock": Unlocking(work),
            "fence": Fencing(work),
            "restore": Restoring(work),
            "inspect": Inspecting(work),
            "mount": Mounting(work),
            "export": Exporting(work),
            "postgres": databases,
            "service": Serving(work),
            "desk": Desking(work, counter),
            "check": Checking(work, counter, databases.query),
            "notify": Notifying(work),
            "hook": Hooking(work),
        }

    async def perform(self, step: Step, stopped: threading.Event, tell: Tell) -> Mapping[str, Any]:
        """Do a step."""
        return await self._deeds[step.kind].perform(step, stopped, tell)

    async def undo(self, step: Step) -> None:
        """Take a step back."""
        if step.kind in self._deeds:
            await self._deeds[step.kind].undo(step)

    async def forget(self) -> None:
        """Forget the keys and all that only reading the vault needs; desks stay open, for days perhaps."""
        await self._work.forget()

    async def close(self) -> None:
        """Forget the keys, and end all that lives in this process, the last first."""
        failed: JbackupdError | None = None
        for deed in reversed(self._deeds.values()):
            try:
                await deed.close()
            except JbackupdError as error:
                failed = failed or error
        if failed is not None:
            raise failed
