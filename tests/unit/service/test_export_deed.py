"""Steps of kind export: a device that lies at a peer is served, and opened again with its point and its overlay."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from jbackupd.codec.shares import split
from jbackupd.continuity.plan import StepEvent
from jbackupd.continuity.record import Beginning, RunRecord
from jbackupd.engine.bring import Place
from jbackupd.engine.survey import Newest, Survey
from jbackupd.model.clock import SystemClock
from jbackupd.model.errors import NotFoundError
from jbackupd.model.ids import SiteId, TenantId
from jbackupd.model.records import Access
from jbackupd.service.bringers import Bringers
from jbackupd.service.deeds.export import Exporting
from jbackupd.service.deeds.work import Work
from jbackupd.service.premises import Premises
from jbackupd.settings.plan import parse_plan
from jbackupd.settings.steps import ExportStep
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.store import ObjectStore
from tests.support import onesite
from tests.support.away import Away
from tests.support.twosites import run

PLAN = (
    'version = 1\nid = "servers"\ntitle = "x"\ntenant = "imari"\nhome = "saga"\n'
    '[[step]]\nid = "keys"\nkind = "unlock"\n'
    '[[step]]\nid = "disk"\nkind = "export"\ndataset = "imari/juki"\nfile = "image"\nneeds = ["keys"]\n'
)
IMAGE = bytes(range(256)) * 8192


def take(site: onesite.Site, content: bytes = IMAGE, day: int = 0) -> None:
    source = onesite.MemorySource({b"image": content}, times={b"image": 10**18 + day})
    site.backup(source, access=Access.RANDOM)


class Others:
    """Kyoto shows the newest point, and gives it."""

    def __init__(self, places: Sequence[Place], sequence: int) -> None:
        self._places = places
        self._sequence = sequence

    async def survey(self, tenant: TenantId) -> Survey:
        newest = Newest(None, tuple(place.site for place in self._places), ())  # type: ignore[arg-type]
        return Survey((), {onesite.DATASET: newest} if self._places else {}, ())

    def places(self, sites: Sequence[SiteId]) -> list[Place]:
        return [place for place in self._places if place.site in sites]


@pytest.fixture
def away(tmp_path: Path) -> Away:
    return Away.made(tmp_path, take)


@pytest.fixture
def record(away: Away) -> Any:
    files = PosixFiles(str(away.folder / "reader"))
    beginning = Beginning("r1", PLAN, "d" * 64, datetime(2026, 11, 23, 4, 0, tzinfo=UTC), mode="planned")
    made = RunRecord.create(files, beginning, parse_plan(PLAN))
    yield made
    made.close()


def work(away: Away, record: RunRecord, places: Sequence[Place]) -> Work:
    files = PosixFiles(str(away.folder / "reader"))
    premises = Premises(
        files, ObjectStore(files, "vaults/imari"), {SiteId("saga"): away.owner.signer.public}, SystemClock(),
        Others(places, 1), Bringers(files), None, "en",  # type: ignore[arg-type]
    )
    return Work(premises, record, split(away.owner.seed, threshold=2, count=3, label="imari")[:2])


def told(_news: Mapping[str, Any]) -> None:
    pass


async def client(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output, _ = await process.communicate()
    assert process.returncode == 0, output
    return output.decode()


def step_of(record: RunRecord) -> ExportStep:
    step = record.plan.steps[1]
    assert isinstance(step, ExportStep)
    return step


def test_a_device_at_a_peer_is_served_and_opened_again_with_its_point_and_what_was_written(
    away: Away, record: RunRecord, tmp_path: Path
) -> None:
    async def story() -> None:
        (tmp_path / "changed").write_bytes(b"w" * 100_000 + IMAGE[100_000:])
        step = step_of(record)
        async with away.town.listening(away.town.kyoto) as endpoint:
            places = [Place(SiteId("kyoto"), partial(away._dial, away.town.kyoto, endpoint.port))]
            first = work(away, record, places)
            await first.unlock(told)
            exporting = Exporting(first)
            detail = await exporting.perform(step, threading.Event(), told)
            assert (detail["point"], detail["bytes"]) == ("imari/juki@1", len(IMAGE))
            assert detail["from_elsewhere"] is True
            await client("nbdcopy", detail["uri"], str(tmp_path / "copy"))
            assert (tmp_path / "copy").read_bytes() == IMAGE
            await client("nbdcopy", "--flush", str(tmp_path / "changed"), detail["uri"])
            await exporting.close()
            await first.forget()
        now = datetime(2026, 11, 23, 5, 0, tzinfo=UTC)
        for event in (StepEvent.BEGIN, StepEvent.FINISH):
            record.note_step("disk", event, now, detail if event is StepEvent.FINISH else None)
        record.note_step("disk", StepEvent.AGAIN, now)
        # Resumed, when there is a newer point and no site answers: the same point, with what was written.
        await asyncio.to_thread(take, away.owner, b"newer" * 1000, 1)
        shutil.copytree(away.folder / "owner" / "vaults", away.folder / "reader" / "vaults", dirs_exist_ok=True)
        again = work(away, record, [])
        await again.unlock(told)
        exporting = Exporting(again)
        assert (await exporting.perform(step, threading.Event(), told))["uri"] == detail["uri"]
        await client("nbdcopy", detail["uri"], str(tmp_path / "again"))
        assert (tmp_path / "again").read_bytes() == (tmp_path / "changed").read_bytes()
        await exporting.undo(step)
        assert not (away.folder / "reader" / "recovery" / "r1" / "disk.nbd").exists()
        await exporting.undo(step)
        await again.forget()

    run(story())


def test_a_file_that_is_not_in_the_point_fails_the_step_and_leaves_nothing_open(
    away: Away, record: RunRecord
) -> None:
    async def story() -> None:
        here = work(away, record, [])
        await here.unlock(told)
        exporting = Exporting(here)
        with pytest.raises(NotFoundError):
            await exporting.perform(replace_file(step_of(record)), threading.Event(), told)
        await exporting.close()
        await here.forget()

    def replace_file(step: ExportStep) -> ExportStep:
        return step.model_copy(update={"file": "nothing"})

    for path in away.packs("owner"):
        target = away.reader / "packs" / path.parent.name / path.name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(path.read_bytes())
    run(story())
