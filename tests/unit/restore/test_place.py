"""A restore gives back what was taken, never places wrong bytes, and never leaves the target."""

from __future__ import annotations

import os
import resource
import signal
import stat
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from jbackupd.codec.hashing import ContentHash
from jbackupd.model.errors import ConfinementError, DamageError, NoSpaceError, RefusedError
from jbackupd.model.ids import FrameId
from jbackupd.model.records import EntryType, Extent, TreeEntry
from jbackupd.restore.options import Conflict, RestoreOptions, RestoreResult
from jbackupd.restore.place import restore
from jbackupd.storage import beneath

HASHES = ContentHash(b"t" * 32)


class MemoryPoint:
    """A point of given entries; an extent's frame id is looked up in a dictionary."""

    content_hash = HASHES

    def __init__(self, entries: Iterable[TreeEntry], contents: dict[bytes, bytes], tree_error: bool = False) -> None:
        self._entries = list(entries)
        self._contents = contents
        self._tree_error = tree_error

    def entries(self) -> Iterator[TreeEntry]:
        yield from self._entries
        if self._tree_error:
            raise DamageError("the tree is damaged")

    def expect(self, extents: Iterable[Extent]) -> MemoryPoint:
        return self

    def close(self) -> None:
        """Nothing was planned."""

    def read(self, extents: Iterable[Extent]) -> Iterator[bytes]:
        for extent in extents:
            data = self._contents.get(extent.frame)
            if data is None:
                raise DamageError("frame {frame} is damaged", frame=extent.frame)
            yield data[extent.offset : extent.offset + extent.length]


def file(path: bytes, data: bytes, **changes: object) -> TreeEntry:
    digest = HASHES.file_digest()
    digest.update(data)
    extents = (Extent(FrameId(data), 0, len(data)),) if data else ()
    entry = TreeEntry(
        path, EntryType.FILE, 0o640, os.getuid(), os.getgid(), 1_700_000_000_123_456_789, size=len(data),
        digest=digest.digest(), extents=extents,
    )
    return replace(entry, **changes)  # type: ignore[arg-type]


def folder(path: bytes, mode: int = 0o750) -> TreeEntry:
    return TreeEntry(path, EntryType.FOLDER, mode, os.getuid(), os.getgid(), 1_600_000_000_000_000_001)


def link(path: bytes, target: bytes) -> TreeEntry:
    return TreeEntry(
        path, EntryType.SYMLINK, 0o777, os.getuid(), os.getgid(), 1_650_000_000_000_000_000, target=target
    )


def point(*entries: TreeEntry, lost: Iterable[bytes] = (), tree_error: bool = False) -> MemoryPoint:
    contents = {e.extents[0].frame: bytes(e.extents[0].frame) for e in entries if e.extents}
    for data in lost:
        contents.pop(data)
    return MemoryPoint(entries, contents, tree_error)


def tree(folder_path: Path) -> dict[bytes, bytes]:
    root = os.fsencode(folder_path)
    found = {}
    for path, _folders, names in os.walk(root):
        for name in names:
            full = os.path.join(path, name)
            found[os.path.relpath(full, root)] = os.readlink(full) if os.path.islink(full) else Path(
                os.fsdecode(full)
            ).read_bytes()
    return found


def test_files_folders_and_symlinks_come_back_with_modes_and_times(tmp_path: Path) -> None:
    target = tmp_path / "out"
    result = restore(
        point(folder(b"d", 0o550), file(b"d/a", b"hello"), file(b"d/empty", b""), link(b"l", b"../../etc/passwd")),
        str(target),
    )
    assert (result.files, result.folders, result.symlinks, result.bytes, result.exit_code) == (2, 1, 1, 5, 0)
    assert tree(target) == {b"d/a": b"hello", b"d/empty": b"", b"l": b"../../etc/passwd"}
    status = (target / "d" / "a").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (0o640, 1_700_000_000_123_456_789)
    status = (target / "d").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (0o550, 1_600_000_000_000_000_001)
    assert (target / "l").lstat().st_mtime_ns == 1_650_000_000_000_000_000


