"""An image that lies only at a peer, served over a thin line: how long the first bytes take, and all of them.

    python -m benchmarks.export [--megabytes N] [--mbit N] [--delay-ms N] [--days N] [--plain] [--access random]

Three sites as in a disaster: one has taken the image and is gone, one holds it behind a line that is shaped (a network
namespace with tc tbf; root is needed), the third holds nothing and serves the image with `jbackupd nbd`. The delay is
a proxy's, half of it each way. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from tests.support.daemons import SiteProcess, Town, receipted

FAR, NEAR = "10.83.0.2", "10.83.0.1"
BURST = "32kb"
READ_BYTES = 4096
READS = 40


def main() -> None:
    """Measure, and print."""
    wanted = _arguments()
    with tempfile.TemporaryDirectory(prefix="jbackupd-export-") as folder, _namespace(wanted.mbit) as name:
        print(json.dumps(_measure(Path(folder), wanted, name), indent=2))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=48)
    parser.add_argument("--mbit", type=float, default=10.0)
    parser.add_argument("--delay-ms", type=float, default=40.0, help="there and back")
    parser.add_argument("--days", type=int, default=1, help="points, each with 1 %% of the image changed")
    parser.add_argument("--plain", action="store_true", help="compress well, as a real disk does")
    parser.add_argument("--access", choices=["stream", "random"], default="stream", help="how the dataset is taken")
    return parser.parse_args()


def _measure(folder: Path, wanted: argparse.Namespace, name: str) -> dict[str, Any]:
    town = Town(folder)
    size = wanted.megabytes * 1_000_000
    try:
        kyoto, hokkaido, sealed = _lost(town, size, wanted, name)
        with _delayed((FAR, kyoto.port), wanted.delay_ms / 2000) as port:
            _redirect(hokkaido, kyoto, port)
            found: dict[str, Any] = {
                "megabytes": wanted.megabytes, "mbit": wanted.mbit, "round_trip_ms": wanted.delay_ms,
                "days": wanted.days, "access": wanted.access, "sealed_bytes": sealed,
                "load": os.getloadavg()[0],
            }
            found |= _reads(town, hokkaido, size, kept=False)
            found |= _copy(town, hokkaido, size, sealed, wanted.mbit)
            return found
    finally:
        for site in town.sites:
            if site.process is not None:
                site.kill()


def _lost(town: Town, size: int, wanted: argparse.Namespace, name: str) -> tuple[SiteProcess, SiteProcess, int]:
    """Take the image, let Kyoto hold it, lose Saga; Kyoto goes behind the line."""
    saga, kyoto, hokkaido = town.three()
    if wanted.access == "random":
        saga.config.write_text(saga.config.read_text().replace('schedule = ', 'access = "random"\nschedule = '))
    image = _image(size, plain=wanted.plain)
    # There before the daemon is: a schedule that was missed is made up for at once.
    (town.data / "disk.img").write_bytes(image)
    for site in (saga, kyoto):
        site.start()
    for day in range(wanted.days):
        (town.data / "disk.img").write_bytes(image)
        saga.command("backup", "imari/juki")
        saga.until(partial(_is_receipted, day + 1))
        if day + 1 < wanted.days:
            _change(image, day)
    saga.kill()
    kyoto.kill()
    shutil.rmtree(saga.state / "vaults")
    packs = (kyoto.state / "vaults" / "imari" / "packs").rglob("*")
    sealed = sum(path.stat().st_size for path in packs if path.is_file())
    _start_far(kyoto, name)
    return kyoto, hokkaido, sealed


def _is_receipted(sequence: int, page: dict[str, Any]) -> bool:
    return receipted(page, sequence, peers=1)


def _image(size: int, *, plain: bool) -> bytearray:
    chance = random.Random(1)
    if not plain:
        return bytearray(chance.randbytes(size))
    words = [chance.randbytes(chance.randrange(3, 12)) for _ in range(5000)]
    text = bytearray()
    while len(text) < size:
        text += b"".join(chance.choices(words, k=20_000))
    return text[:size]


def _change(image: bytearray, day: int) -> None:
    chance = random.Random(day)
    for _ in range(len(image) // 100 // 8192):
        at = chance.randrange(len(image) // 8192) * 8192
        image[at : at + 8192] = chance.randbytes(len(image[at : at + 8192]))


# The line.


@contextlib.contextmanager
def _namespace(mbit: float) -> Iterator[str]:
    name = f"jbx{os.getpid()}"
    inner, outer = f"{name}a", f"{name}b"
    commands = (
        f"ip netns add {name}", f"ip link add {outer} type veth peer name {inner} netns {name}",
        f"ip addr add {NEAR}/24 dev {outer}", f"ip link set {outer} up",
        f"ip -n {name} addr add {FAR}/24 dev {inner}", f"ip -n {name} link set {inner} up",
        f"ip -n {name} link set lo up",
        f"ip netns exec {name} tc qdisc add dev {inner} root tbf rate {mbit}mbit burst {BURST} latency 400ms",
        f"tc qdisc add dev {outer} root tbf rate {mbit}mbit burst {BURST} latency 400ms",
    )
    try:
        for command in commands:
            subprocess.run(command.split(), check=True)
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False)


def _start_far(site: SiteProcess, name: str) -> None:
    site.config.write_text(site.config.read_text().replace(f"127.0.0.1:{site.port}", f"{FAR}:{site.port}", 1))
    with open(site.folder / "log", "ab") as log:
        site.process = subprocess.Popen(
            ["ip", "netns", "exec", name, sys.executable, "-m", "jbackupd", "-c", str(site.config), "run"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection((FAR, site.port), 1):
            return
        time.sleep(0.1)
    raise RuntimeError(site.log())


def _redirect(site: SiteProcess, peer: SiteProcess, port: int) -> None:
    site.config.write_text(site.config.read_text().replace(f'"127.0.0.1:{peer.port}"', f'"127.0.0.1:{port}"'))


@contextlib.contextmanager
def _delayed(target: tuple[str, int], seconds: float) -> Iterator[int]:
    """Forward connections, each byte so much later; return the port."""
    opened: list[int] = []
    ready, loop = threading.Event(), asyncio.new_event_loop()

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        late: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(maxsize=4096)

        async def pump() -> None:
            while True:
                due, data = await late.get()
                await asyncio.sleep(max(0.0, due - loop.time()))
                writer.write(data)
                await writer.drain()
                if not data:
                    writer.close()
                    return

        pumping = asyncio.ensure_future(pump())
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await late.put((loop.time() + seconds, data))
        await late.put((loop.time() + seconds, b""))
        with contextlib.suppress(OSError):
            await pumping

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*target)
        await asyncio.gather(pipe(reader, far_writer), pipe(far_reader, writer))

    async def serve() -> None:
        server = await asyncio.start_server(forward, "127.0.0.1", 0)
        opened.append(server.sockets[0].getsockname()[1])
        ready.set()

    def run() -> None:
        loop.run_until_complete(serve())
        loop.run_forever()

    threading.Thread(target=run, daemon=True).start()
    ready.wait(10)
    try:
        yield opened[0]
    finally:
        loop.call_soon_threadsafe(loop.stop)


# The export.


class Export:
    """A running `jbackupd nbd`, and how long it took until clients could connect."""

    def __init__(self, town: Town, site: SiteProcess, *options: str) -> None:
        self.path = str(site.folder / "nbd")
        files = [town.folder / "shares" / f"imari-share-{number}-of-3.txt" for number in (1, 2)]
        shares = [word for file in files for word in ("--share", str(file))]
        begun = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "jbackupd", "-c", str(site.config), "nbd", "imari/juki@latest", "disk.img",
             "--socket", self.path, *shares, *options],
            stdout=subprocess.PIPE, stderr=open(site.folder / "nbd.log", "ab"),  # noqa: SIM115 (the child's)
        )
        assert self.process.stdout is not None
        self.uri = self.process.stdout.readline().decode().strip()
        self.open_seconds = time.monotonic() - begun
        assert self.uri, (site.folder / "nbd.log").read_text()

    def end(self) -> None:
        """Stop it."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(30)


