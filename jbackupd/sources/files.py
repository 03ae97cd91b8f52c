"""The files source: regular files, folders and symlinks below one or more folders.

Names are bytes from the kernel to the tree. Every step below a root goes through the descriptor of
the folder above it and never follows a symlink, so a folder that somebody swaps for a link during the
run leads nowhere. What cannot be taken is yielded as Unreadable: nothing is left out in silence.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import translate
from re import compile as compile_pattern

from jbackupd.format.tree import PATH_BYTES_MAX, TIMES_NS
from jbackupd.model.errors import SourceError
from jbackupd.model.records import EntryType, Unreadable
from jbackupd.sources.opening import FileOpener, reason_of
from jbackupd.sources.port import SourceItem, UnreadableError

OPEN_FOLDERS_MAX = 64
"""A walk keeps the folders of so many levels open; a deeper one is found again, and compared, step by step."""
_TIME_MIN, _TIME_MAX = TIMES_NS[0], TIMES_NS[-1]
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class _Root:
    """A configured path and what its entries' paths begin with."""

    path: bytes
    prefix: bytes


@dataclass(slots=True)
class _Folder:
    """A folder that is being walked.

    Attributes:
        descriptor: None while it is closed, because the walk is too far below it.
        names: What is in it and was not yet looked at, in order.
    """

    path: bytes
    name: bytes
    descriptor: int | None
    device: int
    inode: int
    names: Iterator[bytes]

    def close(self) -> None:
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


class FilesSource:
    """Takes folders and files.

    Args:
        paths: Absolute paths; one that is itself a symlink is followed. With one path, a folder's entries are
            relative to it; with several, each lies under its last component.
        exclude: Patterns in the manner of a shell, matched against an entry's path and its last component.
        one_file_system: Do not go into other file systems that are mounted below.

    Raises:
        SourceError: Two paths have the same last component, or one of several has none.
    """

    kind = "files"

    def __init__(
        self, paths: Sequence[bytes], *, exclude: Sequence[bytes] = (), one_file_system: bool = False
    ) -> None:
        names = [os.path.basename(path.rstrip(b"/")) for path in paths]
        alone = len(paths) == 1
        if not alone and (len(set(names)) != len(names) or {b"", b".", b".."} & set(names)):
            raise SourceError(
                "two paths of the source end in the same name, or one has none", "make a dataset of each",
                paths=list(map(repr, paths)),
            )
        roots = [_Root(path, b"" if alone else name) for path, name in zip(paths, names, strict=True)]
        self._roots = sorted(roots, key=lambda root: root.prefix)
        patterns = "|".join(translate(os.fsdecode(pattern)) for pattern in exclude)
        self._exclude = compile_pattern(patterns) if patterns else None
        self._one_file_system = one_file_system

    def items(self) -> Iterator[SourceItem | Unreadable]:
        """Yield everything below the roots; see `Source.items`."""
        for root in self._roots:
            with _failing_as_a_whole(root.path):
                real = os.path.realpath(root.path)
                status = os.stat(real)
                parent = os.open(os.path.dirname(real), _FOLDER_FLAGS & ~os.O_NOFOLLOW)
            try:
                yield from self._root_items(root, parent, os.path.basename(real) or b".", status)
            finally:
                os.close(parent)

    def _root_items(
        self, root: _Root, parent: int, name: bytes, status: os.stat_result
    ) -> Iterator[SourceItem | Unreadable]:
        if not stat.S_ISDIR(status.st_mode):
            yield item_of(root.prefix or name, parent, name, status)
            return
        with _failing_as_a_whole(root.path):
            top = _entered(root.prefix, parent, name, status)
        if root.prefix:
            yield item_of(root.prefix, parent, name, status)
        yield from self._below(top)

    def _below(self, top: _Folder) -> Iterator[SourceItem | Unreadable]:
        """Yield what is in a folder, depth first; with a stack of its own, since trees may be deeper than Python's."""
        stack = [top]
        try:
            while stack:
                try:
                    descriptor = _open_again(stack)
                except UnreadableError as error:
                    yield Unreadable(stack.pop().path, error.reason)
                    continue
                below = yield from self._up_to_folder(stack[-1], descriptor)
                if below is None:
                    stack.pop().close()
                    continue
                if len(stack) > OPEN_FOLDERS_MAX:
                    stack[-1].close()
                stack.append(below)
        finally:
            for folder in stack:
                folder.close()

    def _up_to_folder(
        self, folder: _Folder, descriptor: int
    ) -> Generator[SourceItem | Unreadable, None, _Folder | None]:
        """Yield what is next in a folder, up to and with the next folder to go into; return that, entered."""
        for name in folder.names:
            path = folder.path + b"/" + name if folder.path else name
            if self._is_excluded(path, name):
                continue
            try:
                status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                item = item_of(path, descriptor, name, status)
            except OSError as error:
                item = Unreadable(path, reason_of(error))
            yield item
            if isinstance(item, Unreadable) or item.type is not EntryType.FOLDER:
                continue
            if self._one_file_system and status.st_dev != folder.device:
                continue
            try:
                return _entered(path, descriptor, name, status)
            except UnreadableError as error:
                yield Unreadable(path, error.reason)
        return None

    def _is_excluded(self, path: bytes, name: bytes) -> bool:
        if self._exclude is None:
            return False
        return any(self._exclude.match(os.fsdecode(text)) for text in (path, name))


