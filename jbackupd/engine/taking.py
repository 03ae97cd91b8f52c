"""Taking a source: every item becomes a tree entry, every new byte a frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from jbackupd.engine.closure import Budget, Closures
from jbackupd.engine.draft import Content
from jbackupd.engine.earlier import EarlierTree, Known
from jbackupd.engine.encode import Encoder
from jbackupd.engine.lane import LARGE_BYTES, Lane
from jbackupd.engine.versions import TREE_PATH, Versions, whole
from jbackupd.format.index import IndexedPack
from jbackupd.format.tree import TreeEncoder, TreeRecord, encode_entry
from jbackupd.model.ids import FrameId
from jbackupd.model.records import EntryType, Statistics, TreeEntry, Unreadable
from jbackupd.sources.port import SourceItem, UnreadableError
from jbackupd.vault.vault import Vault

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
        encoder: Takes the frames.
        earlier: The previous point's tree.
        versions: What new content is encoded against.
        progress: Called after every block.
    """

    def __init__(
        self, vault: Vault, encoder: Encoder, *, closures: Closures, budget: Budget, earlier: EarlierTree,
        versions: Versions, progress: Callable[[Progress], None],
    ) -> None:
        self._encoder = encoder
        self._earlier = earlier
        self._versions = versions
        self._report = progress
        self._closures = closures
        hashes = vault.keys.content_hash()
        self._files, self._trees = (
            Lane(
                vault.catalog, hashes, encoder.submit, closures=closures, budget=budget, similar=versions.similar
            )
            for _ in range(2)
        )
        self._tree = TreeEncoder()
        self._records = bytearray()
        self._trees.begin(versions.reference(TREE_PATH, None), alone=True, anchored=True)
        self._trees.feed(self._tree.begin())
        self._waiting: deque[bytearray | tuple[TreeEntry, Content]] = deque()
        self._counts: dict[int, int] = dict.fromkeys(EntryType, 0)
        self._waiting_bytes = 0
        self._run: list[Known] = []
        self._passed_over = 0
        self._bytes = 0
        self._changed_files = 0
        self.unreadable: list[Unreadable] = []
        self.used: set[FrameId] = set()
        """Every frame that an entry refers to."""

    def settle(self, pack: IndexedPack) -> None:
        """Hear that a pack is durable and in the catalog."""
        self._files.settle(pack)
        self._trees.settle(pack)

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
            self._take_file(item, entry, found[1].entry() if found is not None else None)
        self._emit_settled()
        self._tell()

    def finish(self) -> Content:
        """End the tree and wait until every frame is durable; return the tree stream's content."""
        self._end_run()
        self._files.close_draft()
        self._emit_settled()
        self._tell()
        self._trees.feed(bytes(self._records))
        self._trees.feed(self._tree.end())
        content, anchors = self._trees.end()
        self._encoder.flush()
        self._versions.remember(TREE_PATH, content, anchors)
        self.used.update(extent.frame for extent in content.extents())
        return content

    def statistics(self) -> Statistics:
        """Return what was taken so far."""
        return Statistics(
            self._counts[EntryType.FILE], self._counts[EntryType.FOLDER], self._counts[EntryType.SYMLINK],
            self._bytes, self._files.counts.chunks, self._files.counts.new_chunks,
            self._encoder.counts.frames, self._encoder.counts.delta_frames, tuple(self.unreadable),
            self._changed_files,
        )

    def _take_file(self, item: SourceItem, entry: TreeEntry, earlier: TreeEntry | None) -> None:
        large = item.size is None or item.size >= LARGE_BYTES
        reference = self._versions.reference(item.path, earlier) if large else whole(earlier)
        self._files.begin(reference, alone=large, anchored=large)
        try:
            changed = self._read(item)
        except UnreadableError as error:
            self._files.abandon()
            self.unreadable.append(Unreadable(item.path, error.reason))
            return
        content, anchors = self._files.end()
        if changed:
            # Stored as it was read, and read again next time: zero is no file's change time.
            entry = replace(entry, ctime_ns=0)
            self._changed_files += 1
        if large:
            self._versions.remember(item.path, content, anchors)
        self._queue(replace(entry, size=content.length, digest=content.digest), content)

    def _read(self, item: SourceItem) -> bool:
        """Feed a file to its lane; return whether it changed while it was read."""
        done = 0
        with item.open() as reader:
            while block := reader.read(BLOCK_BYTES):
                self._files.feed(block)
                done += len(block)
                self._report(Progress(self._bytes + done, self._counts[EntryType.FILE]))
            return reader.changed()

    def _carry(self, known: Known) -> None:
        """Take over an entry that is what it was, as the bytes of its record."""
        if len(self._run) >= RUN_MAX or self._earlier.passed_over != self._passed_over:
            self._end_run()
            self._passed_over = self._earlier.passed_over
        if not self._run:
            self._tree.note(known[1].path, is_folder=known[1].type == EntryType.FOLDER)
        self._run.append(known)

    def _end_run(self) -> None:
        """Write the records of a run of entries that follow each other in the earlier tree as they do now."""
        if not self._run:
            return
        records = [record for _, record in self._run]
        # What is first was noted; that each of the others may follow it was checked when they were decoded.
        self._tree.follow(len(records) - 1, records[-1].path, is_folder=records[-1].type == EntryType.FOLDER)
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
            self._versions.carry(record.path)

    def _queue(self, entry: TreeEntry, content: Content | None) -> None:
        """Take the next entry; one whose content is not settled yet waits, and with it what follows."""
        self._tree.note(entry.path, is_folder=entry.type is EntryType.FOLDER)
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
            self._files.close_draft()
            self._emit_settled()

    def _write(self, data: bytes | bytearray) -> None:
        self._records += data
        if len(self._records) >= RECORDS_BYTES:
            self._trees.feed(bytes(self._records))
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
            self._versions.remember_small(content)
        extents = content.extents()
        self.used.update(extent.frame for extent in extents)
        return encode_entry(replace(entry, extents=extents))
