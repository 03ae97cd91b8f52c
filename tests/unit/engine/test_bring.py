"""Packs that lie at other sites are read as if they were here, and become objects of the vault when they are whole."""

from __future__ import annotations

import asyncio
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jbackupd.model.errors import BusyError, DamageError, MissingObjectError
from jbackupd.model.ids import ObjectRef
from jbackupd.model.records import Access
from jbackupd.restore.fileview import FileView
from jbackupd.restore.view import PointView
from jbackupd.service.bringers import Bringers
from jbackupd.service.reaching import Reached
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.holder import VaultHolder
from tests.support.away import Away
from tests.support.onesite import MemorySource, Site
from tests.support.twosites import run

IMAGE_BYTES = 3_000_000


def contents() -> list[bytes]:
    """Three days of an image: noise, 40 places changed a day."""
    chance = random.Random(4)
    data = bytearray(chance.randbytes(IMAGE_BYTES))
    days = []
    for _ in range(3):
        days.append(bytes(data))
        for at in (chance.randrange(IMAGE_BYTES - 200) for _ in range(40)):
            data[at : at + 200] = chance.randbytes(200)
    return days


def take(site: Site) -> None:
    for day, data in enumerate(contents()):
        site.backup(MemorySource({b"image": data}, times={b"image": 10**18 + day}), access=Access.RANDOM)


@pytest.fixture
def away(tmp_path: Path) -> Away:
    return Away.made(tmp_path, take)


def opened(reached: Reached) -> FileView:
    view = PointView(reached.point)
    try:
        return view.open(b"image")
    finally:
        view.close()


def test_any_read_is_the_slice_of_the_file(away: Away) -> None:
    async def story() -> None:
        content, chance = contents()[-1], random.Random(1)
        async with away.reached() as reached:
            assert reached.bringer is not None
            file = await asyncio.to_thread(opened, reached)
            spans = [(chance.randrange(IMAGE_BYTES), chance.randrange(100_000)) for _ in range(30)]
            loop = asyncio.get_running_loop()
            # Threads of their own: the listener of this very loop needs the others.
            with ThreadPoolExecutor(8) as threads:
                read = await asyncio.gather(*(loop.run_in_executor(threads, file.read, *span) for span in spans))
            assert read == [content[at : at + length] for at, length in spans]
            assert reached.bringer.state.received_bytes > 0
        assert not away.packs("reader"), "nothing was filled, and no pack was read whole"

    run(story())


def test_what_was_brought_is_not_brought_again(away: Away) -> None:
    async def story() -> None:
        content = contents()[-1]
        for expected in (True, False):
            async with away.reached() as reached:
                file = await asyncio.to_thread(opened, reached)
                assert await asyncio.to_thread(file.read, 1_000_000, 4096) == content[1_000_000:1_004_096]
                assert reached.bringer is not None
                assert bool(reached.bringer.state.received_bytes) is expected

    run(story())


def test_filling_makes_objects_of_the_vault_and_needs_no_site_afterwards(away: Away) -> None:
    async def story() -> None:
        async with away.reached() as reached:
            assert reached.bringer is not None
            file = await asyncio.to_thread(opened, reached)
            await reached.fill([file.extents[number] for number in range(len(file.extents))])
            await reached.bringer.filled()
            state = reached.bringer.state
            assert state.here_bytes == state.total_bytes > 0 and not state.hopeless
            assert await asyncio.to_thread(file.read, 0, IMAGE_BYTES) == contents()[-1]
        assert {path.name for path in away.packs("reader")} <= {path.name for path in away.packs("owner")}
        assert [path.name for path in (away.reader / "parts").iterdir()] == ["lock"]
        async with away.reached(sites=()) as reached:
            assert await asyncio.to_thread(lambda: opened(reached).read(0, IMAGE_BYTES)) == contents()[-1]
            assert reached.bringer is None

    run(story())


