"""Partial objects: they grow, survive, and become objects only with the right bytes."""

from __future__ import annotations

import threading

import pytest

from jbackupd.codec.hashing import name_of
from jbackupd.format.header import encode_header
from jbackupd.model.errors import DamageError, FormatError, NotFoundError, ProtocolError
from jbackupd.model.ids import ObjectKind, ObjectRef
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.incoming import Incoming
from jbackupd.vault.store import ObjectStore

DATA = encode_header(ObjectKind.PACK) + bytes(range(256)) * 4
REF = ObjectRef(ObjectKind.PACK, name_of(DATA))
SIZE = len(DATA)


@pytest.fixture
def store(tmp_path):
    made = ObjectStore(PosixFiles(str(tmp_path)), "vaults/imari")
    made.create()
    return made


@pytest.fixture
def incoming(store):
    return Incoming(store.files, store)


def again(store):
    """What another process finds."""
    return Incoming(store.files, store)


def test_an_object_comes_in_pieces_and_moves_to_the_store(store, incoming):
    assert incoming.offset(REF, SIZE) == 0
    assert incoming.write(REF, 0, DATA[:400]) == 400
    assert incoming.write(REF, 400, DATA[400:]) == SIZE - 400
    incoming.finish(REF, SIZE)
    assert store.read_checked(REF) == DATA
    assert incoming.offset(REF, SIZE) == SIZE
    assert store.files.names("vaults/imari/incoming") == []


def test_another_process_goes_on_where_the_last_one_stopped(store, incoming):
    incoming.write(REF, 0, DATA[:333])
    assert again(store).offset(REF, SIZE) == 333
    second = again(store)
    second.write(REF, 333, DATA[333:])
    second.finish(REF, SIZE)
    assert store.read_checked(REF) == DATA


def test_bytes_that_are_there_already_are_passed_over(store, incoming):
    incoming.write(REF, 0, DATA[:500])
    assert incoming.write(REF, 100, DATA[100:400]) == 0
    assert incoming.write(REF, 200, DATA[200:700]) == 200
    incoming.write(REF, 700, DATA[700:])
    incoming.finish(REF, SIZE)
    assert store.read_checked(REF) == DATA


def test_a_gap_is_refused_and_nothing_is_written(incoming):
    incoming.write(REF, 0, DATA[:10])
    with pytest.raises(ProtocolError, match="only 10 are here"):
        incoming.write(REF, 11, DATA[11:])
    assert incoming.offset(REF, SIZE) == 10


@pytest.mark.parametrize("wrong", [DATA[:-1] + b"\x00", DATA[:-1], DATA + b"\0"])
def test_wrong_bytes_are_thrown_away(store, incoming, wrong):
    incoming.write(REF, 0, wrong)
    with pytest.raises(DamageError, match="do not hash"):
        incoming.finish(REF, SIZE)
    assert store.files.names("vaults/imari/incoming") == []
    assert incoming.offset(REF, SIZE) == 0
    assert not store.has(REF)


def test_right_bytes_of_another_kind_are_thrown_away(store, incoming):
    ref = ObjectRef(ObjectKind.INDEX, REF.name)
    incoming.write(ref, 0, DATA)
    with pytest.raises(FormatError):
        incoming.finish(ref, SIZE)
    assert store.files.names("vaults/imari/incoming") == []


def test_a_partial_longer_than_the_object_is_thrown_away(incoming):
    incoming.write(REF, 0, DATA + DATA)
    assert incoming.offset(REF, SIZE) == 0


def test_finishing_twice_and_writing_to_a_finished_object_is_harmless(store, incoming):
    incoming.write(REF, 0, DATA)
    incoming.finish(REF, SIZE)
    incoming.finish(REF, SIZE)
    assert incoming.write(REF, 0, b"x") == 0
    assert store.read_checked(REF) == DATA


def test_an_object_that_never_came_cannot_be_finished_or_read(incoming):
    with pytest.raises(DamageError):
        incoming.finish(REF, SIZE)
    with pytest.raises(NotFoundError):
        incoming.read(REF)


def test_two_links_that_send_the_same_object_do_not_disturb_each_other(store, incoming):
    def send(step):
        for begin in range(0, SIZE, step):
            incoming.write(REF, begin, DATA[begin : begin + step])
        incoming.finish(REF, SIZE)

    threads = [threading.Thread(target=send, args=(step,)) for step in (7, 11, 64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.read_checked(REF) == DATA
    assert store.files.names("vaults/imari/incoming") == []