@contextlib.contextmanager
def _failing_as_a_whole(path: bytes) -> Iterator[None]:
    """A root that cannot be read is no empty folder: there is no point."""
    try:
        yield
    except (OSError, UnreadableError) as error:
        raise SourceError(
            "unable to read the source {path}: {reason}", "check that it is there and mounted",
            path=os.fsdecode(path), reason=error.reason if isinstance(error, UnreadableError) else reason_of(error),
        ) from error


def _entered(path: bytes, parent: int, name: bytes, listed: os.stat_result) -> _Folder:
    """Open and list a folder.

    Raises:
        UnreadableError: It cannot be, or it is another one than when it was looked at.
    """
    descriptor = _open_same(parent, name, (listed.st_dev, listed.st_ino))
    try:
        names = sorted(map(os.fsencode, os.listdir(descriptor)))
    except OSError as error:
        os.close(descriptor)
        raise UnreadableError(reason_of(error)) from error
    return _Folder(path, name, descriptor, listed.st_dev, listed.st_ino, iter(names))


def _open_same(parent: int, name: bytes, known: tuple[int, int]) -> int:
    """Open a folder whose device and inode are known."""
    try:
        descriptor = os.open(name, _FOLDER_FLAGS, dir_fd=parent)
    except OSError as error:
        raise UnreadableError(reason_of(error)) from error
    found = os.fstat(descriptor)
    if (found.st_dev, found.st_ino) != known:
        os.close(descriptor)
        raise UnreadableError("it was replaced while it was being listed")
    return descriptor


def _open_again(stack: list[_Folder]) -> int:
    """Return the descriptor of a stack's last folder; where it was closed, from the last open one above it."""
    folder = stack[-1]
    if folder.descriptor is None:
        steps = stack[OPEN_FOLDERS_MAX:]
        above = stack[OPEN_FOLDERS_MAX - 1].descriptor
        assert above is not None
        descriptor = os.dup(above)
        for step in steps:
            try:
                below = _open_same(descriptor, step.name, (step.device, step.inode))
            finally:
                os.close(descriptor)
            descriptor = below
        folder.descriptor = descriptor
    return folder.descriptor


def item_of(path: bytes, folder: int, name: bytes, status: os.stat_result) -> SourceItem | Unreadable:
    """Return what something that was looked at is to a backup."""
    if len(path) > PATH_BYTES_MAX:
        return Unreadable(path, "its path is longer than a point can hold")
    mode, modified, changed = status.st_mode, status.st_mtime_ns, status.st_ctime_ns
    if not (_TIME_MIN <= modified <= _TIME_MAX and _TIME_MIN <= changed <= _TIME_MAX):
        modified, changed = _possible(modified), _possible(changed)
    bits, owner, group, inode, kind = mode & 0o7777, status.st_uid, status.st_gid, status.st_ino, stat.S_IFMT(mode)
    if kind == stat.S_IFREG:
        return SourceItem(
            path, EntryType.FILE, bits, owner, group, modified, changed, inode, status.st_size,
            opener=FileOpener(folder, name, status),
        )
    if kind == stat.S_IFDIR:
        return SourceItem(path, EntryType.FOLDER, bits, owner, group, modified, changed, inode)
    if kind == stat.S_IFLNK:
        target = os.readlink(name, dir_fd=folder)
        return SourceItem(path, EntryType.SYMLINK, bits, owner, group, modified, changed, inode, target=target)
    return Unreadable(path, f"a {_type_name(mode)} is not taken")


def _possible(time_ns: int) -> int:
    """Return the nearest time that a point can hold; tmpfs knows the year 30,000."""
    return min(max(time_ns, _TIME_MIN), _TIME_MAX)


def _type_name(mode: int) -> str:
    names = {stat.S_IFIFO: "FIFO", stat.S_IFSOCK: "socket", stat.S_IFBLK: "block device", stat.S_IFCHR: "device"}
    return names.get(stat.S_IFMT(mode), "special file")
