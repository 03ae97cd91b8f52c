"""A PostgreSQL cluster answers from a mounted base before it is restored, and is whole in the end."""

from __future__ import annotations

import os
import signal

import pytest
from clusters import ROWS, Rig, run_program
from daemons import free_port

from jbackupd.model.errors import DamageError, JbackupdError, ScriptError
from jbackupd.restore.overlay import is_whole

COUNT = "SELECT count(*), count(DISTINCT name) FROM juki"
ALL = f"{ROWS}|{ROWS}"
CHANGE = "UPDATE juki SET name = 'changed' WHERE number = 77"
CHANGED = "SELECT name FROM juki WHERE number = 77"


def test_it_answers_before_it_is_restored_and_is_whole_in_the_end(rig):
    port = free_port()
    with rig.mounted(fill=False), rig.server(rig.at, port) as server:
        assert server.ask(COUNT) == ALL
        server.ask(CHANGE)
        assert rig.lacks()
    with rig.mounted(fill=True) as mounted, rig.server(rig.at, port) as server:
        assert server.ask(CHANGED) == "changed"
        assert rig.filled.wait(60)
        assert mounted.is_filled
        server.ask("DELETE FROM juki WHERE number = 1")
    assert is_whole(str(rig.upper))
    # Nobody has mounted anything now.
    with rig.server(rig.tree, port) as server:
        assert server.ask(CHANGED) == "changed"
        assert server.ask("SELECT count(*) FROM juki") == str(ROWS - 1)
    checked = run_program("pg_checksums", "-D", str(rig.tree))
    assert checked.returncode == 0, checked.stderr
    assert rig.damage == []


def test_a_fill_alone_brings_what_was_taken(rig):
    with rig.mounted(fill=True):
        assert rig.filled.wait(60)
    checked = run_program("pg_verifybackup", str(rig.tree))
    assert checked.returncode == 0, checked.stderr


def test_what_was_committed_survives_the_kill_of_the_mount_again_and_again(rig):
    port, committed = free_port(), 0
    for turn in range(2):
        with rig.mounted(fill=turn > 0) as mounted, rig.server(rig.at, port) as server:
            assert server.ask("SELECT count(*) FROM juki WHERE rest = 'new'") == str(committed)
            for number in range(5):
                server.ask(f"UPDATE juki SET rest = 'new' WHERE number = {turn * 1000 + number * 100 + 5}")
                committed += 1
            os.kill(mounted.pid, signal.SIGKILL)
            assert rig.ended.wait(60)
            with pytest.raises(JbackupdError):
                server.ask("UPDATE juki SET rest = 'lost'")
    with rig.mounted(fill=True), rig.server(rig.at, port) as server:
        assert rig.filled.wait(60)
        assert server.ask(COUNT) == ALL
        assert server.ask("SELECT count(*) FROM juki WHERE rest = 'new'") == str(committed)
    checked = run_program("pg_checksums", "-D", str(rig.tree))
    assert checked.returncode == 0, checked.stderr


def test_a_damaged_pack_is_an_error_and_never_a_wrong_row(rig):
    table = rig.path_of_table()
    rig.damage_file(table)
    with rig.mounted(fill=True) as mounted, rig.server(rig.at, free_port()) as server:
        with pytest.raises(ScriptError, match="Input/output error"):
            server.ask(COUNT)
        assert rig.filled.wait(60)
        assert not mounted.is_filled
    assert not is_whole(str(rig.upper))
    assert any(isinstance(error, DamageError) for error in rig.damage)


def test_a_standby_reads_and_takes_no_writes(rig):
    with rig.mounted(fill=False), rig.server(rig.at, free_port(), promote=False) as server:
        assert server.ask(COUNT) == ALL
        with pytest.raises(ScriptError, match="read-only"):
            server.ask(CHANGE)


def test_archived_wal_of_the_point_is_replayed(place, base):
    rig = Rig(place, base, base.parent / "wal")
    with (
        rig.mounted(fill=False),
        rig.server(rig.at / "base", free_port(), wal=str(rig.at / "wal")) as server,
    ):
        assert server.ask("SELECT name FROM juki WHERE number = 0") == "later"
        server.ask(CHANGE)
