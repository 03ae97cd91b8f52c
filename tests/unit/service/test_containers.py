"""Containers of a run, under the real podman: only approved images, what they see, how they end, and that nothing stays."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from jbackupd.continuity.plan import StepEvent
from jbackupd.continuity.record import Beginning, RunRecord
from jbackupd.engine.survey import Survey
from jbackupd.model.clock import SystemClock
from jbackupd.model.errors import NotFoundError, RefusedError, ScriptError
from jbackupd.model.ids import TenantId
from jbackupd.service.auditlogs import AuditLogs
from jbackupd.service.bringers import Bringers
from jbackupd.service.deeds.containers import end_left_containers
from jbackupd.service.deeds.services import Serving
from jbackupd.service.deeds.work import Work
from jbackupd.service.premises import Premises
from jbackupd.settings.plan import parse_plan
from jbackupd.settings.steps import ServiceStep
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.store import ObjectStore
from tests.support.containers import NAME, Images, where_containers_run

TENANT = TenantId("imari")
NOW = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
PLAN = (
    'version = 1\nid = "counter"\ntitle = "x"\ntenant = "imari"\nhome = "saga"\n'
    '[[step]]\nid = "keys"\nkind = "unlock"\n'
    '[[step]]\nid = "files"\nkind = "restore"\ndataset = "imari/juki"\nneeds = ["keys"]\n'
)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    return Images(tmp_path_factory.mktemp("images") / "host")


class Site:
    """A run with a restored folder, and what its steps tell."""

    def __init__(self, folder: Path, images: Images, mode: str = "planned") -> None:
        self.images = images
        self.heard: list[Mapping[str, Any]] = []
        files, clock = PosixFiles(str(folder / "state")), SystemClock()
        files.make_folder("")
        premises = Premises(
            files, ObjectStore(files, "vaults/imari"), {}, clock, None, Bringers(files),  # type: ignore[arg-type]
            functools.partial(AuditLogs(files, clock).of, TENANT), "en",
        )
        beginning = Beginning("r1", PLAN, "d" * 64, NOW, mode=mode)  # type: ignore[arg-type]
        self.record = RunRecord.create(files, beginning, parse_plan(PLAN))
        self.data = folder / "restored"
        (self.data / "app").mkdir(parents=True)
        (self.data / "app" / "index.html").write_text("窓口")
        self.record.note_step("files", StepEvent.BEGIN, NOW)
        self.record.note_step("files", StepEvent.FINISH, NOW, {
            "point": "imari/juki@3", "as_of": NOW.isoformat(), "folder": str(self.data)
        })
        self.work = Work(premises, self.record, ())

    @property
    def folder(self) -> Path:
        return Path(self.work.root) / "app.container"

    def step(self, data: str | None = None, **container: Any) -> ServiceStep:
        image = {"image": NAME, "sha256": self.images.sha256, "store": str(self.images.store)}
        given = {**image, **container} if "archive" not in container else container
        return ServiceStep.model_validate({"id": "app", "kind": "service", "data": data, "container": given})

    def perform(self, serving: Serving, step: ServiceStep) -> Coroutine[Any, Any, Mapping[str, Any]]:
        return serving.perform(step, threading.Event(), self.heard.append)


@pytest.fixture
def site(tmp_path: Path, images: Images) -> Iterator[Site]:
    made = Site(tmp_path, images)
    yield made
    where_containers_run(lambda: end_left_containers(made.work.root))
    made.record.close()


def play(deed: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run a story where containers run."""
    return where_containers_run(lambda: asyncio.run(deed()))


async def heard_of_end(site: Site) -> Mapping[str, Any]:
    while not site.heard:
        await asyncio.sleep(0.01)
    return site.heard[-1]


def said(site: Site) -> list[str]:
    """Return the lines of a container's log, without podman's times."""
    return [line.split(" ", 3)[3] for line in (Path(site.work.root) / "app.log").read_text().splitlines()]


def lives(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}/exe") and os.path.islink(f"/proc/{pid}/cwd")


def test_a_container_serves_until_it_is_undone_and_nothing_of_it_stays(site: Site) -> None:
    step = site.step(command=["/bin/sleep", "1000"])

    async def serve() -> tuple[Mapping[str, Any], bool]:
        serving = Serving(site.work)
        note = await site.perform(serving, step)
        lived = lives(note["pid"])
        await serving.undo(step)
        return note, lived

    note, lived = play(serve)
    assert lived and not lives(note["pid"])
    assert note["image_id"] == site.images.sha256
    assert note["container"] == "jbackupd-r1-app"
    assert sorted(os.listdir(site.work.root)) == ["app.log", "journal"]
