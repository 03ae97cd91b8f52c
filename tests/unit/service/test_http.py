"""The page for monitors, over real sockets."""

from __future__ import annotations

import asyncio

import pytest

from jbackupd.model.errors import StorageError
from jbackupd.model.units import Address
from jbackupd.service.http import HEAD_BYTES_MAX, Page, Pages


async def page() -> Page:
    return Page(b"jbackupd_up 1\n")


async def ask(address: Address, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    return answer


def served(run, *requests: bytes) -> list[bytes]:
    async def scenario() -> list[bytes]:
        pages = Pages({"/metrics": page})
        address = await pages.open(Address("127.0.0.1", 0))
        try:
            return [await ask(address, request) for request in requests]
        finally:
            await pages.close()
            await pages.close()

    return run(scenario())


def test_a_page_is_served_with_its_length_and_type(run) -> None:
    (answer,) = served(run, b"GET /metrics?x=1 HTTP/1.1\r\nHost: a\r\n\r\n")
    head, body = answer.split(b"\r\n\r\n", 1)
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Length: 14" in head
    assert body == b"jbackupd_up 1\n"


def test_head_has_no_body(run) -> None:
    (answer,) = served(run, b"HEAD /metrics HTTP/1.1\r\n\r\n")
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b"404"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"405"),
        (b"GET /metrics SPDY/3\r\n\r\n", b"400"),
        (b"\xff\xfe\r\n\r\n", b"400"),
        (b"GET\r\n\r\n", b"400"),
        (b"GET /" + b"x" * (2 * HEAD_BYTES_MAX) + b" HTTP/1.1\r\n\r\n", b"400"),
    ],
)
def test_anything_else_is_refused(run, request_, status) -> None:
    (answer,) = served(run, request_)
    assert answer.split()[1] == status


def test_an_address_in_use_is_a_typed_error(run) -> None:
    async def scenario() -> None:
        first, second = Pages({}), Pages({})
        address = await first.open(Address("127.0.0.1", 0))
        try:
            with pytest.raises(StorageError):
                await second.open(address)
        finally:
            await first.close()

    run(scenario())
