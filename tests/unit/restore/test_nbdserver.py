"""Devices over NBD as real clients see them, and as a rude one does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import struct
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from jbackupd.model.errors import DamageError, JbackupdError, NoSpaceError
from jbackupd.restore.nbdserver import NbdServer

SIZE = 6 * 1024 * 1024 + 512


class Memory:
    """A device in memory; bytes from `broken` on cannot be read, those from `full` on not written."""

    def __init__(self, content: bytes, *, read_only: bool = True) -> None:
        self.content = bytearray(content)
        self.size = len(content)
        self.read_only = read_only
        self.broken = self.full = self.size
        self.flushes = 0

    def read(self, offset: int, length: int) -> bytes:
        if offset + length > self.broken:
            raise DamageError("frame 7 is damaged")
        return bytes(self.content[offset : offset + length])

    def write(self, offset: int, data: bytes) -> None:
        if offset + len(data) > self.full:
            raise NoSpaceError("the disk is full")
        self.content[offset : offset + len(data)] = data

    def zero(self, offset: int, length: int) -> None:
        self.write(offset, bytes(length))

    def flush(self) -> None:
        self.flushes += 1


@contextlib.asynccontextmanager
async def serving(
    path: Path, *devices: Memory, failures: list[tuple[str, JbackupdError]] | None = None
) -> AsyncIterator[str]:
    server = NbdServer(
        {f"disk{number}": device for number, device in enumerate(devices)},
        lambda name, error: failures.append((name, error)) if failures is not None else None,
    )
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    await server.open(listening)
    try:
        yield f"nbd+unix:///{{}}?socket={path}"
    finally:
        await server.close()
        await server.close()


async def client(*command: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


def noise(size: int = SIZE) -> bytes:
    return random.Random(1).randbytes(size)


def test_real_clients_read_what_is_there(tmp_path: Path) -> None:
    async def story() -> None:
        content = noise()
        (tmp_path / "image").write_bytes(content)
        async with serving(tmp_path / "s", Memory(content), Memory(b"x" * 4096)) as uri:
            code, text = await client("nbdinfo", "--json", "--list", uri.format(""))
            assert code == 0, text
            exports = {export["export-name"]: export for export in json.loads(text)["exports"]}
            assert exports["disk0"]["export-size"] == SIZE
            assert exports["disk0"]["is_read_only"] and exports["disk0"]["can_multi_conn"]
            assert exports["disk1"]["export-size"] == 4096
            code, text = await client("nbdcopy", uri.format("disk0"), str(tmp_path / "copy"))
            assert code == 0, text
            assert (tmp_path / "copy").read_bytes() == content
            code, text = await client(
                "qemu-img", "compare", "-f", "raw", "-F", "raw", uri.format("disk0"), str(tmp_path / "image")
            )
            assert code == 0, text
            code, text = await client("qemu-img", "info", "--output=json", uri.format(""))
            assert json.loads(text)["virtual-size"] == SIZE // 512 * 512

    asyncio.run(story())


def test_real_clients_write(tmp_path: Path) -> None:
    async def story() -> None:
        size = 4 * 1024 * 1024
        content, device = noise(size), Memory(b"\xee" * size, read_only=False)
        (tmp_path / "image").write_bytes(content[: size // 2] + bytes(size // 2))
        async with serving(tmp_path / "s", device) as uri:
            code, text = await client("nbdcopy", "--flush", str(tmp_path / "image"), uri.format(""))
            assert code == 0, text
        assert device.content == content[: size // 2] + bytes(size // 2)
        assert device.flushes

    asyncio.run(story())


def test_what_cannot_be_read_or_written_is_an_error_and_is_told(tmp_path: Path) -> None:
    async def story() -> None:
        device, failures = Memory(noise(), read_only=False), []
        device.broken, device.full = 2_000_000, 1_000_000
        async with serving(tmp_path / "s", device, failures=failures) as uri:
            code, text = await client("nbdcopy", uri.format(""), str(tmp_path / "copy"))
            assert code != 0 and "Input/output error" in text
            (tmp_path / "image").write_bytes(noise())
            code, text = await client("nbdcopy", str(tmp_path / "image"), uri.format(""))
            assert code != 0 and "No space left" in text
        assert {type(error) for _, error in failures} == {DamageError, NoSpaceError}

    asyncio.run(story())


def test_a_read_only_export_takes_no_writes(tmp_path: Path) -> None:
    async def story() -> None:
        device = Memory(noise())
        before = bytes(device.content)
        (tmp_path / "image").write_bytes(b"n" * SIZE)
        async with serving(tmp_path / "s", device) as uri:
            code, _ = await client("nbdcopy", str(tmp_path / "image"), uri.format(""))
            assert code != 0
        assert device.content == before

    asyncio.run(story())


@pytest.mark.parametrize("words", [
    b"GET / HTTP/1.1\r\n\r\n",
    struct.pack(">I", 3) + struct.pack(">8sII", b"IHAVEOPT", 7, 0xFFFF_FFFF),
    struct.pack(">I", 3) + struct.pack(">8sII", b"IHAVEOPT", 7, 6) + bytes(6)
    + struct.pack(">IHHQQI", 0x25609513, 0, 1, 1, 0, 0xFFFF_FFFF),
])
def test_a_client_that_speaks_otherwise_is_hung_up_on(tmp_path: Path, words: bytes) -> None:
    async def story() -> None:
        async with serving(tmp_path / "s", Memory(noise(), read_only=False)):
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
            writer.write(words)
            async with asyncio.timeout(20):
                await reader.read()
            writer.close()

    asyncio.run(story())


def test_many_long_requests_at_once_are_all_answered(tmp_path: Path) -> None:
    """A hundred reads of 6 MiB: far more than may be in flight."""

    async def story() -> None:
        content = noise()
        async with serving(tmp_path / "s", Memory(content)):
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
            await reader.readexactly(18)
            writer.write(struct.pack(">I8sII", 3, b"IHAVEOPT", 1, 0))
            await reader.readexactly(10)
            for cookie in range(100):
                writer.write(struct.pack(">IHHQQI", 0x25609513, 0, 0, cookie, cookie, SIZE - 200))
            await writer.drain()
            heard = set()
            async with asyncio.timeout(60):
                for _ in range(100):
                    _, error, cookie = struct.unpack(">IIQ", await reader.readexactly(16))
                    assert error == 0
                    assert await reader.readexactly(SIZE - 200) == content[cookie : cookie + SIZE - 200]
                    heard.add(cookie)
            assert heard == set(range(100))
            writer.write(struct.pack(">IHHQQI", 0x25609513, 0, 2, 0, 0, 0))
            assert await reader.read() == b""
            writer.close()

    asyncio.run(story())
