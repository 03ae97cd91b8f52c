"""Objects on their way in: partial files that go on at the byte, whatever happened to either end.

A partial is `incoming/KIND-NAME` in the tenant's folder. It only ever grows by appending, so its length says where to
go on; the length is told to others only after a sync. What the bytes are worth is decided once, at the end: they hash
to the name, or they are thrown away.
"""

from __future__ import annotations

import contextlib
import posixpath
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from jbackupd.codec.hashing import name_hasher
from jbackupd.format.header import HEADER_BYTES, check_header
from jbackupd.model.errors import DamageError, FormatError, JbackupdError, ProtocolError, TryLaterError
from jbackupd.model.ids import ObjectRef
from jbackupd.storage.files import Files, Handle
from jbackupd.vault.store import ObjectStore

_HASH_BYTES = 4 * 1024 * 1024


@dataclass(slots=True)
class _Partial:
    """What is known of one partial; guarded by its lock."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    handle: Handle | None = None
    length: int = -1
    """Bytes in the file; -1 until it was looked at."""
    synced: bool = False
    resumed: bool = False
    """Some of its bytes were here when it was opened: after a power cut there may be holes in them."""
    doubtful: bool = False
    """A sync failed: the next one may report success without having written what this one dropped."""
    users: int = 0


class Incoming:
    """The partial objects of one tenant; may be used by several threads.

    Args:
        files: Where the state folder is.
        store: The tenant's objects; finished ones move there.
    """

    def __init__(self, files: Files, store: ObjectStore) -> None:
        self._files = files
        self._store = store
        self._folder = posixpath.join(store.folder, "incoming")
        self._partials: dict[ObjectRef, _Partial] = {}
        self._guard = threading.Lock()

    def path(self, ref: ObjectRef) -> str:
        """Return a partial's path."""
        return posixpath.join(self._folder, f"{ref.kind.name.lower()}-{ref.name.hex()}")

    def offset(self, ref: ObjectRef, size: int) -> int:
        """Return how many bytes are here and durable; the size when the object is whole in the store.

        A partial longer than the size is not of this object as it is announced now: it is thrown away.
        """
        if self._store.has(ref):
            return size
        with self._use(ref) as partial:
            if partial.length > size:
                self._discard(ref, partial)
            self._sync(ref, partial)
            return partial.length

    def write(self, ref: ObjectRef, offset: int, data: bytes) -> int:
        """Append bytes; not durable. What lies before the end of the partial is passed over.

        Returns:
            How many bytes were new.

        Raises:
            ProtocolError: The bytes begin behind the end of the partial.
        """
        with self._use(ref) as partial:
            # Looked up under the lock: another link may just have finished this object.
            if self._store.has(ref):
                return 0
            if offset > partial.length:
                raise ProtocolError(
                    "unable to take {object}: bytes from {offset} on were sent, but only {length} are here",
                    object=ref, offset=offset, length=partial.length,
                )
            fresh = memoryview(data)[partial.length - offset :]
            if not fresh:
                return 0
            if partial.handle is None:
                partial.handle = self._files.append(self.path(ref))
            partial.synced = False
            try:
                partial.handle.write(fresh)
            except JbackupdError:
                # A part may have been written: look at the file again before anything is said about it.
                self._close(partial)
                partial.length = -1
                raise
            partial.length += len(fresh)
            return len(fresh)

    def flush(self, ref: ObjectRef) -> int:
        """Make what has arrived durable and let go of the file; return how many bytes that are."""
        with self._use(ref) as partial:
            self._sync(ref, partial)
            return partial.length

    def check(self, ref: ObjectRef, size: int) -> None:
        """Make a whole partial durable and verify it; it stays where it is.

        Raises:
            DamageError: It does not have this size, name or kind; it was thrown away.
            TryLaterError: The same, but a part was here from before: a power cut may have left holes in it.
        """
        with self._use(ref) as partial:
            self._check(ref, partial, size)

    def finish(self, ref: ObjectRef, size: int) -> None:
        """Make a whole partial durable, verify it, and give it its place in the store; harmless twice.

        Raises:
            DamageError: It does not have this size, name or kind; it was thrown away.
            TryLaterError: The same, but a part was here from before: a power cut may have left holes in it.
        """
        with self._use(ref) as partial:
            if self._store.has(ref):
                return
            self._check(ref, partial, size)
            self._store.adopt(ref, self.path(ref))
            partial.length, partial.synced = 0, True

    def read(self, ref: ObjectRef) -> bytes:
        """Return a partial's bytes.

        Raises:
            NotFoundError: There is none.
        """
        return self._files.read(self.path(ref))

    def discard(self, ref: ObjectRef) -> None:
        """Throw a partial away; harmless when there is none."""
        with self._use(ref) as partial:
            self._discard(ref, partial)

    @contextlib.contextmanager
    def _use(self, ref: ObjectRef) -> Iterator[_Partial]:
        with self._guard:
            partial = self._partials.setdefault(ref, _Partial())
            partial.users += 1
        try:
            with partial.lock:
                if partial.length < 0:
                    path = self.path(ref)
                    partial.length = self._files.size(path) if self._files.exists(path) else 0
                    partial.synced = partial.length == 0
                    partial.resumed = partial.length > 0
                if partial.doubtful:
                    self._discard(ref, partial)
                yield partial
        finally:
            with self._guard:
                partial.users -= 1
                if not partial.users and partial.handle is None and not partial.doubtful:
                    del self._partials[ref]

    def _sync(self, ref: ObjectRef, partial: _Partial) -> None:
        if partial.synced:
            return
        if partial.handle is None:
            partial.handle = self._files.append(self.path(ref))
        try:
            partial.handle.sync()
            self._close(partial)
        except JbackupdError:
            partial.doubtful = True
            with contextlib.suppress(JbackupdError):
                self._discard(ref, partial)
            raise
        self._files.sync_folder(self._folder)
        partial.synced = True

    def _check(self, ref: ObjectRef, partial: _Partial, size: int) -> None:
        self._sync(ref, partial)
        resumed = partial.resumed
        try:
            right = partial.length == size and self._is_right(ref, size)
        except FormatError:
            if not resumed:
                self._discard(ref, partial)
                raise
            right = False
        if right:
            return
        self._discard(ref, partial)
        if resumed:
            raise TryLaterError(
                "unable to take {object}: the part of it that was here from before was damaged",
                "nothing needs to be done: it was thrown away and is sent again from its beginning", object=ref,
            )
        raise DamageError(
            "unable to take {object}: the bytes that came do not hash to its name",
            "they were thrown away; check the disk and memory of the site that sent them", object=ref,
        )

    def _is_right(self, ref: ObjectRef, size: int) -> bool:
        hasher, path = name_hasher(), self.path(ref)
        for position in range(0, size, _HASH_BYTES):
            block = self._files.read_at(path, position, _HASH_BYTES)
            if position == 0:
                check_header(block[:HEADER_BYTES], ref.kind)
            hasher.update(block)
        return hasher.digest() == ref.name

    def _discard(self, ref: ObjectRef, partial: _Partial) -> None:
        self._close(partial)
        if self._files.exists(self.path(ref)):
            self._files.remove(self.path(ref))
        partial.length, partial.synced, partial.resumed, partial.doubtful = 0, True, False, False

    def _close(self, partial: _Partial) -> None:
        if partial.handle is not None:
            handle, partial.handle = partial.handle, None
            handle.close()
