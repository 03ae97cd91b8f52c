"""Owner, mode and times of what was restored."""

from __future__ import annotations

import os
import stat

from jbackupd.model.errors import StorageError
from jbackupd.model.records import EntryType, TreeEntry
from jbackupd.restore.options import RestoreOptions, Tally

_SPECIAL_BITS = stat.S_ISUID | stat.S_ISGID


class Attributes:
    """Sets what an entry had besides its content, as far as it was asked for.

    Args:
        options: How.
    """

    def __init__(self, options: RestoreOptions) -> None:
        self._options = options
        self._own = os.geteuid(), os.getegid()

    def set(self, descriptor: int, entry: TreeEntry, tally: Tally) -> None:
        """Set owner, mode and time.

        Raises:
            StorageError: Mode or time could not be set; an owner that could not is counted.
        """
        mode = entry.mode
        keeps_special = self._options.allow_setuid or entry.type is not EntryType.FILE
        if self.owner_wanted(entry, tally):
            try:
                os.fchown(descriptor, entry.uid, entry.gid)
            except OSError:
                # As on FAT, or a network drive. Its program would run as somebody else now.
                tally.owners_not_set += 1
                keeps_special = False
        if mode & _SPECIAL_BITS and not keeps_special:
            mode &= ~_SPECIAL_BITS
            tally.setuid_dropped += 1
        try:
            os.fchmod(descriptor, mode)
            os.utime(descriptor, ns=(entry.mtime_ns, entry.mtime_ns))
        except (OSError, OverflowError) as error:
            raise StorageError(
                "unable to set mode and time of {path}: {reason}", "its content is right",
                path=os.fsdecode(entry.path), reason=error,
            ) from error

    def owner_wanted(self, entry: TreeEntry, tally: Tally) -> bool:
        """Tell whether the owner is to be set; one that would have to be, and is not, is counted."""
        if self._options.set_owner:
            return True
        if (entry.uid, entry.gid) != self._own:
            tally.owners_not_set += 1
        return False

    def attempt(self, descriptor: int, entry: TreeEntry, tally: Tally) -> StorageError | None:
        """Set owner, mode and time; return what could not be."""
        try:
            self.set(descriptor, entry, tally)
        except StorageError as error:
            return error
        return None

    def differ(self, found: os.stat_result, entry: TreeEntry) -> bool:
        """Tell whether a file that is there has another owner, mode or time than it should."""
        mode = entry.mode if self._options.allow_setuid else entry.mode & ~_SPECIAL_BITS
        owner = (entry.uid, entry.gid) if self._options.set_owner else (found.st_uid, found.st_gid)
        wanted = (mode, entry.mtime_ns, *owner)
        return (stat.S_IMODE(found.st_mode), found.st_mtime_ns, found.st_uid, found.st_gid) != wanted
