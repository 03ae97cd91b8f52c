"""Running an operator's program: only the bytes that were approved, with few variables, and never for ever."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Mapping
from typing import Any

from jbackupd.model.errors import NotFoundError, RefusedError, ScriptError
from jbackupd.runtime.offload import settled
from jbackupd.settings.programs import Script

SCRIPT_BYTES_MAX = 64 << 20
OUTPUT_BYTES_MAX = 4096
"""The last of its output stands in the report: enough for an error, not for a dump."""
END_SECONDS = 10.0
"""How long a program has to end after SIGTERM."""


def approved_bytes(script: Script) -> bytes:
    """Return a program, checked against the digest that was approved. Blocks.

    Raises:
        NotFoundError: It is not there, or is not readable.
        RefusedError: It is another than the one that was approved.
    """
    try:
        with open(script.script, "rb") as file:
            data = file.read(SCRIPT_BYTES_MAX)
    except OSError as error:
        raise NotFoundError(
            "unable to read the program {path}: {reason}", "put it there, readable for the service's user",
            path=script.script, reason=error.strerror or str(error),
        ) from error
    found = hashlib.sha256(data).hexdigest()
    if found != script.sha256:
        raise RefusedError(
            "the program {path} is not the one that was approved: its SHA-256 is {found}",
            "read it; if it is right, put this digest into the plan and let the plan be approved again",
            path=script.script, found=found,
        )
    return data


async def run_script(
    script: Script, environment: Mapping[str, str], *, standard_input: bytes = b""
) -> Mapping[str, Any]:
    """Run an approved program to its end; return what to note.

    A cancel ends it with all that it has started.

    Raises:
        NotFoundError, RefusedError: As for `approved_bytes`.
        ScriptError: It ended with another code than 0.
    """
    data = await asyncio.to_thread(approved_bytes, script)
    async with _started(script, data, environment, stdin=PIPE, stdout=PIPE, stderr=STDOUT) as process:
        output, _ = await process.communicate(standard_input)
        code = process.returncode
    shown = output[-OUTPUT_BYTES_MAX:].decode("utf-8", "backslashreplace").strip()
    if code != 0:
        raise ScriptError(
            "the program {path} ended with {code}: {output}", "run it by hand to see what it lacks",
            path=script.script, code=code, output=shown[-500:],
        )
    return {"program": script.script, "output": shown}


async def start_script(script: Script, environment: Mapping[str, str], *, log: str) -> Process:
    """Start an approved program that goes on; whoever gets it ends it with `end_process`.

    Args:
        log: File that takes its output; added to.

    Raises:
        NotFoundError, RefusedError: As for `approved_bytes`.
    """
    data = await asyncio.to_thread(approved_bytes, script)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        return await _start(script, data, environment, stdin=DEVNULL, stdout=output, stderr=STDOUT)
    finally:
        os.close(output)


async def end_process(process: Process) -> None:
    """End a program and all that it has started: SIGTERM, and SIGKILL if that is not heard."""
    for number, patience in ((signal.SIGTERM, END_SECONDS), (signal.SIGKILL, None)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        try:
            await asyncio.wait_for(process.wait(), patience)
        except TimeoutError:
            continue
        break
    # Whoever of its session did not hear the first signal; a session lives on without its leader.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@contextlib.asynccontextmanager
async def _started(script: Script, data: bytes, environment: Mapping[str, str], **streams: Any) -> (
    AsyncIterator[Process]
):
    process = await _start(script, data, environment, **streams)
    try:
        yield process
    finally:
        if process.returncode is None:
            await settled(end_process(process))


async def _start(script: Script, data: bytes, environment: Mapping[str, str], **streams: Any) -> Process:
    """Start a program; a cancel that comes meanwhile ends it, with all that it has started by then."""
    starting = asyncio.create_task(_launch(script, data, environment, **streams))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        await settled(_end_started(starting))
        raise


async def _end_started(starting: asyncio.Task[Process]) -> None:
    with contextlib.suppress(NotFoundError):
        await end_process(await starting)


async def _launch(script: Script, data: bytes, environment: Mapping[str, str], **streams: Any) -> Process:
    # What runs is what was checked: the file itself may be exchanged between the look and the start.
    checked = _in_memory(data)
    try:
        return await asyncio.create_subprocess_exec(
            f"/proc/self/fd/{checked}", *script.arguments, env=_clean(environment, script), cwd="/",
            pass_fds=(checked,), start_new_session=True, **streams,
        )
    except OSError as error:
        raise NotFoundError(
            "unable to run the program {path}: {reason}", "is it a program, or does its first line name one?",
            path=script.script, reason=error.strerror or str(error),
        ) from error
    finally:
        os.close(checked)


def _in_memory(data: bytes) -> int:
    """Return a descriptor of a file in memory that holds a program."""
    descriptor = os.memfd_create("approved", 0)
    with open(os.dup(descriptor), "wb") as file:
        file.write(data)
    os.fchmod(descriptor, 0o500)
    return descriptor


def _clean(environment: Mapping[str, str], script: Script) -> dict[str, str]:
    """Return its variables: nothing of the daemon's, which may hold secrets."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TZ") if name in os.environ}
    return {**kept, **environment, "JBACKUPD_SCRIPT": script.script}
