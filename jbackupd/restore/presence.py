"""What is in the target already: is it right, does it stay, or must it make room?"""

from __future__ import annotations

import os
import stat

from jbackupd.codec.hashing import ContentHash
from jbackupd.model.errors import ConfinementError
from jbackupd.model.records import EntryType, TreeEntry
from jbackupd.restore.inplace import digest_of
from jbackupd.restore.options import Conflict, Tally
from jbackupd.storage.beneath import Beneath, Inside, typing

KEPT_SUFFIX = b".jb-before-restore"
NAME_BYTES_MAX = 255


class Presence:
    """Decides by the conflict rule.

    Args:
        beneath: The target.
        hashes: To compare contents.
        rule: What to do with what differs.
        looks: Whether something may be right already; otherwise nothing is compared.
    """

    def __init__(self, beneath: Beneath, hashes: ContentHash, rule: Conflict, *, looks: bool) -> None:
        self._beneath = beneath
        self._hashes = hashes
        self._rule = rule
        self._looks = looks

    def is_settled(
        self, inside: Inside, name: bytes, entry: TreeEntry, present: os.stat_result, tally: Tally
    ) -> bool:
        """Decide about something that is there.

        Returns:
            True when it stays, and is counted; false when it is to be replaced, or was moved out of the way.

        Raises:
            ConfinementError: Something else is there, and it may not be replaced.
        """
        if self._is_right(inside, name, entry, present):
            tally.kept += 1
            return True
        stays = self._rule is Conflict.SKIP or (
            self._rule is Conflict.NEWER and present.st_mtime_ns >= entry.mtime_ns
        )
        if stays:
            tally.skipped += 1
        elif stat.S_ISDIR(present.st_mode) or self._rule is Conflict.REFUSE:
            raise something_else(entry)
        elif self._rule is Conflict.RENAME:
            inside.rename(name, _kept_name(inside, name))
        return stays

    def _is_right(self, inside: Inside, name: bytes, entry: TreeEntry, present: os.stat_result) -> bool:
        """Tell whether an interrupted restore has placed this already; a file's bytes decide."""
        if not self._looks:
            return False
        if entry.type is EntryType.SYMLINK and stat.S_ISLNK(present.st_mode):
            with typing("read", entry.path, self._beneath.path):
                target = os.readlink(name, dir_fd=inside.descriptor)
            return (target, present.st_mtime_ns) == (entry.target, entry.mtime_ns)
        if entry.type is not EntryType.FILE or not stat.S_ISREG(present.st_mode):
            return False
        if (present.st_size, present.st_mtime_ns) != (entry.size, entry.mtime_ns):
            return False
        descriptor = inside.open_file(name)
        try:
            with typing("read", entry.path, self._beneath.path):
                return digest_of(descriptor, self._hashes) == entry.digest
        finally:
            os.close(descriptor)


def something_else(entry: TreeEntry) -> ConfinementError:
    """Return the error of a name that is taken."""
    return ConfinementError(
        "unable to restore {path}: something else is there", "restore into a new, empty folder",
        path=os.fsdecode(entry.path),
    )


def _kept_name(inside: Inside, name: bytes) -> bytes:
    """Return a name that nothing has, for something that is moved out of the way."""
    number = 1
    while True:
        suffix = KEPT_SUFFIX + (b"-%d" % number if number > 1 else b"")
        kept = name[: NAME_BYTES_MAX - len(suffix)] + suffix
        if inside.status(kept) is None:
            return kept
        number += 1
