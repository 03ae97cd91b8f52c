"""Texts in the encodings of main systems: what one of them lacks is marked and named, never silently lost. Pure."""

from __future__ import annotations

import unicodedata
from typing import Literal

MainEncoding = Literal["cp932", "euc-jp", "utf-8"]
ENCODINGS: tuple[MainEncoding, ...] = ("cp932", "euc-jp", "utf-8")
MARK = "〓"
"""The printers' mark for a type that is missing; every Japanese encoding has it."""
# One shape with two code points, by the tables of two vendors: the other one is encodable.
_SAME_SHAPE = str.maketrans("〜−‖—¢£¬", "～－∥―￠￡￢")


def encodable(text: str, encoding: MainEncoding) -> tuple[str, list[tuple[str, str]]]:
    """Return a text that can be encoded; and what was replaced in it, each time with what stands there instead.

    A character with its variation selector that lacks the variation becomes the plain one, which is listed too.
    """
    try:
        if text.encode(encoding).decode(encoding) == text:
            return text, []
    except UnicodeError:
        pass
    kept: list[str] = []
    replaced: list[tuple[str, str]] = []
    for cluster in _clusters(text):
        stands = _stand_in(cluster, encoding)
        if stands != cluster:
            replaced.append((cluster, stands))
        kept.append(stands)
    return "".join(kept), replaced


def _clusters(text: str) -> list[str]:
    """Return the characters of a text, each with the variation selectors and marks that belong to it."""
    found: list[str] = []
    for char in text:
        if found and (unicodedata.category(char) == "Mn" or char == "\u200d"):
            found[-1] += char
        else:
            found.append(char)
    return found


def _stand_in(cluster: str, encoding: MainEncoding) -> str:
    for form in (cluster, unicodedata.normalize("NFC", cluster), cluster.translate(_SAME_SHAPE), cluster[0]):
        # A form without its variation is another character of the same kind: it is listed, and can be read.
        try:
            if form.encode(encoding).decode(encoding) == form:
                return form
        except UnicodeError:
            continue
    return MARK
