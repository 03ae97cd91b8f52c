"""Measuring a program: its memory and not ours, its error in its own words."""

import sys

import pytest

from benchmarks.child import ProgramError, floor_bytes, run


def test_the_peak_is_the_childs():
    ran = run([sys.executable, "-c", "import sys; x = bytearray(300_000_000); print(len(x))"])
    assert ran.output == "300000000\n"
    assert 300_000_000 < ran.peak_bytes < 300_000_000 + max(60_000_000, floor_bytes())
    assert ran.seconds > 0
    assert ran.cpu_seconds > 0


def test_what_children_hold_and_do_counts():
    hold = "x = bytearray(150_000_000)"
    # The child works on for some samples with what it holds.
    child = f"{hold}; sum(range(5_000_000))"
    both = f"import subprocess, sys; {hold}; subprocess.run([sys.executable, '-c', '{child}'])"
    assert run([sys.executable, "-c", both]).peak_bytes > 300_000_000


def test_a_program_that_is_not_there_is_told_so():
    with pytest.raises(ProgramError, match="no-such-program is not installed"):
        run(["no-such-program"])


def test_a_failure_is_told_in_the_programs_last_line():
    with pytest.raises(ProgramError, match="ended with 3: second"):
        run([sys.executable, "-c", "import sys; print('first\\nsecond', file=sys.stderr); sys.exit(3)"])
