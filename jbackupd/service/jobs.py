"""Jobs: what the daemon does on a schedule or on request, how far each is, and how it ended.

    queued --begin--> running --finish--> done
                              --finish_incomplete--> incomplete
                              --fail--> failed
    queued, running --stop--> stopped          (the daemon was stopped; what was unfinished is begun again)
    running --find--> lost                     (the daemon was killed; found at the next start)

The book journals each beginning and each end, so that schedule and status survive a restart. Points are not in it:
they are in the vault, whether or not the book says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

import msgspec

from jbackupd.format.journal import NO_CHECK, encode_record
from jbackupd.model.errors import FormatError, JbackupdError, NotFoundError
from jbackupd.model.machine import Machine
from jbackupd.policy.schedule import LastRun
from jbackupd.runtime.news import News
from jbackupd.service.wire import Failure
from jbackupd.storage.durable import rename_durably, write_durably
from jbackupd.storage.files import Files
from jbackupd.storage.journal import Journal

KEPT_JOBS = 32
"""Of each dataset: a month of daily points; older results are in the log."""
JOURNAL_SLACK = 1000
"""The journal is rewritten at a start when it holds so many records more than twice what is kept."""
JOURNAL = "jobs.journal"


class JobState(Enum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    STOPPED = "stopped"
    LOST = "lost"


class JobEvent(Enum):
    """What may happen to a job."""

    BEGIN = "begin"
    FINISH = "finish"
    FINISH_INCOMPLETE = "finish_incomplete"
    FAIL = "fail"
    STOP = "stop"
    FIND = "find"


MACHINE = Machine(
    "job",
    {
        (JobState.QUEUED, JobEvent.BEGIN): JobState.RUNNING,
        (JobState.QUEUED, JobEvent.STOP): JobState.STOPPED,
        (JobState.RUNNING, JobEvent.FINISH): JobState.DONE,
        (JobState.RUNNING, JobEvent.FINISH_INCOMPLETE): JobState.INCOMPLETE,
        (JobState.RUNNING, JobEvent.FAIL): JobState.FAILED,
        (JobState.RUNNING, JobEvent.STOP): JobState.STOPPED,
        (JobState.RUNNING, JobEvent.FIND): JobState.LOST,
    },
)
WITH_RESULT = frozenset({JobState.DONE, JobState.INCOMPLETE})
WITHOUT_RESULT = frozenset({JobState.FAILED, JobState.LOST})


class JobRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A job as the journal knows it.

    Attributes:
        number: Counts up over restarts.
        kind: "backup".
        subject: What it is done to: a dataset.
        reason: Who wanted it: "schedule" or "request".
        result: Kind by kind; numbers and words only.
        failure: Why there is no result.
    """

    number: int
    kind: str
    subject: str
    reason: str
    state: JobState
    asked_at: datetime
    begun_at: datetime | None = None
    ended_at: datetime | None = None
    result: dict[str, Any] = {}
    failure: Failure | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state not in (JobState.QUEUED, JobState.RUNNING)


@dataclass(frozen=True, slots=True)
class JobProgress:
    """How far a job is.

    Attributes:
        bytes: Done so far.
        files: Done so far.
        seconds: Since the job began.
        bytes_expected: What the same job did last time; None if it never ended well.
    """

    bytes: int = 0
    files: int = 0
    seconds: float = 0.0
    bytes_expected: int | None = None

    @property
    def bytes_per_second(self) -> float:
        """The average rate so far; 0 before anything was done."""
        return self.bytes / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """How long it may still take, if that can be said."""
        if self.bytes_expected is None or not self.bytes_per_second:
            return None
        return max(0, self.bytes_expected - self.bytes) / self.bytes_per_second

    def document(self) -> dict[str, Any]:
        """Return it for machines."""
        left = self.seconds_left
        return {
            "bytes": self.bytes, "files": self.files, "bytes_expected": self.bytes_expected,
            "bytes_per_second": round(self.bytes_per_second), "seconds_left": None if left is None else round(left),
        }  # fmt: skip


class Job:
    """A job of this run of the daemon; belongs to the event loop."""

    def __init__(self, record: JobRecord) -> None:
        self.record = record
        self.progress = JobProgress()
        self.news = News()

    def turn(self, event: JobEvent, **changes: Any) -> JobRecord:
        """Let an event happen and return the new record."""
        self.record = msgspec.structs.replace(self.record, state=MACHINE.next(self.record.state, event), **changes)
        self.news.ring()
        return self.record

    def advance(self, progress: JobProgress) -> None:
        """Note how far it is."""
        self.progress = progress
        self.news.ring()

    def document(self) -> dict[str, Any]:
        """Return job and progress for machines."""
        document: dict[str, Any] = msgspec.to_builtins(self.record)
        if self.record.state is JobState.RUNNING:
            document["progress"] = self.progress.document()
        return document


