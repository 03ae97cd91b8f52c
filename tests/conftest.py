"""What holds for the whole test run: no key ever seals two things with one nonce."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

import pytest
from hypothesis import settings

from jbackupd.codec import seal

# A machine that is busy with something else makes no promise false.
settings.register_profile("house", deadline=None)
settings.load_profile("house")


class NonceWatch:
    """Remembers every (key, nonce) of this process, as 16 bytes of a hash: a run seals millions."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()
        self.repeated = 0

    def __call__(self, key: bytes, nonce: bytes) -> None:
        pair = blake2b(key + nonce, digest_size=16).digest()
        self.repeated += pair in self._seen
        assert pair not in self._seen, "a key would seal a second thing with the same nonce"
        self._seen.add(pair)


@pytest.fixture(scope="session", autouse=True)
def nonce_watch() -> Iterator[NonceWatch]:
    """Look at every seal: a repeated pair fails the test that made it, and the run if something swallowed that."""
    watch = NonceWatch()
    seal.observe_nonce = watch
    yield watch
    seal.observe_nonce = None
    assert watch.repeated == 0
