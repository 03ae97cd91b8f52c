"""From a frame's place to its plaintext: read, open, decompress; what is near in a pack comes with one read."""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from jbackupd.catalog.database import FramePlace
from jbackupd.codec.compress import decompress
from jbackupd.codec.seal import PackOpener
from jbackupd.format.pack import PACK_HEAD_BYTES, decode_pack_head
from jbackupd.model.errors import DamageError, FormatError, JbackupdError
from jbackupd.model.ids import ObjectKind, ObjectName, ObjectRef, TenantId
from jbackupd.vault.plan import Stretch
from jbackupd.vault.store import ObjectStore

OPENERS_MAX = 256


class SessionKeys(Protocol):
    """What a reader asks of a key source."""

    def object_key(self, session_id: bytes, object_id: bytes, kind: ObjectKind) -> bytes:
        """Return an object's own key (codec.seal).

        Raises:
            KeyMissingError: This holder of keys does not have it.
        """
        ...


@dataclass(slots=True)
class ReaderCounts:
    """What a reader has done so far."""

    frames: int = 0
    """Decoded, bases included."""
    plain_bytes: int = 0
    reads: int = 0
    """Calls for bytes of packs."""


class Load:
    """A stretch of a pack: read when the first of its frames is wanted, dropped after the last. For several threads.

    Args:
        stretch: Where it is.
    """

    def __init__(self, stretch: Stretch) -> None:
        self._stretch = stretch
        self._lock = threading.Lock()
        self._left = stretch.frames
        self._data: memoryview | None = None

    def sealed(self, place: FramePlace, decoder: FrameDecoder) -> bytes:
        """Return one of its sealed frames."""
        record = place.record
        with self._lock:
            if self._left == self._stretch.frames > 1:
                # A pack that is damaged or gone costs only the frames that are: each is read again alone.
                with suppress(JbackupdError):
                    whole = decoder.read(self._stretch.pack, self._stretch.offset, self._stretch.length)
                    self._data = memoryview(whole)
            data = self._data
            self._left -= 1
            if not self._left:
                self._data = None
        if data is None:
            return decoder.read(place.pack, record.offset, record.sealed_length)
        begin = record.offset - self._stretch.offset
        return bytes(data[begin : begin + record.sealed_length])


class FrameDecoder:
    """Decodes frames whose bases are at hand; safe for several threads.

    Args:
        store: Where the packs are.
        keys: Keys of the objects.
    """

    def __init__(self, store: ObjectStore, keys: SessionKeys, *, tenant: TenantId) -> None:
        self._store = store
        self._keys = keys
        self._tenant = tenant
        self._lock = threading.Lock()
        self._openers: OrderedDict[ObjectName, PackOpener] = OrderedDict()
        self.counts = ReaderCounts()

    def decode(self, place: FramePlace, prefix: bytes | memoryview, load: Load | None) -> bytes:
        """Return a frame's plaintext.

        Args:
            prefix: Its bases, one after another.
            load: The read that brings it together with others.

        Raises:
            MissingObjectError: Its pack is not in the vault.
            DamageError: Something is not what was written.
            KeyMissingError: The session's key is not at hand.
        """
        record = place.record
        opener = self._opener(place)
        sealed = load.sealed(place, self) if load else self.read(place.pack, record.offset, record.sealed_length)
        ref = ObjectRef(ObjectKind.PACK, place.pack)
        try:
            try:
                data = decompress(record.encoding, opener.open(place.slot, sealed), record.plain_length, prefix)
            except DamageError:
                if not self._store.doubt(ref, record.offset, record.sealed_length):
                    raise
                sealed = self.read(place.pack, record.offset, record.sealed_length)
                data = decompress(record.encoding, opener.open(place.slot, sealed), record.plain_length, prefix)
        except DamageError as error:
            raise DamageError(
                "frame {slot} of {object} is damaged: {reason}",
                "run 'jbackupd verify', then 'jbackupd vault repair'", slot=place.slot, object=ref, reason=error,
            ) from error
        with self._lock:
            self.counts.frames += 1
            self.counts.plain_bytes += len(data)
        return data

    def check(self, place: FramePlace) -> None:
        """Open a frame without decoding it, which needs no bases.

        Raises:
            MissingObjectError: Its pack is not in the vault.
            DamageError: Its bytes are not what was written.
            KeyMissingError: The session's key is not at hand.
        """
        self._opener(place).open(place.slot, self.read(place.pack, place.record.offset, place.record.sealed_length))

    def read(self, pack: ObjectName, offset: int, length: int) -> bytes:
        """Return bytes of a pack, unchecked."""
        with self._lock:
            self.counts.reads += 1
        return self._store.read(ObjectRef(ObjectKind.PACK, pack), offset, length)

    def _opener(self, place: FramePlace) -> PackOpener:
        with self._lock:
            opener = self._openers.get(place.pack)
        if opener is None:
            try:
                opener = self._new_opener(place)
            except DamageError:
                if not self._store.doubt(ObjectRef(ObjectKind.PACK, place.pack), 0, PACK_HEAD_BYTES):
                    raise
                opener = self._new_opener(place)
            with self._lock:
                self._openers[place.pack] = opener
                if len(self._openers) > OPENERS_MAX:
                    self._openers.popitem(last=False)
        return opener

    def _new_opener(self, place: FramePlace) -> PackOpener:
        head = decode_pack_head(self.read(place.pack, 0, PACK_HEAD_BYTES))
        if head.session_id != place.session_id:
            raise FormatError("the pack names another session than the catalog")
        return PackOpener.with_object_key(
            self._keys.object_key(head.session_id, head.pack_id, ObjectKind.PACK),
            tenant=self._tenant, pack_id=head.pack_id, commitment=head.commitment,
        )
