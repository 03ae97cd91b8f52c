"""For the whole test run: no key ever seals two things under one nonce."""

from __future__ import annotations

from collections.abc import Iterator

import blake3
import pytest

from jbackupd.codec import seal


@pytest.fixture(autouse=True, scope="session")
def no_nonce_repeats() -> Iterator[None]:
    """Watch every sealing of this process; keys are remembered as hashes only."""
    seen: set[bytes] = set()

    def observe(key: bytes, nonce: bytes) -> None:
        used = blake3.blake3(key + nonce).digest(16)
        assert used not in seen, "a key sealed two things under one nonce"
        seen.add(used)

    seal.observe_nonce = observe
    yield
    seal.observe_nonce = None
