"""How fast objects cross the line on loopback: two processes, real SSH, real signatures, files in memory.

    python -m benchmarks.line [MEGABYTES]

Prints megabytes a second for put and get, what crossed the line against the objects, and both ends' processor time.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time

from jbackupd.transport.dial import dial
from jbackupd.transport.endpoint import Endpoint
from jbackupd.transport.link import Link
from tests.support.twosites import IMARI, Town, item_of, pack

PACK_BYTES = 16 * 1024 * 1024
AT_ONCE = 4


async def listen(folder: str) -> None:
    """Hold objects until standard input is closed."""
    town = Town(folder)
    endpoint = Endpoint(town.kyoto.local, town.find, town.holder(town.kyoto))
    await endpoint.start("127.0.0.1", 0)
    print(endpoint.port, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await endpoint.close()
    print(f"listener: {time.process_time():.2f} s of processor time")


async def put_all(link: Link, packs: list[bytes]) -> None:
    """Send packs, a few at a time."""
    places = asyncio.Semaphore(AT_ONCE)

    async def put(data: bytes) -> None:
        async with places:
            await link.put(IMARI, item_of(data), 0, lambda offset, length: data[offset : offset + length])

    await asyncio.gather(*(put(data) for data in packs))


async def measure(folder: str, megabytes: int) -> None:
    """Send and fetch so many megabytes."""
    listener = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.line", "--listen", folder, stdin=-1, stdout=-1
    )
    assert listener.stdin is not None and listener.stdout is not None
    port = int(await listener.stdout.readline())
    town = Town(folder)
    body = os.urandom(PACK_BYTES - 16)
    packs = [pack(number.to_bytes(8, "big") + body) for number in range(megabytes * 10**6 // PACK_BYTES + 1)]
    total = sum(map(len, packs))
    async with await dial(town.saga.local, town.kyoto.pinned, "127.0.0.1", port) as link:
        begun = time.monotonic()
        await put_all(link, packs)
        print(f"put: {total / 1e6 / (time.monotonic() - begun):.0f} MB/s")
        print(f"sent {link.bytes_sent:,} bytes for objects of {total:,}")
        begun = time.monotonic()
        for data in packs:
            async for _ in link.get(IMARI, item_of(data).ref, 0, len(data)):
                pass
        print(f"get: {total / 1e6 / (time.monotonic() - begun):.0f} MB/s")
        print(f"round trip: {await link.ping() * 1000:.2f} ms")
    listener.stdin.close()
    print(f"dialler: {time.process_time():.2f} s of processor time")
    print((await listener.stdout.read()).decode(), end="")
    await listener.wait()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--listen"]:
        asyncio.run(listen(sys.argv[2]))
    else:
        shared = "/dev/shm" if os.path.isdir("/dev/shm") else None
        with tempfile.TemporaryDirectory(dir=shared) as made:
            asyncio.run(measure(made, int(sys.argv[1]) if len(sys.argv) > 1 else 400))
