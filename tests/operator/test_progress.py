"""How long work is shown: a line now and then in a log, a bar on a terminal, nothing when quiet."""

import contextlib
import io
import os
import pty

from jbackupd.cli.progress import PLAIN_INTERVAL_SECONDS, Progress


class Hand:
    """A clock's hand that a test moves."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_a_log_gets_one_plain_line_each_interval():
    stream, hand = io.StringIO(), Hand()
    with Progress("copy", stream=stream, monotonic=hand) as progress:
        for step in range(1, 22):
            hand.seconds = step
            progress.update(step * 1_000_000, 40_000_000, step)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 21 // PLAIN_INTERVAL_SECONDS
    assert lines[0] == "copy: 10 MB / 40 MB (25 %), 10 files, 8 Mbit/s, 30s left"


def test_without_a_known_end_there_is_no_guess():
    stream, hand = io.StringIO(), Hand()
    with Progress("copy", stream=stream, monotonic=hand) as progress:
        hand.seconds = 10
        progress.update(0)
    assert stream.getvalue() == "copy: 0 B, 0 bit/s\n"


def test_quiet_is_quiet():
    stream, hand = io.StringIO(), Hand()
    with Progress("copy", quiet=True, stream=stream, monotonic=hand) as progress:
        hand.seconds = 100
        progress.update(1, 2, 3)
    assert stream.getvalue() == ""


def all_that_was_written(leader):
    """Read a terminal to its end: it hands out what was written in pieces, and EIO when nobody has it open any more."""
    shown = b""
    with contextlib.suppress(OSError), os.fdopen(leader, "rb", buffering=0) as terminal:
        while data := terminal.read(1 << 16):
            shown += data
    return shown.decode()


def test_a_terminal_gets_a_bar():
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w", encoding="utf-8") as stream, Progress("copy", stream=stream) as progress:
        progress.update(5_000_000, 10_000_000, 3)
    shown = all_that_was_written(leader)
    assert "copy" in shown
    assert "10.0 MB" in shown
