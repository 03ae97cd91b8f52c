"""Makes the golden vault whose keys have changed, once: two epochs, another recovery key, the first epoch erased.

    python -m tests.compat.make_golden_keys tests/compat/golden/format1-keys

Never run it over an existing one: old vaults must stay readable.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from jbackupd.codec.hashing import name_of
from jbackupd.codec.shares import split
from jbackupd.format.identity import Card, CardKind, encode_card
from tests.support.keychanges import Story
from tests.support.onesite import DATASET, TENANT


def main(target: Path) -> None:
    story = Story(str(target))
    seeds = {"old": story.seed}
    for step, seed in (
        ("take", 1), ("take", 2), ("take", 3), ("rotate", 0), ("take", 4), ("change_recovery", 5), ("take", 6),
        ("erase", 12), ("take", 7),
    ):
        getattr(story, step)(seed)
    story.check()
    assert 0 < len(story.lost) < 3, "choose another seed: some points of the epoch must stay, some must go"
    seeds["new"] = story.seed
    for word, seed in seeds.items():
        for share in split(seed, threshold=2, count=3, label=TENANT):
            (target / f"{word}-share{share.index}.txt").write_text(share.to_text())
    card = Card(CardKind.SITE, "saga", story.site.signer.public, b"h" * 32)
    (target / "saga.card").write_text(encode_card(card))
    expected = {
        "lost": sorted(f"{DATASET}@{number}" for number in story.lost),
        "points": {
            f"{DATASET}@{number}": {path.hex(): name_of(data).hex() for path, data in content.items()}
            for number, content in story.taken.items() if number not in story.lost
        },
    }
    (target / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
