"""Every decoder of bytes from outside, by its name."""

from __future__ import annotations

from tests.fuzz.codes import CODES
from tests.fuzz.exports import EXPORTS
from tests.fuzz.kind import Kind
from tests.fuzz.objects import OBJECTS
from tests.fuzz.state import STATE

KINDS: dict[str, Kind] = {kind.name: kind for kind in (*OBJECTS, *STATE, *EXPORTS, *CODES)}
