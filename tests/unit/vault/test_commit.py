"""What a commit writes beside the point."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from jbackupd.model.ids import ObjectKind
from tests.support.onesite import DATASET, MemorySource, Site


def test_a_first_point_of_many_frames_has_more_than_one_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jbackupd.vault.commit.INDEX_FRAMES", 2)
    monkeypatch.setattr("jbackupd.vault.writer.PACK_BYTES_MIN", 1_000_000)
    monkeypatch.setattr("jbackupd.vault.writer.PACK_BYTES", 1_000_000)
    site = Site(tmp_path)
    files = {b"%d" % number: random.Random(number).randbytes(3_000_000) for number in range(4)}
    site.backup(MemorySource(files))
    indexes = site.store.names(ObjectKind.INDEX)
    packs = site.store.names(ObjectKind.PACK)
    assert 1 < len(indexes) <= len(packs)
    needed = site.vault.points.needed(DATASET, 1)
    assert {ref.name for ref in needed if ref.kind is ObjectKind.INDEX} == set(indexes)
    # A catalog that is made from them alone says where everything is, and the next point lists nothing twice.
    found = site.open_vault(catalog="catalog/again.sqlite")
    assert not found.damaged
    assert set(site.catalog.packs().values()) == set(indexes)
    assert site.content() == files
    again = site.backup(MemorySource(files | {b"new": b"new"}))
    assert sum(ref.kind is ObjectKind.INDEX for ref in again.header.added) == 1
