"""What serving a file before it is restored reads from outside: a client's words, maps of parts."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from jbackupd.codec.hashing import name_of
from jbackupd.model.errors import ProtocolError
from jbackupd.protocol.nbd import Command, Export, NbdSession, Request
from jbackupd.vault.parts import decode_map, encode_map
from jbackupd.vault.ranges import Ranges
from tests.fuzz.kind import DAMAGE, Kind

SIZE = 1 << 20
PACK_BYTES = 1 << 24
NBD_WORDS = (
    struct.pack(">I", 3), b"IHAVEOPT", struct.pack(">II", 1, 0), struct.pack(">IIIH", 7, 10, 4, 0), b"disk",
    struct.pack(">I", 0x25609513), struct.pack(">IHHQQI", 0x25609513, 0, 0, 7, 0, 4096),
    struct.pack(">IHHQQI", 0x25609513, 1, 1, 8, 512, 4), struct.pack(">IHHQQI", 0x25609513, 0, 2, 9, 0, 0),
    b"\xff" * 8, b"\x7f" + b"\xff" * 7,
)


def _nbd(data: bytes) -> list[Request]:
    """Hear a client, at once and byte by byte: the same is asked, and all of it lies within the export."""
    at_once = _heard([data])
    if len(data) < 2000:
        assert _heard(data[at : at + 1] for at in range(len(data))) == at_once
    for request in at_once:
        assert request.offset + request.length <= SIZE or request.command is Command.FLUSH
        assert len(request.data) == (request.length if request.command is Command.WRITE else 0)
    return at_once


def _heard(pieces: Iterator[bytes] | list[bytes]) -> list[Request]:
    session = NbdSession({"disk": Export(SIZE, read_only=False), "point": Export(SIZE, read_only=True)})
    found: list[Request] = []
    for piece in pieces:
        for request in session.receive(piece):
            found.append(request)
            session.answer(request.cookie)
        session.take_output()
    return found


EXPORTS = (
    Kind("nbd", _nbd, (ProtocolError,), words=NBD_WORDS),
    Kind("part-map", lambda data: list(decode_map(data, PACK_BYTES)), DAMAGE,
         lambda ranges: list(decode_map(encode_map(PACK_BYTES, Ranges(ranges)), PACK_BYTES)),
         lambda data: data[:-32], lambda body: body + name_of(body)),
)
