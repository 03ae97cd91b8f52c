"""Whatever bytes come from outside: a decoder takes them or refuses them by name, and holds little memory meanwhile."""

import random

import pytest

from tests.fuzz.kind import Kind
from tests.fuzz.kinds import KINDS
from tests.fuzz.mutate import Mutator
from tests.fuzz.run import CORPUS, Result, corpus, fuzz, try_one

EXECUTIONS = 2500
SLOW = {"accounts": 100, "configuration": 500, "plan": 300, "column-map": 500, "extract": 600, "share": 1000,
        "intake-file": 60}
"""A desk's account takes scrypt, a configuration is read as a file, an extract becomes a database."""
kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)


@kinds
def test_every_example_is_taken_and_comes_back_the_same(kind: Kind) -> None:
    for data in corpus(kind):
        value = kind.read(data)
        if kind.again is not None:
            assert kind.again(value) == value
        if kind.inner is not None and kind.wrap is not None:
            kind.read(kind.wrap(kind.inner(data)))


@kinds
def test_changed_bytes_are_taken_or_refused_by_name(kind: Kind) -> None:
    result = fuzz(kind, 1, SLOW.get(kind.name, EXECUTIONS))
    assert result.findings == []


@kinds
def test_what_was_found_once_is_answered_rightly(kind: Kind) -> None:
    result = Result()
    for data in corpus(kind, found=True):
        try_one(kind, data, result, measured=True)
    assert result.findings == []


@kinds
def test_every_prefix_is_taken_or_refused_by_name(kind: Kind) -> None:
    result = Result()
    for data in corpus(kind):
        for length in range(0, len(data), max(1, len(data) // (40 if kind.name not in SLOW else 8))):
            try_one(kind, data[:length], result)
    assert result.findings == []


@pytest.mark.soak
@kinds
def test_every_decoder_for_long(kind: Kind) -> None:
    for seed in range(100, 300):
        assert fuzz(kind, seed, 4 * SLOW.get(kind.name, EXECUTIONS)).findings == []


def test_the_corpus_is_of_the_kinds_and_small() -> None:
    assert {folder.name for folder in CORPUS.iterdir()} == set(KINDS)
    assert sum(file.stat().st_size for file in CORPUS.glob("*/*")) < 256 * 1024


def test_one_seed_makes_the_same_bytes_again() -> None:
    one, other = (Mutator(random.Random(7), [b"some example"], [b"word"]) for _ in range(2))
    made = [one.next() for _ in range(50)]
    assert made == [other.next() for _ in range(50)]
    assert len(set(made)) > 40


def test_the_fuzzer_sees_an_untyped_error_a_hoard_and_another_value() -> None:
    def reads(data: bytes) -> bytes:
        if data == b"hoard":
            return bytes(1 << 20)
        return data.decode().encode()

    kind = Kind("test", reads, (ZeroDivisionError,), lambda value: value.strip())
    result = Result()
    for data in (b"fine", b"\xff", b" spaces ", b"hoard"):
        try_one(kind, data, result, measured=True)
    assert [what.partition(":")[0] for _, what in result.findings] == [
        "UnicodeDecodeError", "AssertionError", "AssertionError"
    ]
