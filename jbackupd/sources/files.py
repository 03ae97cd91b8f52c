"""The files source: regular files, folders and symlinks below one or more folders.

Names are bytes from the kernel to the tree. Every step below a root goes through the descriptor of
the folder above it and never follows a symlink, so a folder that somebody swaps for a link during the
run leads nowhere. What cannot be taken is yielded as Unreadable: nothing is left out in silence.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import translate
from re import compile as compile_pattern

from jbackupd.model.errors import SourceError
from jbackupd.model.records import EntryType, Unreadable
from jbackupd.sources.port import ItemReader, SourceItem, UnreadableError

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class _Root:
    """A configured path and what its entries' paths begin with."""

    path: bytes
    prefix: bytes


class FilesSource:
    """Takes folders and files.

    Args:
        paths: Absolute paths. With one, a folder's entries are relative to it; with several, each lies
            under its last component.
        exclude: Patterns in the manner of a shell, matched against an entry's path and its last component.
        one_file_system: Do not go into other file systems that are mounted below.

    Raises:
        SourceError: Two paths have the same last component.
    """

    kind = "files"

    def __init__(
        self, paths: Sequence[bytes], *, exclude: Sequence[bytes] = (), one_file_system: bool = False
    ) -> None:
        names = [os.path.basename(path.rstrip(b"/")) for path in paths]
        if len(set(names)) != len(names):
            raise SourceError(
                "two paths of the source end in the same name", "make a dataset of each", paths=list(map(repr, paths))
            )
        alone = len(paths) == 1
        roots = [_Root(path, b"" if alone else name) for path, name in zip(paths, names, strict=True)]
        self._roots = sorted(roots, key=lambda root: root.prefix)
        self._excluded = [compile_pattern(translate(os.fsdecode(pattern))) for pattern in exclude]
        self._one_file_system = one_file_system

    def items(self) -> Iterator[SourceItem | Unreadable]:
        """Yield everything below the roots; see `Source.items`."""
        for root in self._roots:
            yield from self._root_items(root)

    def _root_items(self, root: _Root) -> Iterator[SourceItem | Unreadable]:
        try:
            status = os.stat(root.path)
            parent = os.open(os.path.dirname(os.path.realpath(root.path)), _FOLDER_FLAGS & ~os.O_NOFOLLOW)
        except OSError as error:
            raise SourceError(
                "unable to read the source {path}: {reason}", "check that it is there and mounted",
                path=os.fsdecode(root.path), reason=os.strerror(error.errno or 0),
            ) from error
        name = os.path.basename(os.path.realpath(root.path)) or b"."
        try:
            if not stat.S_ISDIR(status.st_mode):
                yield self._item(root.prefix or name, parent, name, status)
                return
            if root.prefix:
                yield self._item(root.prefix, parent, name, status)
            yield from self._folder_items(root.prefix, parent, name, status)
        finally:
            os.close(parent)

    def _folder_items(
        self, path: bytes, parent: int, name: bytes, expected: os.stat_result
    ) -> Iterator[SourceItem | Unreadable]:
        """Yield what is in a folder, depth first."""
        try:
            folder = os.open(name, _FOLDER_FLAGS, dir_fd=parent)
        except OSError as error:
            yield _unreadable(path, error)
            return
        try:
            found = os.fstat(folder)
            if (found.st_dev, found.st_ino) != (expected.st_dev, expected.st_ino):
                yield Unreadable(path, "it was replaced while it was being listed")
                return
            try:
                names = sorted(map(os.fsencode, os.listdir(folder)))
            except OSError as error:
                yield _unreadable(path, error)
                return
            for child in names:
                below = path + b"/" + child if path else child
                if not self._is_excluded(below, child):
                    yield from self._child_items(below, folder, child, found)
        finally:
            os.close(folder)

    def _child_items(
        self, path: bytes, folder: int, name: bytes, parent_status: os.stat_result
    ) -> Iterator[SourceItem | Unreadable]:
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            item = self._item(path, folder, name, status)
        except OSError as error:
            yield _unreadable(path, error)
            return
        yield item
        if isinstance(item, SourceItem) and item.type is EntryType.FOLDER:
            if self._one_file_system and status.st_dev != parent_status.st_dev:
                return
            yield from self._folder_items(path, folder, name, status)

    def _item(
        self, path: bytes, folder: int, name: bytes, status: os.stat_result
    ) -> SourceItem | Unreadable:
        mode = status.st_mode
        fields = (
            stat.S_IMODE(mode), status.st_uid, status.st_gid, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
        )
        if stat.S_ISREG(mode):
            opener = _Opener(folder, name, status)
            return SourceItem(path, EntryType.FILE, *fields, size=status.st_size, opener=opener)
        if stat.S_ISDIR(mode):
            return SourceItem(path, EntryType.FOLDER, *fields)
        if stat.S_ISLNK(mode):
            return SourceItem(path, EntryType.SYMLINK, *fields, target=os.readlink(name, dir_fd=folder))
        return Unreadable(path, f"a {_type_name(mode)} is not taken")

    def _is_excluded(self, path: bytes, name: bytes) -> bool:
        texts = os.fsdecode(path), os.fsdecode(name)
        return any(pattern.match(text) for pattern in self._excluded for text in texts)


@dataclass(frozen=True, slots=True)
class _Opener:
    """Opens a file through its folder's descriptor, which is open as long as the item is current."""

    folder: int
    name: bytes
    listed: os.stat_result

    @contextlib.contextmanager
    def __call__(self, item: SourceItem) -> Iterator[ItemReader]:
        try:
            descriptor = os.open(self.name, _FILE_FLAGS, dir_fd=self.folder)
        except OSError as error:
            raise UnreadableError(_reason(error)) from error
        try:
            opened = os.fstat(descriptor)
            if not stat.S_ISREG(opened.st_mode) or (opened.st_dev, opened.st_ino) != (
                self.listed.st_dev, self.listed.st_ino
            ):
                raise UnreadableError("it was replaced between listing and opening")
            with contextlib.suppress(OSError):
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
            yield _Reader(descriptor, opened, self.listed)
        finally:
            os.close(descriptor)


class _Reader:
    """Reads a file up to the size it had when it was opened: one that grows for ever ends."""

    def __init__(self, descriptor: int, opened: os.stat_result, listed: os.stat_result) -> None:
        self._descriptor = descriptor
        self._opened = opened
        self._listed = listed
        self._left = opened.st_size
        self._short = False

    def read(self, length: int) -> bytes:
        """Return up to length bytes; empty at the end."""
        try:
            block = os.read(self._descriptor, min(length, self._left))
        except OSError as error:
            raise UnreadableError(_reason(error)) from error
        self._short = self._left > 0 and not block
        self._left -= len(block)
        return block

    def changed(self) -> bool:
        """Tell whether the file is another one than when it was listed."""
        now = os.fstat(self._descriptor)
        return self._short or any(
            (now.st_size, now.st_mtime_ns, now.st_ctime_ns) != (s.st_size, s.st_mtime_ns, s.st_ctime_ns)
            for s in (self._opened, self._listed)
        )


def _unreadable(path: bytes, error: OSError) -> Unreadable:
    return Unreadable(path, _reason(error))


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)


def _type_name(mode: int) -> str:
    names = {stat.S_IFIFO: "FIFO", stat.S_IFSOCK: "socket", stat.S_IFBLK: "block device", stat.S_IFCHR: "device"}
    return names.get(stat.S_IFMT(mode), "special file")