def test_names_are_bytes(tmp_path: Path) -> None:
    names = [bytes((i,)) for i in range(1, 256) if i not in b"/."] + ["台帳".encode("cp932"), b"x" * 200, b"..."]
    entries = [file(name, b"c" + name) for name in sorted(names)]
    restore(point(*entries), str(tmp_path / "out"))
    assert tree(tmp_path / "out") == {name: b"c" + name for name in names}


def test_chosen_paths_come_with_the_folders_that_lead_to_them(tmp_path: Path) -> None:
    entries = [
        folder(b"a"), folder(b"a/b"), file(b"a/b/x", b"1"), file(b"a/bc", b"2"), folder(b"z"), file(b"z/y", b"3"),
    ]
    result = restore(point(*entries), str(tmp_path / "out"), RestoreOptions(paths=(b"a/b",)))
    assert tree(tmp_path / "out") == {b"a/b/x": b"1"}
    assert result.files == 1


def test_a_damaged_file_is_not_placed_and_is_named_and_the_others_are(tmp_path: Path) -> None:
    wrong = file(b"wrong", b"other bytes", digest=b"\0" * 32)
    result = restore(point(file(b"a", b"1"), file(b"b", b"2"), wrong, lost=[b"2"]), str(tmp_path / "out"))
    assert tree(tmp_path / "out") == {b"a": b"1"}
    assert {problem.path: problem.error.code for problem in result.problems} == {b"b": "damage", b"wrong": "damage"}
    assert result.exit_code == 4


def test_a_damaged_tree_restores_what_it_named_and_says_so(tmp_path: Path) -> None:
    result = restore(point(file(b"a", b"1"), tree_error=True), str(tmp_path / "out"))
    assert tree(tmp_path / "out") == {b"a": b"1"}
    assert result.exit_code == 4


def test_a_target_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"precious")
    with pytest.raises(RefusedError, match="it is not empty"):
        restore(point(file(b"mine", b"2")), str(tmp_path))
    assert (tmp_path / "mine").read_bytes() == b"precious"


@pytest.mark.parametrize(
    ("rule", "content", "others"),
    [
        (Conflict.SKIP, b"old", {}), (Conflict.OVERWRITE, b"new", {}), (Conflict.NEWER, b"old", {}),
        (Conflict.RENAME, b"new", {b"a.jb-before-restore": b"old"}),
    ],
)
def test_the_conflict_rule_decides(tmp_path: Path, rule: Conflict, content: bytes, others: dict[bytes, bytes]) -> None:
    (tmp_path / "a").write_bytes(b"old")
    restore(point(file(b"a", b"new")), str(tmp_path), RestoreOptions(conflict=rule))
    assert tree(tmp_path) == {b"a": content, **others}


def test_newer_replaces_an_older_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    os.utime(tmp_path / "a", ns=(1, 1))
    restore(point(file(b"a", b"new")), str(tmp_path), RestoreOptions(conflict=Conflict.NEWER))
    assert tree(tmp_path) == {b"a": b"new"}


@pytest.mark.parametrize("path", [b"../escaped", b"a/../../escaped", b"/tmp/escaped", b"..", b"a/..", b"."])
def test_a_path_that_would_leave_the_target_is_refused_and_nothing_outside_is_touched(
    tmp_path: Path, path: bytes
) -> None:
    target = tmp_path / "deep" / "out"
    result = restore(point(folder(b"a"), file(path, b"evil")), str(target))
    assert [problem.path for problem in result.problems] == [path]
    assert isinstance(result.problems[0].error, ConfinementError)
    assert result.exit_code == 5
    assert tree(tmp_path) == {}
    assert not Path("/tmp/escaped").exists()


