"""The tree of a point without its contents: folders, symlinks, and files of full size that are all hole.

Each file that has content gets a second name in a folder beside the tree: NUMBER.SIZE, its place in the order of the
point's entries and its length there. By that name it is found again whatever becomes of its first one, and while it
has it, no other file can get its inode number.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import closing

from jbackupd.model.records import EntryType, TreeEntry
from jbackupd.restore.attributes import Attributes
from jbackupd.restore.options import RestoreOptions, Tally
from jbackupd.restore.spool import Spool
from jbackupd.storage.beneath import Beneath, Inside, typing


def make_skeleton(entries: Iterable[TreeEntry], tree: str, lazy: str) -> Tally:
    """Make a point's tree in an empty folder; everything is durable when this returns. Blocks.

    Owners are set as root only, setuid bits never, as a restore does.

    Args:
        entries: Of the point, in its order.
        tree: Folder for the tree; empty.
        lazy: Folder for the second names, on the same file system; empty.

    Raises:
        NoSpaceError: The disk is full.
        StorageError: The file system has no hard links, or failed.
    """
    tally = Tally()
    with closing(Beneath(tree)) as beneath, closing(Spool(beneath)) as folders, closing(Beneath(lazy)) as numbers:
        with numbers.inside(b"") as second:
            maker = _Maker(beneath, second, tally)
            for number, entry in enumerate(entries):
                maker.make(number, entry)
                if entry.type is EntryType.FOLDER:
                    folders.add(entry)
        for entry in folders.backward():
            maker.finish_folder(entry)
        beneath.sync()
    return tally


class _Maker:
    def __init__(self, beneath: Beneath, second: Inside, tally: Tally) -> None:
        self._beneath = beneath
        self._second = second
        self._attributes = Attributes(RestoreOptions(set_owner=os.geteuid() == 0))
        self._tally = tally

    def make(self, number: int, entry: TreeEntry) -> None:
        """Make an entry; a folder without its attributes."""
        above, _, name = entry.path.rpartition(b"/")
        with self._beneath.inside(above) as inside:
            match entry.type:
                case EntryType.FOLDER:
                    inside.make_folder(name)
                    self._tally.folders += 1
                case EntryType.SYMLINK:
                    inside.symlink(name, entry.target)
                    if self._attributes.owner_wanted(entry, self._tally):
                        inside.set_link_owner(name, entry.uid, entry.gid)
                    inside.set_link_time(name, entry.mtime_ns)
                    self._tally.symlinks += 1
                case EntryType.FILE:
                    self._make_file(inside, name, number, entry)

    def finish_folder(self, entry: TreeEntry) -> None:
        """Give a folder its attributes; everything in it is made."""
        with self._beneath.inside(entry.path) as inside:
            self._attributes.set(inside.descriptor, entry, self._tally)

    def _make_file(self, inside: Inside, name: bytes, number: int, entry: TreeEntry) -> None:
        descriptor = inside.create(name)
        try:
            with typing("make", entry.path, self._beneath.path):
                os.ftruncate(descriptor, entry.size)
                if entry.size:
                    second = b"%d.%d" % (number, entry.size)
                    os.link(name, second, src_dir_fd=inside.descriptor, dst_dir_fd=self._second.descriptor)
            self._attributes.set(descriptor, entry, self._tally)
        finally:
            os.close(descriptor)
        self._tally.files += 1
        self._tally.bytes += entry.size
