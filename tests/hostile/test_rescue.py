"""The last resort gives what can be read, says what cannot, and never gives what is wrong."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from jbackupd.cli.rescue import main
from jbackupd.codec.hashing import name_of
from jbackupd.codec.shares import split
from jbackupd.format.header import encode_header
from jbackupd.model.ids import ObjectKind
from tests.support.onesite import TENANT, MemorySource, Site

CONTENTS = {b"a/%d" % n: random.Random(n).randbytes(3_000_000) for n in range(7)} | {b"\x1b[2J": b"x", b"z": b"small"}


@pytest.fixture
def call(site: Site, work: Path) -> Callable[..., int]:
    """Runs a rescue of the site's vault."""
    site.backup(MemorySource(CONTENTS))
    shares = []
    for share in split(site.seed, threshold=2, count=2, label=TENANT):
        path = work / f"share{share.index}.txt"
        path.write_text(share.to_text())
        shares += ["--share", str(path)]
    return lambda *arguments: main([str(site.folder / "vaults" / "imari"), *arguments, *shares])


def contents(folder: Path) -> dict[bytes, bytes]:
    top = os.fsencode(folder)
    return {
        os.path.relpath(os.path.join(path, name), top): Path(os.fsdecode(os.path.join(path, name))).read_bytes()
        for path, _folders, names in os.walk(top) for name in names
    }


def test_one_file_goes_to_the_standard_output_and_two_do_not(site: Site, work: Path, call: Callable[..., int]) -> None:
    assert call("imari/juki", "z", "--to", str(work / "out")) == 0
    shares = [str(path) for path in sorted(work.glob("share*.txt"))]
    command = [sys.executable, "-m", "jbackupd.cli.rescue", str(site.folder / "vaults" / "imari"), "imari/juki"]
    options = [word for share in shares for word in ("--share", share)]
    done = subprocess.run([*command, "a/1", *options, "--to", "-"], capture_output=True, check=True)
    assert done.stdout == CONTENTS[b"a/1"]
    done = subprocess.run([*command, "a", *options, "--to", "-"], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (2, b"")


def test_a_disk_that_cannot_be_read_in_places_costs_what_lies_there_and_names_it_legibly(
    site: Site, work: Path, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    packs = sorted((site.folder / "vaults" / "imari" / "packs").glob("*/*"), key=lambda pack: pack.stat().st_size)
    # One's own memory is answered with an input/output error, as a bad sector is.
    packs[-1].unlink()
    packs[-1].symlink_to("/proc/self/mem")
    assert call("imari/juki", "--to", str(work / "out")) == 4
    assert contents(work / "out").items() < CONTENTS.items()
    told = capsys.readouterr().err
    assert "Input/output error" in told
    assert "\x1b" not in told and "not rescued: \\x1b[2J" in told


def test_malformed_objects_with_right_names_hinder_nothing(
    site: Site, work: Path, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in (ObjectKind.POINT, ObjectKind.KEY, ObjectKind.INDEX):
        for body in (b"", encode_header(kind), encode_header(kind) + msgspec.msgpack.encode([1, 2, 3])):
            (site.folder / "vaults" / "imari" / kind.folder / name_of(body).hex()).write_bytes(body)
    assert call("imari/juki@1", "--to", str(work / "out")) == 0
    assert contents(work / "out") == CONTENTS
    assert capsys.readouterr().err.count("damaged") == 9


def test_a_damaged_point_is_passed_over_but_not_in_silence(
    site: Site, work: Path, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    (site.folder / "vaults" / "imari" / "points" / ("00" * 32)).write_bytes(b"what was the newest point")
    assert call() == 4
    assert capsys.readouterr().out.startswith("imari/juki@1\t")
    assert call("imari/juki", "--to", str(work / "out")) == 4
    assert contents(work / "out") == CONTENTS
    assert "a damaged point may be a newer one" in capsys.readouterr().err


def test_a_full_disk_ends_a_rescue_with_its_own_exit_code_and_leaves_no_half_file(
    work: Path, call: Callable[..., int]
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        code = call("imari/juki", "--to", str(work / "out"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)
    assert code == 9
    assert contents(work / "out").items() <= CONTENTS.items()
