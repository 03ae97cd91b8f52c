"""Fuzzes one decoder, or all: python -m tests.fuzz KIND|all --seconds N [--seed S] [--keep DIR]."""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from pathlib import Path

from jbackupd.codec.hashing import name_of
from tests.fuzz.kind import Kind
from tests.fuzz.kinds import KINDS
from tests.fuzz.run import Result, fuzz

ROUND = 500
FINDINGS_MAX = 20


def fuzz_for(kind: Kind, seed: int, seconds: float) -> Result:
    """Fuzz in rounds, each with a seed of its own, until the time is up or much was found."""
    result, end = Result(), time.monotonic() + seconds
    for number in itertools.count(seed * 1_000_000):
        fuzz(kind, number, ROUND, result)
        if time.monotonic() >= end or len(result.findings) >= FINDINGS_MAX:
            return result
    raise AssertionError


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz the decoders.")
    parser.add_argument("kind", choices=["all", *KINDS], metavar="KIND", help="all, " + ", ".join(KINDS))
    parser.add_argument("--seconds", type=float, default=10.0, help="for each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="write what is found into this folder")
    given = parser.parse_args()
    print("| decoder | executions | accepted | peak bytes | slowest ms | findings |\n|---|---:|---:|---:|---:|---:|")
    found = 0
    for kind in KINDS.values() if given.kind == "all" else [KINDS[given.kind]]:
        result = fuzz_for(kind, given.seed, given.seconds)
        print(f"| {kind.name} | {result.executions:,} | {result.accepted:,} | {result.peak_bytes:,} |"
              f" {1000 * result.slowest_seconds:,.0f} | {len(result.findings)} |", flush=True)
        if given.keep is not None:
            given.keep.mkdir(parents=True, exist_ok=True)
            (given.keep / f"{kind.name}-slowest").write_bytes(result.slowest)
        for data, what in {what.rpartition(" at ")[2]: (data, what) for data, what in result.findings}.values():
            print(f"{kind.name}: {what}: {data[:120]!r}", file=sys.stderr)
            if given.keep is not None:
                (given.keep / f"{kind.name}-{name_of(data).hex()[:12]}").write_bytes(data)
        found += len(result.findings)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
