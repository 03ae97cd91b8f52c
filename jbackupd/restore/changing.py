"""--in-place: a file that is there becomes what the point has, and what is right already is not written.

Whether a file is right its bytes decide, never its times: after a disaster nobody knows what set them.
"""

from __future__ import annotations

import os
import stat

from jbackupd.model.errors import JbackupdError, StorageError
from jbackupd.model.records import TreeEntry
from jbackupd.restore.attributes import Attributes
from jbackupd.restore.inplace import IN_PLACE_BYTES_MIN, Difference, compare, write_differences
from jbackupd.restore.options import RestorablePoint, Tally
from jbackupd.restore.partial import in_place_name
from jbackupd.restore.watching import Watch
from jbackupd.storage.beneath import Beneath, Inside, typing


class Changer:
    """Changes files where they are; safe for several threads, each with files of its own.

    Args:
        beneath: The target.
        point: Gives contents.
        attributes: Sets the rest.
        watch: Counts what is read, and stops it.
    """

    def __init__(self, beneath: Beneath, point: RestorablePoint, attributes: Attributes, watch: Watch) -> None:
        self._beneath = beneath
        self._point = point
        self._attributes = attributes
        self._watch = watch

    def change(
        self, inside: Inside, name: bytes, entry: TreeEntry, present: os.stat_result | None, tally: Tally
    ) -> bool:
        """Make a file right; false when there is none, or it is better written anew.

        Raises:
            DamageError: The point cannot be read. Where something was written before, the file stays under
                `in_place_name`, to be made right later.
        """
        is_long = entry.size >= IN_PLACE_BYTES_MIN
        moved = in_place_name(name)
        left = inside.status(moved) if is_long else None
        if left is not None and present is not None:
            # Somebody has put another file there since.
            inside.remove(moved)
            left = None
        found = left or present
        if found is None or not stat.S_ISREG(found.st_mode):
            return False
        may_change = is_long and found.st_nlink == 1
        if found.st_size != entry.size and not may_change:
            return False
        try:
            difference = self._compare(inside, moved if left else name, entry)
        except StorageError:
            # Not even readable for us, or on a bad sector: the file that replaces it will be.
            return False
        if difference.is_right and not left:
            self._keep(inside, name, entry, found, tally)
        elif difference.is_right or may_change:
            return self._write(inside, name, entry, difference, tally, is_moved=left is not None)
        else:
            return False
        return True

    def _compare(self, inside: Inside, name: bytes, entry: TreeEntry) -> Difference:
        descriptor = inside.open_file(name)
        try:
            with typing("read", entry.path, self._beneath.path):
                return compare(descriptor, entry, self._point.content_hash)
        finally:
            os.close(descriptor)

    def _keep(self, inside: Inside, name: bytes, entry: TreeEntry, found: os.stat_result, tally: Tally) -> None:
        """Keep a right file; its owner, mode and times are set where they differ."""
        tally.kept += 1
        self._watch.note(entry.size)
        if self._attributes.differ(found, entry):
            descriptor = inside.open_file(name)
            try:
                self._attributes.set(descriptor, entry, tally)
            finally:
                os.close(descriptor)

    def _write(
        self, inside: Inside, name: bytes, entry: TreeEntry, difference: Difference, tally: Tally, *, is_moved: bool
    ) -> bool:
        """Write what differs; false when the file may not be written."""
        moved = in_place_name(name)
        try:
            descriptor = inside.open_file(moved if is_moved else name, writable=True)
        except StorageError:
            if is_moved:
                raise
            return False
        try:
            if not is_moved:
                inside.rename(name, moved)
                inside.sync()
            self._write_blocks(inside, descriptor, name, entry, difference, tally, is_moved=is_moved)
            imperfect = self._attributes.attempt(descriptor, entry, tally)
            with typing("sync", entry.path, self._beneath.path):
                os.fsync(descriptor)
            inside.rename(moved, name)
        finally:
            os.close(descriptor)
        tally.files += 1
        tally.bytes += entry.size
        if imperfect is not None:
            raise imperfect
        return True

    def _write_blocks(
        self, inside: Inside, descriptor: int, name: bytes, entry: TreeEntry, difference: Difference, tally: Tally,
        *, is_moved: bool,
    ) -> None:
        before = tally.bytes_written
        self._watch.note(entry.size - sum(extent.length for _, extent in difference.stretches))
        try:
            with typing("write", entry.path, self._beneath.path):
                write_differences(descriptor, entry, difference.stretches, self._point, self._watch.note, tally)
        except JbackupdError:
            if tally.bytes_written == before and not is_moved:
                # Nothing was written: it is what it was.
                inside.rename(in_place_name(name), name)
            raise
