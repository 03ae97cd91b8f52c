"""Containers of a run, under the real podman: only approved images, what they see, how they end; nothing stays."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from jbackupd.continuity.plan import StepEvent
from jbackupd.continuity.record import Beginning, RunRecord
from jbackupd.model.clock import SystemClock
from jbackupd.model.errors import NotFoundError, RefusedError, ScriptError
from jbackupd.model.ids import TenantId
from jbackupd.service.auditlogs import AuditLogs
from jbackupd.service.bringers import Bringers
from jbackupd.service.deeds.containers import end_left_containers
from jbackupd.service.deeds.services import Serving
from jbackupd.service.deeds.work import Work
from jbackupd.service.premises import Premises
from jbackupd.service.readycontainers import container_findings
from jbackupd.settings.plan import parse_plan
from jbackupd.settings.programs import Container
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


def said(site: Site) -> list[str]:
    """Return the lines of a container's log, without podman's times."""
    return [line.split(" ", 3)[3] for line in (Path(site.work.root) / "app.log").read_text().splitlines()]


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def command_lines() -> str:
    """Return what everybody may read of every process."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found.append(Path(f"/proc/{name}/cmdline").read_text(errors="replace"))
    return "\n".join(found)


SERVES = ("/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done")


def test_a_container_serves_until_it_is_undone_and_nothing_of_it_stays(site: Site) -> None:
    step = site.step(command=SERVES)

    async def serve() -> Mapping[str, Any]:
        serving = Serving(site.work)
        note = await site.perform(serving, step)
        again = await site.perform(serving, step)
        assert lives(again["pid"])
        assert not lives(note["pid"]), "begun again: the first one has ended"
        await serving.undo(step)
        await serving.undo(step)
        return again

    note = play(serve)
    assert not lives(note["pid"])
    assert (note["image_id"], note["container"], note["image"]) == (site.images.sha256, "jbackupd-r1-app", NAME)
    assert sorted(os.listdir(site.work.root)) == ["app.log", "journal"]
    assert mounted_below(site.work.root) == []


def test_it_sees_what_was_restored_and_its_variables_and_no_command_line_shows_them(site: Site, tmp_path: Path) -> None:
    secrets = tmp_path / "app.env"
    secrets.write_text("PASSWORD_OF_APP=canary-in-file\n")
    secrets.chmod(0o600)
    fifo = site.data / "app" / "told"
    os.mkfifo(fifo)
    tell = "id; cat /data/index.html; touch /data/new; touch /ro/new; env; cat /proc/1/oom_score_adj; echo > /data/told"
    step = site.step(
        command=("/bin/sh", "-c", f"({tell}) 2>&1; {SERVES[2]}"), environment_file=str(secrets),
        environment={"TITLE": "canary in plan", "PATH": "/bin"},
        mount=[{"data": "files", "path": "app", "at": "/data", "writable": True}, {"data": "files", "at": "/ro"}],
    )

    async def serve() -> str:
        serving = Serving(site.work)
        note = await site.perform(serving, step)
        await asyncio.to_thread(fifo.read_text)
        shown = command_lines()
        assert note["memory_bytes"] is None
        await serving.close()
        return shown

    shown = play(serve)
    lines = said(site)
    assert {"窓口", "TITLE=canary in plan", "PASSWORD_OF_APP=canary-in-file", "PATH=/bin", "JBACKUPD_MODE=planned",
            "JBACKUPD_RUN=r1", "500"} <= set(lines)
    assert "touch: /ro/new: Read-only file system" in lines
    assert not any(line.startswith(("JBACKUPD_DATA", "JBACKUPD_FOLDER")) for line in lines)
    assert sorted(os.listdir(site.data / "app")) == ["index.html", "new", "told"]
    assert "canary" not in shown
    assert "jbackupd-r1-app" in shown, "the container's parent was looked at"


async def ending(site: Site, step: ServiceStep, let: Callable[[], Any] = lambda: None) -> str:
    """Start a container, let it end, and return with what people are told that it ended."""
    serving = Serving(site.work)
    ended: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
    try:
        await serving.perform(step, threading.Event(), ended.put_nowait)
    except ScriptError as error:
        return str(error.fields["code"])
    await asyncio.to_thread(let)
    news = await ended.get()
    await serving.close()
    assert news["event"] == "ended"
    return str(news["code"])


