"""Makes the golden vault that was reclaimed, once: points given up, a pack written anew, a statement that is void.

    python -m tests.compat.make_golden_reclaimed tests/compat/golden/format1-reclaimed

Never run it over an existing one: old vaults must stay readable.
"""

from __future__ import annotations

import json
import shutil
import sys
from datetime import timedelta
from pathlib import Path

from jbackupd.codec.hashing import name_of
from jbackupd.codec.shares import split
from jbackupd.engine.repack import plan_repacks, repack, survey_usage
from jbackupd.format.expiry import Expiry
from jbackupd.format.identity import Card, CardKind, encode_card
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.expiry import put_expiry
from tests.crash.local_backup import DATASET, START, TENANT, Town, init, signer
from tests.crash.reclaim import AUTHOR, backup, content, give_up, remove_unneeded
from tests.crash.rig import catalog_of

POINTS = 5


def main(target: Path) -> None:
    target.mkdir(parents=True)
    files = PosixFiles(str(target))
    seed = init(files)
    town = Town(files, catalog_of(None))
    for _ in range(POINTS):
        backup(town)
    given_up = give_up(town)
    remove_unneeded(town)
    usage = survey_usage(town.vault)
    planned = plan_repacks(town.vault, usage, below=0.9)
    now = START + timedelta(days=30)
    done, _damaged = repack(town.vault, planned, usage, keyring=town.keyring, author=AUTHOR, now=now)
    assert done
    remove_unneeded(town)
    chain = town.vault.points.chain(DATASET)
    staying = min(usage.slots.keys() - {pack.name for each in done for pack in each.packs})
    void = Expiry(TENANT, AUTHOR.site, 1, now, moved=((staying, name_of(b"never")),))
    put_expiry(town.store, void, AUTHOR.signer)
    shutil.rmtree(target / "keyring")
    for share in split(seed, threshold=2, count=3, label=TENANT):
        (target / f"share{share.index}.txt").write_text(share.to_text())
    (target / "saga.card").write_text(encode_card(Card(CardKind.SITE, "saga", signer().public, b"h" * 32)))
    expected = {
        "removed": [point.label for point in chain if point.name in given_up],
        "points": {
            point.label: {
                path.hex(): name_of(data).hex() for path, data in content(point.header.sequence).items()
            }
            for point in chain if point.name not in given_up
        },
    }
    (target / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