def test_a_symlink_that_lies_in_the_target_is_not_followed(tmp_path: Path) -> None:
    outside, target = tmp_path / "outside", tmp_path / "out"
    outside.mkdir()
    target.mkdir()
    (target / "d").symlink_to(outside)
    result = restore(
        point(folder(b"d"), file(b"d/f", b"evil")), str(target), RestoreOptions(conflict=Conflict.OVERWRITE)
    )
    assert tree(outside) == {}
    assert {type(problem.error) for problem in result.problems} == {ConfinementError}


def test_an_archived_symlink_with_an_entry_below_it_is_refused(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    target = tmp_path / "out"
    # A tree never says this, its decoder refuses it; the restore does not rely on that.
    restore(point(link(b"d", os.fsencode(outside)), file(b"d/f", b"evil")), str(target))
    assert tree(outside) == {}


def test_a_thread_that_swaps_folders_for_links_gets_nothing_outside(tmp_path: Path) -> None:
    outside, target = tmp_path / "outside", tmp_path / "out"
    outside.mkdir()
    target.mkdir()
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            try:
                (target / "d").rename(target / "e")
                (target / "d").symlink_to(outside)
                (target / "d").unlink()
                (target / "e").rename(target / "d")
            except OSError:
                pass

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        entries = [folder(b"d"), *(file(b"d/%05d" % i, b"evil %d" % i) for i in range(1500))]
        restore(point(*entries), str(target), RestoreOptions(conflict=Conflict.OVERWRITE))
    finally:
        stop.set()
        thread.join()
    assert tree(outside) == {}


def test_setuid_bits_are_dropped_unless_asked_for(tmp_path: Path) -> None:
    entry = file(b"su", b"x", mode=0o4755)
    result = restore(point(entry), str(tmp_path / "a"))
    assert (stat.S_IMODE((tmp_path / "a" / "su").stat().st_mode), result.setuid_dropped) == (0o755, 1)
    restore(point(entry), str(tmp_path / "b"), RestoreOptions(allow_setuid=True))
    assert stat.S_IMODE((tmp_path / "b" / "su").stat().st_mode) == 0o4755


def test_owners_are_set_as_root_and_otherwise_counted(tmp_path: Path) -> None:
    entry = file(b"a", b"x", uid=1234, gid=2345)
    result = restore(point(entry), str(tmp_path / "a"))
    assert result.owners_not_set == 1
    if os.geteuid() == 0:
        restore(point(entry), str(tmp_path / "b"), RestoreOptions(set_owner=True))
        status = (tmp_path / "b" / "a").stat()
        assert (status.st_uid, status.st_gid) == (1234, 2345)


def interrupted(target: Path, *entries: TreeEntry, options: RestoreOptions | None = None) -> None:
    """Restore some entries and end as a killed process does: the target keeps the mark of an unfinished restore."""

    class Killed(BaseException):
        pass

    class Dying(MemoryPoint):
        def entries(self) -> Iterator[TreeEntry]:
            yield from super().entries()
            raise Killed

    whole = point(*entries)
    padding = [file(b"~%04d" % number, b"") for number in range(1200)]
    with pytest.raises(Killed):
        restore(Dying([*entries, *padding], whole._contents), str(target), options)
    for left in target.glob("~*"):
        left.unlink()


def test_a_resumed_restore_keeps_what_is_right_and_writes_the_rest(tmp_path: Path) -> None:
    target = tmp_path / "out"
    entries = [folder(b"d"), file(b"d/done", b"1"), file(b"d/todo", b"3"), file(b"d/torn", b"22"), link(b"l", b"at")]
    interrupted(target, *entries[:2])
    # Power cuts leave that.
    (target / "d" / "torn").write_bytes(b"2x")
    os.utime(target / "d" / "torn", ns=(entries[3].mtime_ns, entries[3].mtime_ns))
    (target / "d" / ".jb-partial-0123456789abcdef").write_bytes(b"left over")
    (target / ".jb-partial-fedcba9876543210").write_bytes(b"left over")
    before = (target / "d" / "done").stat().st_ino
    result = restore(point(*entries), str(target), RestoreOptions(resume=True))
    assert tree(target) == {b"d/done": b"1", b"d/torn": b"22", b"d/todo": b"3", b"l": b"at"}
    assert (result.kept, result.files, result.exit_code) == (1, 2, 0)
    assert (target / "d" / "done").stat().st_ino == before


def test_a_finished_restore_may_be_resumed_and_keeps_what_people_changed_since(tmp_path: Path) -> None:
    target = tmp_path / "out"
    entries = [file(b"a", b"1"), file(b"b", b"2"), file(b"c", b"3"), link(b"l", b"at")]
    restore(point(*entries), str(target))
    (target / "b").write_bytes(b"work of today")
    (target / "c").unlink()
    result = restore(point(*entries), str(target), RestoreOptions(resume=True))
    assert tree(target) == {b"a": b"1", b"b": b"work of today", b"c": b"3", b"l": b"at"}
    assert (result.kept, result.files, [problem.path for problem in result.problems]) == (2, 1, [b"b"])
    assert result.exit_code == 5


def test_resuming_in_a_folder_that_is_no_restore_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"precious")
    result = restore(point(file(b"a", b"new"), file(b"b", b"2")), str(tmp_path), RestoreOptions(resume=True))
    assert tree(tmp_path) == {b"a": b"precious", b"b": b"2"}
    assert result.exit_code == 5


