"""What runs inside of a drill's namespaces: the plan, in a state folder of its own, with no way out.

Started by `service.drills` through unshare(1). Its standard input gives first one line of JSON (`Order`), then the
answers of people; its standard output takes one line of JSON for each event, and the report as the last one. The shares
come and go with its memory: they are never written anywhere.
"""

from __future__ import annotations

import asyncio
import csv
import ctypes
import errno
import fcntl
import io
import ipaddress
import os
import signal
import socket
import struct
import sys
import threading
from collections.abc import Sequence
from typing import Any

import msgspec

from jbackupd.continuity.epoch import Epochs
from jbackupd.continuity.run import failure
from jbackupd.engine.bring import Place
from jbackupd.engine.survey import Survey
from jbackupd.model.clock import SystemClock
from jbackupd.model.errors import JbackupdError, PeerError
from jbackupd.model.ids import DatasetId, SiteId, TenantId
from jbackupd.service.auditlogs import AuditLogs
from jbackupd.service.bringers import Bringers
from jbackupd.service.deskaccess import roles_of
from jbackupd.service.log import Log
from jbackupd.service.premises import Premises
from jbackupd.service.recovering import Recoveries
from jbackupd.service.recoveryverbs import ShareText, shares_of
from jbackupd.service.wiring import known_verifiers, store_of
from jbackupd.settings.load import load
from jbackupd.settings.plan import Plan, parse_plan
from jbackupd.settings.steps import DeskStep
from jbackupd.storage.files import PosixFiles

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1
_PR_SET_DUMPABLE = 4
_NO_WAY = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL)
TRY_SECONDS = 2.0


class Order(msgspec.Struct, frozen=True):
    """What to rehearse.

    Attributes:
        config: The site's configuration file; nothing of it is written to.
        work: The drill's own state folder.
        plan: The plan's text.
        by: Who called it.
        agree: Whether every question is answered with yes.
    """

    config: str
    work: str
    plan: str
    shares: list[ShareText]
    by: str
    agree: bool


class Word(msgspec.Struct, frozen=True):
    """What a person says; `commit` and `rollback` are of the run, everything else of a step."""

    choice: str
    step: str = ""


class NoOthers:
    """The other sites: nobody is reached from here."""

    async def survey(self, tenant: TenantId) -> Survey:
        """Ask nobody."""
        return Survey((), {}, ())

    async def fetch(self, found: Survey, dataset: DatasetId, on_bytes: Any) -> SiteId | None:
        """Fetch nothing."""
        return None

    def places(self, sites: Sequence[SiteId]) -> list[Place]:
        """Return no place: everything must be here."""
        return []

    async def tell_of_loss(self, lost: SiteId) -> dict[SiteId, JbackupdError | None]:
        """Tell nobody."""
        return {}


def main() -> int:
    """Do what the first line says; the exit code is 0 if a report was written."""
    # A core of this process would hold keys.
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=Order)
    say({"event": "isolated", "namespace": os.readlink("/proc/self/ns/net"), "pid": os.getpid()})
    try:
        bring_loopback_up()
        say({"event": "tried", "ways": ways_out(order.config)})
        document = asyncio.run(rehearse(order))
    except JbackupdError as error:
        say({"event": "refused", **failure(error)})
        return 1
    say({"event": "report", "document": document, "counts": counted(order, document)})
    sys.stdout.buffer.flush()
    os._exit(0)


async def rehearse(order: Order) -> dict[str, Any]:
    """Run the plan; return its report once everything is closed again."""
    settings, files, clock = load(order.config), PosixFiles(order.work), SystemClock()
    log, audits = Log(), AuditLogs(PosixFiles(order.work), clock)
    verifiers = known_verifiers(settings)
    plan = parse_plan(order.plan)
    real, bringers = PosixFiles(settings.site.state), Bringers(files)

    def premises_of(tenant: TenantId) -> Premises:
        return Premises(
            files=files, store=store_of(real, tenant), verifiers=verifiers, clock=clock, others=NoOthers(),
            bringers=bringers,
            audit=lambda: audits.of(tenant), language=settings.language or "ja",
            roles=roles_of(settings),
        )

    epochs = Epochs(files, settings.site.id, officers=dict, needed=lambda: 1)
    recoveries = Recoveries(
        files, epochs=epochs, clock=clock, premises_of=premises_of, defect=log.defect, isolated=True
    )
    try:
        name = await recoveries.begin(order.plan, shares_of(order.shares), mode="rehearse", by=order.by)
        hear(recoveries, name, order)
        async for news in recoveries.watch(name):
            say({"event": "news", "news": dict(news)})
            if news.get("event") == "asks" and order.agree:
                await speak(recoveries, name, Word(_yes_to(news["kind"]), news["step"]), order.by)
        document = await asyncio.to_thread(recoveries.document, name)
        return {**document, "desk_rows": {
            step.id: _rows(plan, step, document) for step in plan.steps if isinstance(step, DeskStep)
        }}
    finally:
        await recoveries.close()


