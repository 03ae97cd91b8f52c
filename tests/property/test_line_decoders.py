"""Every decoder of the line, and of receipts, answers any bytes with a value or with its own typed error."""

from __future__ import annotations

import contextlib

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jbackupd.codec.signing import SIGNATURE_BYTES
from jbackupd.format.header import encode_header
from jbackupd.format.receipt import decode_receipt
from jbackupd.model.errors import FormatError, JbackupdError, ProtocolError
from jbackupd.model.ids import ObjectKind
from jbackupd.protocol.framing import PAYLOAD_BYTES_MAX, Frame, FrameReader, FrameType, encode_frame
from jbackupd.protocol.messages import MESSAGES, decode_message, encode_message
from tests.unit.protocol.test_session import ITEM, cores, opened, out

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=40)
    | st.binary(max_size=40) | st.just(b"n" * 32) | st.just("imari"),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = {kind: message.__struct_fields__ for kind, message in MESSAGES.items()}


@pytest.mark.parametrize("kind", FrameType)
@given(st.binary(max_size=200))
@settings(max_examples=60)
def test_any_bytes_as_a_message(kind, payload):
    with contextlib.suppress(ProtocolError):
        decode_message(Frame(kind, memoryview(payload)))


@pytest.mark.parametrize("kind", MESSAGES)
@given(st.data())
@settings(max_examples=60)
def test_any_values_in_the_right_fields(kind, data):
    content = {name: data.draw(values) for name in FIELDS[kind]}
    try:
        payload = msgspec.msgpack.encode(content)
    except (OverflowError, UnicodeEncodeError):
        return
    with contextlib.suppress(ProtocolError):
        message = decode_message(Frame(kind, memoryview(payload)))
        # What was let in is also let out again, and within its bound.
        if len(payload) <= PAYLOAD_BYTES_MAX[kind]:
            assert decode_message(next(iter(FrameReader().feed(encode_message(message))))) == message


def test_a_deeply_nested_message_is_refused():
    for opening in (b"\x91", b"\x81\xa1a"):
        with pytest.raises(ProtocolError):
            decode_message(Frame(FrameType.HAVE, memoryview(opening * 20_000)))


@given(st.lists(st.binary(max_size=60), max_size=6))
def test_any_bytes_as_a_stream_of_frames(pieces):
    reader = FrameReader()
    with contextlib.suppress(ProtocolError):
        for piece in pieces:
            list(reader.feed(piece))


frames = st.lists(
    st.builds(
        lambda kind, content: encode_frame(kind, content[: PAYLOAD_BYTES_MAX[kind]]),
        st.sampled_from(FrameType),
        st.binary(max_size=40) | st.builds(msgspec.msgpack.encode, st.dictionaries(st.text(max_size=6), st.none())),
    ),
    max_size=5,
).map(b"".join)


@given(frames, st.booleans())
def test_any_frames_at_an_answerer(data, is_open):
    answerer = opened()[1] if is_open else cores()[1]
    with contextlib.suppress(JbackupdError):
        list(answerer.receive(data))


@given(frames, st.booleans())
def test_any_frames_at_an_asker(data, is_open):
    asker = opened()[0] if is_open else cores()[0]
    if is_open:
        asker.put("imari", ITEM, 3)
    out(asker)
    with contextlib.suppress(JbackupdError):
        list(asker.receive(data))


@given(st.binary(max_size=120), st.booleans())
def test_any_bytes_as_a_receipt(content, with_signature):
    data = encode_header(ObjectKind.RECEIPT) + content + (bytes(SIGNATURE_BYTES) if with_signature else b"")
    with contextlib.suppress(FormatError):
        decode_receipt(data)


@given(st.integers(0, 255), st.integers(0, 110), st.integers(0, 3))
def test_a_receipt_with_a_changed_byte_is_another_receipt_or_an_error(value, position, cut):
    body = b"\x05imari\x04juki" + (7).to_bytes(8, "little") + b"p" * 32 + b"\x05kyoto" + bytes(12)
    data = bytearray(encode_header(ObjectKind.RECEIPT) + body + bytes(SIGNATURE_BYTES))
    decode_receipt(bytes(data))
    data[position % len(data)] = value
    with contextlib.suppress(FormatError):
        decode_receipt(bytes(data[: len(data) - cut]))
