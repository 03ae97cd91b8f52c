"""Taking a source: every item becomes a record of the tree, every new byte a frame.

As long as everything is what it was, the tree is that of the point before, and nothing is made at all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from jbackupd.catalog.versions import VersionTable
from jbackupd.engine.earlier import EarlierTree, Known, Tree
from jbackupd.engine.large import LARGE_BYTES, TREE_PATH
from jbackupd.format.tree import TreeEncoder, TreeRecord, encode_entry
from jbackupd.model.ids import DatasetId, FrameId
from jbackupd.model.records import EntryType, Statistics, TreeEntry, Unreadable
from jbackupd.policy.skip import references_to_keep
from jbackupd.sources.port import SourceItem, UnreadableError

if TYPE_CHECKING:
    from jbackupd.engine.draft import Content
    from jbackupd.engine.making import Making

BLOCK_BYTES = 2 * 1024 * 1024
RECORDS_BYTES = 64 * 1024
"""Of the tree's records that are fed at once: a call for each costs as much as recognising a file."""
WAITING_BYTES_MAX = 4 * 1024 * 1024
"""Of records behind a new small file whose frame is not full yet; then that is closed. Some 40,000 unchanged files."""
RUN_MAX = 500
"""Unchanged entries that are taken over together."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: bytes of the source read or recognised, files finished."""

    bytes: int
    files: int


