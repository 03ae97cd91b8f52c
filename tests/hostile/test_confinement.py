"""No tree, however hostile, and no symlink in the target makes a restore touch anything outside of it."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from jbackupd.cli.rescuetarget import Target
from jbackupd.codec.hashing import ContentHash
from jbackupd.model.errors import JbackupdError
from jbackupd.model.records import EntryType, Extent, TreeEntry
from jbackupd.restore.options import Conflict, RestoreOptions
from jbackupd.restore.place import restore
from tests.hostile.comparison import Facts, facts

HASHES = ContentHash(b"t" * 32)
EVIL = b"evil"
DIGEST = HASHES.file_digest()
DIGEST.update(EVIL)
PARTS = [b"a", b"b", b"c", b".", b"..", b"", b"x\0y", b"~", b"out", b"outside"]
PATHS = st.one_of(
    st.lists(st.sampled_from(PARTS), min_size=1, max_size=4).map(b"/".join),
    st.sampled_from([
        b"/tmp/jb-escaped", b"/", b"//", b"a/", b"..", b"../..", b"a/..", b"l/victim", b"l", b"../outside/victim",
        b"./../outside/victim", b"a/../../outside/victim", b"out/../../outside/new",
        b"a/b/c/../../../../outside/victim",
    ]),
)
LINKS = st.sampled_from([
    b"../outside", b"..", b"/", b"../outside/victim", b"../../", b"a", b".", b"/proc/self/root/tmp", b"../outside/",
])
ENTRIES = st.builds(
    lambda kind, path, link, mode: TreeEntry(
        path, kind, mode, 0, 0, 10**18, size=len(EVIL) if kind is EntryType.FILE else 0,
        digest=DIGEST.digest() if kind is EntryType.FILE else b"",
        target=link if kind is EntryType.SYMLINK else b"",
    ),
    st.sampled_from(EntryType), PATHS, LINKS, st.sampled_from([0o644, 0o4755, 0o777, 0]),
)


class EvilPoint:
    """A point whose files all hold the same; its tree is what no decoder would let through."""

    content_hash = HASHES

    def __init__(self, entries: Iterable[TreeEntry]) -> None:
        self._entries = list(entries)

    def entries(self) -> Iterator[TreeEntry]:
        yield from self._entries

    def expect(self, extents: Iterable[Extent]) -> EvilPoint:
        return self

    def close(self) -> None:
        """Nothing was planned."""

    def read(self, extents: Iterable[Extent]) -> Iterator[bytes]:
        yield EVIL


@contextmanager
def guarded() -> Iterator[tuple[Path, Path]]:
    """Give a target and what lies around it; nothing around it may have changed at the end."""
    with tempfile.TemporaryDirectory() as top:
        target, outside = Path(top) / "out", Path(top) / "outside"
        target.mkdir()
        outside.mkdir()
        (outside / "victim").write_bytes(b"precious")
        (outside / "folder").mkdir()
        before = _around(Path(top))
        yield target, outside
        assert _around(Path(top)) == before
    assert not os.path.lexists("/tmp/jb-escaped")


def _around(top: Path) -> dict[bytes, Facts]:
    return {path: fact for path, fact in facts(top).items() if path != b"out" and not path.startswith(b"out/")}


def plant(target: Path, links: Sequence[tuple[bytes, bytes]]) -> None:
    for name, link in links:
        with suppress(FileExistsError):
            os.symlink(link, os.fsencode(target) + b"/" + name)


@given(
    st.lists(ENTRIES, max_size=8), st.lists(st.tuples(st.sampled_from([b"a", b"b", b"l", b"~"]), LINKS), max_size=3),
    st.sampled_from(Conflict), st.booleans(),
)
@settings(max_examples=150)
def test_a_restore_stays_in_its_target(
    entries: list[TreeEntry], planted: list[tuple[bytes, bytes]], conflict: Conflict, resume: bool
) -> None:
    with guarded() as (target, _outside):
        plant(target, planted)
        with suppress(JbackupdError):
            restore(EvilPoint(entries), str(target), RestoreOptions(conflict=conflict, resume=resume))


@given(st.lists(ENTRIES, max_size=8), st.lists(st.tuples(st.sampled_from([b"a", b"b", b"l"]), LINKS), max_size=3))
@settings(max_examples=150)
def test_a_rescue_stays_in_its_target(entries: list[TreeEntry], planted: list[tuple[bytes, bytes]]) -> None:
    with guarded() as (target, _outside):
        opened = Target(str(target))
        plant(target, planted)
        for entry in entries:
            with suppress(JbackupdError):
                opened.place(entry, iter([EVIL]), HASHES)
        with suppress(JbackupdError):
            opened.finish()


def test_a_thread_that_swaps_every_folder_for_a_link_gains_nothing() -> None:
    folders = (b"a", b"a/b", b"a/b/c")
    entries = [TreeEntry(folder, EntryType.FOLDER, 0o755, 0, 0, 10**18) for folder in folders]
    for folder in folders:
        entries += [
            TreeEntry(folder + b"/f%d" % n, EntryType.FILE, 0o4755, 0, 0, 0, size=4, digest=DIGEST.digest())
            for n in range(20)
        ] + [TreeEntry(folder + b"/victim", EntryType.SYMLINK, 0o777, 0, 0, 0, target=b"x")]
    stop = threading.Event()

    def swap(target: Path, outside: Path) -> None:
        while not stop.is_set():
            for name in ("a", "a/b", "a/b/c"):
                with suppress(OSError):
                    (target / name).rename(target / "moved")
                    (target / name).symlink_to(outside)
                    (target / name).unlink()
                with suppress(OSError):
                    (target / "moved").rename(target / name)

    with guarded() as (target, outside):
        swapping = threading.Thread(target=swap, args=(target, outside))
        swapping.start()
        try:
            for _ in range(30):
                restore(EvilPoint(entries), str(target), RestoreOptions(conflict=Conflict.OVERWRITE))
        finally:
            stop.set()
            swapping.join()
