"""Approvals by telephone: files of promises, declarations with codes, what a site noted of codes and of decisions."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec

from jbackupd.codec.dictated import check_digit
from jbackupd.codec.signing import SIGNATURE_BYTES
from jbackupd.continuity.codes import Heard, _fold
from jbackupd.continuity.decision import decode_entry
from jbackupd.format.declaration import (
    Declaration,
    Statement,
    approve_by_code,
    declare,
    decode_declaration,
    encode_declaration,
)
from jbackupd.format.promise import MAGIC, Promise, SignedPromise, decode_book, encode_book, sign_promise
from jbackupd.model.ids import SiteId
from tests.fuzz.kind import DAMAGE, SITE, Kind, NoSigner

AT = datetime(2026, 11, 23, 1, 2, 3, 456789, tzinfo=UTC)
_STATEMENT = Statement(SITE, 2, SiteId("kyoto"), AT, "津波", b"e" * 32, b"n" * 16)
_CODE = "1234567890123456789"


def examples() -> Iterator[tuple[str, bytes]]:
    """Yield the valid examples of the corpus."""
    promises = [_promise(number, acting) for number, acting in ((1, "kyoto"), (2, "nara"))]
    yield "promises", encode_book(promises)
    approval = approve_by_code(promises[0], _CODE + check_digit(_CODE))
    yield "declaration-code", encode_declaration(declare(_STATEMENT).with_approval(approval))
    yield "decision", msgspec.msgpack.encode((1, 1_700_000_000_000_000, "saga", "森", "power", "lost", "停電", ""))
    yield "decision", msgspec.msgpack.encode((4, 1_700_000_000_000_000, "saga", "", "", "", "", "3f2a91c0"))
    yield "heard-code", msgspec.msgpack.encode((1, 1_700_000_000_000_000, b"", ""))
    yield "heard-code", msgspec.msgpack.encode((2, 1_700_000_000_000_000, promises[0].id, "3f2a91c0"))


def _promise(number: int, acting: str) -> SignedPromise:
    promise = Promise(
        "mori", SITE, SiteId(acting), 2, number, AT, AT + timedelta(days=400), b"s" * 16, bytes((number,)) * 32
    )
    return sign_promise(promise, NoSigner())  # type: ignore[arg-type]


def _first_promise(data: bytes) -> bytes:
    return decode_book(data)[0].signed


def _book_with(promise: bytes) -> bytes:
    return MAGIC + msgspec.msgpack.encode([(promise, bytes(SIGNATURE_BYTES))])


def _approvals(data: bytes) -> bytes:
    (length,) = struct.unpack_from("<I", data, 8)
    return data[12 + length :]


def _declared_with(approvals: bytes) -> bytes:
    return encode_declaration(declare(_STATEMENT))[:-1] + approvals


def _again(declaration: Declaration) -> Declaration:
    return decode_declaration(encode_declaration(declaration))


def _heard(data: bytes) -> Heard:
    return _fold([data])


CODES = (
    Kind("promises", decode_book, DAMAGE, lambda book: decode_book(encode_book(book)), _first_promise, _book_with),
    Kind("declaration-code", decode_declaration, DAMAGE, _again, _approvals, _declared_with),
    Kind("heard-code", _heard, DAMAGE),
    Kind("decision", decode_entry, DAMAGE, lambda entry: decode_entry(msgspec.msgpack.encode(entry))),
)
