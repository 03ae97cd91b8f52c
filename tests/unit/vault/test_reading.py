"""A planned reading gives the right bytes, decodes each frame once, and lets go of all it planned."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from jbackupd.model.errors import DamageError, MissingObjectError
from jbackupd.model.ids import FrameId, ObjectKind
from jbackupd.model.records import Extent, TreeEntry
from jbackupd.vault import reading
from jbackupd.vault.reader import FrameReader
from jbackupd.vault.vault import OpenPoint
from tests.support.onesite import MemorySource, Site

DAYS = 5


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A file of 6 MB that changes a little every day, so that its frames are deltas against deltas."""
    made = Site(tmp_path_factory.mktemp("site"))
    chance = random.Random(1)
    data = bytearray(chance.randbytes(6_000_000))
    for day in range(DAYS):
        made.backup(MemorySource({b"dump": bytes(data), b"small": b"s" * 100}, times={b"dump": 10**18 + day}))
        for _ in range(300):
            at = chance.randrange(len(data) - 8)
            data[at : at + 8] = chance.randbytes(8)
    return made


def fresh(site: Site, **options: int) -> tuple[FrameReader, OpenPoint, TreeEntry]:
    vault = site.vault
    reader = FrameReader(vault.store, vault.catalog, vault.keys, tenant=vault.tenant, **options)
    point = site.open_point()
    return reader, point, next(entry for entry in point.entries() if entry.path == b"dump")


def is_right(point: OpenPoint, entry: TreeEntry, pieces: list[bytes]) -> bool:
    digest = point.content_hash.file_digest()
    digest.update(b"".join(pieces))
    return digest.digest() == entry.digest


def closure(site: Site, entry: TreeEntry) -> set[FrameId]:
    seen: set[FrameId] = set()
    level = {extent.frame for extent in entry.extents}
    while level:
        seen |= level
        places = site.catalog.find_frames(level).values()
        level = {base.frame for place in places for base in place.record.bases} - seen
    return seen


def test_every_frame_of_a_chain_of_deltas_is_decoded_once_by_few_reads(site: Site) -> None:
    reader, point, entry = fresh(site)
    needed = closure(site, entry)
    assert len(needed) > len({extent.frame for extent in entry.extents})
    with reader.expect(entry.extents) as planned:
        assert is_right(point, entry, list(planned.read(entry.extents)))
    assert reader.counts.frames == len(needed)
    packs = {place.pack for place in site.catalog.find_frames(needed).values()}
    # One by one, each frame would be a read, and the head of each pack.
    assert reader.counts.reads < len(needed) + len(packs)


@pytest.mark.parametrize(("cache_bytes", "step"), [(1 << 30, 1), (12_000_000, 2), (12_000_000, 1000)])
def test_bytes_are_right_whatever_the_budget_and_the_step(
    site: Site, cache_bytes: int, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "STEP_EXTENTS", step)
    reader, point, entry = fresh(site, cache_bytes=cache_bytes)
    with reader.expect(entry.extents) as planned:
        assert is_right(point, entry, list(planned.read(entry.extents)))


def test_what_was_announced_may_be_passed_over_or_left_and_nothing_stays_behind(site: Site) -> None:
    reader, point, entry = fresh(site)
    with reader.expect(entry.extents) as planned:
        pieces = list(planned.read(entry.extents[3:5]))
    whole = list(point.read(entry.extents))
    assert pieces == whole[3:5]
    planned.close()
    with reader.expect(entry.extents) as planned:
        next(planned.read(entry.extents))
    with reader.expect(entry.extents):
        pass
    reader.close()
    assert (reader.planned_frames, reader.ahead_bytes) == (0, 0)


def test_two_readings_of_the_same_frames_at_once(site: Site) -> None:
    reader, point, entry = fresh(site)
    with reader.expect(entry.extents) as one, reader.expect(entry.extents) as other:
        pieces, others = [], []
        for first, second in zip(one.read(entry.extents), other.read(entry.extents), strict=True):
            pieces.append(first)
            others.append(second)
    assert is_right(point, entry, pieces)
    assert pieces == others
    assert reader.counts.frames == len(closure(site, entry))


def test_a_frame_that_is_not_there_is_told_when_it_is_read_and_the_others_come(site: Site) -> None:
    reader, _, entry = fresh(site)
    lost = Extent(FrameId(b"l" * 16), 0, 5)
    with reader.expect([entry.extents[0], lost]) as planned:
        assert len(next(planned.read(entry.extents[:1]))) == entry.extents[0].length
        with pytest.raises(MissingObjectError):
            list(planned.read([lost]))
    reader.close()
    assert (reader.planned_frames, reader.ahead_bytes) == (0, 0)


def test_a_damaged_frame_costs_only_itself_though_it_is_read_together_with_others(tmp_path: Path) -> None:
    site = Site(tmp_path)
    files = {b"%d" % number: random.Random(number).randbytes(1_200_000) for number in range(4)}
    site.backup(MemorySource(files))
    point = site.open_point()
    entries = list(point.entries())
    place = site.catalog.find_frames([entries[1].extents[0].frame]).popitem()[1]
    path = site.folder / "vaults" / "imari" / ObjectKind.PACK.folder / place.pack.hex()[:2] / place.pack.hex()
    data = bytearray(path.read_bytes())
    data[place.record.offset + 100] ^= 1
    path.write_bytes(data)
    extents = [extent for entry in entries for extent in entry.extents]
    with point.expect(extents) as planned:
        for entry in entries:
            if entry.path == entries[1].path:
                with pytest.raises(DamageError):
                    list(planned.read(entry.extents))
            else:
                assert b"".join(planned.read(entry.extents)) == files[entry.path]


def test_a_pack_that_was_cut_short_costs_only_what_was_cut_off(tmp_path: Path) -> None:
    site = Site(tmp_path)
    files = {b"%d" % number: random.Random(number).randbytes(200_000) + bytes(900_000) for number in range(3)}
    site.backup(MemorySource(files))
    point = site.open_point()
    entries = list(point.entries())
    places = [site.catalog.find_frames([entry.extents[0].frame]).popitem()[1] for entry in entries]
    assert len({place.pack for place in places}) == 1
    pack = places[0].pack.hex()
    path = site.folder / "vaults" / "imari" / ObjectKind.PACK.folder / pack[:2] / pack
    path.write_bytes(path.read_bytes()[: places[-1].record.offset + 10])
    with point.expect([extent for entry in entries for extent in entry.extents]) as planned:
        for entry in entries[:2]:
            assert b"".join(planned.read(entry.extents)) == files[entry.path]
        with pytest.raises(DamageError):
            list(planned.read(entries[2].extents))
