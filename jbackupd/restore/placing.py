"""Placing entries of a point in a target."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from contextlib import closing, nullcontext, suppress
from itertools import groupby

from jbackupd.model.errors import DamageError, JbackupdError, NoSpaceError, StorageError
from jbackupd.model.records import TreeEntry
from jbackupd.restore.attributes import Attributes
from jbackupd.restore.changing import Changer
from jbackupd.restore.mark import Ground
from jbackupd.restore.options import (
    Conflict,
    ContentReading,
    Problem,
    RestorablePoint,
    RestoreOptions,
    RestoreResult,
    Tally,
)
from jbackupd.restore.partial import is_partial, new_partial
from jbackupd.restore.presence import Presence, something_else
from jbackupd.restore.watching import Watch
from jbackupd.storage.beneath import Beneath, Inside, typing


class Placer:
    """Writes entries beneath a target; safe for several threads, each with entries of its own.

    Args:
        beneath: The target.
        point: Gives contents.
        options: How.
        ground: What is in the target.
        watch: Counts what is read, and stops it.
    """

    def __init__(
        self, beneath: Beneath, point: RestorablePoint, options: RestoreOptions, ground: Ground, watch: Watch
    ) -> None:
        looks = not ground.is_empty and (options.resume or ground.rule is Conflict.IN_PLACE)
        self._beneath = beneath
        self._point = point
        self._options = options
        self._watch = watch
        self._attributes = Attributes(options)
        self._presence = Presence(beneath, point.content_hash, ground.rule, looks=looks)
        self._changer = Changer(beneath, point, self._attributes, watch)
        self._rule = ground.rule
        # What replaces something that people use is durable first: a power cut must not leave neither.
        self._durable = not ground.is_ours
        self._looks = looks
        self._lock = threading.Lock()
        self.result = RestoreResult()
        self.needs_everything = ground.is_empty
        """Every file will be read: it is worth planning ahead for all of them."""

    def make_folder(self, entry: TreeEntry) -> bool:
        """Make a folder, writable for us until `finish_folder`; return whether that is to be called.

        Raises:
            ConfinementError: There is a symlink in its place.
            StorageError: There is something else in its place.
        """
        above, name = _split(entry.path)
        with self._beneath.inside(above) as inside:
            is_new = inside.make_folder(name, reopen=self._looks)
        if not is_new and self._options.resume:
            self.remove_leftovers(entry.path)
        self._count(Tally(folders=1))
        return is_new or self._rule not in (Conflict.SKIP, Conflict.NEWER)

    def place_files(self, entries: Sequence[TreeEntry], reading: ContentReading | None) -> list[Problem]:
        """Write files, or keep those that are there and right; return what could not be.

        A folder is opened once for all that lies in it: with each file alone it takes half as long again.

        Args:
            reading: Planned for all of their contents, in their order; without one each file is planned by itself.

        Raises:
            NoSpaceError: The target's disk is full.
        """
        problems: list[Problem] = []
        tally = Tally()
        try:
            for above, group in groupby(entries, key=lambda entry: _split(entry.path)[0]):
                waiting = list(reversed(list(group)))
                try:
                    with self._beneath.inside(above) as inside:
                        while waiting:
                            problems += self._attempt(inside, waiting.pop(), reading, tally)
                except NoSpaceError:
                    raise
                except JbackupdError as error:
                    problems += [Problem(entry.path, error) for entry in reversed(waiting)]
        finally:
            self._count(tally)
        return problems

    def place_symlink(self, entry: TreeEntry) -> None:
        """Make a symlink; what is there is treated like a file.

        Raises:
            ConfinementError: Its own path would leave the target; where it points to is its own business.
        """
        above, name = _split(entry.path)
        tally = Tally()
        with self._beneath.inside(above) as inside:
            present = inside.status(name)
            try:
                if present is not None:
                    if self._presence.is_settled(inside, name, entry, present, tally):
                        return
                    if self._rule is not Conflict.RENAME:
                        inside.remove(name)
                inside.symlink(name, entry.target)
                tally.symlinks += 1
                if self._attributes.owner_wanted(entry, tally):
                    try:
                        inside.set_link_owner(name, entry.uid, entry.gid)
                    except StorageError:
                        tally.owners_not_set += 1
                inside.set_link_time(name, entry.mtime_ns)
            finally:
                self._count(tally)

    def finish_folder(self, entry: TreeEntry) -> None:
        """Give a folder its owner, mode and time; everything in it is done."""
        tally = Tally()
        with self._beneath.inside(entry.path) as inside:
            try:
                self._attributes.set(inside.descriptor, entry, tally)
            finally:
                self._count(tally)

    def remove_leftovers(self, folder: bytes) -> None:
        """Remove the partial files that an interrupted restore left in a folder; b"" is the target itself."""
        with self._beneath.inside(folder) as inside:
            for name in filter(is_partial, inside.names()):
                inside.remove(name)

    def _attempt(
        self, inside: Inside, entry: TreeEntry, reading: ContentReading | None, tally: Tally
    ) -> Iterable[Problem]:
        try:
            self._place_file(inside, entry, reading, tally)
        except NoSpaceError:
            raise
        except JbackupdError as error:
            return (Problem(entry.path, error),)
        return ()

    def _place_file(self, inside: Inside, entry: TreeEntry, reading: ContentReading | None, tally: Tally) -> None:
        name = _split(entry.path)[1]
        # Where nothing can be, only the last step looks.
        present = None if self.needs_everything else inside.status(name)
        if self._rule is Conflict.IN_PLACE and self._changer.change(inside, name, entry, present, tally):
            return
        if present is not None and self._presence.is_settled(inside, name, entry, present, tally):
            self._watch.note(entry.size)
            return
        partial = new_partial()
        descriptor = inside.create(partial)
        try:
            with typing("write", entry.path, self._beneath.path):
                self._write(descriptor, entry, reading)
            imperfect = self._finish_file(descriptor, entry, tally)
            self._give_name(inside, partial, name, entry)
        except JbackupdError:
            with suppress(JbackupdError):
                inside.remove(partial)
            raise
        finally:
            os.close(descriptor)
        tally.files += 1
        tally.bytes += entry.size
        tally.bytes_written += entry.size
        if imperfect is not None:
            # A right content without its mode or time is better than none.
            raise imperfect

    def _give_name(self, inside: Inside, partial: bytes, name: bytes, entry: TreeEntry) -> None:
        if self.needs_everything:
            if inside.rename_to_new(partial, name):
                return
            if self._rule is Conflict.REFUSE and inside.status(name) is not None:
                raise something_else(entry)
        inside.rename(partial, name)

    def _write(self, descriptor: int, entry: TreeEntry, reading: ContentReading | None) -> None:
        digest = self._point.content_hash.file_digest()
        planned = closing(self._point.expect(entry.extents)) if reading is None else nullcontext(reading)
        with planned as content:
            for piece in content.read(entry.extents):
                self._watch.note(len(piece))
                digest.update(piece)
                view = memoryview(piece)
                while view:
                    view = view[os.write(descriptor, view) :]
        if digest.digest() != entry.digest:
            raise DamageError(
                "the content of {path} is not what was taken", "fetch the damaged objects again from a peer",
                path=os.fsdecode(entry.path),
            )

    def _finish_file(self, descriptor: int, entry: TreeEntry, tally: Tally) -> StorageError | None:
        """Set a whole file's attributes; return what could not be."""
        imperfect = self._attributes.attempt(descriptor, entry, tally)
        if self._durable:
            with typing("sync", entry.path, self._beneath.path):
                os.fsync(descriptor)
        return imperfect

    def _count(self, tally: Tally) -> None:
        with self._lock:
            self.result.count(tally)


def _split(path: bytes) -> tuple[bytes, bytes]:
    """Return the folder of a path, b"" for the target itself, and the path's last component."""
    above, slash, name = path.rpartition(b"/")
    # An absolute path has an empty folder, which is not the target.
    return (above or b"/" if slash else b""), name
