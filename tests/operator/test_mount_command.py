"""`jbackupd mount`: a point as a folder, for as long as somebody looks at it."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from jbackupd.model.errors import NotFoundError
from jbackupd.restore import fuse

LONG = 3_000_000


@pytest.fixture
def shown(vaulted):
    """Return a site with a point of files of all sorts."""
    vaulted.write("source/long.bin", os.urandom(LONG))
    vaulted.write("source/empty", b"")
    os.symlink("a.txt", vaulted.path("source/link"))
    with open(os.path.join(os.fsencode(vaulted.path("source")), "住民".encode("cp932")), "wb") as file:
        file.write(b"bytes are names")
    os.chmod(vaulted.path("source/a.txt"), 0o640)
    os.utime(vaulted.path("source/a.txt"), ns=(1, 1_700_000_000_123_456_789))
    vaulted.document("backup", "imari/juki", "--local")
    os.mkdir(vaulted.path("at"))
    return vaulted


@contextlib.contextmanager
def mounted(town, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    call = [sys.executable, "-m", "jbackupd", "-c", town.config, "--language", "en", "mount", "imari/juki"]
    with subprocess.Popen(
        [*call, town.path("at"), *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline().decode()
            assert said.startswith("imari/juki@1 is in "), (said, process.stderr.read() if not said else "")
            yield process
        finally:
            process.kill()
            fuse.clear_stale(town.path("at"))


def tree(folder: str) -> dict[bytes, tuple]:
    found = {}
    for above, folders, names in os.walk(os.fsencode(folder)):
        for name in (*folders, *names):
            path = os.path.join(above, name)
            status = os.lstat(path)
            content = b""
            if os.path.islink(path):
                content = os.readlink(path)
            elif name in names:
                with open(path, "rb") as file:
                    content = file.read()
            found[os.path.relpath(path, os.fsencode(folder))] = (
                status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, content
            )
    return found


def end(process: subprocess.Popen[bytes], number: int) -> tuple[int, str]:
    process.send_signal(number)
    return process.wait(30), process.stderr.read().decode()


def test_a_point_looks_as_its_source_did(shown):
    with mounted(shown) as process:
        assert tree(shown.path("at")) == tree(shown.path("source"))
        with open(shown.path("at/long.bin"), "rb") as file, open(shown.path("source/long.bin"), "rb") as source:
            for offset in (0, 1, LONG - 5, LONG // 2):
                file.seek(offset)
                source.seek(offset)
                assert file.read(1000) == source.read(1000)
        with pytest.raises(OSError) as refused:
            os.mkdir(shown.path("at/new"))
        assert refused.value.errno == errno.EROFS
        subprocess.run(["umount", shown.path("at")], check=True)
        assert process.wait(30) == 0
    assert os.listdir(shown.path("at")) == []


def test_ctrl_c_ends_it_cleanly(shown):
    with mounted(shown) as process:
        code, _ = end(process, signal.SIGINT)
        assert code == 0
    assert not os.path.ismount(shown.path("at"))


def test_what_a_killed_mount_left_is_cleared_by_the_next(shown):
    with mounted(shown) as process:
        process.kill()
        process.wait()
        with pytest.raises(OSError):
            os.listdir(shown.path("at/folder"))
        with mounted(shown) as again:
            assert tree(shown.path("at")) == tree(shown.path("source"))
            assert end(again, signal.SIGTERM)[0] == 0


def test_a_damaged_file_cannot_be_read_and_is_named(shown):
    shown.flip("packs", byte=LONG // 2)
    with mounted(shown) as process:
        with pytest.raises(OSError) as failed, open(shown.path("at/long.bin"), "rb") as file:
            file.read()
        assert failed.value.errno == errno.EIO
        code, said = end(process, signal.SIGINT)
    assert code == 4
    assert "not readable: long.bin" in said


def test_a_writable_mount_keeps_what_is_written_and_is_whole_in_the_end(shown):
    upper = shown.path("upper")
    with mounted(shown, "--writable", upper, "--no-fill") as process:
        with open(shown.path("at/long.bin"), "r+b") as file:
            file.seek(1_000_000)
            file.write(b"written")
        os.rename(shown.path("at/a.txt"), shown.path("at/folder/b.txt"))
        os.truncate(shown.path("at/empty"), 10)
        os.utime(shown.path("at/empty"), ns=(5, 6))
        expected = tree(shown.path("at"))
        assert end(process, signal.SIGINT)[0] == 0
    with mounted(shown, "--writable", upper) as process:
        assert tree(shown.path("at")) == expected
        assert b"everything is there" in process.stderr.readline() + process.stderr.readline()
        assert end(process, signal.SIGINT)[0] == 0
    assert tree(os.path.join(upper, "tree")) == expected


def test_a_folder_that_holds_something_is_refused(shown):
    shown.write("at/something", b"")
    done = shown.run("mount", "imari/juki", shown.path("at"))
    assert (done.returncode, "not empty" in done.stderr.decode()) == (5, True)


def test_it_is_read_with_shares_where_the_site_has_no_keys(shown):
    shares = [word for n in (1, 3) for word in ("--share", shown.path(f"shares/imari-share-{n}-of-3.txt"))]
    shutil.rmtree(shown.path("state/keyring"))
    with mounted(shown, *shares) as process:
        assert tree(shown.path("at")) == tree(shown.path("source"))
        assert end(process, signal.SIGINT)[0] == 0


def test_without_fuse_the_reason_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(fuse, "DEVICE", str(tmp_path / "no-fuse"))
    with pytest.raises(NotFoundError, match="cannot be used"):
        fuse.check_mountable(str(tmp_path))


def test_no_other_command_loads_libfuse(shown):
    script = (
        "import sys\nfrom jbackupd.cli.main import main\n"
        "code = main(sys.argv[1:])\nassert code == 0\nassert 'mfusepy' not in sys.modules\n"
    )
    call = [sys.executable, "-c", script, "-c", shown.config, "restore", "imari/juki", "--to", shown.path("out")]
    subprocess.run(call, check=True, capture_output=True)
