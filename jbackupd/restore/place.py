"""Restoring a point into a folder: nothing wrong under a right name, nothing outside the folder.

A file appears as a partial name and gets its own name only when its keyed digest matched. Folders get
their modes and times last, deepest first; symlinks come after all files, so that no file is ever written
through one. At the end the file system is synced: a restore that has returned survives a power cut.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing, nullcontext

from jbackupd.model.errors import DamageError, JbackupdError, NoSpaceError, RefusedError, StorageError
from jbackupd.model.records import EntryType, TreeEntry
from jbackupd.restore.mark import MARK, begin, end
from jbackupd.restore.options import ContentReading, Problem, RestorablePoint, RestoreOptions, RestoreResult
from jbackupd.restore.placing import Placer
from jbackupd.restore.spool import Spool
from jbackupd.restore.watching import Watch, was_stopped
from jbackupd.storage.beneath import Beneath

WORKERS = 2
BATCH_FILES = 200
BATCH_BYTES = 4 * 1024 * 1024
"""A thread gets that much at once, so that small files do not cost a hop each."""
BATCHES_AHEAD = 4
LOOK_SECONDS = 0.5
"""So long nobody hears of the progress within a file, and nobody can stop it."""
SMALL_BYTES = 32 * 1024
"""Below that the calls of a file cost more than its bytes, and two threads wait for Python's lock more than they
gain: 10,000 files of 3 kB took 1.8 s with two and 1.0 s with one, files of 500 kB 0.24 s and 0.34 s (2 cores)."""


def restore(
    point: RestorablePoint, target: str, options: RestoreOptions | None = None, *,
    progress: Callable[[RestoreResult], None] = lambda _: None, stopped: Callable[[], bool] = lambda: False,
) -> RestoreResult:
    """Restore a point, or some paths of it. Blocks.

    What is damaged is not placed and is named in the result; everything else is restored.

    Args:
        target: Folder; made if it is not there.
        progress: Called now and then with the counts so far, also within a long file; on the caller's thread.
        stopped: Asked as often; when true the restore ends early, to be resumed.

    Raises:
        RefusedError: The target holds something and no conflict rule was given; or it was stopped.
        NoSpaceError: The target's disk is full.
        StorageError: The target cannot be used.
    """
    options = options or RestoreOptions()
    _make_target(target)
    with closing(Beneath(target)) as beneath:
        watch = Watch()
        placer = Placer(beneath, point, options, begin(beneath, options), watch)
        with closing(Spool(beneath)) as folders, closing(Spool(beneath)) as symlinks:
            run = _Restore(point, placer, options, watch, folders, symlinks)
            run.place_all(progress, stopped)
        end(beneath)
        return run.result


def _make_target(target: str) -> None:
    try:
        os.makedirs(target, mode=0o700, exist_ok=True)
    except OSError as error:
        raise StorageError(
            "unable to make the folder {target}: {reason}", "name another folder", target=target,
            reason=os.strerror(error.errno or 0),
        ) from error


class _Restore:
    """One restore; the tree is read on the caller's thread, files are written by workers."""

    def __init__(
        self, point: RestorablePoint, placer: Placer, options: RestoreOptions, watch: Watch, folders: Spool,
        symlinks: Spool,
    ) -> None:
        self._point = point
        self._placer = placer
        self._options = options
        self._watch = watch
        self._folders = folders
        self._symlinks = symlinks
        self._under_way: deque[tuple[Future[list[Problem]], ContentReading | None]] = deque()
        self._small = threading.Lock()
        self.result = placer.result

    def place_all(self, progress: Callable[[RestoreResult], None], stopped: Callable[[], bool]) -> None:
        """Place everything that was asked for.

        Raises:
            NoSpaceError: The target's disk is full.
            RefusedError: It was stopped.
        """

        def tell() -> None:
            self.result.bytes_read = self._watch.bytes_read
            progress(self.result)

        def look() -> None:
            tell()
            if stopped():
                raise was_stopped()

        if self._options.resume:
            self._placer.remove_leftovers(b"")
        with ThreadPoolExecutor(WORKERS, "restore") as workers:
            try:
                for batch in self._batches():
                    if stopped():
                        raise was_stopped()
                    reading = self._planned(batch)
                    self._under_way.append((workers.submit(self._place_files, batch, reading), reading))
                    if len(self._under_way) > BATCHES_AHEAD:
                        self._settle_oldest(look)
                while self._under_way:
                    self._settle_oldest(look)
            except BaseException:
                self._watch.end()
                workers.shutdown(cancel_futures=True)
                for _, planned in self._under_way:
                    if planned is not None:
                        planned.close()
                raise
        self._guarded(self._symlinks.forward(), self._placer.place_symlink)
        self._guarded(self._folders.backward(), self._placer.finish_folder)
        tell()

    def _batches(self) -> Iterator[list[TreeEntry]]:
        """Make folders at once; gather files into batches; keep symlinks for later."""
        batch: list[TreeEntry] = []
        size = 0
        for entry in self._wanted():
            if entry.path == MARK:
                self.result.note([Problem(entry.path, _is_mark())])
            elif entry.type is EntryType.FOLDER:
                self._guarded([entry], self._make_folder)
            elif entry.type is EntryType.SYMLINK:
                self._symlinks.add(entry)
            else:
                batch.append(entry)
                size += entry.size
            if len(batch) >= BATCH_FILES or size >= BATCH_BYTES:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def _wanted(self) -> Iterator[TreeEntry]:
        """Yield the entries that were asked for, and the folders that lead to them."""
        wanted = [path.strip(b"/").split(b"/") for path in self._options.paths]
        try:
            for entry in self._point.entries():
                parts = entry.path.split(b"/")
                if not wanted or any(_concerns(parts, path, entry.type) for path in wanted):
                    yield entry
        except DamageError as error:
            self.result.tree_error = error

    def _make_folder(self, entry: TreeEntry) -> None:
        if self._placer.make_folder(entry):
            self._folders.add(entry)

    def _planned(self, batch: list[TreeEntry]) -> ContentReading | None:
        """Plan what a batch needs, while earlier ones are being placed."""
        if not self._placer.needs_everything:
            return None
        return self._point.expect(extent for entry in batch for extent in entry.extents)

    def _place_files(self, batch: list[TreeEntry], reading: ContentReading | None) -> list[Problem]:
        small = sum(entry.size for entry in batch) < SMALL_BYTES * len(batch)
        with closing(reading) if reading is not None else nullcontext(), self._small if small else nullcontext():
            return self._placer.place_files(batch, reading)

    def _settle_oldest(self, look: Callable[[], None]) -> None:
        oldest, _ = self._under_way.popleft()
        while not wait([oldest], LOOK_SECONDS).done:
            look()
        self.result.note(oldest.result())
        look()

    def _guarded(self, entries: Iterable[TreeEntry], deed: Callable[[TreeEntry], None]) -> None:
        for entry in entries:
            try:
                deed(entry)
            except NoSpaceError:
                raise
            except JbackupdError as error:
                self.result.note([Problem(entry.path, error)])


def _is_mark() -> JbackupdError:
    return RefusedError("it has the name of this restore's own mark", "take the point again without it")


def _concerns(parts: list[bytes], wanted: list[bytes], kind: EntryType) -> bool:
    """Tell whether an entry is wanted, or is a folder on the way to what is wanted."""
    if parts[: len(wanted)] == wanted:
        return True
    return kind is EntryType.FOLDER and wanted[: len(parts)] == parts
