"""Drills of this site: a plan run for nobody, in namespaces of its own, and a record that nothing is left of it.

    STATE/drills/NAME/begun.json     what was to be rehearsed; written first
    STATE/drills/NAME/work/          the drill's state folder; gone afterwards
    STATE/drills/NAME/record.json    the record; its being there says that the drill is over
    STATE/drills/NAME/lock           held as long as the drill goes on

A drill that is killed leaves the first two: the next one removes them and records that it was broken off.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import posixpath
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, Any

import msgspec

from jbackupd.continuity.drill import (
    Count,
    DrillRecord,
    Outcome,
    encode_record,
    outcome_of,
)
from jbackupd.continuity.drilltelling import count_words
from jbackupd.continuity.telling import error_text
from jbackupd.model.clock import Clock
from jbackupd.model.errors import JbackupdError, NotFoundError, RefusedError, StorageError
from jbackupd.model.texts import _
from jbackupd.service.clearing import clear
from jbackupd.service.drillcalls import read_call
from jbackupd.service.drillchild import Order, Word
from jbackupd.service.drillrecords import FOLDER, RECORD, read_records
from jbackupd.service.leases import reading
from jbackupd.service.recoveryverbs import ShareText
from jbackupd.service.traces import traces_of
from jbackupd.settings.plan import Plan
from jbackupd.settings.schema import Settings
from jbackupd.storage.durable import write_durably
from jbackupd.storage.files import PosixFiles

_BEGUN, _WORK, _LOCK = "begun.json", "work", "lock"
END_SECONDS = 30.0

News = dict[str, Any]


class Begun(msgspec.Struct, frozen=True):
    """What a drill was to be, for its record."""

    name: str
    plan: str
    plan_digest: str
    title: str
    tenant: str
    scenario: str
    participants: tuple[str, ...]
    by: str
    begun_at: datetime
    called_at: datetime | None = None
    namespace: str = ""
    """Of its network, as soon as that is known."""


@dataclass(slots=True)
class _Heard:
    """What the child has said."""

    isolated: Callable[[str], None] = lambda _namespace: None
    """Told of its namespace, before anything is laid out in it."""
    namespace: str = ""
    ways: list[str] = field(default_factory=list)
    report: dict[str, Any] | None = None
    counts: list[Count] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class Drills:
    """The drills of one site.

    Args:
        config: The configuration's file, which the child reads too.
    """

    def __init__(self, settings: Settings, config: str, clock: Clock) -> None:
        self._settings = settings
        self._config = os.path.abspath(config)
        self._clock = clock
        self._files = PosixFiles(settings.site.state)

    def rehearse(
        self, plan: Plan, text: str, digest: str, shares: Sequence[ShareText], *, scenario: str,
        participants: Sequence[str], by: str, agree: bool, tell: Callable[[News], None],
        answers: Callable[[Callable[[Word], None]], None] = lambda _say: None,
    ) -> DrillRecord:
        """Rehearse a plan; return the record, durable. Blocks.

        Args:
            text: The plan as it was read; `digest` is its hex SHA-256.
            agree: Answer every question with yes: nobody is there.
            tell: Hears of the run's events.
            answers: Is given what takes people's words.

        Raises:
            RefusedError: No namespaces can be made here.
            NotFoundError: There is no vault of the plan's tenant here.
        """
        self.sweep()
        begun = Begun(
            f"{self._clock.now():%Y%m%dT%H%M%S}-{plan.id}-{secrets.token_hex(2)}", plan.id, digest, plan.title,
            plan.tenant, scenario, tuple(participants), by, self._clock.now(),
            call.called_at if (call := read_call(self._files, plan.id)) is not None else None,
        )
        folder = posixpath.join(FOLDER, begun.name)
        self._files.make_folder(posixpath.join(folder, _WORK))
        with _held(posixpath.join(self._files.root, folder, _LOCK)) as lock:
            self._write(begun.name, _BEGUN, msgspec.json.encode(begun))
            order = Order(
                self._config, posixpath.join(self._files.root, folder, _WORK), text, list(shares), by, agree
            )
            heard = _Heard(isolated=lambda namespace: self._write(
                begun.name, _BEGUN, msgspec.json.encode(msgspec.structs.replace(begun, namespace=namespace))
            ))
            try:
                # The real vault is read: nothing of it may be removed meanwhile.
                with reading(self._files.root, plan.tenant):
                    _watch(order, lock, heard, tell, answers)
            except RefusedError:
                # It never began: there is nothing to record.
                shutil.rmtree(posixpath.join(self._files.root, folder))
                raise
            except BaseException:
                heard.problems.append(_("the drill was broken off"))
                self._end(begun, heard, broken=True)
                raise
            return self._end(begun, heard, broken=False)

    def records(self) -> list[DrillRecord]:
        """Return all records, oldest first; see `read_records`."""
        return read_records(self._files)

    def record(self, name: str) -> DrillRecord:
        """Return a record by its name.

        Raises:
            NotFoundError: There is none.
        """
        for record in self.records():
            if record.name == name:
                return record
        raise NotFoundError("there is no drill {name}", "see 'jbackupd recovery drills'", name=name)

    def sweep(self) -> list[DrillRecord]:
        """Clean up after drills that were killed; return their records."""
        names = self._files.names(FOLDER) if self._files.exists(FOLDER) else []
        swept: list[DrillRecord] = []
        for name in sorted(names):
            folder = posixpath.join(FOLDER, name)
            if self._files.exists(posixpath.join(folder, RECORD)):
                continue
            with contextlib.suppress(BlockingIOError), _held(posixpath.join(self._files.root, folder, _LOCK)):
                swept += self._swept(name)
        return swept

    def _swept(self, name: str) -> list[DrillRecord]:
        path = posixpath.join(FOLDER, name, _BEGUN)
        if not self._files.exists(path):
            # Killed before anything was laid out, or about to begin: it goes with the records of its day.
            return []
        begun = msgspec.json.decode(self._files.read(path), type=Begun)
        heard = _Heard(
            namespace=begun.namespace, problems=[_("the drill was killed; what it had laid out was removed later")]
        )
        return [self._end(begun, heard, broken=True)]

    def _end(self, begun: Begun, heard: _Heard, *, broken: bool) -> DrillRecord:
        """Remove everything, look whether it is gone, and write the record."""
        work = posixpath.join(self._files.root, FOLDER, begun.name, _WORK)
        problems = list(heard.problems)
        try:
            _remove(work)
        except JbackupdError as error:
            problems.append(str(error))
        traces = traces_of(work, heard.namespace)
        problems += [_("still there: {found}").format(found=found) for trace in traces for found in trace.found]
        record = DrillRecord(
            begun.name, self._settings.site.id, begun.plan, begun.plan_digest, begun.title, begun.tenant,
            begun.scenario, begun.participants, begun.by, begun.begun_at, self._clock.now(),
            Outcome.BROKEN_OFF if broken else outcome_of(heard.report, heard.counts, traces, problems),
            heard.report, tuple(heard.counts), tuple(heard.ways), tuple(traces), tuple(problems),
            called_at=begun.called_at,
        )
        self._write(begun.name, RECORD, encode_record(record))
        return record

    def _write(self, name: str, file: str, data: bytes) -> None:
        path = posixpath.join(FOLDER, name, file)
        write_durably(self._files, path, data, temporary=path + ".new")


def _watch(
    order: Order, lock: int, heard: _Heard, tell: Callable[[News], None],
    answers: Callable[[Callable[[Word], None]], None],
) -> None:
    """Run the child to its end and take in what it says.

    Raises:
        RefusedError: No namespaces can be made here.
    """
    with tempfile.TemporaryFile() as errors, _child(lock, errors) as child:
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write(msgspec.json.encode(order) + b"\n")
        child.stdin.flush()

        def say(word: Word) -> None:
            with contextlib.suppress(OSError):
                assert child.stdin is not None
                child.stdin.write(msgspec.json.encode(word) + b"\n")
                child.stdin.flush()

        answers(say)
        for line in child.stdout:
            _take(msgspec.json.decode(line), heard, tell)
        child.stdin.close()
        code = child.wait(END_SECONDS)
        errors.seek(0)
        last_words = errors.read().decode("utf-8", "replace").strip()[-500:]
    if not heard.namespace:
        raise RefusedError(
            "no namespace could be made for the drill: {reason}",
            "run it as root, or let users make namespaces (kernel.unprivileged_userns_clone=1)",
            reason=last_words or f"unshare ended with {code}",
        )
    if heard.report is None and not heard.problems:
        heard.problems.append(_("the drill ended with {code}: {reason}").format(code=code, reason=last_words))


def _take(event: News, heard: _Heard, tell: Callable[[News], None]) -> None:
    match event["event"]:
        case "isolated":
            heard.namespace = event["namespace"]
            heard.isolated(heard.namespace)
        case "tried":
            heard.ways = event["ways"]
        case "news":
            tell(event["news"])
        case "report":
            heard.report = event["document"]
            heard.counts = msgspec.convert(event["counts"], list[Count])
            heard.problems += [
                f"{step['step']}: {error_text(step['detail']['error'])}" for step in event["document"]["steps"]
                if "error" in step["detail"]
            ]
            heard.problems += [
                _("not as expected: {step}: {found} of {expected} {what}").format(
                    step=c.step, found=c.found, expected=c.expected, what=count_words(c.what)
                )
                for c in heard.counts if not c.matched
            ]
        case "refused":
            heard.problems.append(error_text(event["error"]))


@contextlib.contextmanager
def _child(lock: int, errors: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Start the child in namespaces of its own; it and all that it started end with this process.

    Args:
        lock: The drill's lock: the child holds it too, so that nobody cleans up while it still ends.
    """
    unshare = shutil.which("unshare")
    if unshare is None:
        raise RefusedError("there is no unshare here, which makes the drill's namespaces", "install util-linux")
    mapped = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    child = subprocess.Popen(
        [unshare, *mapped, "--net", "--ipc", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
         sys.executable, "-m", "jbackupd.service.drillchild"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, start_new_session=True, pass_fds=(lock,),
    )
    try:
        yield child
    finally:
        if child.stdin is not None:
            with contextlib.suppress(OSError):
                # It ends when nobody speaks to it any more, also the process inside, which unshare does not wait for.
                child.stdin.close()
        if child.poll() is None:
            child.kill()
        child.wait()
        if child.stdout is not None:
            # Until the last process inside has let go of it.
            child.stdout.read()
        for stream in (child.stdin, child.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


@contextlib.contextmanager
def _held(path: str) -> Iterator[int]:
    """Hold a drill's lock.

    Raises:
        BlockingIOError: The drill goes on.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield descriptor
    finally:
        os.close(descriptor)


def _remove(work: str) -> None:
    """Remove the drill's state folder.

    Raises:
        StorageError: Something could not be removed.
    """
    if not os.path.exists(work):
        return
    with contextlib.suppress(FileNotFoundError):
        os.unlink(posixpath.join(work, "journal"))
    clear(work)
    try:
        os.rmdir(work)
    except OSError as error:
        raise StorageError(
            "unable to remove {path}: {reason}", "see to it by hand", path=work, reason=error.strerror
        ) from error
