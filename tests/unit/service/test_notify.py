"""What systemd hears, over a real datagram socket."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from jbackupd.model.clock import ManualClock
from jbackupd.runtime.offload import Offload
from jbackupd.service.notify import Notifier, keep_alive


@pytest.fixture
def manager(tmp_path: Path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as found:
        found.bind(str(tmp_path / "notify"))
        found.settimeout(5)
        yield found


def test_every_word_arrives_as_its_own_datagram(manager, tmp_path: Path) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
    notifier.ready()
    notifier.reloading()
    notifier.status("two\nlines and \udcff")
    notifier.stopping()
    notifier.alive()
    heard = [manager.recv(1000).decode() for _ in range(5)]
    assert heard[0] == "READY=1"
    assert heard[1].startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert heard[2] == "STATUS=two lines and \\udcff"
    assert heard[3:] == ["STOPPING=1", "WATCHDOG=1"]


def test_an_abstract_address_is_understood() -> None:
    name = f"jbackupd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as found:
        found.bind("\0" + name)
        found.settimeout(5)
        Notifier({"NOTIFY_SOCKET": "@" + name}).ready()
        assert found.recv(100) == b"READY=1"


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "/nonexistent/socket"}])
def test_without_a_manager_nothing_happens(environment) -> None:
    Notifier(environment).ready()


def test_a_manager_that_does_not_listen_does_not_stop_the_daemon(manager, tmp_path: Path) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
    for _ in range(10_000):
        notifier.alive()


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "60000000"}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_served_only_when_it_is_ours(environment, seconds) -> None:
    assert Notifier(environment).watchdog_seconds == seconds


def test_a_worker_that_is_stuck_holds_the_watchdog_back(manager, tmp_path: Path, run) -> None:
    clock = ManualClock(datetime(2026, 11, 23, tzinfo=UTC))
    begun, go_on = threading.Event(), threading.Event()

    async def scenario() -> None:
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000"})
        held = asyncio.Event()
        lanes: list[str] = []

        def stalled(names: list[str]) -> None:
            lanes.extend(names)
            held.set()

        async with Offload(clock=clock) as offload:
            stuck = asyncio.create_task(offload.jobs.run(lambda: (begun.set(), go_on.wait(10)), patience=60))
            await offload.cpu(begun.wait, 10)
            watchdog = asyncio.create_task(keep_alive(notifier, offload, stalled))
            assert await offload.cpu(manager.recv, 100) == b"WATCHDOG=1"
            clock.advance(61)
            await held.wait()
            assert set(lanes) == {"jobs"}
            go_on.set()
            await stuck
            watchdog.cancel()

    run(scenario())
