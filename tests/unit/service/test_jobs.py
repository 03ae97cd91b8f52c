"""The job book: what a restart finds again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jbackupd.model.errors import InvariantError, NoSpaceError, NotFoundError
from jbackupd.policy.schedule import LastRun
from jbackupd.service.jobs import JOURNAL, JOURNAL_SLACK, Job, JobBook, JobEvent, JobProgress, JobState
from jbackupd.service.wire import Failure
from jbackupd.storage.files import PosixFiles

NOW = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
JUKI = "imari/juki"


@pytest.fixture
def files(tmp_path: Path) -> PosixFiles:
    return PosixFiles(str(tmp_path))


def run(book: JobBook, ending: JobEvent | None, *, begun: datetime = NOW, **changes: object) -> Job:
    """Take a job through to an ending, journalled as the runner does."""
    job = book.new("backup", JUKI, reason="schedule", now=begun)
    book.write(job.turn(JobEvent.BEGIN, begun_at=begun))
    if ending is not None:
        book.write(job.turn(ending, ended_at=begun + timedelta(minutes=1), **changes))
    return job


def test_results_survive_a_restart_and_numbers_go_on(files: PosixFiles) -> None:
    book = JobBook.open(files, NOW)
    run(book, JobEvent.FINISH, result={"sequence": 7})
    run(book, JobEvent.FAIL, failure=Failure("source", "no {what}", fields={"what": "disk"}))
    book.close()
    again = JobBook.open(files, NOW)
    assert [(r.number, r.state) for r in again.records()] == [(1, JobState.DONE), (2, JobState.FAILED)]
    assert again.last_result(JUKI).result == {"sequence": 7}
    assert again.last_end(JUKI).failure.fields == {"what": "disk"}
    assert again.new("backup", JUKI, reason="request", now=NOW).record.number == 3


def test_a_job_that_ran_when_the_daemon_was_killed_is_lost_and_counts_as_a_failure(files: PosixFiles) -> None:
    run(JobBook.open(files, NOW), None)
    later = NOW + timedelta(hours=1)
    book = JobBook.open(files, later)
    assert book.find(1).state is JobState.LOST
    assert book.last_run(JUKI) == LastRun(NOW, later, 1)
    book.close()
    assert JobBook.open(files, later).find(1).state is JobState.LOST


@pytest.mark.parametrize(
    ("endings", "failures"),
    [
        ([], None),
        ([JobEvent.FINISH], 0),
        ([JobEvent.FINISH_INCOMPLETE], 0),
        ([JobEvent.FAIL, JobEvent.FAIL], 2),
        ([JobEvent.FAIL, JobEvent.FINISH, JobEvent.FAIL], 1),
        ([JobEvent.STOP], None),
        ([JobEvent.FAIL, JobEvent.STOP], 1),
    ],
)
def test_failures_in_a_row_are_counted_and_stops_are_not(files: PosixFiles, endings, failures) -> None:
    book = JobBook.open(files, NOW)
    for number, ending in enumerate(endings):
        run(book, ending, begun=NOW + timedelta(hours=number))
    last = book.last_run(JUKI)
    assert (last.failures if last else None) == failures


def test_a_damaged_book_is_set_aside_and_does_not_keep_the_daemon_from_starting(files: PosixFiles) -> None:
    book = JobBook.open(files, NOW)
    run(book, JobEvent.FINISH)
    book.close()
    path = Path(files.root) / JOURNAL
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)
    book = JobBook.open(files, NOW)
    assert book.records() == []
    assert book.set_aside == f"{JOURNAL}.damaged-20261123T030000"
    assert (Path(files.root) / book.set_aside).read_bytes() == data


def test_the_journal_is_rewritten_before_it_grows_without_end(files: PosixFiles) -> None:
    book = JobBook.open(files, NOW)
    job = run(book, JobEvent.FINISH)
    last = run(book, JobEvent.FINISH).record
    # Real syncs by the thousand would only test the disk.
    handle = book._journal._handle
    assert handle is not None
    handle.sync = lambda: None  # type: ignore[method-assign]
    for _ in range(JOURNAL_SLACK + 1):
        book.write(job.record)
    book.close()
    again = JobBook.open(files, NOW)
    assert len(again._journal.records) == 2
    assert again.records()[-1] == last
    assert run(again, JobEvent.FINISH).record.number == last.number + 1


def test_old_jobs_of_a_dataset_are_forgotten_and_the_others_are_kept(
    files: PosixFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jbackupd.service.jobs.KEPT_JOBS", 3)
    book = JobBook.open(files, NOW)
    for _ in range(5):
        run(book, JobEvent.FINISH)
    assert [record.number for record in book.records()] == [3, 4, 5]
    with pytest.raises(NotFoundError):
        book.find(1)


def test_an_event_that_is_not_foreseen_is_a_defect(files: PosixFiles) -> None:
    job = run(JobBook.open(files, NOW), JobEvent.FINISH)
    with pytest.raises(InvariantError):
        job.turn(JobEvent.FAIL)


def test_the_time_left_is_told_where_it_can_be() -> None:
    assert JobProgress(bytes=0, seconds=0, bytes_expected=100).seconds_left is None
    assert JobProgress(bytes=50, seconds=10).seconds_left is None
    assert JobProgress(bytes=50, seconds=10, bytes_expected=100).seconds_left == 10
    assert JobProgress(bytes=150, seconds=10, bytes_expected=100).seconds_left == 0


def test_after_a_full_disk_the_book_goes_on(files: PosixFiles) -> None:
    book = JobBook.open(files, NOW)
    handle = book._journal._handle
    assert handle is not None

    def full(data: bytes | memoryview) -> None:
        raise NoSpaceError("unable to write the journal: no space left on device")

    handle.write = full  # type: ignore[method-assign]
    job = book.new("backup", JUKI, reason="schedule", now=NOW)
    with pytest.raises(NoSpaceError):
        book.write(job.turn(JobEvent.BEGIN, begun_at=NOW))
    assert book.find(1).state is JobState.RUNNING
    book.write(job.turn(JobEvent.FINISH, ended_at=NOW))
    book.close()
    assert JobBook.open(files, NOW).find(1).state is JobState.DONE