def test_another_point_is_not_mixed_into_an_unfinished_restore(tmp_path: Path) -> None:
    target = tmp_path / "out"
    interrupted(target, file(b"a", b"1"), options=RestoreOptions(label="imari/juki@4"))
    with pytest.raises(RefusedError, match="a restore of imari/juki@4 was begun there, not of imari/juki@5"):
        restore(point(file(b"a", b"2")), str(target), RestoreOptions(resume=True, label="imari/juki@5"))
    with pytest.raises(RefusedError, match="a restore of imari/juki@4 was begun there and has not ended"):
        restore(point(file(b"a", b"2")), str(target), RestoreOptions(label="imari/juki@5"))
    result = restore(point(file(b"a", b"1")), str(target), RestoreOptions(resume=True, label="imari/juki@4"))
    assert (result.kept, tree(target)) == (1, {b"a": b"1"})


def test_a_resumed_restore_keeps_the_rule_that_it_began_with(tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"precious")
    entries = [file(b"a", b"1"), file(b"mine", b"of the point")]
    interrupted(tmp_path, *entries, options=RestoreOptions(conflict=Conflict.SKIP))
    result = restore(point(*entries), str(tmp_path), RestoreOptions(resume=True, conflict=Conflict.OVERWRITE))
    assert tree(tmp_path) == {b"a": b"1", b"mine": b"precious"}
    assert (result.kept, result.skipped) == (1, 1)


def test_a_mark_that_says_nothing_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"{}", b"[]", b"\xff", b'{"point": "x", "conflict": "none"}', b'"point"'):
        (tmp_path / ".jb-restore-unfinished").write_bytes(content)
        with pytest.raises(RefusedError, match="its mark of an unfinished restore is not readable"):
            restore(point(file(b"a", b"1")), str(tmp_path), RestoreOptions(resume=True))


def test_an_entry_with_the_name_of_the_mark_is_named_and_the_others_are_restored(tmp_path: Path) -> None:
    result = restore(point(file(b".jb-restore-unfinished", b"x"), file(b"a", b"1")), str(tmp_path / "out"))
    assert (tree(tmp_path / "out"), [p.path for p in result.problems]) == ({b"a": b"1"}, [b".jb-restore-unfinished"])


def test_what_is_kept_under_another_name_is_never_lost_to_the_next_restore(tmp_path: Path) -> None:
    name = b"n" * 250
    for content in (b"1", b"2", b"3"):
        restore(
            point(file(b"a", content), file(name, content)), str(tmp_path), RestoreOptions(conflict=Conflict.RENAME)
        )
    assert tree(tmp_path) == {
        b"a": b"3", b"a.jb-before-restore": b"1", b"a.jb-before-restore-2": b"2",
        name: b"3", name[:237] + b".jb-before-restore": b"1", name[:235] + b".jb-before-restore-2": b"2",
    }


