"""When a drill is called: at its time, or unannounced at a moment within a window that nobody knows before. Pure.

A drill needs people with shares, so the daemon calls them and measures how long they take; it runs nothing by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random

import msgspec


class DrillCall(msgspec.Struct, frozen=True):
    """The next call for a plan's drill, or the one that nobody has answered yet.

    Attributes:
        due_at: When it is made; not shown to anybody before.
        called_at: When it was made.
        schedule: As the operator wrote it, window included: another one makes another call.
    """

    plan: str
    due_at: datetime
    schedule: str
    called_at: datetime | None = None


def next_call(
    plan: str, schedule: str, next_after: Callable[[datetime], datetime | None], after: datetime, window: timedelta,
    random: Random,
) -> DrillCall | None:
    """Return the call that follows a moment; None if the schedule never comes again.

    Args:
        next_after: Of the schedule.
        window: The call comes at any moment of it, each as likely, after the schedule's; zero is announced.
    """
    due = next_after(after)
    return None if due is None else DrillCall(plan, due + window * random.random(), schedule)


def called(call: DrillCall, now: datetime, *, hindered: bool) -> DrillCall:
    """Return the call, made if it is due.

    Args:
        hindered: A site is declared lost: nobody rehearses then.
    """
    if call.called_at is None and now >= call.due_at and not hindered:
        return msgspec.structs.replace(call, called_at=now)
    return call


def is_answered(call: DrillCall, newest_drill: datetime | None) -> bool:
    """Tell whether a drill of the plan has begun since the call."""
    return call.called_at is not None and newest_drill is not None and newest_drill >= call.called_at
