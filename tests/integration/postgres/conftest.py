"""One cluster for all tests of this folder: making it takes most of their time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from clusters import Rig, base_backup


@pytest.fixture(scope="session")
def base() -> Iterator[Path]:
    """Return a base backup with its own WAL."""
    with base_backup() as taken:
        yield taken


@pytest.fixture
def rig(tmp_path, base) -> Rig:
    """Return a point with a base backup."""
    return Rig(tmp_path, base)
