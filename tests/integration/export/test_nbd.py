"""`jbackupd nbd` with real clients: from the vault here, from a peer alone, through kills."""

from __future__ import annotations

import json
import os
import random
import select
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from daemons import SiteProcess, Town, receipted

IMAGE_BYTES = 12 * 1024 * 1024
WAIT_SECONDS = 60.0


def image() -> bytes:
    """Something like a disk: noise, text, and holes."""
    chance = random.Random(11)
    data = bytearray(IMAGE_BYTES)
    for at in range(0, IMAGE_BYTES, 1 << 20):
        data[at : at + 400_000] = chance.randbytes(400_000)
        data[at + 500_000 : at + 700_000] = b"".join(b"line %9d\n" % n for n in range(13_334))[:200_000]
    return bytes(data)


class Export:
    """A running `jbackupd nbd`."""

    def __init__(self, site: SiteProcess, socket: Path, *options: str, point: str = "imari/juki@latest") -> None:
        self.log = socket.with_suffix(".log")
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jbackupd", "-c", str(site.config), "--json", "nbd", point,
                 "disk.img", "--socket", str(socket), *options],
                stdout=subprocess.PIPE, stderr=log, env=site.environment,
            )
        self.said = self._document()
        assert "uri" in self.said, self.said

    def _document(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        text = b""
        while not text.endswith(b"\n}\n"):
            ready, _, _ = select.select([self.process.stdout], [], [], WAIT_SECONDS)
            more = os.read(self.process.stdout.fileno(), 65536) if ready else b""
            assert more, self.log.read_text()
            text += more
        return json.loads(text)

    @property
    def uri(self) -> str:
        return str(self.said["uri"])

    def end(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        code = self.process.wait(WAIT_SECONDS)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


@contextmanager
def exported(site: SiteProcess, socket: Path, *options: str) -> Iterator[Export]:
    export = Export(site, socket, *options)
    try:
        yield export
        assert export.end() == 0, export.log.read_text()
        assert not socket.exists()
    finally:
        if export.process.poll() is None:
            export.end(signal.SIGKILL)


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, timeout=WAIT_SECONDS, check=False)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout.decode()


@pytest.fixture
def with_image(town: Town) -> Town:
    (town.data / "disk.img").write_bytes(image())
    return town


def test_an_image_of_the_vault_here_is_served_written_to_and_killed(with_image: Town, tmp_path: Path) -> None:
    """What a client flushed is there after kill -9 of the export; the point stays as it was."""
    saga = with_image.alone()
    saga.command("backup", "imari/juki", "--local")
    disk, overlay = with_image.data / "disk.img", ("--writable", str(tmp_path / "overlay"))
    expected, chance = bytearray(disk.read_bytes()), random.Random(3)
    for _ in range(2):
        export = Export(saga, tmp_path / "s", *overlay)
        spans = [(chance.randrange(IMAGE_BYTES - 70_000), chance.randrange(1, 70_000)) for _ in range(10)]
        writes = {at: chance.randbytes(length) for at, length in spans}
        for at, data in writes.items():
            expected[at : at + len(data)] = data
        write_and_flush(str(tmp_path / "s"), writes)
        export.end(signal.SIGKILL)
    with exported(saga, tmp_path / "s", *overlay) as export:
        run("nbdcopy", export.uri, str(tmp_path / "copy"))
        assert (tmp_path / "copy").read_bytes() == expected
    with exported(saga, tmp_path / "s") as export:
        assert export.said["from_elsewhere"] is False
        assert json.loads(run("qemu-img", "info", "--output=json", export.uri))["virtual-size"] == IMAGE_BYTES
        run("qemu-img", "compare", "-f", "raw", "-F", "raw", export.uri, str(disk))


def write_and_flush(path: str, writes: dict[int, bytes]) -> None:
    """Write over a plain connection, flush, and return once that is answered; hang up without a word."""
    import socket

    with socket.socket(socket.AF_UNIX) as line, line.makefile("rb") as heard:
        line.settimeout(WAIT_SECONDS)
        line.connect(path)
        assert len(heard.read(18)) == 18
        line.sendall(struct.pack(">I8sII", 3, b"IHAVEOPT", 1, 0))
        assert len(heard.read(10)) == 10
        for number, (at, data) in enumerate(writes.items()):
            line.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 1, number, at, len(data)) + data)
            # One after the other: which of two that overlap is last must be known.
            assert heard.read(16) == struct.pack(">IIQ", 0x67446698, 0, number)
        line.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 3, 99, 0, 0))
        assert heard.read(16) == struct.pack(">IIQ", 0x67446698, 0, 99)


@pytest.fixture
def at_a_peer(with_image: Town) -> SiteProcess:
    """Hokkaido, which holds nothing, after Saga's image came to Kyoto and Saga was lost."""
    saga, kyoto, hokkaido = with_image.three()
    for site in (saga, kyoto):
        site.start()
    saga.command("backup", "imari/juki")
    saga.until(lambda page: receipted(page, 1, peers=1))
    saga.kill()
    shutil.rmtree(saga.state / "vaults")
    return hokkaido


def shares(town: Town) -> list[str]:
    files = [town.folder / "shares" / f"imari-share-{number}-of-3.txt" for number in (1, 3)]
    return [word for file in files for word in ("--share", str(file))]


def test_an_image_that_lies_only_at_a_peer_is_served_and_filled_through_a_kill(
    with_image: Town, at_a_peer: SiteProcess, tmp_path: Path
) -> None:
    hokkaido, kyoto = at_a_peer, with_image.sites[1]
    vault = hokkaido.state / "vaults" / "imari"
    export = Export(hokkaido, tmp_path / "s", *shares(with_image))
    assert export.said["from_elsewhere"] is True
    run("qemu-io", "-r", "-f", "raw", "-c", "read 8M 4k", export.uri)
    export.end(signal.SIGKILL)
    with exported(hokkaido, tmp_path / "s", *shares(with_image)) as export:
        run("nbdcopy", export.uri, str(tmp_path / "copy"))
        assert (tmp_path / "copy").read_bytes() == (with_image.data / "disk.img").read_bytes()
        wait_for(export, "all of it is here now")
    assert any(path.is_file() for path in (vault / "packs").rglob("*"))
    assert not list((vault / "points").iterdir()), "a listed point is a promise"
    # With Kyoto gone too, the image is read from here.
    kyoto.kill()
    with exported(hokkaido, tmp_path / "s", *shares(with_image)) as export:
        run("qemu-img", "compare", "-f", "raw", "-F", "raw", export.uri, str(with_image.data / "disk.img"))


def wait_for(export: Export, words: str) -> None:
    """Wait until an export says something; its log is read again whenever a client was served."""
    for _ in range(10_000):
        if words in export.log.read_text():
            return
        run("nbdinfo", "--size", export.uri)
    raise AssertionError(export.log.read_text())
