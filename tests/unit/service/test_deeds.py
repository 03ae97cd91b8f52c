"""Deeds of steps: only approved programs run, checks wait for an answer, services end with all they have started."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import http.server
import os
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from jbackupd.continuity.record import Beginning, RunRecord
from jbackupd.engine.survey import Survey
from jbackupd.model.clock import SystemClock
from jbackupd.model.errors import JbackupdError, NotFoundError, PeerError, RefusedError, ScriptError
from jbackupd.model.ids import DatasetId, SiteId, TenantId
from jbackupd.service.auditlogs import AuditLogs
from jbackupd.service.bringers import Bringers
from jbackupd.service.counter import Counter
from jbackupd.service.deeds.checking import Checking
from jbackupd.service.deeds.people import Fencing, Hooking, Notifying
from jbackupd.service.deeds.scripts import approved_bytes
from jbackupd.service.deeds.services import Serving
from jbackupd.service.deeds.work import Work
from jbackupd.service.premises import Premises
from jbackupd.settings.plan import parse_plan
from jbackupd.settings.programs import Script
from jbackupd.settings.steps import CheckStep, FenceStep, HookStep, NotifyStep, ServiceStep
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.store import ObjectStore

TENANT = TenantId("imari")

PLAN = (
    'version = 1\nid = "counter"\ntitle = "x"\ntenant = "imari"\nhome = "saga"\n'
    '[[step]]\nid = "keys"\nkind = "unlock"\n'
)
Runner = Callable[[Coroutine[Any, Any, Any]], Any]


class Others:
    """Two other sites, of which one does not answer."""

    async def survey(self, tenant: TenantId) -> Survey:
        return Survey((), {}, ())

    async def fetch(self, found: Survey, dataset: DatasetId, on_bytes: Callable[[int], None]) -> None:
        return None

    async def tell_of_loss(self, lost: SiteId) -> Mapping[SiteId, JbackupdError | None]:
        return {SiteId("nara"): None, SiteId("oita"): PeerError("{site} does not answer", site="oita")}


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Work]:
    files, clock = PosixFiles(str(tmp_path / "state")), SystemClock()
    files.make_folder("")
    premises = Premises(
        files, ObjectStore(files, "vaults/imari"), {}, clock, Others(), Bringers(files),
        functools.partial(AuditLogs(files, clock).of, TENANT), "en",
    )
    beginning = Beginning("r1", PLAN, "d" * 64, datetime(2026, 11, 23, 4, 0, tzinfo=UTC), mode="planned")
    record = RunRecord.create(files, beginning, parse_plan(PLAN))
    yield Work(premises, record, ())
    record.close()


def run(deed: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(deed)


def script(folder: Path, text: str, *arguments: str) -> Script:
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return Script(script=str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest(), arguments=arguments)


def told(_news: Mapping[str, Any]) -> None:
    pass


def perform(deed: Any, step: Any, tell: Callable[[Mapping[str, Any]], None] = told) -> Any:
    return deed.perform(step, threading.Event(), tell)


def test_a_program_is_told_its_run_and_nothing_of_ours(work: Work, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("SECRET_OF_THE_DAEMON", "canary")
    hook = HookStep(id="turn", kind="hook", do=script(tmp_path, 'echo "$1"; env | sort', "to-kyoto"))
    output = run(perform(Hooking(work), hook))["output"]
    assert output.splitlines()[0] == "to-kyoto"
    assert {"JBACKUPD_HOME=saga", "JBACKUPD_MODE=planned", "JBACKUPD_RUN=r1", "JBACKUPD_STEP=turn"} <= set(
        output.splitlines()
    )
    assert "canary" not in output


def test_a_program_that_was_changed_since_its_approval_does_not_run(work: Work, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    approved = script(tmp_path, f"touch {mark}")
    Path(approved.script).write_text(f"#!/bin/sh\ntouch {mark} # and more\n")
    with pytest.raises(RefusedError, match="not the one that was approved"):
        run(perform(Hooking(work), HookStep(id="turn", kind="hook", do=approved)))
    assert not mark.exists()
    with pytest.raises(NotFoundError):
        approved_bytes(Script(script=str(tmp_path / "none"), sha256="0" * 64))


def test_a_program_that_fails_says_how(work: Work, tmp_path: Path) -> None:
    with pytest.raises(ScriptError, match="ended with 7: no route"):
        run(perform(Hooking(work), HookStep(id="turn", kind="hook", do=script(tmp_path, "echo no route; exit 7"))))
    nothing = tmp_path / "nothing"
    nothing.write_bytes(b"\x00\x01")
    with pytest.raises(NotFoundError, match="unable to run"):
        digest = hashlib.sha256(nothing.read_bytes()).hexdigest()
        broken = Script(script=str(nothing), sha256=digest)
        run(perform(Hooking(work), HookStep(id="turn", kind="hook", do=broken)))


def test_a_hook_is_undone_by_its_other_program(work: Work, tmp_path: Path) -> None:
    state = tmp_path / "address"
    (tmp_path / "a").mkdir()
    step = HookStep(
        id="turn", kind="hook", do=script(tmp_path, f"echo here > {state}"),
        undo=script(tmp_path / "a", f"echo there > {state}"),
    )
    hooking = Hooking(work)
    run(perform(hooking, step))
    assert state.read_text() == "here\n"
    run(hooking.undo(step))
    assert state.read_text() == "there\n"


def test_a_cancelled_program_ends_with_all_that_it_started(work: Work, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    os.mkfifo(pid)
    step = HookStep(id="turn", kind="hook", do=script(tmp_path, f"sleep 1000 & echo $! > {pid}; wait"))

    async def cancelled() -> int:
        deed = asyncio.create_task(perform(Hooking(work), step))
        child = int(await asyncio.to_thread(pid.read_text))
        deed.cancel()
        await asyncio.wait({deed})
        assert deed.cancelled()
        return child

    child = run(cancelled())
    assert not _lives(child)


def test_people_are_told_by_a_program_and_by_whoever_watches(work: Work, tmp_path: Path) -> None:
    heard: list[Mapping[str, Any]] = []
    step = NotifyStep(id="say", kind="notify", text="窓口を開きます", by=script(tmp_path, "cat"))
    note = run(perform(Notifying(work), step, heard.append))
    assert note["output"] == "窓口を開きます"
    assert heard == [{"event": "notice", "text": "窓口を開きます"}]


def test_a_fence_counts_who_knows(work: Work) -> None:
    note = run(perform(Fencing(work), FenceStep(id="fence", kind="fence", sites_min=1)))
    assert note == {"told": ["nara"], "untold": {"oita": "oita does not answer"}}
    with pytest.raises(PeerError, match="1 other sites know"):
        run(perform(Fencing(work), FenceStep(id="fence", kind="fence", sites_min=2)))


class Slow(http.server.BaseHTTPRequestHandler):
    """A service that answers 503 twice while it starts."""

    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        self.send_response(503 if type(self).asked <= 2 else 200)
        self.end_headers()
        self.wfile.write("起動しました".encode())

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def page() -> Iterator[str]:
    Slow.asked = 0
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/health"
    server.shutdown()
    thread.join()
    server.server_close()


def asking(work: Work, query: Callable[[str, str], str] = lambda step, sql: "41") -> Checking:
    return Checking(work, Counter(work.premises, "desk", TENANT), query)


def test_a_check_asks_until_the_service_is_up(work: Work, page: str) -> None:
    heard: list[Mapping[str, Any]] = []
    note = run(perform(asking(work), CheckStep(id="up", kind="check", http=page, expect="起動"), heard.append))
    assert note["status"] == 200 and Slow.asked == 3
    assert [news["event"] for news in heard] == ["waiting"], "the same reason is told once"


def test_a_check_tells_the_last_reason_when_its_time_is_over(work: Work) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        over = threading.Event()
        over.set()
        step = CheckStep.model_validate({"id": "c", "kind": "check", "tcp": address})
        with pytest.raises(PeerError, match=f"nothing accepts a connection at {address}"):
            run(asking(work).perform(step, over, told))


@pytest.mark.parametrize(
    ("keys", "said"),
    [({"expect": "42"}, "gave '41', not '42'"), ({"count_min": 42}, "expects 42"), ({"count_min": 41}, None)],
)
def test_a_statement_must_give_what_the_plan_says(work: Work, keys: dict[str, Any], said: str | None) -> None:
    step = CheckStep(id="rows", kind="check", postgres="db", sql="select count(*) from juki", **keys)
    over = threading.Event()
    over.set()
    if said is None:
        assert run(asking(work).perform(step, over, told))["value"] == "41"
    else:
        with pytest.raises(JbackupdError, match=said):
            run(asking(work).perform(step, over, told))


def test_a_check_may_be_a_program(work: Work, tmp_path: Path) -> None:
    note = run(perform(asking(work), CheckStep(id="c", kind="check", run=script(tmp_path, "echo fine"))))
    assert note["output"] == "fine"
    with pytest.raises(ScriptError):
        run(perform(asking(work), CheckStep(id="c", kind="check", run=script(tmp_path, "exit 1"))))


def test_a_process_serves_until_it_is_undone(work: Work, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    os.mkfifo(ready)
    program = script(tmp_path, f"echo up; sleep 1000 & echo $! > {ready}; wait")
    step = ServiceStep(id="app", kind="service", process=program)

    async def serve() -> tuple[int, int, str]:
        serving = Serving(work)
        note = await perform(serving, step)
        child = int(await asyncio.to_thread(ready.read_text))
        assert _lives(note["pid"]) and _lives(child)
        await serving.undo(step)
        return note["pid"], child, note["log"]

    process, child, log = run(serve())
    assert not _lives(process) and not _lives(child)
    assert Path(log).read_text() == "up\n"


def test_a_unit_that_systemd_does_not_start_fails_its_step(work: Work) -> None:
    with pytest.raises((ScriptError, NotFoundError), match="unable to start jbackupd-no-such-thing"):
        run(perform(Serving(work), ServiceStep(id="app", kind="service", unit="jbackupd-no-such-thing.service")))


def _lives(pid: int) -> bool:
    """Tell whether a process runs; one that is dead but not yet reaped by whoever adopted it does not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except FileNotFoundError:
        return False
