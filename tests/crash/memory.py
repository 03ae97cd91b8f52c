"""A file system in memory that logs what was done to it, so that a power cut can be played at every step.

`MemoryFiles` is `jbackupd.storage.files.Files` with the promises of POSIX and no more: what was
not synced may be gone. The log is enough to rebuild every disk that a power cut could leave
behind; see states.py for how.
"""

from __future__ import annotations

import errno
import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from jbackupd.model.errors import JbackupdError
from jbackupd.storage.files import Handle, _typed

FileId = int
FolderId = int
ROOT: FolderId = 0


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes went into a file; gone at a power cut unless the file is synced later."""

    file: FileId
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Cut:
    """A file was cut to a length; undone at a power cut unless the file is synced later."""

    file: FileId
    length: int


@dataclass(frozen=True, slots=True)
class Sync:
    """A file's writes so far are durable, but for those that an earlier failed sync dropped."""

    file: FileId


@dataclass(frozen=True, slots=True)
class SyncFailed:
    """A sync failed: the file's unsynced writes stay visible and no later sync makes them durable."""

    file: FileId


@dataclass(frozen=True, slots=True)
class Entry:
    """A folder's name was set to a file or folder, or removed; undone unless the folder is synced later."""

    folder: FolderId
    name: str
    target: Node | None
    also: Entry | None = None
    """The new name that a rename gives: the old one goes only together with it."""


@dataclass(frozen=True, slots=True)
class SyncFolder:
    """A folder's names so far are durable."""

    folder: FolderId


@dataclass(frozen=True, slots=True)
class Mark:
    """The code under test told somebody something: from here on it must be true after any power cut."""

    fact: object


Event = Write | Cut | Sync | SyncFailed | Entry | SyncFolder | Mark


@dataclass(slots=True, eq=False)
class File:
    """A file as the running system sees it."""

    id: FileId
    content: bytes = b""


@dataclass(slots=True, eq=False)
class Folder:
    """A folder as the running system sees it."""

    id: FolderId
    entries: dict[str, Node] = field(default_factory=dict)


Node = File | Folder


@dataclass(frozen=True, slots=True)
class Call:
    """A call that is about to be made."""

    number: int
    """Counts the calls of its own verbs from 1."""
    verb: str
    path: str


Fault = Callable[[Call], None]
"""Called before each changing call; may raise OSError or `Killed`; a write has been done halfway then."""


class Killed(BaseException):
    """The process was killed at a call: nothing of it runs on, what it wrote stays in the page cache."""


CHANGING = frozenset({
    "create", "append", "write", "sync", "truncate", "overwrite", "rename", "remove", "sync folder", "make folder",
})
FULL = CHANGING - {"truncate", "overwrite", "remove"}
"""What a full disk refuses."""
READING = frozenset({"read", "stat", "list"})