def test_a_symlink_makes_room_for_one_and_is_kept_under_another_name(tmp_path: Path) -> None:
    (tmp_path / "l").symlink_to("old")
    result = restore(point(link(b"l", b"new")), str(tmp_path), RestoreOptions(conflict=Conflict.RENAME))
    assert (result.problems, result.symlinks) == ([], 1)
    assert [os.readlink(tmp_path / name) for name in ("l", "l.jb-before-restore")] == ["new", "old"]


def test_folders_that_stay_keep_their_modes_and_times(tmp_path: Path) -> None:
    for name in ("skip", "over"):
        (tmp_path / name / "d").mkdir(parents=True, mode=0o701)
        (tmp_path / name / "d").chmod(0o701)
    restore(point(folder(b"d", 0o755)), str(tmp_path / "skip"), RestoreOptions(conflict=Conflict.SKIP))
    restore(point(folder(b"d", 0o755)), str(tmp_path / "over"), RestoreOptions(conflict=Conflict.OVERWRITE))
    modes = [stat.S_IMODE((tmp_path / name / "d").stat().st_mode) for name in ("skip", "over")]
    assert modes == [0o701, 0o755]


def test_a_stopped_restore_can_be_resumed(tmp_path: Path) -> None:
    entries = [file(b"%04d" % i, b"x%d" % i) for i in range(3000)]
    counts = [0]

    def progress(result: RestoreResult) -> None:
        counts.append(result.files)

    with pytest.raises(RefusedError, match="stopped"):
        restore(point(*entries), str(tmp_path), progress=progress, stopped=lambda: counts[-1] > 0)
    assert 1 < len(tree(tmp_path)) < 3000
    result = restore(point(*entries), str(tmp_path), RestoreOptions(resume=True))
    assert len(tree(tmp_path)) == 3000
    assert (result.kept > 0, result.kept + result.files) == (True, 3000)


def test_a_resumed_restore_opens_its_own_closed_folders_again_also_for_an_ordinary_user(tmp_path: Path) -> None:
    target, ordinary = tmp_path / "out", os.geteuid() or 65534
    interrupted(target, folder(b"d", 0o550), file(b"d/a", b"1"))
    (target / "d").chmod(0o050)
    if os.geteuid() == 0:
        for path in (target, *target.rglob("*")):
            os.chown(path, ordinary, ordinary)
        for above in (tmp_path, *tmp_path.parents):
            above.chmod(above.stat().st_mode | 0o055)
    if (child := os.fork()) == 0:
        code = 99
        try:
            if os.geteuid() == 0:
                os.setresgid(ordinary, ordinary, ordinary)
                os.setresuid(ordinary, ordinary, ordinary)
            entries = [folder(b"d", 0o550), file(b"d/a", b"1"), file(b"d/b", b"2")]
            result = restore(point(*entries), str(target), RestoreOptions(resume=True))
            code = 10 * len(result.problems) + result.files
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert tree(target) == {b"d/a": b"1", b"d/b": b"2"}
    assert stat.S_IMODE((target / "d").stat().st_mode) == 0o550


class Endless(MemoryPoint):
    """One file that never ends."""

    def read(self, extents: Iterable[Extent]) -> Iterator[bytes]:
        while True:
            yield bytes(1000)


@pytest.mark.parametrize("how", ["asked", "interrupted"])
def test_a_long_file_tells_of_its_progress_and_can_be_stopped_within(tmp_path: Path, how: str) -> None:
    seen: list[int] = []

    def progress(result: RestoreResult) -> None:
        seen.append(result.bytes_read)
        if how == "interrupted":
            raise KeyboardInterrupt

    with pytest.raises(RefusedError if how == "asked" else KeyboardInterrupt):
        restore(Endless([file(b"a", b"1")], {}), str(tmp_path / "out"), progress=progress, stopped=lambda: bool(seen))
    assert seen[0] > 0
    assert tree(tmp_path / "out").keys() == {b".jb-restore-unfinished"}