def test_the_image_may_come_with_the_point_and_people_are_told_when_it_ends_by_itself(site: Site) -> None:
    (site.data / "image.tar").write_bytes(site.images.archive.read_bytes())
    go = site.data / "go"
    os.mkfifo(go)
    step = site.step(
        data="files", archive="image.tar", command=("/bin/sh", "-c", "echo up; read line < /data/go; exit 7"),
        mount=[{"data": "files", "at": "/data", "writable": True}],
    )
    assert play(lambda: ending(site, step, lambda: go.write_text("\n"))) == "7"
    assert said(site) == ["up"]
    assert sorted(os.listdir(site.work.root)) == ["app.log", "journal"]


def test_one_that_ends_at_once_is_told_too(site: Site) -> None:
    assert play(lambda: ending(site, site.step(command=("/bin/sh", "-c", "exit 3")))) == "3"


@pytest.mark.parametrize(("change", "error", "words"), [
    ({"sha256": "0" * 64}, RefusedError, "not the one that was approved"),
    ({"image": "localhost/no-such:1"}, NotFoundError, "podman has no image localhost/no-such:1 here"),
    ({"image": "registry.invalid/no-such:1"}, NotFoundError, "podman has no image"),
    ({"command": ["/no/such/program"]}, ScriptError, "podman refuses: .*no/such/program"),
    ({"mount": [{"data": "files", "path": "out", "at": "/out"}]}, RefusedError, "out does not lie in the"),
    ({"mount": [{"data": "files", "path": "../state", "at": "/out"}]}, RefusedError, "does not lie in the restored"),
    ({"mount": [{"data": "files", "path": "none", "at": "/out"}]}, NotFoundError, "the point has no none"),
    ({"environment_file": "/dev/null"}, RefusedError, "others may read /dev/null"),
    ({"environment_file": "/no/such"}, NotFoundError, "unable to read /no/such"),
])
def test_what_is_refused_leaves_nothing(
    site: Site, change: dict[str, Any], error: type[Exception], words: str
) -> None:
    (site.data / "out").symlink_to("/etc")
    with pytest.raises(error, match=words):
        play(lambda: site.perform(Serving(site.work), site.step(**change)))
    assert "app.container" not in os.listdir(site.work.root)


def test_what_a_killed_daemon_has_left_is_found_by_its_folder(site: Site) -> None:
    """A container's parent survives whoever started it."""
    step = site.step(command=SERVES)

    async def forgotten() -> int:
        serving = Serving(site.work)
        return int((await site.perform(serving, step))["pid"])

    pid = play(forgotten)
    assert lives(pid)
    where_containers_run(lambda: end_left_containers(site.work.root))
    assert not lives(pid)
    assert sorted(os.listdir(site.work.root)) == ["app.log", "journal"]


def test_notes_of_an_earlier_boot_are_not_believed(site: Site) -> None:
    """Its process numbers are other processes' now."""
    site.folder.mkdir(parents=True)
    (site.folder / "boot").write_text("00000000-0000-0000-0000-000000000000")
    (site.folder / "store").mkdir()
    end_left_containers(site.work.root)
    assert not site.folder.exists()


def test_a_check_tells_beforehand_what_is_missing(
    images: Images, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def found(**keys: Any) -> list[tuple[str, str]]:
        given = {"image": NAME, "sha256": images.sha256, "store": str(images.store), **keys}
        container = Container.model_validate({key: value for key, value in given.items() if value is not None})
        looked = where_containers_run(lambda: list(container_findings("app", container)))
        return [(each.grade.value, each.text.format(**each.fields)) for each in looked]

    assert found() == [("good", f"{NAME} is the image that was approved")]
    assert found(image=None, sha256=None, archive="image.tar") == [
        ("good", "podman is here; the image comes with the point")
    ]
    assert found(sha256="0" * 64) == [
        ("bad", f"the image {NAME} is not the one that was approved: its id is {images.sha256}")
    ]
    [(grade, words)] = found(image="localhost/no-such:1")
    assert grade == "bad" and words.startswith("podman has no image localhost/no-such:1 here")
    assert found(environment_file="/no/such")[0][0] == "bad"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert found() == [("bad", "podman is not installed here")]


def mounted_below(folder: str) -> list[str]:
    return [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()
            if line.split()[4].startswith(folder)]
