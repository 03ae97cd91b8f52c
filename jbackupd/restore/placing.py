"""Placing entries of a point in a target."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Sequence
from contextlib import suppress
from itertools import groupby

from jbackupd.model.errors import ConfinementError, DamageError, JbackupdError, NoSpaceError, StorageError
from jbackupd.model.records import EntryType, TreeEntry
from jbackupd.restore.mark import Ground, is_partial, new_partial
from jbackupd.restore.options import Conflict, Problem, RestorablePoint, RestoreOptions, RestoreResult
from jbackupd.storage.beneath import Beneath, Inside, typing

KEPT_SUFFIX = b".jb-before-restore"
NAME_BYTES_MAX = 255
_SPECIAL_BITS = stat.S_ISUID | stat.S_ISGID
_READ_BYTES = 1024 * 1024


class Placer:
    """Writes entries beneath a target; safe for several threads, each with entries of its own.

    Args:
        beneath: The target.
        point: Gives contents.
        options: How.
        ground: What is in the target.
    """

    def __init__(self, beneath: Beneath, point: RestorablePoint, options: RestoreOptions, ground: Ground) -> None:
        self._beneath = beneath
        self._point = point
        self._options = options
        self._rule = ground.rule
        # What replaces something that people use is durable first: a power cut must not leave neither.
        self._durable = not ground.is_ours
        self._untouched: set[bytes] = set()
        self._lock = threading.Lock()
        self.result = RestoreResult()

    def make_folder(self, entry: TreeEntry) -> None:
        """Make a folder, writable for us until `finish_folder`.

        Raises:
            ConfinementError: There is a symlink in its place.
            StorageError: There is something else in its place.
        """
        above, name = _split(entry.path)
        with self._beneath.inside(above) as inside:
            is_new = inside.make_folder(name, reopen=self._options.resume)
        if not is_new and self._rule in (Conflict.SKIP, Conflict.NEWER):
            self._untouched.add(entry.path)
        if not is_new and self._options.resume:
            self.remove_leftovers(entry.path)
        self._count(folders=1)

    def place_files(self, entries: Sequence[TreeEntry]) -> list[Problem]:
        """Write files, or keep those that are there and right; return what could not be.

        A folder is opened once for all that lies in it: with each file alone it takes half as long again.

        Raises:
            NoSpaceError: The target's disk is full.
        """
        problems: list[Problem] = []
        for above, group in groupby(entries, key=lambda entry: _split(entry.path)[0]):
            waiting = list(group)
            try:
                with self._beneath.inside(above) as inside:
                    while waiting:
                        problems += self._attempt(inside, waiting.pop(0))
            except NoSpaceError:
                raise
            except JbackupdError as error:
                problems += [Problem(entry.path, error) for entry in waiting]
        return problems

    def place_symlink(self, entry: TreeEntry) -> None:
        """Make a symlink; what is there is treated like a file.

        Raises:
            ConfinementError: Its own path would leave the target; where it points to is its own business.
        """
        above, name = _split(entry.path)
        with self._beneath.inside(above) as inside:
            present = inside.status(name)
            if present is not None:
                if self._is_settled(inside, name, entry, present):
                    return
                if self._rule is not Conflict.RENAME:
                    inside.remove(name)
            inside.symlink(name, entry.target)
            self._count(symlinks=1)
            if self._owner_wanted(entry):
                try:
                    inside.set_link_owner(name, entry.uid, entry.gid)
                except StorageError:
                    self._count(owners_not_set=1)
            inside.set_link_time(name, entry.mtime_ns)

    def finish_folder(self, entry: TreeEntry) -> None:
        """Give a folder its owner, mode and time; everything in it is done."""
        if entry.path not in self._untouched:
            with self._beneath.inside(entry.path) as inside:
                self._set_metadata(inside.descriptor, entry)

    def remove_leftovers(self, folder: bytes) -> None:
        """Remove the partial files that an interrupted restore left in a folder; b"" is the target itself."""
        with self._beneath.inside(folder) as inside:
            for name in filter(is_partial, inside.names()):
                inside.remove(name)

    def _attempt(self, inside: Inside, entry: TreeEntry) -> list[Problem]:
        try:
            self._place_file(inside, entry)
        except NoSpaceError:
            raise
        except JbackupdError as error:
            return [Problem(entry.path, error)]
        return []

    def _place_file(self, inside: Inside, entry: TreeEntry) -> None:
        name = _split(entry.path)[1]
        present = inside.status(name)
        if present is not None and self._is_settled(inside, name, entry, present):
            return
        partial = new_partial()
        descriptor = inside.create(partial)
        imperfect: StorageError | None = None
        try:
            with typing("write", entry.path, self._beneath.path):
                self._write(descriptor, entry)
                try:
                    self._set_metadata(descriptor, entry)
                except StorageError as error:
                    imperfect = error
                if self._durable:
                    os.fsync(descriptor)
            inside.rename(partial, name)
        except JbackupdError:
            with suppress(JbackupdError):
                inside.remove(partial)
            raise
        finally:
            os.close(descriptor)
        self._count(files=1, bytes=entry.size)
        if imperfect is not None:
            # A right content without its mode or time is better than none.
            raise imperfect

    def _write(self, descriptor: int, entry: TreeEntry) -> None:
        digest = self._point.content_hash.file_digest()
        for piece in self._point.read(entry.extents):
            digest.update(piece)
            view = memoryview(piece)
            while view:
                view = view[os.write(descriptor, view) :]
        if digest.digest() != entry.digest:
            raise DamageError(
                "the content of {path} is not what was taken", "fetch the damaged objects again from a peer",
                path=os.fsdecode(entry.path),
            )

    def _set_metadata(self, descriptor: int, entry: TreeEntry) -> None:
        """Set owner, mode and time.

        Raises:
            StorageError: Mode or time could not be set; an owner that could not is counted.
        """
        mode = entry.mode
        keeps_special = self._options.allow_setuid or entry.type is not EntryType.FILE
        if self._owner_wanted(entry):
            try:
                os.fchown(descriptor, entry.uid, entry.gid)
            except OSError:
                # As on FAT, or a network drive. Its program would run as somebody else now.
                self._count(owners_not_set=1)
                keeps_special = False
        if mode & _SPECIAL_BITS and not keeps_special:
            mode &= ~_SPECIAL_BITS
            self._count(setuid_dropped=1)
        try:
            os.fchmod(descriptor, mode)
            os.utime(descriptor, ns=(entry.mtime_ns, entry.mtime_ns))
        except (OSError, OverflowError) as error:
            raise StorageError(
                "unable to set mode and time of {path}: {reason}", "its content is right",
                path=os.fsdecode(entry.path), reason=error,
            ) from error

    def _owner_wanted(self, entry: TreeEntry) -> bool:
        if self._options.set_owner:
            return True
        if (entry.uid, entry.gid) != (os.geteuid(), os.getegid()):
            self._count(owners_not_set=1)
        return False

    def _is_settled(self, inside: Inside, name: bytes, entry: TreeEntry, present: os.stat_result) -> bool:
        """Decide about something that is there; true when it stays, moved away or counted otherwise."""
        if self._is_right(inside, name, entry, present):
            self._count(kept=1)
            return True
        stays = self._rule is Conflict.SKIP or (
            self._rule is Conflict.NEWER and present.st_mtime_ns >= entry.mtime_ns
        )
        if stays:
            self._count(skipped=1)
        elif stat.S_ISDIR(present.st_mode) or self._rule is Conflict.REFUSE:
            raise ConfinementError(
                "unable to restore {path}: something else is there", "restore into a new, empty folder",
                path=os.fsdecode(entry.path),
            )
        elif self._rule is Conflict.RENAME:
            inside.rename(name, _kept_name(inside, name))
        return stays

    def _is_right(self, inside: Inside, name: bytes, entry: TreeEntry, present: os.stat_result) -> bool:
        """Tell whether an interrupted restore has placed this already; a file's bytes decide."""
        if not self._options.resume:
            return False
        if entry.type is EntryType.SYMLINK and stat.S_ISLNK(present.st_mode):
            with typing("read", entry.path, self._beneath.path):
                target = os.readlink(name, dir_fd=inside.descriptor)
            return (target, present.st_mtime_ns) == (entry.target, entry.mtime_ns)
        if entry.type is not EntryType.FILE or not stat.S_ISREG(present.st_mode):
            return False
        if (present.st_size, present.st_mtime_ns) != (entry.size, entry.mtime_ns):
            return False
        digest = self._point.content_hash.file_digest()
        descriptor = inside.open_file(name)
        try:
            with typing("read", entry.path, self._beneath.path):
                while piece := os.read(descriptor, _READ_BYTES):
                    digest.update(piece)
        finally:
            os.close(descriptor)
        return digest.digest() == entry.digest

    def _count(self, **more: int) -> None:
        with self._lock:
            for name, number in more.items():
                setattr(self.result, name, getattr(self.result, name) + number)


def _split(path: bytes) -> tuple[bytes, bytes]:
    """Return the folder of a path, b"" for the target itself, and the path's last component."""
    above, slash, name = path.rpartition(b"/")
    # An absolute path has an empty folder, which is not the target.
    return (above or b"/" if slash else b""), name


def _kept_name(inside: Inside, name: bytes) -> bytes:
    """Return a name that nothing has, for something that is moved out of the way."""
    number = 1
    while True:
        suffix = KEPT_SUFFIX + (b"-%d" % number if number > 1 else b"")
        kept = name[: NAME_BYTES_MAX - len(suffix)] + suffix
        if inside.status(kept) is None:
            return kept
        number += 1