class Taking:
    """One run's way from source items to frames and a tree stream. Used by one thread.

    Args:
        earlier: The previous point's tree.
        make: Called once, when the first difference is found.
        progress: Called after every block.
    """

    def __init__(
        self, *, earlier: EarlierTree, make: Callable[[], Making], progress: Callable[[Progress], None]
    ) -> None:
        self._earlier = earlier
        self._make = make
        self._making: Making | None = None
        self._report = progress
        self._encoder = TreeEncoder()
        self._begin = self._encoder.begin()
        self._same_bytes = len(self._begin)
        self._records = bytearray()
        self._waiting: deque[bytearray | tuple[TreeEntry, Content]] = deque()
        self._waiting_bytes = 0
        self._run: list[Known] = []
        self._passed_over = 0
        self._counts: dict[int, int] = dict.fromkeys(EntryType, 0)
        self._bytes = 0
        self._changed_files = 0
        self._carried: list[bytes] = []
        self.unreadable: list[Unreadable] = []
        self.used: set[FrameId] = set()
        """Every frame that the tree and its entries refer to."""

    def take(self, item: SourceItem | Unreadable) -> None:
        """Take the next item, in path order."""
        if isinstance(item, Unreadable):
            self.unreadable.append(item)
            return
        found = self._earlier.find(item.path)
        if found is not None and self._earlier.is_same(item, found[1]):
            self._carry(found)
            return
        self._end_run()
        making = self._differ()
        entry = TreeEntry(
            item.path, item.type, item.mode, item.uid, item.gid, item.mtime_ns, item.ctime_ns, item.inode,
            item.size or 0, target=item.target,
        )
        if item.type is not EntryType.FILE:
            self._queue(replace(entry, size=0), None)
        elif found is not None and self._earlier.is_unchanged(item, found[1]):
            earlier = found[1].entry()
            self._queue(replace(entry, digest=earlier.digest, extents=earlier.extents), None)
            self._note_unchanged(found[1])
        else:
            self._take_file(making, item, entry, found[1].entry() if found is not None else None)
        self._emit_settled()
        self._tell()

    def finish(self) -> Tree:
        """End the tree and wait until every frame is durable."""
        self._end_run()
        end = self._encoder.end()
        tree = self._earlier.whole(self._same_bytes + len(end)) if self._making is None else None
        if tree is None:
            making = self._differ()
            making.files.close_draft()
            self._emit_settled()
            content = making.end_tree(bytes(self._records) + end)
            tree = Tree(content.extents(), content.length, content.digest)
        else:
            self._carried.append(TREE_PATH)
        self._tell()
        self.used.update(extent.frame for extent in tree.extents)
        return tree

    def remember(self, table: VersionTable, dataset: DatasetId, sequence: int) -> None:
        """Remember what later points are encoded against, and forget what none will be. After the commit."""
        table.carry(str(dataset), self._carried, sequence)
        if self._making is not None:
            self._making.versions.store()
        table.keep(str(dataset), references_to_keep(sequence))

    def statistics(self) -> Statistics:
        """Return what was taken so far."""
        making = self._making
        return Statistics(
            self._counts[EntryType.FILE], self._counts[EntryType.FOLDER], self._counts[EntryType.SYMLINK],
            self._bytes,
            making.files.counts.chunks if making else 0, making.files.counts.new_chunks if making else 0,
            making.encoder.counts.frames if making else 0, making.encoder.counts.delta_frames if making else 0,
            tuple(self.unreadable), self._changed_files,
        )

    def close(self) -> None:
        """Stop what makes frames; what was not flushed is thrown away."""
        if self._making is not None:
            self._making.close()

    def _differ(self) -> Making:
        """Return what makes frames; at the first difference the tree is begun anew with what was the same so far."""
        if self._making is None:
            self._making = self._make()
            known = self._same_bytes > len(self._begin)
            self._making.begin_tree(self._earlier.stream(self._same_bytes) if known else [self._begin])
        return self._making

    def _take_file(self, making: Making, item: SourceItem, entry: TreeEntry, earlier: TreeEntry | None) -> None:
        large = item.size is None or item.size >= LARGE_BYTES
        making.begin_file(item.path, earlier, large=large)
        try:
            changed = self._read(making, item)
        except UnreadableError as error:
            making.files.abandon()
            self.unreadable.append(Unreadable(item.path, error.reason))
            return
        content = making.end_file(item.path, large=large)
        if changed:
            # Stored as it was read, and read again next time: zero is no file's change time.
            entry = replace(entry, ctime_ns=0)
            self._changed_files += 1
        self._queue(replace(entry, size=content.length, digest=content.digest), content)

    def _read(self, making: Making, item: SourceItem) -> bool:
        """Feed a file to its lane; return whether it changed while it was read."""
        done = 0
        with item.open() as reader:
            while block := reader.read(BLOCK_BYTES):
                making.files.feed(block)
                done += len(block)
                self._report(Progress(self._bytes + done, self._counts[EntryType.FILE]))
            return reader.changed()

    def _carry(self, known: Known) -> None:
        """Take over an entry that is what it was, as the bytes of its record."""
        if len(self._run) >= RUN_MAX:
            self._end_run()
        if self._earlier.passed_over != self._passed_over:
            self._passed_over = self._earlier.passed_over
            self._end_run()
            self._differ()
        if not self._run:
            self._encoder.note(known[1].path, is_folder=known[1].type == EntryType.FOLDER)
        self._run.append(known)

    def _end_run(self) -> None:
        """Write the records of a run of entries that follow each other in the earlier tree as they do now."""
        if not self._run:
            return
        records = [record for _, record in self._run]
        # What is first was noted; that each of the others may follow it was checked when they were decoded.
        self._encoder.follow(len(records) - 1, records[-1].path, is_folder=records[-1].type == EntryType.FOLDER)
        self._put(b"".join([data for data, _ in self._run]))
        self._run = []
        for record in records:
            self._counts[record.type] += 1
            self._bytes += record.size
            self._note_unchanged(record)
        self._tell()

    def _note_unchanged(self, record: TreeRecord) -> None:
        for extent in record.extents:
            self.used.add(FrameId(extent[0]))
        if record.size >= LARGE_BYTES:
            self._carried.append(record.path)

    def _queue(self, entry: TreeEntry, content: Content | None) -> None:
        """Take the next entry; one whose content is not settled yet waits, and with it what follows."""
        self._encoder.note(entry.path, is_folder=entry.type is EntryType.FOLDER)
        self._counts[entry.type] += 1
        self._bytes += entry.size
        if content is None:
            self._put(encode_entry(entry))
        else:
            self._waiting.append((entry, content))

    def _put(self, data: bytes) -> None:
        """Write records, behind what waits."""
        if not self._waiting:
            self._write(data)
            return
        if isinstance(last := self._waiting[-1], bytearray):
            last += data
        else:
            self._waiting.append(bytearray(data))
        self._waiting_bytes += len(data)
        if self._waiting_bytes >= WAITING_BYTES_MAX:
            self._differ().files.close_draft()
            self._emit_settled()

    def _write(self, data: bytes | bytearray) -> None:
        if self._making is None:
            self._same_bytes += len(data)
            return
        self._records += data
        if len(self._records) >= RECORDS_BYTES:
            self._making.trees.feed(bytes(self._records))
            self._records = bytearray()

    def _tell(self) -> None:
        self._report(Progress(self._bytes, self._counts[EntryType.FILE]))

    def _emit_settled(self) -> None:
        """Write the records of entries whose frames are closed to the tree stream, in order."""
        while self._waiting:
            first = self._waiting[0]
            if isinstance(first, bytearray):
                self._write(first)
                self._waiting_bytes -= len(first)
            elif first[1].settled:
                self._write(self._settled(*first))
            else:
                break
            self._waiting.popleft()

    def _settled(self, entry: TreeEntry, content: Content) -> bytes:
        """Return the record of an entry whose frames are closed."""
        if content.sketch:
            self._differ().versions.remember_small(content)
        extents = content.extents()
        content.pieces = [*extents]
        self.used.update(extent.frame for extent in extents)
        return encode_entry(replace(entry, extents=extents))
