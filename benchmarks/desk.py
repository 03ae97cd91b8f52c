"""Search at the desk: 20 clerks over HTTP, every answer recorded with a sync. `python -m benchmarks.desk`.

A search is what a clerk does: the words are posted, the browser is led to the results and reads them all. Clerks sit in
a process of their own; with --pause 0 nobody ever thinks, which no counter does and which shows where the desk is full.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import random
import re
import resource
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import httpx

from jbackupd.demo.town import COLUMNS, IGNORE, make_town
from jbackupd.desk.accounts import Account, Accounts
from jbackupd.desk.app import DeskSettings, create_app
from jbackupd.desk.audit import open_audit
from jbackupd.desk.extract import load_extract
from jbackupd.desk.fields import ColumnMap
from jbackupd.desk.residents import Residents
from jbackupd.desk.server import DeskServer
from jbackupd.model.clock import SystemClock
from jbackupd.model.units import Address
from jbackupd.storage.files import PosixFiles

ACCOUNT, PASSWORD = "clerk", "bcdf-ghjk-mnpq"
AS_OF = datetime(2026, 11, 23, 4, 10, tzinfo=UTC)
_TOKEN = re.compile(r'name="token" value="([^"]+)"')


def load(folder: str, residents: int) -> tuple[str, float, int]:
    """Make a town and load it in a process of its own; return the database, seconds and peak memory in bytes."""
    made = make_town(folder, seed=4, residents=residents)
    database = os.path.join(folder, "desk.sqlite")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        seconds, peak = pool.apply(_load, (made.extract, database))
    return database, seconds, peak


def _load(extract: str, database: str) -> tuple[float, int]:
    with open(extract, "rb") as source:
        report = load_extract(
            source, mapping=ColumnMap.parse(COLUMNS, ignore=IGNORE), database=database, as_of=AS_OF,
            loaded_from="bench",
        )
    return report.seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def words_of(database: str, count: int) -> list[str]:
    """Draw what clerks type: readings, names, parts in the middle, addresses, dates and numbers."""
    residents = Residents(database)
    drawn = random.Random(7)
    found = []
    for _search in range(count):
        one = residents.resident(drawn.randint(1, residents.facts.rows))
        family, _, given = one.kana.partition("　")
        typed = drawn.choice([
            one.kana, family, given, f"{family[:2]} {one.birth}", one.name, one.name[:2], one.name[1:2], given[1:3],
            one.birth, one.birth[:7], f"{family} {one.birth[:4]}", one.number, one.household, one.town + one.lot,
            f"{one.town} {family}", family[:1],
        ])
        found.append(typed.strip() or family)
    residents.close()
    return found


@contextlib.contextmanager
def served(folder: str, database: str) -> Iterator[str]:
    """Serve a desk in a loop of its own; yield its address."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    clock = SystemClock()
    accounts = Accounts([Account.make(ACCOUNT, PASSWORD)])
    audit = open_audit(PosixFiles(folder), "audit", clock)

    async def start() -> DeskServer:
        settings = DeskSettings(database, audit, accounts, "伊万里市", clock=clock)
        server = DeskServer(create_app(settings), Address("127.0.0.1", 0))
        await server.start()
        return server

    try:
        server = asyncio.run_coroutine_threadsafe(start(), loop).result()
        yield server.url
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def clerks(url: str, count: int, words: Sequence[str], pause_seconds: float) -> list[float]:
    """Let clerks search until all words are used; return the seconds of each search."""
    return asyncio.run(_clerks(url, count, words, pause_seconds))


async def _clerks(url: str, count: int, words: Sequence[str], pause_seconds: float) -> list[float]:
    seconds: list[float] = []
    shares = [words[at::count] for at in range(count)]
    drawn = random.Random(8)
    async with contextlib.AsyncExitStack() as stack:
        browsers = [
            await stack.enter_async_context(httpx.AsyncClient(base_url=url, follow_redirects=True, trust_env=False))
            for _clerk in range(count)
        ]
        tokens = [await _sign_in(browser) for browser in browsers]
        await asyncio.gather(*(
            _clerk(browser, token, share, [drawn.uniform(0, 2) * pause_seconds for _search in share], seconds)
            for browser, token, share in zip(browsers, tokens, shares, strict=True)
        ))
    return seconds


async def _sign_in(browser: httpx.AsyncClient) -> str:
    form = _TOKEN.findall((await browser.get("/sign-in")).text)[0]
    fields = {"account": ACCOUNT, "password": PASSWORD, "token": form, "purpose": "safety"}
    answer = await browser.post("/sign-in", data=fields)
    return str(_TOKEN.findall(answer.text)[0])


async def _clerk(
    browser: httpx.AsyncClient, token: str, words: Sequence[str], pauses: Sequence[float], seconds: list[float]
) -> None:
    for typed, pause in zip(words, pauses, strict=True):
        await asyncio.sleep(pause)
        begun = time.perf_counter()
        answer = await browser.post("/search", data={"words": typed, "token": token})
        seconds.append(time.perf_counter() - begun)
        if answer.status_code != 200 or "/results/" not in str(answer.url):
            raise RuntimeError(f"the search for {typed!r} gave {answer.status_code}")


def _cpu(times: os.times_result) -> float:
    return times.user + times.system


def main() -> None:
    """Measure and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--residents", type=int, default=100_000)
    parser.add_argument("--clerks", type=int, default=20)
    parser.add_argument("--searches", type=int, default=4000)
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between a clerk's searches, on average")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="jbackupd-desk-") as folder:
        database, load_seconds, load_peak = load(folder, options.residents)
        words = words_of(database, options.searches)
        with served(folder, database) as url, multiprocessing.get_context("spawn").Pool(1) as pool:
            before = os.times()
            begun = time.perf_counter()
            seconds = sorted(pool.apply(clerks, (url, options.clerks, words, options.pause)))
            wall = time.perf_counter() - begun
            after = os.times()
        print(json.dumps({
            "residents": options.residents, "clerks": options.clerks, "searches": len(seconds),
            "pause_seconds": options.pause, "searches_per_second": round(len(seconds) / wall, 1),
            **{f"p{part}_ms": round(1000 * seconds[int(len(seconds) * part / 100)], 1) for part in (50, 90, 99)},
            "max_ms": round(1000 * seconds[-1], 1),
            "desk_cpu_ms_per_search": round(1000 * (_cpu(after) - _cpu(before)) / len(seconds), 2),
            "load_seconds": round(load_seconds, 2), "load_peak_mib": load_peak >> 20,
            "database_mib": os.path.getsize(database) >> 20,
            "desk_peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10, "load_average": os.getloadavg(),
        }, indent=2))


if __name__ == "__main__":
    main()
