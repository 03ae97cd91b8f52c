"""Placing one entry of a point in a target."""

from __future__ import annotations

import errno
import os
import secrets
import stat
import threading
from contextlib import suppress

from jbackupd.model.errors import ConfinementError, DamageError, JbackupdError, NoSpaceError, StorageError
from jbackupd.model.records import EntryType, TreeEntry
from jbackupd.restore.options import Conflict, RestorablePoint, RestoreOptions, RestoreResult
from jbackupd.storage.beneath import Beneath

PARTIAL_PREFIX = b".jb-partial-"
KEPT_SUFFIX = b".jb-before-restore"
_SPECIAL_BITS = stat.S_ISUID | stat.S_ISGID
_READ_BYTES = 1024 * 1024


class Placer:
    """Writes entries beneath a target; safe for several threads, each with entries of its own.

    Args:
        beneath: The target.
        point: Gives contents.
        options: How.
    """

    def __init__(self, beneath: Beneath, point: RestorablePoint, options: RestoreOptions) -> None:
        self._beneath = beneath
        self._point = point
        self._options = options
        self._lock = threading.Lock()
        self.result = RestoreResult()

    def make_folder(self, entry: TreeEntry) -> None:
        """Make a folder, writable for us until `finish_folder`.

        Raises:
            ConfinementError: There is a symlink in its place.
            StorageError: There is something else in its place.
        """
        self._beneath.make_folder(entry.path)
        if self._options.resume:
            self.remove_leftovers(entry.path)
        self._count(folders=1)

    def place_file(self, entry: TreeEntry) -> None:
        """Write a file, or keep the one that is there.

        Raises:
            DamageError: Its content is not what was taken; it was not placed.
            ConfinementError: Its path would leave the target.
        """
        present = self._beneath.status(entry.path)
        if present is not None and self._is_settled(entry, present):
            return
        folder, _, name = entry.path.rpartition(b"/")
        partial = _join(folder, PARTIAL_PREFIX + secrets.token_hex(8).encode())
        try:
            self._write(entry, partial)
            self._beneath.rename(partial, name)
        except JbackupdError:
            with suppress(JbackupdError):
                self._beneath.remove(partial)
            raise
        self._count(files=1, bytes=entry.size)

    def place_symlink(self, entry: TreeEntry) -> None:
        """Make a symlink; an equal one is kept.

        Raises:
            ConfinementError: Its own path would leave the target; where it points to is its own business.
        """
        present = self._beneath.status(entry.path)
        if present is not None and self._is_settled(entry, present):
            return
        if present is not None:
            self._beneath.remove(entry.path)
        self._beneath.symlink(entry.path, entry.target)
        if self._owner_wanted(entry):
            self._beneath.set_link_owner(entry.path, entry.uid, entry.gid)
        self._beneath.set_link_time(entry.path, entry.mtime_ns)
        self._count(symlinks=1)

    def finish_folder(self, entry: TreeEntry) -> None:
        """Give a folder its owner, mode and time; everything in it is done."""
        with self._beneath.folder(entry.path) as descriptor:
            self._set_metadata(descriptor, entry)

    def _write(self, entry: TreeEntry, partial: bytes) -> None:
        descriptor = self._beneath.create(partial)
        try:
            digest = self._point.content_hash.file_digest()
            for piece in self._point.read(entry.extents):
                digest.update(piece)
                _write_all(descriptor, piece)
            if digest.digest() != entry.digest:
                raise DamageError(
                    "the content of {path} is not what was taken", "fetch the damaged objects again from a peer",
                    path=os.fsdecode(entry.path),
                )
            self._set_metadata(descriptor, entry)
        except OSError as error:
            raise _typed(error, entry.path) from error
        finally:
            os.close(descriptor)

    def _set_metadata(self, descriptor: int, entry: TreeEntry) -> None:
        mode = entry.mode
        if entry.type is EntryType.FILE and mode & _SPECIAL_BITS and not self._options.allow_setuid:
            mode &= ~_SPECIAL_BITS
            self._count(setuid_dropped=1)
        try:
            if self._owner_wanted(entry):
                os.fchown(descriptor, entry.uid, entry.gid)
            os.fchmod(descriptor, mode)
            os.utime(descriptor, ns=(entry.mtime_ns, entry.mtime_ns))
        except (OSError, OverflowError) as error:
            raise StorageError(
                "unable to set owner, mode and time of {path}: {reason}", "its content is right",
                path=os.fsdecode(entry.path), reason=error,
            ) from error

    def _owner_wanted(self, entry: TreeEntry) -> bool:
        if self._options.set_owner:
            return True
        if (entry.uid, entry.gid) != (os.geteuid(), os.getegid()):
            self._count(owners_not_set=1)
        return False

    def _is_settled(self, entry: TreeEntry, present: os.stat_result) -> bool:
        """Decide about something that is there; true when it stays, moved away or counted otherwise."""
        if self._is_right(entry, present):
            self._count(kept=1)
            return True
        rule = Conflict.OVERWRITE if self._options.resume else self._options.conflict
        stays = rule is Conflict.SKIP or (rule is Conflict.NEWER and present.st_mtime_ns >= entry.mtime_ns)
        if stays:
            self._count(skipped=1)
        elif stat.S_ISDIR(present.st_mode) or rule is Conflict.REFUSE:
            raise ConfinementError(
                "unable to restore {path}: something else is there", "restore into a new, empty folder",
                path=os.fsdecode(entry.path),
            )
        elif rule is Conflict.RENAME:
            self._beneath.rename(entry.path, entry.path.rsplit(b"/", 1)[-1] + KEPT_SUFFIX)
        return stays

    def _is_right(self, entry: TreeEntry, present: os.stat_result) -> bool:
        """Tell whether an interrupted restore has placed this file already; its bytes decide."""
        if not self._options.resume or entry.type is not EntryType.FILE or not stat.S_ISREG(present.st_mode):
            return False
        if (present.st_size, present.st_mtime_ns) != (entry.size, entry.mtime_ns):
            return False
        digest = self._point.content_hash.file_digest()
        descriptor = self._beneath.open_file(entry.path)
        try:
            while piece := os.read(descriptor, _READ_BYTES):
                digest.update(piece)
        finally:
            os.close(descriptor)
        return digest.digest() == entry.digest

    def remove_leftovers(self, folder: bytes) -> None:
        """Remove the partial files that an interrupted restore left in a folder; b"" is the target itself."""
        with self._beneath.folder(folder) as descriptor:
            names = [os.fsencode(name) for name in os.listdir(descriptor)]
        for name in names:
            if name.startswith(PARTIAL_PREFIX):
                self._beneath.remove(_join(folder, name))

    def _count(self, **more: int) -> None:
        with self._lock:
            for name, number in more.items():
                setattr(self.result, name, getattr(self.result, name) + number)


def _join(folder: bytes, name: bytes) -> bytes:
    return folder + b"/" + name if folder else name


def _write_all(descriptor: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(descriptor, view) :]


def _typed(error: OSError, path: bytes) -> JbackupdError:
    kind = NoSpaceError if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else StorageError
    return kind(
        "unable to write {path}: {reason}", "free space there and run the same command with --resume",
        path=os.fsdecode(path), reason=os.strerror(error.errno or 0),
    )
