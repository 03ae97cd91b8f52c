"""Steps of kind check: something must answer, and is asked again until it does."""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

from jbackupd.model.errors import JbackupdError, NotFoundError, PeerError, ScriptError
from jbackupd.model.units import Address
from jbackupd.runtime.offload import settled
from jbackupd.service.counter import Counter
from jbackupd.service.deeds.scripts import run_script
from jbackupd.service.deeds.work import Tell, Work, environment_of
from jbackupd.settings.steps import CheckStep

AGAIN_SECONDS = 0.25
"""Between two tries: soon enough that nobody waits for it, rare enough for a service that is just starting."""
ANSWER_BYTES_MAX = 1 << 20
TRY_SECONDS = 10.0


class Checking:
    """Asks what must answer; see `work.Deed`.

    Args:
        counter: The run's desks.
        query: Runs one statement at a postgres step: (step, sql) -> the one value as text.
    """

    def __init__(self, work: Work, counter: Counter, query: Callable[[str, str], str]) -> None:
        self._work = work
        self._counter = counter
        self._query = query

    async def perform(self, step: CheckStep, stopped: threading.Event, tell: Tell) -> Mapping[str, Any]:
        """Ask until it answers; the last reason is told when the step's time is over."""
        if step.run is not None:
            return await run_script(step.run, environment_of(self._work, step))
        if step.desk is not None:
            return await settled(asyncio.to_thread(self._counter.check, step))
        return await settled(asyncio.to_thread(self._until, step, stopped, tell))

    async def undo(self, step: CheckStep) -> None:
        """Take nothing back: asking changes nothing."""

    async def close(self) -> None:
        """End nothing."""

    def _until(self, step: CheckStep, stopped: threading.Event, tell: Tell) -> Mapping[str, Any]:
        begun, said = time.monotonic(), ""
        while True:
            try:
                answer = self._ask(step)
            except JbackupdError as error:
                if stopped.wait(AGAIN_SECONDS):
                    raise
                if str(error) != said:
                    said = str(error)
                    tell({"event": "waiting", "reason": said})
            else:
                return {**answer, "waited_seconds": round(time.monotonic() - begun, 3)}

    def _ask(self, step: CheckStep) -> Mapping[str, Any]:
        if step.tcp is not None:
            return _connect(step.tcp)
        if step.http is not None:
            return _get(step.http, step.status, step.expect)
        assert step.postgres is not None and step.sql is not None
        return _compared(step, self._query(step.postgres, step.sql))


def _connect(address: Address) -> Mapping[str, Any]:
    import socket

    try:
        socket.create_connection((address.host, address.port), TRY_SECONDS).close()
    except OSError as error:
        raise PeerError(
            "nothing accepts a connection at {address}: {reason}", address=str(address), reason=str(error)
        ) from error
    return {"answered": str(address)}


def _get(url: str, status: int, expect: str | None) -> Mapping[str, Any]:
    """Get a page; its certificate is not checked: what is asked is whether it answers, not who it is."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context), _Stays()
    )
    try:
        with opener.open(url, timeout=TRY_SECONDS) as answer:
            found, body = answer.status, answer.read(ANSWER_BYTES_MAX)
    except urllib.error.HTTPError as error:
        found, body = error.code, error.read(ANSWER_BYTES_MAX)
    except (OSError, ValueError) as error:
        raise PeerError("{url} does not answer: {reason}", url=url, reason=str(error)) from error
    if found != status:
        raise ScriptError("{url} answered with {found}, not {status}", url=url, found=found, status=status)
    if expect is not None and expect.encode() not in body:
        raise ScriptError("the answer of {url} does not hold {expect!r}", url=url, expect=expect)
    return {"answered": url, "status": found}


class _Stays(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: a plan may expect one, and must not be led elsewhere."""

    def redirect_request(self, *_args: Any, **_more: Any) -> None:
        """Return nothing: the redirect itself is the answer."""


def _compared(step: CheckStep, value: str) -> Mapping[str, Any]:
    fields = {"sql": step.sql, "value": value[:200]}
    if step.expect is not None and step.expect != value:
        raise ScriptError("{sql} gave {value!r}, not {expect!r}", **fields, expect=step.expect)
    if step.count_min is not None:
        try:
            count = int(value)
        except ValueError:
            raise ScriptError("{sql} gave {value!r}, which is no number", **fields) from None
        if count < step.count_min:
            raise NotFoundError("{sql} gave {value}, the plan expects {least}", **fields, least=step.count_min)
    return {"answered": step.sql, "value": value[:200]}
