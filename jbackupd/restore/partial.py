"""Names of what is not yet whole; a restore that goes on removes what a killed one left under them."""

from __future__ import annotations

import itertools
import re
import secrets
from hashlib import blake2b

_PARTIAL = re.compile(rb"\.jb-partial-[0-9a-f]{16}")


_run = secrets.randbits(32)
_count = itertools.count()


def new_partial() -> bytes:
    """Return a name for a file that is not yet whole; no other one of this process, nor likely of another."""
    return b".jb-partial-%08x%08x" % (_run, next(_count) & 0xFFFFFFFF)


def is_partial(name: bytes) -> bool:
    """Tell whether a name is one of `new_partial`."""
    return _PARTIAL.fullmatch(name) is not None


def in_place_name(name: bytes) -> bytes:
    """Return the name that a file has while differing blocks of it are written; the same one again after a kill."""
    return b".jb-in-place-" + blake2b(name, digest_size=8).hexdigest().encode()
