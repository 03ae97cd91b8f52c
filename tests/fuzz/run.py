"""Shows a decoder inputs and notes every answer that it may not give."""

from __future__ import annotations

import contextlib
import random
import signal
import time
import traceback
import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fuzz.kind import WORDS, Kind
from tests.fuzz.mutate import Mutator

CORPUS = Path(__file__).parent / "corpus"
FOUND = "found-"
"""Begin of the names of inputs that once were answered wrongly; the others are valid."""
MEMORY_PER_BYTE = 160
"""A list of empty arrays costs 72 bytes for each byte of msgpack; a TOML table more."""
MEMORY_EVERY = 8
"""One execution of so many is measured: tracemalloc makes it three times as long."""
HANG_SECONDS = 10
"""A decoding takes microseconds; the rest is room for a busy machine. A hang is a finding, not a slow test."""


class HungError(BaseException):
    """A decoding did not come back."""


@dataclass
class Result:
    """What came of the executions."""

    executions: int = 0
    accepted: int = 0
    peak_bytes: int = 0
    slowest_seconds: float = 0
    slowest: bytes = b""
    findings: list[tuple[bytes, str]] = field(default_factory=list)


def corpus(kind: Kind, *, found: bool = False) -> list[bytes]:
    """Return the valid examples of a kind, or what was found with it."""
    files = sorted((CORPUS / kind.name).iterdir())
    return [file.read_bytes() for file in files if file.name.startswith(FOUND) is found]


def fuzz(kind: Kind, seed: int, executions: int, result: Result | None = None) -> Result:
    """Show a decoder changed examples; the same seed and count show the same ones."""
    result = result or Result()
    for number, data in enumerate(_inputs(kind, random.Random(f"{kind.name} {seed}"), executions)):
        try_one(kind, data, result, measured=number % MEMORY_EVERY == 0)
    return result


def try_one(kind: Kind, data: bytes, result: Result, *, measured: bool = False) -> None:
    """Show a decoder one input."""
    result.executions += 1
    begun = time.perf_counter()
    try:
        with _watched():
            value = _measured(kind, data, result) if measured else kind.read(data)
            result.accepted += 1
            if kind.again is not None:
                assert kind.again(value) == value, "what was encoded and decoded is another value"
    except kind.refuses:
        return
    except (Exception, HungError) as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        what = f"{type(error).__name__}: {str(error)[:200]} at {place.filename.rpartition('/')[2]}:{place.lineno}"
        result.findings.append((data, what))
    finally:
        seconds = time.perf_counter() - begun
        if seconds > result.slowest_seconds:
            result.slowest_seconds, result.slowest = seconds, data


def _inputs(kind: Kind, chance: random.Random, executions: int) -> Iterator[bytes]:
    whole = corpus(kind)
    outer = Mutator(chance, whole, WORDS + kind.words)
    inner = _inner(kind, chance, whole) if kind.inner is not None else None
    for number in range(executions):
        if inner is not None and kind.wrap is not None and number % 4:
            yield kind.wrap(inner.next())
        else:
            yield outer.next()


def _inner(kind: Kind, chance: random.Random, whole: Sequence[bytes]) -> Mutator:
    assert kind.inner is not None
    return Mutator(chance, [kind.inner(data) for data in whole], WORDS + kind.words)


def _measured(kind: Kind, data: bytes, result: Result) -> Any:
    tracemalloc.start()
    try:
        return kind.read(data)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        result.peak_bytes = max(result.peak_bytes, peak)
        assert peak <= kind.slack_bytes + MEMORY_PER_BYTE * len(data), f"{peak} bytes for an input of {len(data)}"


@contextlib.contextmanager
def _watched() -> Iterator[None]:
    def hung(*_: object) -> None:
        raise HungError(f"no answer within {HANG_SECONDS} s")

    before = signal.signal(signal.SIGALRM, hung)
    rest, _ = signal.setitimer(signal.ITIMER_REAL, HANG_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, rest)
        signal.signal(signal.SIGALRM, before)
