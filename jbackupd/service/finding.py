"""What a look at a plan finds: how good it is, of which step, in words."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any


class Grade(Enum):
    """How good a finding is."""

    GOOD = "good"
    NOTE = "note"
    """To know; a run would not fail of it."""
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        step: The plan's step, or empty for the plan as a whole.
        text: English template.
        fields: For the template.
    """

    grade: Grade
    step: str
    text: str
    fields: dict[str, Any]


def good(step: str, text: str, **fields: Any) -> Finding:
    """Return a good finding."""
    return Finding(Grade.GOOD, step, text, fields)


def note(step: str, text: str, **fields: Any) -> Finding:
    """Return one to know."""
    return Finding(Grade.NOTE, step, text, fields)


def bad(step: str, text: str, **fields: Any) -> Finding:
    """Return a bad one."""
    return Finding(Grade.BAD, step, text, fields)