def test_two_who_read_at_once_share_what_comes_and_the_last_one_hangs_up(away: Away) -> None:
    """As an export and a mount in one plan: one line, nothing brought twice; a third in another process waits."""
    files = PosixFiles(str(away.folder / "reader"))

    async def story() -> None:
        bringers = Bringers(files)
        async with away.reached(bringers=bringers) as first:
            file = await asyncio.to_thread(opened, first)
            await first.fill([file.extents[number] for number in range(len(file.extents))])
            async with away.reached(bringers=bringers) as second:
                assert second.bringer is first.bringer is not None
                same = await asyncio.to_thread(opened, second)
                await second.fill([same.extents[number] for number in range(len(same.extents) // 2)])
                with pytest.raises(BusyError):
                    async with away.reached():
                        pass
                await second.bringer.filled()
                state = second.bringer.state
                assert state.here_bytes == state.total_bytes
                assert state.received_bytes < sum(path.stat().st_size for path in away.packs("kyoto")) * 1.2
            assert await asyncio.to_thread(file.read, 0, IMAGE_BYTES) == contents()[-1], "the first reads on"
            assert state.total_bytes, "and its wish stands"
        assert away.dialled == ["kyoto"]
        async with away.reached(sites=()) as third:
            assert third.bringer is None

    run(story())


def flip(path: Path, *offsets: int) -> None:
    data = bytearray(path.read_bytes())
    for offset in offsets or range(200, len(data), 5_000):
        data[offset] ^= 1
    path.write_bytes(data)


def test_a_site_with_wrong_bytes_is_passed_over(away: Away) -> None:
    """Kyoto's packs are damaged everywhere, Hokkaido's are not: no wrong byte is ever seen, and all is filled."""
    for path in away.packs("kyoto"):
        flip(path)

    async def story() -> None:
        async with away.reached(sites=("kyoto", "hokkaido")) as reached:
            assert reached.bringer is not None
            file = await asyncio.to_thread(opened, reached)
            await reached.fill([file.extents[number] for number in range(len(file.extents))])
            await reached.bringer.filled()
            assert reached.bringer.state.hopeless == 0
            assert await asyncio.to_thread(file.read, 0, IMAGE_BYTES) == contents()[-1]

    run(story())


def test_wrong_bytes_of_the_only_site_are_an_error(away: Away) -> None:
    for path in away.packs("kyoto"):
        flip(path, *range(300, path.stat().st_size, 50_000))

    async def story() -> None:
        async with away.reached() as reached:
            with pytest.raises(DamageError):
                await asyncio.to_thread(lambda: opened(reached).read(0, IMAGE_BYTES))

    run(story())


def test_bytes_that_went_wrong_on_the_disk_here_are_brought_again(away: Away) -> None:
    async def story() -> None:
        async with away.reached() as reached:
            await asyncio.to_thread(lambda: opened(reached).read(0, 1_000_000))
        for path in (away.reader / "parts").iterdir():
            if path.suffix == "" and path.stat().st_size > 1000:
                flip(path)
        async with away.reached() as reached:
            assert await asyncio.to_thread(lambda: opened(reached).read(0, 1_000_000)) == contents()[-1][:1_000_000]

    run(story())


def test_what_no_site_gives_is_an_error_and_the_rest_is_filled(away: Away) -> None:
    gone = max(away.packs("kyoto"), key=lambda path: path.stat().st_size)
    gone.unlink()

    async def story() -> None:
        async with away.reached() as reached:
            assert reached.bringer is not None
            file = await asyncio.to_thread(opened, reached)
            with pytest.raises(MissingObjectError):
                await asyncio.to_thread(file.read, 0, IMAGE_BYTES)
            await reached.fill([file.extents[number] for number in range(len(file.extents))])
            await reached.bringer.filled()
            assert reached.bringer.state.hopeless == 1

    run(story())


class CutError(Exception):
    """A defect at the other side: the connection ends without a word."""


class Cutting(VaultHolder):
    """A holder that drops the connection at every third read of a pack."""

    reads = 0

    def read(self, peer: object, tenant: object, ref: ObjectRef, offset: int, length: int) -> tuple[bytes, int]:
        self.reads += 1
        if self.reads % 3 == 0:
            raise CutError
        return super().read(peer, tenant, ref, offset, length)  # type: ignore[arg-type]


def test_a_line_that_is_cut_again_and_again_is_dialled_anew(away: Away) -> None:
    async def story() -> None:
        kyoto = away.town.kyoto
        holder = Cutting(
            kyoto.files, site=kyoto.id, signer=kyoto.signer, verifiers=away.town.verifiers, rights=away.town.rights,
            book=kyoto.book, clock=kyoto.clock,
        )
        async with away.reached(holder=holder) as reached:
            file = await asyncio.to_thread(opened, reached)
            assert await asyncio.to_thread(file.read, 500_000, 300_000) == contents()[-1][500_000:800_000]
        assert len(away.dialled) > 1

    run(story())