class JobBook:
    """All jobs that are known, and their journal. `write` blocks, all else does not; one thread at a time.

    Use `JobBook.open`.
    """

    def __init__(self, files: Files, journal: Journal, records: Iterable[JobRecord]) -> None:
        self._files = files
        self._journal = journal
        self._is_broken = False
        self._records: dict[str, dict[int, JobRecord]] = {}
        self._next = 1
        for record in records:
            self._keep(record)
        self.set_aside: str | None = None
        """Where a damaged journal was put at this start, or None."""

    @classmethod
    def open(cls, files: Files, now: datetime) -> JobBook:
        """Read the journal; jobs that ran when the daemon was killed are marked lost. Blocks.

        A damaged journal is set aside: it holds history, and must not keep a town without backups.
        """
        set_aside = None
        try:
            journal = Journal.open(files, JOURNAL)
            records = _fold(journal.records)
        except FormatError:
            set_aside = f"{JOURNAL}.damaged-{now:%Y%m%dT%H%M%S}"
            rename_durably(files, JOURNAL, set_aside)
            journal, records = Journal.open(files, JOURNAL), []
        book = cls(files, journal, records)
        if len(journal.records) > 2 * len(book.records()) + JOURNAL_SLACK:
            journal.close()
            _rewrite(files, book.records())
            book = cls(files, Journal.open(files, JOURNAL), book.records())
        book.set_aside = set_aside
        for record in book.records():
            if record.state is JobState.RUNNING:
                book.write(_lost(record, now))
        return book

    def new(self, kind: str, subject: str, *, reason: str, now: datetime) -> Job:
        """Return a new job, queued; it is journalled when it begins."""
        number, self._next = self._next, self._next + 1
        return Job(JobRecord(number, kind, subject, reason, JobState.QUEUED, now))

    def write(self, record: JobRecord) -> None:
        """Journal a job's state, durable. Blocks.

        Raises:
            NoSpaceError: The disk is full. As for any failure, the state is known until the daemon ends, and the next
                call begins with the journal anew.
        """
        self._keep(record)
        if self._is_broken:
            self._journal = Journal.open(self._files, JOURNAL)
        self._is_broken = True
        self._journal.append(msgspec.json.encode(record))
        self._is_broken = False

    def close(self) -> None:
        """Close the journal. Blocks."""
        self._journal.close()

    def records(self) -> list[JobRecord]:
        """Return the journalled jobs, oldest first."""
        found = [record for records in self._records.values() for record in records.values()]
        return sorted(found, key=lambda record: record.number)

    def find(self, number: int) -> JobRecord:
        """Return a job by its number.

        Raises:
            NotFoundError: It is unknown or forgotten.
        """
        for records in self._records.values():
            if number in records:
                return records[number]
        raise NotFoundError("there is no job {number}", "see 'jbackupd status'", number=number)

    def last_run(self, subject: str) -> LastRun | None:
        """Return what the schedule of a subject has to know; runs that the daemon itself stopped never were."""
        last: JobRecord | None = None
        failures = 0
        for record in self._newest_first(subject):
            if record.state not in WITH_RESULT | WITHOUT_RESULT:
                continue
            last = last or record
            if record.state in WITH_RESULT:
                break
            failures += 1
        if last is None or last.begun_at is None or last.ended_at is None:
            return None
        return LastRun(last.begun_at, last.ended_at, failures)

    def last_result(self, subject: str) -> JobRecord | None:
        """Return the last job that brought a result."""
        return next((r for r in self._newest_first(subject) if r.state in WITH_RESULT), None)

    def last_end(self, subject: str) -> JobRecord | None:
        """Return the last job that ended, however it did."""
        return next((r for r in self._newest_first(subject) if r.ended), None)

    def _newest_first(self, subject: str) -> Iterator[JobRecord]:
        return reversed(self._records.get(subject, {}).values())

    def _keep(self, record: JobRecord) -> None:
        """Keep a record, and of each subject only the newest: its jobs begin in the order of their numbers."""
        kept = self._records.setdefault(record.subject, {})
        kept[record.number] = record
        self._next = max(self._next, record.number + 1)
        if len(kept) > KEPT_JOBS:
            del kept[next(iter(kept))]


def _fold(bodies: Iterable[bytes]) -> list[JobRecord]:
    """Return the last state of each job, oldest first."""
    records: dict[int, JobRecord] = {}
    for body in bodies:
        try:
            record = msgspec.json.decode(body, type=JobRecord)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise FormatError("a record of {path} is not a job: {reason}", path=JOURNAL, reason=str(error)) from error
        records[record.number] = record
    return [records[number] for number in sorted(records)]


def _rewrite(files: Files, records: Iterable[JobRecord]) -> None:
    """Replace the journal by one with the last state of each job only."""
    data, check = bytearray(), NO_CHECK
    for number, record in enumerate(records):
        encoded = encode_record(number, msgspec.json.encode(record), check)
        check = encoded[-len(NO_CHECK) :]
        data += encoded
    write_durably(files, JOURNAL, bytes(data), temporary=JOURNAL + ".new")


def _lost(record: JobRecord, now: datetime) -> JobRecord:
    failure = Failure("failed", "the daemon was ended in the middle of it", "see its log for the reason")
    return msgspec.structs.replace(
        record, state=MACHINE.next(record.state, JobEvent.FIND), ended_at=now, failure=failure
    )


def ending_of(error: JbackupdError, *, stopping: bool) -> JobEvent:
    """Return what an error means for a job: while the daemon stops, work that gives up was stopped, not broken."""
    return JobEvent.STOP if stopping else JobEvent.FAIL
