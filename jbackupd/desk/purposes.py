"""What residents are looked up for: one of a few purposes, chosen at sign-in and kept until another is chosen."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from enum import Enum

from jbackupd.model.errors import UsageError
from jbackupd.model.texts import to_translate

BECAUSE_CHARACTERS_MAX = 60


class Purpose(Enum):
    """Why somebody looks at residents' data; the order is that of the keys 1 to 5."""

    SAFETY = "safety"
    CERTIFICATE = "certificate"
    SHELTER = "shelter"
    INQUIRY = "inquiry"
    OTHER = "other"


LABELS = {
    Purpose.SAFETY: to_translate("Safety of persons"),
    Purpose.CERTIFICATE: to_translate("Certificate at the counter"),
    Purpose.SHELTER: to_translate("List of a shelter"),
    Purpose.INQUIRY: to_translate("Inquiry"),
    Purpose.OTHER: to_translate("Other purpose"),
}


@dataclass(frozen=True, slots=True)
class Reason:
    """A purpose, in words where it is another than the usual ones."""

    purpose: Purpose
    because: str = ""


def read_reason(purpose: str, because: str) -> Reason:
    """Return what a form says.

    Raises:
        UsageError: No purpose is chosen, or another one without words.
    """
    try:
        chosen = Purpose(purpose)
    except ValueError as error:
        raise UsageError("no purpose is chosen", "choose what you look residents up for") from error
    words = "".join(char for char in " ".join(because.split()) if unicodedata.category(char) not in ("Cc", "Cs"))
    if chosen is not Purpose.OTHER:
        return Reason(chosen)
    if not 2 <= len(words) <= BECAUSE_CHARACTERS_MAX:
        raise UsageError(
            "the purpose is not said in words", "say it in 2 to {count} characters, without anybody's name",
            count=BECAUSE_CHARACTERS_MAX,
        )
    return Reason(chosen, words)
