"""A restore that is killed at any moment goes on where it was, and ends as if nothing had happened."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jbackupd.restore.options import Conflict
from tests.hostile import restoring
from tests.hostile.comparison import Facts, facts
from tests.hostile.restoring import content_of

TOP = Path(__file__).parents[2]


def begun(target: Path, *rule: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.hostile.restoring", str(target), *rule], stdout=subprocess.PIPE, cwd=TOP
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


def test_a_restore_in_place_that_is_killed_leaves_old_or_right_bytes_under_a_name_and_ends_right(
    tmp_path: Path, whole: tuple[dict[bytes, Facts], float]
) -> None:
    expected, seconds = whole
    chance = random.Random(time.time_ns())
    right = {b"d%d/%03d" % (n // 40, n): content_of(n) for n in range(240)}
    target = tmp_path / "out"
    restoring.run(str(target))
    for turn in range(2):
        old = {path: bytes(byte ^ 255 for byte in content[:50]) + content[50:] for path, content in right.items()}
        for path, content in old.items():
            found = target / path.decode()
            found.chmod(0o600)
            found.write_bytes(content + b"longer" * (turn % 2))
            old[path] = found.read_bytes()
        process = begun(target, "in-place")
        time.sleep(chance.uniform(0, seconds))
        process.kill()
        process.wait()
        for path, content in right.items():
            found = target / path.decode()
            assert not found.exists() or found.read_bytes() in (content, old[path]), "mixed bytes under a right name"
        result = restoring.run(str(target), Conflict.IN_PLACE)
        assert (result.problems, result.exit_code) == ([], 0)
        assert facts(target) == expected
