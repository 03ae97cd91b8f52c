"""Real daemons on loopback; see tests/support/daemons.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from daemons import Town


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    found = Town(tmp_path)
    yield found
    for site in found.sites:
        if site.process is not None:
            site.process.kill()
            site.process.wait()
