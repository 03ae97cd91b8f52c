"""Frames: cut anywhere they come out the same, over their bound they never come out."""

from __future__ import annotations

import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jbackupd.model.errors import ProtocolError
from jbackupd.protocol.framing import (
    DATA_BYTES_MAX,
    FRAME_BYTES_MAX,
    HEAD_BYTES,
    PAYLOAD_BYTES_MAX,
    FrameReader,
    FrameType,
    encode_frame,
)


def read(*pieces):
    reader = FrameReader()
    return [(frame.type, bytes(frame.payload)) for piece in pieces for frame in reader.feed(piece)]


def test_a_full_data_frame_fills_one_ssh_packet():
    assert len(encode_frame(FrameType.DATA, bytes(DATA_BYTES_MAX))) == FRAME_BYTES_MAX == 256 * 1024


def test_every_type_has_a_bound_and_none_is_over_the_largest_frame():
    assert set(PAYLOAD_BYTES_MAX) == set(FrameType)
    assert max(PAYLOAD_BYTES_MAX.values()) <= FRAME_BYTES_MAX


frames = st.lists(
    st.tuples(st.sampled_from(FrameType), st.binary(max_size=60)).filter(
        lambda f: len(f[1]) <= PAYLOAD_BYTES_MAX[f[0]]
    ),
    max_size=8,
)


@given(frames, st.lists(st.integers(0, 400), max_size=12))
def test_frames_come_out_the_same_wherever_the_stream_is_cut(sent, cuts):
    stream = b"".join(encode_frame(*frame) for frame in sent)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[a:b] for a, b in itertools.pairwise(edges)]
    assert read(*pieces) == sent


def test_byte_by_byte_is_the_same_as_at_once():
    stream = b"".join(encode_frame(kind, bytes([kind]) * 13) for kind in FrameType)
    assert read(*(stream[n : n + 1] for n in range(len(stream)))) == read(stream)


@pytest.mark.parametrize("kind", FrameType)
def test_a_length_over_the_bound_is_refused_with_its_head_alone(kind):
    reader = FrameReader()
    head = struct.pack(">IB", PAYLOAD_BYTES_MAX[kind] + 1, kind)
    with pytest.raises(ProtocolError, match="the bound is"):
        list(reader.feed(head))


@pytest.mark.parametrize("number", [0, 7, 15, 28, 31, 44, 255])
def test_an_unknown_type_is_refused(number):
    with pytest.raises(ProtocolError, match="not a frame type"):
        read(struct.pack(">IB", 0, number))


def test_the_frames_before_a_wrong_one_are_still_handed_out():
    reader, seen = FrameReader(), []
    with pytest.raises(ProtocolError):
        for frame in reader.feed(encode_frame(FrameType.PING, b"x") + b"\xff" * HEAD_BYTES):
            seen.append(frame.type)
    assert seen == [FrameType.PING]


def test_our_own_frames_are_bounded_too():
    with pytest.raises(ProtocolError):
        encode_frame(FrameType.STOP, bytes(1000))


def test_an_unfinished_frame_is_known():
    reader = FrameReader()
    assert reader.between_frames
    list(reader.feed(b"\0"))
    assert not reader.between_frames
