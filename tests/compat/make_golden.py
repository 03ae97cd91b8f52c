"""Makes the golden vault of format 1, once. Never run it over an existing one: old vaults must stay readable.

    python tests/compat/make_golden.py tests/compat/golden/format1
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from onesite import DATASET, TENANT, MemorySource, Site

from jbackupd.codec.hashing import name_of
from jbackupd.codec.shares import split
from jbackupd.format.identity import Card, CardKind, encode_card


def rows(count: int, changed: int) -> bytes:
    source, changes = random.Random(1), random.Random(changed)
    lines = [b"%05d\t%024x\tSaga\n" % (i, source.getrandbits(96)) for i in range(count)]
    for i in changes.sample(range(count), changed):
        lines[i] = lines[i].replace(b"Saga", b"Imari")
    return b"".join(lines)


def contents(day: int) -> dict[bytes, bytes]:
    return {
        "juki/住民.csv".encode(): rows(3000, day * 30),
        "juki/外字.csv".encode("cp932"): rows(20, day),
        b"juki/empty": b"",
        b"noise": random.Random(9).randbytes(40_000),
        b"day%d" % day: b"%d" % day,
    }


def main(target: Path) -> None:
    site = Site(target)
    for day in range(3):
        site.backup(MemorySource(contents(day), times=dict.fromkeys(contents(day), day + 1)))
    for share in split(site.seed, threshold=2, count=3, label=TENANT):
        (target / f"share{share.index}.txt").write_text(share.to_text())
    (target / "saga.card").write_text(encode_card(Card(CardKind.SITE, "saga", site.signer.public, b"h" * 32)))
    expected = {
        f"{DATASET}@{day + 1}": {path.hex(): name_of(data).hex() for path, data in contents(day).items()}
        for day in range(3)
    }
    (target / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