def hear(recoveries: Recoveries, name: str, order: Order) -> None:
    """Take people's words from standard input, as long as the run goes on."""
    loop = asyncio.get_running_loop()

    def read() -> None:
        for line in sys.stdin.buffer:
            word = msgspec.json.decode(line, type=Word)
            asyncio.run_coroutine_threadsafe(speak(recoveries, name, word, order.by), loop)
        # Nobody is there any more: whoever started the drill was killed. All that it started ends with this process.
        os._exit(1)

    threading.Thread(target=read, name="words", daemon=True).start()


async def speak(recoveries: Recoveries, name: str, word: Word, by: str) -> None:
    """Hand a person's word to the run; one that comes too late changes nothing."""
    try:
        if word.choice == "commit":
            await recoveries.commit(name, by=by)
        elif word.choice == "rollback" and not word.step:
            await recoveries.roll_back(name, by=by, reason="drill")
        else:
            await recoveries.answer(name, word.step, msgspec.convert(word.choice, Any), by=by)
    except JbackupdError as error:
        say({"event": "unheard", **failure(error)})


def counted(order: Order, document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what was counted twice: files of each point, residents of each desk."""
    plan, found = parse_plan(order.plan), []
    rows = document.pop("desk_rows")
    for step in document["steps"]:
        detail = step["detail"]
        if step["state"] != "done":
            continue
        if step["kind"] == "restore" and "point_files" in detail:
            found.append({"step": step["step"], "what": "files", "expected": detail["point_files"],
                          "found": detail["files"]})
        if step["kind"] == "desk" and isinstance(plan.step(step["step"]), DeskStep):
            found.append({"step": step["step"], "what": "residents", "expected": rows[step["step"]],
                          "found": detail["residents"]})
    return found


def _rows(plan: Plan, step: DeskStep, document: dict[str, Any]) -> int:
    """Count the lines of a restored extract by other means than the desk does."""
    detail = next(each["detail"] for each in document["steps"] if each["step"] == step.data)
    if "folder" not in detail:
        return 0
    with open(os.path.join(os.fsencode(detail["folder"]), os.fsencode(step.file)), "rb") as file:
        text = io.TextIOWrapper(file, encoding=step.encoding, errors="replace", newline="")
        return max(0, sum(1 for row in csv.reader(text) if any(row)) - 1)


def ways_out(config: str) -> list[str]:
    """Try to reach the other sites, and an address of nobody; return what happened, in words.

    Raises:
        PeerError: Something could be reached, or sent to: this is no place for a drill.
    """
    peers = [(peer.address.host, peer.address.port) for peer in load(config).peers if peer.address is not None]
    told: list[str] = []
    for host, port in [*peers, ("192.0.2.1", 9)]:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.settimeout(TRY_SECONDS)
            try:
                probe.connect((host, port))
            except socket.gaierror:
                told.append(f"{host}:{port}: its name cannot be resolved")
                continue
            except OSError as error:
                name = errno.errorcode.get(error.errno or 0, type(error).__name__)
                # Refused only by the loopback of this namespace; silence would mean that something went out.
                if error.errno in _NO_WAY or (error.errno == errno.ECONNREFUSED and is_loopback(host)):
                    told.append(f"{host}:{port}: {name}")
                    continue
                raise PeerError(
                    "a drill could send to {address} from inside: {reason}", address=f"{host}:{port}", reason=name
                ) from error
            raise PeerError("a drill could reach {address} from inside", address=f"{host}:{port}")
    return [f"/sys/class/net: {only_interface()}", *told]


def only_interface() -> str:
    """Return the name of this namespace's only interface, its loopback.

    Raises:
        PeerError: There is another one.
    """
    names = [name for _index, name in socket.if_nameindex()]
    if names != ["lo"]:
        raise PeerError("the drill's network has more than a loopback: {names}", names=", ".join(names))
    return "lo"


def is_loopback(host: str) -> bool:
    """Tell whether an address is of this host alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def bring_loopback_up() -> None:
    """Let the only interface of this namespace work; the desk listens there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        asked = struct.pack("16sH14s", b"lo", 0, b"")
        _name, flags = struct.unpack("16sH14x", fcntl.ioctl(control, _SIOCGIFFLAGS, asked))
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH14s", b"lo", flags | _IFF_UP, b""))


def say(event: dict[str, Any]) -> None:
    """Write an event for who started the drill."""
    with _saying:
        sys.stdout.buffer.write(msgspec.json.encode(event) + b"\n")
        sys.stdout.buffer.flush()


_saying = threading.Lock()


def _yes_to(kind: str) -> str:
    return {"confirm": "yes", "commit": "commit", "failed": "continue"}[kind]


if __name__ == "__main__":
    sys.exit(main())