def test_a_time_that_cannot_be_set_is_a_named_problem_and_the_content_is_there(tmp_path: Path) -> None:
    entries = [folder(b"d"), file(b"a", b"x"), file(b"b", b"y"), link(b"l", b"b")]
    result = restore(
        point(*[replace(e, mtime_ns=1 << 100) if e.path != b"b" else e for e in entries]), str(tmp_path / "out")
    )
    assert sorted(problem.path for problem in result.problems) == [b"a", b"d", b"l"]
    assert tree(tmp_path / "out") == {b"a": b"x", b"b": b"y", b"l": b"b"}
    assert result.exit_code == 1


def test_the_gravest_problem_decides_the_exit_code(tmp_path: Path) -> None:
    result = restore(
        point(file(b"a", b"1", mtime_ns=1 << 100), file(b"b", b"2"), lost=[b"2"]), str(tmp_path / "out")
    )
    assert (len(result.problems), result.exit_code) == (2, 4)


def test_a_full_disk_ends_the_restore_with_its_own_error(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(NoSpaceError):
            restore(point(file(b"big", b"z" * 5000)), str(tmp_path / "out"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)
    assert tree(tmp_path / "out").keys() == {b".jb-restore-unfinished"}
    assert restore(point(file(b"big", b"z" * 5000)), str(tmp_path / "out"), RestoreOptions(resume=True)).files == 1
    assert tree(tmp_path / "out") == {b"big": b"z" * 5000}


def test_deep_trees_are_restored(tmp_path: Path) -> None:
    parts = [b"d" * 100] * 60
    entries = [folder(b"/".join(parts[: i + 1])) for i in range(60)]
    result = restore(point(*entries, file(b"/".join([*parts, b"leaf"]), b"x")), str(tmp_path / "out"))
    assert [str(p.error) for p in result.problems] == []
    assert result.files == 1


@pytest.mark.parametrize("resume", [False, True])
def test_into_an_empty_folder_whole_batches_are_planned_also_for_a_run_that_may_be_resumed(
    tmp_path: Path, resume: bool
) -> None:
    planned: list[int] = []

    class Counting(MemoryPoint):
        def expect(self, extents: Iterable[Extent]) -> MemoryPoint:
            planned.append(len(list(extents)))
            return self

    entries = [file(b"%03d" % number, b"%d" % number) for number in range(450)]
    made = Counting(entries, point(*entries)._contents)
    restore(made, str(tmp_path / "out"), RestoreOptions(resume=resume))
    assert planned == [200, 200, 50]
    planned.clear()
    (tmp_path / "out" / "007").unlink()
    assert restore(made, str(tmp_path / "out"), RestoreOptions(resume=True)).kept == 449
    assert planned == [1]


@pytest.mark.parametrize("rule", [Conflict.REFUSE, Conflict.OVERWRITE])
@pytest.mark.parametrize("kernel_can", [True, False])
def test_what_comes_into_an_empty_folder_meanwhile_is_not_replaced_unless_that_was_said(
    tmp_path: Path, rule: Conflict, kernel_can: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not kernel_can:
        monkeypatch.setattr(beneath, "_renameat2", None)
    target = tmp_path / "out"

    class Slow(MemoryPoint):
        def read(self, extents: Iterable[Extent]) -> Iterator[bytes]:
            (target / "a").write_bytes(b"came meanwhile")
            yield from super().read(extents)

    entries = [file(b"a", b"taken")]
    result = restore(Slow(entries, point(*entries)._contents), str(target), RestoreOptions(conflict=rule))
    replaced = rule is Conflict.OVERWRITE
    assert tree(target) == {b"a": b"taken" if replaced else b"came meanwhile"}
    assert (result.files, result.exit_code) == ((1, 0) if replaced else (0, 5))
