"""The audit log: durable, chained, and broken where somebody changed it."""

import hashlib
import os
import threading
from datetime import UTC, datetime

import pytest

from jbackupd.model.clock import ManualClock
from jbackupd.model.errors import BusyError, DamageError, JbackupdError, NoSpaceError, StorageError
from jbackupd.storage.chain import GENESIS, AuditChain, read_chain, verify_chain
from jbackupd.storage.files import PosixFiles

LOG = "audit/log"


@pytest.fixture
def files(tmp_path):
    files = PosixFiles(str(tmp_path))
    files.make_folder("audit")
    return files


@pytest.fixture
def clock():
    return ManualClock(datetime(2026, 11, 23, tzinfo=UTC))


def write(files, clock, count=5):
    chain = AuditChain(files, LOG, clock)
    for number in range(count):
        chain.append({"what": "search", "who": f"久保{number}", "persons": number})
    chain.close()


def path(files):
    return os.path.join(files.root, LOG)


def change(files, edit):
    put(files, edit(files.read(LOG)))


def put(files, data):
    with open(path(files), "wb") as file:
        file.write(data)


def test_what_was_written_is_read_in_order(files, clock):
    write(files, clock)
    entries = list(read_chain(files, LOG))
    assert [(entry.sequence, entry.fields["who"]) for entry in entries] == [(n + 1, f"久保{n}") for n in range(5)]
    assert entries[0].at == "2026-11-23T00:00:00.000Z"


def test_the_bytes_are_those_of_the_format_page(files, clock):
    chain = AuditChain(files, LOG, clock)
    chain.append({"what": "open", "who": "久保"})
    chain.append({"what": "close"})
    previous, expected = "0" * 64, ""
    for body in (
        '{"sequence":1,"at":"2026-11-23T00:00:00.000Z","what":"open","who":"久保"}',
        '{"sequence":2,"at":"2026-11-23T00:00:00.000Z","what":"close"}',
    ):
        previous = hashlib.sha256(f"jbackupd audit 1\n{previous}\n{body}".encode()).hexdigest()
        expected += f"{previous} {body}\n"
    assert files.read(LOG).decode() == expected
    assert previous == "92e0eda824e5ebb73c5521f30b53bc1b9629b2add64df4fe74010ee4c67c8c90"


def test_a_log_goes_on_where_it_ended(files, clock):
    write(files, clock, 3)
    write(files, clock, 2)
    report = verify_chain(files, LOG)
    assert (report.entries, report.broken, report.torn_bytes) == (5, None, 0)


def test_a_missing_log_is_an_empty_one(files):
    assert verify_chain(files, LOG).head == GENESIS


def test_every_changed_bit_breaks_the_chain_at_its_line(files, clock):
    write(files, clock, 3)
    data = files.read(LOG)
    for position in range(len(data) - 1):
        for bit in (1, 128):
            put(files, data[:position] + bytes([data[position] ^ bit]) + data[position + 1 :])
            report = verify_chain(files, LOG)
            assert report.broken is not None or report.torn_bytes, position
            assert report.entries == data[:position].count(b"\n"), position


@pytest.mark.parametrize("edit", [
    lambda lines: lines[:1] + lines[2:], lambda lines: lines[1:], lambda lines: [lines[1], lines[0], *lines[2:]],
    lambda lines: [lines[0], *lines],
])
def test_lines_that_were_removed_moved_or_repeated_break_the_chain(files, clock, edit):
    write(files, clock)
    change(files, lambda data: b"".join(edit(data.splitlines(keepends=True))))
    assert verify_chain(files, LOG).broken is not None
    with pytest.raises(DamageError):
        AuditChain(files, LOG, clock)
    with pytest.raises(DamageError):
        list(read_chain(files, LOG))


def test_a_torn_tail_is_cut_off_and_nothing_else(files, clock):
    write(files, clock, 2)
    data = files.read(LOG)
    last = data.splitlines(keepends=True)[-1]
    for length in range(1, len(last)):
        put(files, data[: len(data) - len(last) + length])
        chain = AuditChain(files, LOG, clock)
        assert chain.head.entries == 1
        chain.append({"what": "after"})
        chain.close()
        assert [entry.fields["what"] for entry in read_chain(files, LOG)] == ["search", "after"]


def test_zeros_that_a_power_cut_left_are_a_torn_tail(files, clock):
    write(files, clock, 1)
    change(files, lambda data: data + bytes(700))
    assert verify_chain(files, LOG).torn_bytes == 700
    write(files, clock, 1)
    assert verify_chain(files, LOG).entries == 2


def test_a_line_without_end_is_found_in_bounded_memory(files, clock):
    write(files, clock, 1)
    change(files, lambda data: data + b"x" * (3 << 20) + b"\n")
    assert verify_chain(files, LOG).broken is not None


def test_a_second_writer_is_noticed(files, clock):
    chain = AuditChain(files, LOG, clock)
    chain.append({"what": "a"})
    write(files, clock, 1)
    with pytest.raises(BusyError):
        chain.append({"what": "b"})


class FaultyFiles(PosixFiles):
    """Fails a handle's write halfway, or its sync, once."""

    fault = ""

    def append(self, path):
        return FaultyHandle(super().append(path), self)


