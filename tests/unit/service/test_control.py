"""The control socket, over real sockets."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest

from jbackupd.model.errors import (
    BusyError,
    DamageError,
    JbackupdError,
    NotFoundError,
    ProtocolError,
    ShareError,
    TryLaterError,
    UsageError,
)
from jbackupd.service.client import call
from jbackupd.service.control import Call, Control, NoArguments
from jbackupd.service.wire import REQUEST_BYTES_MAX, Failure, decode_answer, error_of, failure_of


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    dataset: str
    count: int = 1


class Desk:
    """A control with a few verbs, and what happened to them."""

    def __init__(self, state: Path) -> None:
        self.defects: list[tuple[str, str]] = []
        self.control = Control(str(state), lambda verb, error: self.defects.append((verb, str(error))))
        self.begun = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.control.register("count", Wanted, self.count)
        self.control.register("fail", NoArguments, self.fail)
        self.control.register("break", NoArguments, self.broken)
        self.control.register("wait", NoArguments, self.wait)

    async def count(self, request: Call[Wanted]) -> dict[str, Any]:
        for number in range(request.arguments.count):
            await request.tell({"number": number})
        return {"dataset": request.arguments.dataset}

    async def fail(self, request: Call[NoArguments]) -> dict[str, Any]:
        raise ShareError("share {index} of {set} is damaged", "use another", index=3, set="imari")

    async def broken(self, request: Call[NoArguments]) -> dict[str, Any]:
        raise KeyError("seat")

    async def wait(self, request: Call[NoArguments]) -> dict[str, Any]:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()
        return {}

    async def __aenter__(self) -> Desk:
        await self.control.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.control.close()


def test_events_come_in_order_before_the_result(run, tmp_path: Path) -> None:
    async def scenario() -> None:
        events: list[dict[str, Any]] = []
        async with Desk(tmp_path):
            result = await asyncio.to_thread(
                lambda: call(str(tmp_path), "count", events.append, dataset="imari/juki", count=3)
            )
        assert events == [{"number": 0}, {"number": 1}, {"number": 2}]
        assert result == {"dataset": "imari/juki"}

    run(scenario())


def test_an_error_of_the_daemon_is_raised_as_the_same_class_with_template_fields_and_hint(run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desk(tmp_path):
            with pytest.raises(ShareError) as raised:
                await asyncio.to_thread(call, str(tmp_path), "fail")
        error = raised.value
        assert (error.message, error.hint) == ("share {index} of {set} is damaged", "use another")
        assert (error.fields, error.exit_code) == ({"index": 3, "set": "imari"}, 6)

    run(scenario())


def test_a_defect_of_the_daemon_is_told_to_both_sides(run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desk(tmp_path) as desk:
            with pytest.raises(JbackupdError, match=r"defect.*seat"):
                await asyncio.to_thread(call, str(tmp_path), "break")
            assert desk.defects == [("break", "'seat'")]

    run(scenario())


@pytest.mark.parametrize(
    ("verb", "arguments", "word"),
    [
        ("count", {}, "dataset"),
        ("count", {"dataset": 3}, "dataset"),
        ("count", {"dataset": "imari/juki", "colour": "red"}, "colour"),
        ("dance", {}, "dance"),
    ],
)
def test_a_request_that_does_not_fit_is_a_usage_error_that_names_what(run, tmp_path, verb, arguments, word) -> None:
    async def scenario() -> None:
        async with Desk(tmp_path):
            with pytest.raises(UsageError, match=word):
                await asyncio.to_thread(lambda: call(str(tmp_path), verb, **arguments))

    run(scenario())


def test_a_caller_that_hangs_up_only_cancels_its_own_watching(run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desk(tmp_path) as desk:
            _reader, writer = await asyncio.open_unix_connection(str(tmp_path / "control.sock"))
            writer.write(b'{"verb": "wait"}\n')
            await desk.begun.wait()
            writer.close()
            await desk.cancelled.wait()
            assert await asyncio.to_thread(call, str(tmp_path), "ping")

    run(scenario())


@pytest.mark.parametrize("garbage", [b"\n", b"null\n", b'{"verb": 3}\n', b"\xff\xfe\n", b"[" * 100_000 + b"\n"])
def test_garbage_is_answered_with_a_typed_error(run, tmp_path: Path, garbage: bytes) -> None:
    async def scenario() -> None:
        async with Desk(tmp_path):
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / "control.sock"))
            writer.write(garbage)
            answer = decode_answer(await reader.readline())
            assert isinstance(answer, Failure)
            assert isinstance(error_of(answer), ProtocolError)
            writer.close()

    run(scenario())


def test_a_request_without_end_is_refused_at_its_limit(run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desk(tmp_path):
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / "control.sock"))
            writer.write(b"x" * (REQUEST_BYTES_MAX + 2))
            answer = decode_answer(await reader.readline())
            assert isinstance(answer, Failure)
            assert answer.code == "protocol"
            writer.close()

    run(scenario())


def test_the_socket_is_private_and_survives_a_left_over_one(run, tmp_path: Path) -> None:
    left_over = socket.socket(socket.AF_UNIX)
    left_over.bind(str(tmp_path / "control.sock"))
    left_over.close()

    async def scenario() -> None:
        async with Desk(tmp_path):
            mode = os.stat(tmp_path / "control.sock").st_mode
            assert stat.S_ISSOCK(mode)
            assert stat.S_IMODE(mode) == 0o600
            assert await asyncio.to_thread(call, str(tmp_path), "ping")
        assert not (tmp_path / "control.sock").exists()

    run(scenario())


def test_a_state_folder_with_a_long_path_works(run, tmp_path: Path) -> None:
    state = tmp_path / ("long" * 30) / ("er" * 60)
    state.mkdir(parents=True)

    async def scenario() -> None:
        async with Desk(state):
            assert await asyncio.to_thread(call, str(state), "ping")

    run(scenario())


def test_no_daemon_is_not_found_and_says_how_to_start_it(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as raised:
        call(str(tmp_path), "status")
    assert "systemctl start jbackupd" in raised.value.hint
    with pytest.raises(NotFoundError):
        call(str(tmp_path / "missing"), "status")


def test_a_daemon_that_stops_in_the_middle_is_try_later(run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Desk(tmp_path) as desk:
            calling = asyncio.create_task(asyncio.to_thread(call, str(tmp_path), "wait"))
            await desk.begun.wait()
            await desk.control.close()
            with pytest.raises(TryLaterError):
                await calling

    run(scenario())


@pytest.mark.parametrize("kind", [BusyError, DamageError, ShareError, UsageError, JbackupdError])
def test_errors_travel_whole(kind: type[JbackupdError]) -> None:
    error = kind("unable to {verb} {path}: {number}", "{path}", verb="open", path=b"\xff".decode("latin1"), number=7)
    back = error_of(failure_of(error))
    assert (type(back), str(back), back.hint, back.exit_code) == (kind, str(error), error.hint, error.exit_code)
