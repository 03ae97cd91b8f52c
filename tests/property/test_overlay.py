"""An overlay behaves as a plain file does, and after a crash it still has what was synced."""

from __future__ import annotations

import os
import random
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from overlays import NAMES, Rig

from jbackupd.restore.filling import Fill
from jbackupd.restore.lazy import BLOCK_BYTES
from jbackupd.restore.overlay import Overlay, is_whole

places = st.integers(0, 5 * BLOCK_BYTES) | st.sampled_from([0, BLOCK_BYTES, 2 * BLOCK_BYTES, 3 * BLOCK_BYTES + 1000])
lengths = st.integers(1, 2 * BLOCK_BYTES) | st.sampled_from([1, 8192, BLOCK_BYTES])
names = st.integers(0, len(NAMES) - 1)
steps = st.lists(st.one_of(
    st.tuples(st.just("write"), names, places, lengths, st.booleans()),
    st.tuples(st.just("read"), names, places, lengths),
    st.tuples(st.just("cut"), names, places),
    st.tuples(st.just("rename"), names, names),
    st.tuples(st.just("unlink"), names),
    st.tuples(st.just("create"), names),
    st.tuples(st.just("fill"), names, st.integers(0, 30)),
    st.tuples(st.just("crash")),
), max_size=30)


def pick(rig: Rig, number: int) -> bytes | None:
    return NAMES[number] if NAMES[number] in rig.model else None


def act(rig: Rig, step: tuple) -> None:
    kind, *rest = step
    if kind == "crash":
        rig.sync_all()
        rig.crash()
        return
    name = pick(rig, rest[0])
    if kind == "create":
        if name is None:
            rig.overlay.release(rig.overlay.create(NAMES[rest[0]], 0o600, os.O_RDWR))
            rig.model[NAMES[rest[0]]] = b""
        return
    if name is None:
        return
    if kind == "write":
        rig.write(name, rest[1], random.Random(rest[2]).randbytes(rest[2]), sync=rest[3])
    elif kind == "read":
        handle = rig.overlay.open(name, os.O_RDONLY)
        assert rig.overlay.read(handle, rest[1], rest[2]) == rig.model[name][rest[1] : rest[1] + rest[2]]
        rig.overlay.release(handle)
    elif kind == "cut":
        rig.overlay.truncate(name, rest[1])
        rig.model[name] = rig.model[name][: rest[1]].ljust(rest[1], b"\0")
    elif kind == "rename":
        rig.overlay.rename(name, NAMES[rest[1]])
        rig.model[NAMES[rest[1]]] = rig.model.pop(name)
    elif kind == "unlink":
        rig.overlay.unlink(name)
        del rig.model[name]
    elif kind == "fill":
        number = rig.overlay.lazy.number_of(rig.overlay.look(name).st_ino)
        file = None if number is None else rig.overlay.lazy.acquire(number)
        if file is not None:
            file.fill(rest[1])
            rig.overlay.lazy.release(file)


@settings(deadline=None, max_examples=60)
@given(steps=steps)
def test_an_overlay_is_a_plain_folder_to_whoever_uses_it(steps, tmp_path_factory):
    rig = Rig(str(tmp_path_factory.mktemp("overlay")))
    for step in steps:
        act(rig, step)
    rig.check()
    rig.overlay.close()
    rig.overlay = Overlay(rig.folder, rig.point)
    rig.check()
    fill(rig)
    assert is_whole(rig.folder)
    tree = Path(rig.folder, "tree")
    assert {os.fsencode(file.name): file.read_bytes() for file in tree.iterdir()} == rig.model


def fill(rig: Rig) -> None:
    rig.overlay.close()
    filler = Fill(rig.point)
    rig.overlay = Overlay(rig.folder, filler, filler.touched)
    filler.start(rig.overlay.lazy)
    assert filler.wait(60)
    assert not filler.result.problems
    assert filler.result.missing_bytes == 0
    rig.overlay.close()


@settings(deadline=None, max_examples=60)
@given(synced=steps, unsynced=steps, seed=st.integers(0, 1 << 30))
def test_what_was_synced_survives_a_crash_and_what_was_not_is_old_or_new(synced, unsynced, seed, tmp_path_factory):
    rig = Rig(str(tmp_path_factory.mktemp("overlay")))
    for step in synced:
        act(rig, step)
    rig.sync_all()
    before = dict(rig.model)
    chance = random.Random(seed)
    written = [step for step in unsynced if step[0] == "write"]
    for kind, name, offset, length, _ in written:
        if pick(rig, name) is not None:
            act(rig, (kind, name, offset, length, chance.random() < 0.2))
    rig.crash()
    assert rig.listed() == set(before)
    for name in before:
        found = rig.content(name)
        old, new = before[name], rig.model[name]
        assert len(old) <= len(found) <= len(new)
        touched = [False] * (len(found) // 512 + 1)
        for _, number, offset, length, _ in written:
            if NAMES[number] == name:
                for at in range(offset // 512, min((offset + length - 1) // 512 + 1, len(touched))):
                    touched[at] = True
        for at, was_touched in enumerate(touched):
            part = slice(at * 512, (at + 1) * 512)
            if not was_touched:
                assert found[part] == new[part][: len(found[part])], f"{name!r} changed where nobody wrote: {at * 512}"