class FaultyHandle:
    def __init__(self, handle, files):
        self.handle, self.files = handle, files

    def write(self, data):
        if self.files.fault == "write":
            self.files.fault = ""
            self.handle.write(data[:20])
            raise NoSpaceError("full")
        self.handle.write(data)

    def sync(self):
        if self.files.fault == "sync":
            self.files.fault = ""
            raise StorageError("sync failed")
        self.handle.sync()

    def close(self):
        self.handle.close()


@pytest.mark.parametrize("fault", ["write", "sync"])
def test_a_failed_entry_leaves_no_trace_and_the_next_one_follows_the_last_durable(tmp_path, clock, fault):
    files = FaultyFiles(str(tmp_path))
    files.make_folder("audit")
    chain = AuditChain(files, LOG, clock)
    chain.append({"what": "first"})
    files.fault = fault
    with pytest.raises((NoSpaceError, StorageError)):
        chain.append({"what": "never"})
    chain.append({"what": "second"})
    assert [entry.fields["what"] for entry in read_chain(files, LOG)] == ["first", "second"]


@pytest.mark.parametrize("fault", ["write", "sync"])
def test_a_failed_first_entry_leaves_an_empty_log(tmp_path, clock, fault):
    files = FaultyFiles(str(tmp_path))
    files.make_folder("audit")
    chain = AuditChain(files, LOG, clock)
    files.fault = fault
    with pytest.raises((NoSpaceError, StorageError)):
        chain.append({"what": "never"})
    chain.append({"what": "first"})
    assert verify_chain(files, LOG).entries == 1


@pytest.mark.parametrize("fault", ["", "write", "sync"])
def test_what_a_second_writer_wrote_is_never_cut_off(tmp_path, clock, fault):
    files = FaultyFiles(str(tmp_path))
    files.make_folder("audit")
    chain = AuditChain(files, LOG, clock)
    chain.append({"what": "first"})
    if fault:
        files.fault = fault
        with pytest.raises((NoSpaceError, StorageError)):
            chain.append({"what": "never"})
        # Somebody repaired the tail by hand and wrote on.
        files.truncate(LOG, chain.head.size)
    write(PosixFiles(str(tmp_path)), clock, 2)
    for _attempt in range(2):
        with pytest.raises(BusyError):
            chain.append({"what": "second"})
    assert verify_chain(files, LOG).entries == 3


class SlowFiles(FaultyFiles):
    """Files whose next sync waits until a crowd has gathered behind it."""

    def __init__(self, root, gathered):
        super().__init__(root)
        self.gathered = gathered
        self.syncs = 0


class _GatheringHandle:
    def __init__(self, handle, files):
        self._handle = handle
        self._files = files

    def __getattr__(self, name):
        return getattr(self._handle, name)

    def sync(self):
        self._files.syncs += 1
        self._files.gathered()
        self._handle.sync()


def crowd(files, clock, count):
    """Append from many threads while the first one's sync is held until all others wait; return chain and outcomes."""
    chain = AuditChain(files, LOG, clock)
    chain.append({"what": "first"})
    outcomes = {}
    held, append = threading.Event(), files.append

    def gathered():
        if files.syncs == 1:
            held.set()
            while len(chain._waiting) < count:
                os.sched_yield()

    def one(number):
        try:
            outcomes[number] = chain.append({"what": "search", "persons": number})
        except JbackupdError as error:
            outcomes[number] = error

    chain.close()
    chain._handle = _GatheringHandle(append(LOG), files)
    files.gathered = gathered
    leader = threading.Thread(target=one, args=(-1,))
    leader.start()
    assert held.wait(30)
    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in [leader, *threads]:
        thread.join()
    return chain, outcomes


def test_entries_that_wait_together_share_a_sync_and_stand_in_one_unbroken_chain(tmp_path, clock):
    files = SlowFiles(str(tmp_path), lambda: None)
    files.make_folder("audit")
    _chain, outcomes = crowd(files, clock, 40)
    entries = list(read_chain(files, LOG))
    assert sorted(outcomes) == list(range(-1, 40))
    assert {entry.fields.get("persons"): entry.digest for entry in entries[1:]} == {
        number: outcome.digest for number, outcome in outcomes.items()
    }
    # One sync for the leader, then one for each block of the file that the others' lines begin in.
    blocks = files.size(LOG) // 4096 + 1
    assert 2 <= files.syncs <= 1 + blocks < 40


def test_entries_of_one_sync_begin_in_one_block(tmp_path, clock):
    files = SlowFiles(str(tmp_path), lambda: None)
    files.make_folder("audit")
    crowd(files, clock, 60)
    with open(os.path.join(files.root, LOG), "rb") as file:
        log = file.read()
    # What a power cut may leave of the last block but one: zeros, and behind them no whole line.
    start = (len(log) - 1) // 4096 * 4096
    first = log.rindex(b"\n", 0, start) + 1
    files.truncate(LOG, 0)
    with open(os.path.join(files.root, LOG), "wb") as file:
        file.write(log[:first] + bytes(start - first) + log[start : log.index(b"\n", start) + 1])
    report = verify_chain(files, LOG)
    assert report.broken is None and report.torn_bytes
