"""A restore that is killed at any moment goes on where it was, and ends as if nothing had happened."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.hostile import restoring
from tests.hostile.comparison import Facts, facts
from tests.hostile.restoring import content_of

TOP = Path(__file__).parents[2]


def begun(target: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.hostile.restoring", str(target)], stdout=subprocess.PIPE, cwd=TOP
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"begins\n"
    return process


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[bytes, Facts], float]:
    """What an undisturbed restore gives, and how many seconds it takes."""
    target = tmp_path_factory.mktemp("whole") / "out"
    moment = time.monotonic()
    restoring.run(str(target))
    return facts(target), time.monotonic() - moment


def test_a_restore_that_is_killed_again_and_again_ends_like_one_that_was_not(
    tmp_path: Path, whole: tuple[dict[bytes, Facts], float]
) -> None:
    expected, seconds = whole
    chance = random.Random(time.time_ns())
    right = {b"d%d/%03d" % (n // 40, n): content_of(n) for n in range(240)}
    for turn in range(6):
        target = tmp_path / f"out{turn}"
        for _ in range(2):
            process = begun(target)
            # Not to wait for something: the moment is what is being tried.
            time.sleep(chance.uniform(0, seconds))
            process.kill()
            process.wait()
            for path, content in right.items():
                found = target / path.decode()
                assert not found.exists() or found.read_bytes() == content, "a name means right content at any moment"
        result = restoring.run(str(target))
        assert (result.problems, result.exit_code) == ([], 0)
        assert result.files + result.symlinks + result.kept + result.folders == len(expected)
        assert facts(target) == expected
