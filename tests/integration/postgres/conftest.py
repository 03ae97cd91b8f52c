"""One cluster for all tests of this folder: making it takes most of their time."""

from __future__ import annotations

import tempfile
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
def place() -> Iterator[Path]:
    """Return a folder of the test's own.

    Not tmp_path: every run of pytest that starts meanwhile shuts the folder above it to all but its owner again.
    """
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        yield Path(folder)


@pytest.fixture
def rig(place: Path, base: Path) -> Rig:
    """Return a point with a base backup."""
    return Rig(place, base)
