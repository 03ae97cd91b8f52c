"""Every disk that a power cut may leave behind, from the log of a `MemoryFiles`.

A cut after k events keeps every write that a later sync of its file made durable and every name
that a later sync of its folder made durable; of the rest any subset, and of one dropped write
possibly a part: its first half, and one more of its first byte, all but its last byte, some other beginning, or its
second half without the first, which reads as zeros then (blocks go to the disk in any order). All subsets are built
up to 64, else the two extremes and random ones from a fixed seed. States that are alike are visited once.

Journals that are appended to ask for blocks in order: zeros in front of bytes are damage to them, see
format/journal.py for the file systems that keep that order.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.crash.memory import (
    ROOT,
    Cut,
    Entry,
    Event,
    File,
    FileId,
    Folder,
    FolderId,
    Mark,
    Node,
    Sync,
    SyncFailed,
    SyncFolder,
    Write,
)

SUBSETS_MAX = 64
Key = tuple[tuple[str, bytes | None], ...]
Pending = Write | Cut | Entry


@dataclass(frozen=True, slots=True)
class CrashState:
    """A disk after a power cut."""

    position: int
    """How many events had happened."""
    facts: tuple[object, ...]
    """What had been acknowledged."""
    key: Key
    """Every path with its content."""
    kept: str
    """Which of the unsynced effects survived, for people."""

    def disk(self) -> Folder:
        """Return a fresh copy of the disk."""
        return folder_of(self.key)


class Platter:
    """What is durable, and what may or may not be, after the events so far."""

    def __init__(self, disk: Folder) -> None:
        self.files: dict[FileId, bytes] = {}
        self.folders: dict[FolderId, dict[str, Node]] = {}
        self.pending: list[Pending] = []
        self._lost: set[int] = set()  # ids of pending writes that a failed sync dropped
        self._take(disk)

    def _take(self, folder: Folder) -> None:
        self.folders[folder.id] = dict(folder.entries)
        for node in folder.entries.values():
            if isinstance(node, Folder):
                self._take(node)
            else:
                self.files[node.id] = node.content

    def apply(self, event: Event) -> None:
        """Let an event happen."""
        match event:
            case Write() | Cut() | Entry():
                self.pending.append(event)
            case Sync(file):
                self._promote([
                    p for p in self.pending if isinstance(p, Write | Cut) and p.file == file and id(p) not in self._lost
                ])
            case SyncFailed(file):
                self._lost |= {id(p) for p in self.pending if isinstance(p, Write) and p.file == file}
            case SyncFolder(folder):
                self._promote([p for p in self.pending if isinstance(p, Entry) and p.folder == folder])
            case Mark():
                pass

    def _promote(self, effects: Sequence[Pending]) -> None:
        with_partners = {id(p) for p in effects} | {id(p.also) for p in effects if isinstance(p, Entry) and p.also}
        done = [p for p in self.pending if id(p) in with_partners]
        _play(done, self.files, self.folders)
        self.pending = [
            p for p in self.pending if id(p) not in with_partners and not any(_covers(d, p) for d in done)
        ]

    def state(self, kept: Sequence[Pending]) -> Key:
        """Return the disk on which these of the pending effects survived."""
        files, folders = dict(self.files), dict(self.folders)
        for folder in {p.folder for p in kept if isinstance(p, Entry)}:
            folders[folder] = dict(folders.get(folder, {}))
        present = {id(p) for p in kept}
        still_pending = {id(p) for p in self.pending}
        _play(
            [
                p for p in kept
                if not (isinstance(p, Entry) and p.also and id(p.also) in still_pending and id(p.also) not in present)
            ],
            files, folders,
        )
        found: list[tuple[str, bytes | None]] = []
        _walk(ROOT, "", files, folders, found)
        return tuple(found)


def crash_states(disk: Folder, log: Sequence[Event], *, seed: int = 0, subsets_max: int = SUBSETS_MAX,
                 positions: range | None = None, in_order: bool = False) -> Iterator[CrashState]:
    """Yield every different state that a power cut during the log may leave.

    Args:
        disk: The disk when the log began, all durable; it is not changed.
        log: What was done.
        seed: Of the random subsets.
        subsets_max: Bound of the subsets at one position.
        positions: Only cuts after so many events; all without it.
        in_order: The blocks of one write go to the disk in their order.
    """
    platter = Platter(disk)
    chance = random.Random(seed)
    facts: tuple[object, ...] = ()
    seen: set[tuple[Key, tuple[object, ...]]] = set()
    for position in range(len(log) + 1):
        if position:
            event = log[position - 1]
            platter.apply(event)
            facts += (event.fact,) if isinstance(event, Mark) else ()
        if positions is not None and position not in positions:
            continue
        for kept in _subsets(platter.pending, chance, subsets_max, in_order):
            key = platter.state(kept)
            if (key, facts) not in seen:
                seen.add((key, facts))
                yield CrashState(position, facts, key, _describe(kept, platter.pending))


def _subsets(
    pending: Sequence[Pending], chance: random.Random, most: int, in_order: bool
) -> Iterator[list[Pending]]:
    """Yield what may survive: subsets, each also with a part of one dropped write."""
    for chosen in _choices(len(pending), chance, most):
        kept = [effect for effect, keep in zip(pending, chosen, strict=True) if keep]
        yield kept
        for at, effect in enumerate(pending):
            if not chosen[at] and isinstance(effect, Write) and len(effect.data) > 1:
                for part in _torn(effect, chance, in_order):
                    yield [part if i == at else e for i, e in enumerate(pending) if chosen[i] or i == at]


def _torn(write: Write, chance: random.Random, in_order: bool) -> Iterator[Write]:
    """Yield parts of a write that a power cut may leave: its first half, and one other."""
    half, size = len(write.data) // 2, len(write.data)
    yield Write(write.file, write.offset, write.data[:half])
    begin, end = chance.choice(((0, 1), (0, size - 1), (0, chance.randrange(1, size)), (half, size)))
    if begin == 0 or not in_order:
        yield Write(write.file, write.offset + begin, write.data[begin:end])


def _choices(count: int, chance: random.Random, most: int) -> Iterator[Sequence[bool]]:
    if 2**count <= most:
        for bits in range(2**count):
            yield [bool(bits >> i & 1) for i in range(count)]
        return
    yield [False] * count
    yield [True] * count
    for _ in range(most - 2):
        keep = chance.choice((0.1, 0.5, 0.9))
        yield [chance.random() < keep for _ in range(count)]


def _covers(durable: Pending, older: Pending) -> bool:
    """Tell whether a durable effect leaves nothing of a write that a failed sync had dropped."""
    if not isinstance(older, Write) or isinstance(durable, Entry) or durable.file != older.file:
        return False
    if isinstance(durable, Cut):
        return older.offset >= durable.length
    return durable.offset < older.offset + len(older.data) and older.offset < durable.offset + len(durable.data)


def _play(effects: Sequence[Pending], files: dict[FileId, bytes], folders: dict[FolderId, dict[str, Node]]) -> None:
    for effect in effects:
        match effect:
            case Write(file, offset, data):
                before = files.get(file, b"")
                files[file] = before[:offset].ljust(offset, b"\0") + data + before[offset + len(data) :]
            case Cut(file, length):
                files[file] = files.get(file, b"")[:length].ljust(length, b"\0")
            case Entry(folder, name, None):
                folders.setdefault(folder, {}).pop(name, None)
            case Entry(folder, name, target):
                folders.setdefault(folder, {})[name] = target


def _walk(folder: FolderId, path: str, files: dict[FileId, bytes], folders: dict[FolderId, dict[str, Node]],
          found: list[tuple[str, bytes | None]]) -> None:
    for name, node in sorted(folders.get(folder, {}).items()):
        here = f"{path}/{name}" if path else name
        if isinstance(node, Folder):
            found.append((here, None))
            _walk(node.id, here, files, folders, found)
        else:
            found.append((here, files.get(node.id, b"")))


def folder_of(key: Key) -> Folder:
    """Return a disk from its paths."""
    root = Folder(ROOT)
    folders = {"": root}
    for number, (path, content) in enumerate(key, 1):
        parent, _, name = path.rpartition("/")
        node = Folder(number) if content is None else File(number, content)
        folders[parent].entries[name] = node
        if isinstance(node, Folder):
            folders[path] = node
    return root


def key_of(disk: Folder) -> Key:
    """Return a running system's disk as paths, in the order of `CrashState.key`."""
    platter = Platter(disk)
    return platter.state(())


def _describe(kept: Sequence[Pending], pending: Sequence[Pending]) -> str:
    lost = [_name(effect) for effect in pending if effect not in kept]
    more = f" and {len(lost) - 4} more" if len(lost) > 4 else ""
    return f"lost: {', '.join(lost[:4])}{more}" if lost else "nothing was lost"


def _name(effect: Pending) -> str:
    match effect:
        case Write(file, offset, data):
            return f"write of file {file} at {offset}, {len(data)} bytes"
        case Cut(file, length):
            return f"cut of file {file} to {length}"
        case Entry(folder, name, target):
            return f"{'removal' if target is None else 'setting'} of {name[:16]} in folder {folder}"
