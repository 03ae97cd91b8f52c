"""Steps of kind fence, notify and hook: what reaches beyond this site."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from jbackupd.model.errors import PeerError
from jbackupd.model.texts import to_translate
from jbackupd.service.deeds.scripts import run_script
from jbackupd.service.deeds.work import Tell, Work, environment_of
from jbackupd.settings.steps import FenceStep, HookStep, NotifyStep


class Fencing:
    """Lets every site know that the lost one may not act, and cuts it off; see `work.Deed`."""

    def __init__(self, work: Work) -> None:
        self._work = work

    async def perform(self, step: FenceStep, stopped: threading.Event, tell: Tell) -> Mapping[str, Any]:
        """Tell every site, count who knows, and run the script."""
        told = await self._work.premises.others.tell_of_loss(self._work.plan.home)
        know = sorted(site for site, reason in told.items() if reason is None)
        if len(know) < step.sites_min:
            raise PeerError(
                to_translate("{count} other sites know that {home} is lost, the plan expects {least}"),
                to_translate("tell them by telephone, and see to the lines: 'jbackupd site status'"),
                count=len(know), home=self._work.plan.home, least=step.sites_min,
            )
        note: dict[str, Any] = {"told": know, "untold": {s: str(r) for s, r in told.items() if r is not None}}
        if step.cut is not None:
            note |= await run_script(step.cut, environment_of(self._work, step))
        return note

    async def undo(self, step: FenceStep) -> None:
        """Leave the fence: only officers bring a lost site back."""

    async def close(self) -> None:
        """End nothing."""


class Notifying:
    """Tells people; see `work.Deed`."""

    def __init__(self, work: Work) -> None:
        self._work = work

    async def perform(self, step: NotifyStep, stopped: threading.Event, tell: Tell) -> Mapping[str, Any]:
        """Write the text where whoever watches sees it, and give it to the script."""
        tell({"event": "notice", "text": step.text})
        if step.by is None:
            return {"notice": step.text}
        carried = await run_script(step.by, environment_of(self._work, step), standard_input=step.text.encode())
        return {"notice": step.text, **carried}

    async def undo(self, step: NotifyStep) -> None:
        """Take nothing back: what was said was said."""

    async def close(self) -> None:
        """End nothing."""


class Hooking:
    """Turns the town's traffic here, and back; see `work.Deed`."""

    def __init__(self, work: Work) -> None:
        self._work = work

    async def perform(self, step: HookStep, stopped: threading.Event, tell: Tell) -> Mapping[str, Any]:
        """Run the script."""
        return await run_script(step.do, environment_of(self._work, step))

    async def undo(self, step: HookStep) -> None:
        """Run the other script, where there is one."""
        if step.undo is not None:
            await run_script(step.undo, environment_of(self._work, step))

    async def close(self) -> None:
        """End nothing: what was turned stays turned over a restart of the daemon."""
