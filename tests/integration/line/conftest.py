"""A town of three sites for each test."""

from __future__ import annotations

import pytest

from tests.support.twosites import Town


@pytest.fixture
def town(tmp_path) -> Town:
    return Town(str(tmp_path))
