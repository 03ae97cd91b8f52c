"""Names of things: sites, tenants, datasets, points, objects, frames, chunks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import NewType

from jbackupd.model.errors import FormatError, UsageError

SiteId = NewType("SiteId", str)
TenantId = NewType("TenantId", str)
ObjectName = NewType("ObjectName", bytes)
"""BLAKE3-256 of an object's stored bytes; 32 bytes."""
FrameId = NewType("FrameId", bytes)
"""Keyed BLAKE3 of a frame's plaintext, first 16 bytes; never outside sealed bytes."""
ChunkId = NewType("ChunkId", bytes)
"""Keyed BLAKE3 of a chunk, first 16 bytes; never outside sealed bytes."""

OBJECT_NAME_BYTES = 32
FRAME_ID_BYTES = 16
CHUNK_ID_BYTES = 16
NO_OBJECT = ObjectName(bytes(OBJECT_NAME_BYTES))
"""The predecessor of a dataset's first point."""

_WORD = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")


class ObjectKind(IntEnum):
    """Kinds of vault objects; numbers are part of format 1 and are never reused."""

    PACK = 1
    INDEX = 2
    POINT = 3
    KEY = 4
    RECEIPT = 5

    @property
    def folder(self) -> str:
        """The folder of a vault that holds objects of this kind."""
        return {1: "packs", 2: "indexes", 3: "points", 4: "keys", 5: "receipts"}[int(self)]


@dataclass(frozen=True, order=True, slots=True)
class ObjectRef:
    """An object's kind and name."""

    kind: ObjectKind
    name: ObjectName

    def __str__(self) -> str:
        return f"{self.kind.name.lower()} {self.name.hex()[:12]}"


def is_word(text: str) -> bool:
    """Tell whether a text may name a site, a tenant or a dataset: a-z, 0-9, inner hyphens, 1 to 32."""
    return _WORD.fullmatch(text) is not None


def object_name(hex_text: str) -> ObjectName:
    """Parse 64 lower-case hex digits.

    Raises:
        FormatError: The text is anything else.
    """
    if re.fullmatch(r"[0-9a-f]{64}", hex_text) is None:
        raise FormatError("{text!r} is not an object name", "expected 64 hex digits", text=hex_text[:80])
    return ObjectName(bytes.fromhex(hex_text))


@dataclass(frozen=True, order=True, slots=True)
class DatasetId:
    """A dataset's full name, TENANT/DATASET."""

    tenant: TenantId
    name: str

    @classmethod
    def parse(cls, text: str) -> DatasetId:
        """Parse TENANT/DATASET.

        Raises:
            UsageError: The text does not have that form.
        """
        tenant, slash, name = text.partition("/")
        if not slash or not is_word(tenant) or not is_word(name):
            raise UsageError(
                "{text!r} does not name a dataset", "write TENANT/DATASET, for example imari/juki", text=text
            )
        return cls(TenantId(tenant), name)

    def __str__(self) -> str:
        return f"{self.tenant}/{self.name}"


@dataclass(frozen=True, slots=True)
class PointSelector:
    """Which point of a dataset is meant.

    Exactly one of the fields is set; none set means the newest point.
    """

    dataset: DatasetId
    sequence: int | None = None
    before: datetime | None = None
    verified: bool = False

    @classmethod
    def parse(cls, text: str) -> PointSelector:
        """Parse TENANT/DATASET[@SELECTOR]: a sequence number, `latest`, `latest-verified`, or `before:TIME` (RFC 3339).

        Raises:
            UsageError: The text does not have that form.
        """
        name, at, selector = text.partition("@")
        dataset = DatasetId.parse(name)
        if not at or selector == "latest":
            return cls(dataset)
        if selector == "latest-verified":
            return cls(dataset, verified=True)
        if selector.isascii() and selector.isdigit() and len(selector) < 16:
            return cls(dataset, sequence=int(selector))
        if selector.startswith("before:"):
            try:
                moment = datetime.fromisoformat(selector.removeprefix("before:"))
            except ValueError:
                moment = None
            if moment is not None and moment.tzinfo is not None:
                return cls(dataset, before=moment)
        raise UsageError(
            "{selector!r} does not select a point",
            "write a sequence number, latest, latest-verified, or before:2026-11-23T04:00+09:00",
            selector=selector,
        )