class MemoryFiles:
    """`Files` in memory.

    Args:
        folder: What is on the disk; empty without it. It is not shared: give each its own.
        fault: Asked before every call whose verb is in `faulty`.
    """

    def __init__(self, folder: Folder | None = None, fault: Fault | None = None,
                 faulty: frozenset[str] = CHANGING) -> None:
        self.root = folder or Folder(ROOT)
        self.log: list[Event] = []
        self.fault = fault
        self.faulty = faulty
        self.calls = 0
        self.dead = False
        """Set by a kill: threads of the killed process that are still running can do nothing more."""
        self.observer: Callable[[], None] | None = None
        """Called before each event; the rig looks at what is outside of the file system."""
        self._durable_folders: set[str] = set()
        self._ids = itertools.count(1 + max(_ids(self.root)))
        self._lock = threading.RLock()

    def mark(self, fact: object) -> None:
        """Log that a fact was acknowledged."""
        self._record(Mark(fact))

    def facts(self) -> tuple[object, ...]:
        """Return what was acknowledged."""
        return tuple(event.fact for event in self.log if isinstance(event, Mark))

    def restarted(self) -> MemoryFiles:
        """Return the same machine as a new process finds it after a kill: nothing is lost, nothing more is durable."""
        files = MemoryFiles(self.root)
        files.log, files._ids = self.log, self._ids
        return files

    # --- Files ---------------------------------------------------------------------------------

    def read(self, path: str) -> bytes:
        with self._call("read", path):
            return self._file(path).content

    def read_at(self, path: str, offset: int, length: int) -> bytes:
        with self._call("read", path):
            return self._file(path).content[offset : offset + length]

    def size(self, path: str) -> int:
        with self._call("stat", path):
            return len(self._file(path).content)

    def exists(self, path: str) -> bool:
        with self._call("stat", path):
            try:
                self._node(path)
            except FileNotFoundError:
                return False
            return True

    def names(self, path: str) -> list[str]:
        with self._call("list", path):
            return sorted(self._folder(path).entries)

    def make_folder(self, path: str) -> None:
        if path in self._durable_folders:
            return
        with self._lock, _typed("create", path):
            folder = self.root
            for name in path.split("/") if path else []:
                if name not in folder.entries:
                    with self._call("make folder", path):
                        self._set(folder, name, Folder(next(self._ids)))
                child = folder.entries[name]
                if not isinstance(child, Folder):
                    raise FileExistsError(errno.EEXIST, path)
                with self._call("sync folder", path):
                    self._record(SyncFolder(folder.id))
                folder = child
            self._durable_folders.add(path)

    def create(self, path: str) -> Handle:
        with self._call("create", path):
            folder, name = self._parent(path)
            if name in folder.entries:
                raise FileExistsError(errno.EEXIST, path)
            return self._open(folder, name, path)

    def append(self, path: str) -> Handle:
        with self._call("append", path):
            folder, name = self._parent(path)
            return self._open(folder, name, path)

    def truncate(self, path: str, length: int) -> None:
        with self._call("truncate", path):
            file = self._file(path)
            self._record(Cut(file.id, length))
            file.content = file.content[:length].ljust(length, b"\0")
            MemoryHandle(self, file, path).sync()

    def overwrite(self, path: str) -> None:
        with self._call("overwrite", path):
            file = self._file(path)
            if file.content:
                self._record(Write(file.id, 0, bytes(len(file.content))))
                file.content = bytes(len(file.content))
            MemoryHandle(self, file, path).sync()

    def rename(self, source: str, target: str) -> None:
        with self._call("rename", source):
            node = self._node(source)
            old_folder, old_name = self._parent(source)
            folder, name = self._parent(target)
            if isinstance(folder.entries.get(name), Folder) and not isinstance(node, Folder):
                raise IsADirectoryError(errno.EISDIR, target)
            new = Entry(folder.id, name, node)
            if (folder, name) != (old_folder, old_name):
                self._record(new)
                folder.entries[name] = node
                self._record(Entry(old_folder.id, old_name, None, also=new))
                del old_folder.entries[old_name]

    def remove(self, path: str) -> None:
        with self._call("remove", path):
            self._file(path)
            folder, name = self._parent(path)
            self._set(folder, name, None)

    def sync_folder(self, path: str) -> None:
        with self._call("sync folder", path):
            self._record(SyncFolder(self._folder(path).id))

    # --- inside --------------------------------------------------------------------------------

    def _open(self, folder: Folder, name: str, path: str) -> Handle:
        if name not in folder.entries:
            self._set(folder, name, File(next(self._ids)))
        node = folder.entries[name]
        if isinstance(node, Folder):
            raise IsADirectoryError(errno.EISDIR, path)
        return MemoryHandle(self, node, path)

    def _set(self, folder: Folder, name: str, node: Node | None) -> None:
        self._record(Entry(folder.id, name, node))
        if node is None:
            del folder.entries[name]
        else:
            folder.entries[name] = node

    def _record(self, event: Event) -> None:
        if self.observer is not None:
            self.observer()
        self.log.append(event)

    @contextmanager
    def _call(self, verb: str, path: str) -> Iterator[None]:
        with self._lock, _typed(verb, path):
            if self.dead:
                raise Killed
            if self.fault is not None and verb in self.faulty:
                self.calls += 1
                try:
                    self.fault(Call(self.calls, verb, path))
                except Killed:
                    self.dead = True
                    raise
            yield

    def _parent(self, path: str) -> tuple[Folder, str]:
        folder, _, name = path.rpartition("/")
        return self._folder(folder), name

    def _node(self, path: str) -> Node:
        node: Node = self.root
        for name in path.split("/") if path else []:
            if not isinstance(node, Folder):
                raise NotADirectoryError(errno.ENOTDIR, path)
            if name not in node.entries:
                raise FileNotFoundError(errno.ENOENT, path)
            node = node.entries[name]
        return node

    def _file(self, path: str) -> File:
        node = self._node(path)
        if isinstance(node, Folder):
            raise IsADirectoryError(errno.EISDIR, path)
        return node

    def _folder(self, path: str) -> Folder:
        node = self._node(path)
        if isinstance(node, File):
            raise NotADirectoryError(errno.ENOTDIR, path)
        return node


class MemoryHandle:
    """An open file of `MemoryFiles`."""

    def __init__(self, files: MemoryFiles, file: File, path: str) -> None:
        self._files, self._node, self._path = files, file, path

    def write(self, data: bytes | memoryview) -> None:
        with self._files._lock:
            was_dead = self._files.dead
            try:
                with self._files._call("write", self._path):
                    self._write(bytes(data))
            except (Killed, JbackupdError):
                if not was_dead:
                    self._write(bytes(data[: len(data) // 2]))
                raise

    def sync(self) -> None:
        with self._files._lock:
            try:
                with self._files._call("sync", self._path):
                    self._files._record(Sync(self._node.id))
            except Exception:
                self._files._record(SyncFailed(self._node.id))
                raise

    def close(self) -> None:
        pass

    def _write(self, data: bytes) -> None:
        if data:
            self._files._record(Write(self._node.id, len(self._node.content), data))
            self._node.content += data


def _ids(folder: Folder) -> Iterator[int]:
    yield folder.id
    for node in folder.entries.values():
        if isinstance(node, Folder):
            yield from _ids(node)
        else:
            yield node.id


def tree_of(folder: Folder) -> dict[str, bytes | None]:
    """Return every path below a folder with its content; None for a folder."""
    found: dict[str, bytes | None] = {}
    for name, node in sorted(folder.entries.items()):
        if isinstance(node, Folder):
            found[name] = None
            found.update({f"{name}/{path}": content for path, content in tree_of(node).items()})
        else:
            found[name] = node.content
    return found