class Client:
    """Reads over NBD, one request at a time."""

    def __init__(self, path: str) -> None:
        self._line = socket.socket(socket.AF_UNIX)
        self._line.connect(path)
        self._heard = self._line.makefile("rb")
        self._heard.read(18)
        self._line.sendall(struct.pack(">I8sII", 3, b"IHAVEOPT", 1, 0))
        self._heard.read(10)

    def read(self, offset: int, length: int) -> float:
        """Read; return the seconds that it took."""
        begun = time.monotonic()
        self._line.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 0, 1, offset, length))
        _, error, _ = struct.unpack(">IIQ", self._heard.read(16))
        assert not error
        self._heard.read(length)
        return time.monotonic() - begun


def _reads(town: Town, site: SiteProcess, size: int, *, kept: bool) -> dict[str, Any]:
    """Read here and there, as a boot does: first with nothing else on the line, then while it is filled."""
    found: dict[str, Any] = {}
    for label, options in (("alone", ["--no-fill"]), ("filling", [])):
        if not kept:
            shutil.rmtree(site.state / "vaults", ignore_errors=True)
        export = Export(town, site, *options)
        client, chance = Client(export.path), random.Random(7)
        time.sleep(1.0 if label == "filling" else 0.0)
        seconds = [client.read(chance.randrange(size // READ_BYTES) * READ_BYTES, READ_BYTES) for _ in range(READS)]
        export.end()
        found |= {
            f"open_seconds_{label}": round(export.open_seconds, 3), f"first_read_ms_{label}": round(seconds[0] * 1000),
            f"median_read_ms_{label}": round(median(seconds) * 1000),
            f"p95_read_ms_{label}": round(quantiles(seconds, n=20)[-1] * 1000),
        }
    return found


def _copy(town: Town, site: SiteProcess, size: int, sealed: int, mbit: float) -> dict[str, Any]:
    """Read all of it from begin to end with nbdcopy; and with one request at a time."""
    found: dict[str, Any] = {}
    for label in ("nbdcopy", "one_by_one"):
        shutil.rmtree(site.state / "vaults", ignore_errors=True)
        export = Export(town, site)
        begun = time.monotonic()
        if label == "nbdcopy":
            subprocess.run(["nbdcopy", export.uri, "null:"], check=True)
        else:
            client = Client(export.path)
            for at in range(0, size, 256 * 1024):
                client.read(at, min(256 * 1024, size - at))
        seconds = time.monotonic() - begun
        export.end()
        found |= {
            f"{label}_seconds": round(seconds, 1), f"{label}_part_of_line": round(sealed * 8 / seconds / mbit / 1e6, 3),
        }
    return found


if __name__ == "__main__":
    main()
