"""A tree stream: the entries of a point, in path order.

    offset  size  field
    0       8     magic "JBTREE" 0x01 0x00
    8       ...   records

A record is a little endian u32 length and that many bytes of msgpack in its shortest form: an array
in the order of `TreeRecord`. The last record is the array [count of entries]. An unchanged entry is the
same bytes as in the previous point. Entries are in strictly ascending order of their path components, compared as
bytes; every entry's folder precedes it, unless it is at the top. The path is relative, its
components joined by "/", none of them empty, "." or "..", none with a NUL.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import msgspec

from jbackupd.model.errors import FormatError
from jbackupd.model.ids import FRAME_ID_BYTES, FrameId
from jbackupd.model.records import EntryType, Extent, TreeEntry

MAGIC = b"JBTREE\x01\x00"
DIGEST_BYTES = 32
PATH_BYTES_MAX = 64 * 1024
"""Linux takes 4,096 a call, but deeper paths can be made step by step."""
RECORD_BYTES_MAX = 64 * 1024 * 1024
"""An entry of 24 bytes an extent: two million frames, some terabytes in one file."""
TIMES_NS = range(-(1 << 63), 1 << 64)
"""What msgpack holds: the years 1677 to 2554. ext4 ends in 2446, XFS in 2486; a source clamps what is beyond."""
_COUNT_BEGIN = b"\x91"
"""An array of one, in msgpack: so the count is told from an entry. Trying both costs a fifth of the time."""
_ID_MAX = (1 << 32) - 1
_TYPES = {int(kind): kind for kind in EntryType}
_FILE, _FOLDER, _SYMLINK = int(EntryType.FILE), int(EntryType.FOLDER), int(EntryType.SYMLINK)
_LENGTH = struct.Struct("<I")


class TreeRecord(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """An entry as its record has it: what a million entries are compared as, without a TreeEntry of each."""

    path: bytes
    type: int
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    size: int
    digest: bytes
    extents: list[tuple[bytes, int, int]]
    target: bytes

    def entry(self) -> TreeEntry:
        """Return the entry."""
        return TreeEntry(
            self.path, _TYPES[self.type], self.mode, self.uid, self.gid, self.mtime_ns, self.ctime_ns, self.inode,
            self.size, self.digest,
            tuple([Extent(FrameId(frame), offset, length) for frame, offset, length in self.extents]), self.target,
        )


_record_decoder = msgspec.msgpack.Decoder(TreeRecord)
_encoder = msgspec.msgpack.Encoder()
_count_decoder = msgspec.msgpack.Decoder(tuple[int])


def check_path(path: bytes) -> list[bytes]:
    """Check that a path stays below where it is put; return its components.

    Raises:
        FormatError: It does not, or is no path.
    """
    if not path or len(path) > PATH_BYTES_MAX or b"\0" in path:
        raise FormatError("a tree names an impossible path")
    parts = path.split(b"/")
    if b"" in parts or b"." in parts or b".." in parts:
        raise FormatError("a tree names a path that would leave its folder: {path}", path=repr(path))
    return parts


def encode_entry(entry: TreeEntry) -> bytes:
    """Return an entry's record.

    Raises:
        FormatError: No reader would take it.
    """
    raw = TreeRecord(
        entry.path, int(entry.type), entry.mode, entry.uid, entry.gid, entry.mtime_ns, entry.ctime_ns, entry.inode,
        entry.size, entry.digest, [(e.frame, e.offset, e.length) for e in entry.extents], entry.target,
    )
    _check_fields(raw)
    try:
        return _record(_encoder.encode(raw))
    except OverflowError as error:
        raise FormatError("an entry of a tree is out of range") from error


def _record(body: bytes) -> bytes:
    if len(body) > RECORD_BYTES_MAX:
        raise FormatError("a tree's record is longer than one may be")
    return _LENGTH.pack(len(body)) + body


class _Order:
    """Checks that paths ascend and that folders precede what is in them.

    Most entries lie in the folder of the entry before them: then only their last component is looked at.
    """

    def __init__(self) -> None:
        self._folder = b""
        self._name = b""
        self._is_folder = False
        self.count = 0

    def check(self, path: bytes, *, is_folder: bool) -> None:
        """Check the next entry.

        Raises:
            FormatError: It may not follow.
        """
        folder, _, name = path.rpartition(b"/")
        if folder != self._folder or name <= self._name or (not folder and len(name) != len(path)):
            self._check_parts(path)
        elif name in {b".", b".."} or b"\0" in name or len(path) > PATH_BYTES_MAX:
            check_path(path)
        self._folder, self._name, self._is_folder = folder, name, is_folder
        self.count += 1

    def follow(self, count: int, path: bytes, *, is_folder: bool) -> None:
        """Pass over entries that were checked one after another elsewhere; the last of them is named."""
        self._folder, _, self._name = path.rpartition(b"/")
        self._is_folder = is_folder
        self.count += count

    def _check_parts(self, path: bytes) -> None:
        parts = check_path(path)
        above = self._folder.split(b"/") if self._folder else []
        last = [*above, self._name] if self._name else []
        if parts <= last:
            raise FormatError("the entries of a tree are not in order")
        if parts[:-1] != (last if self._is_folder else above)[: len(parts) - 1]:
            raise FormatError("an entry of a tree is in a folder that the tree does not have")


class TreeEncoder:
    """Makes a tree stream piece by piece."""

    def __init__(self) -> None:
        self._order = _Order()

    def begin(self) -> bytes:
        """Return the stream's begin."""
        return MAGIC

    def note(self, path: bytes, *, is_folder: bool) -> None:
        """Note which entry is next, for one whose record is made later or is there already.

        Raises:
            FormatError: It is out of order or not a possible one.
        """
        self._order.check(path, is_folder=is_folder)

    def follow(self, count: int, path: bytes, *, is_folder: bool) -> None:
        """Note that so many entries are next which follow the last noted one in a tree that was decoded.

        Args:
            path: Of the last of them.
        """
        self._order.follow(count, path, is_folder=is_folder)

    def add(self, entry: TreeEntry) -> bytes:
        """Return the next entry's bytes.

        Raises:
            FormatError: The entry is out of order or not a possible one.
        """
        self.note(entry.path, is_folder=entry.type is EntryType.FOLDER)
        return encode_entry(entry)

    def end(self) -> bytes:
        """Return the stream's end."""
        return _record(msgspec.msgpack.encode((self._order.count,)))


class TreeDecoder:
    """Reads a tree stream piece by piece; memory is bounded by the largest record."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._wanted = 0
        self._order = _Order()
        self._begun = False
        self._ended = False

    def feed(self, piece: bytes) -> Iterator[TreeEntry]:
        """Yield the entries that are complete with this piece; consume it wholly before the next.

        Raises:
            FormatError: The stream is malformed.
        """
        for _, record in self.records(piece):
            yield record.entry()

    def records(self, piece: bytes) -> Iterator[tuple[bytes, TreeRecord]]:
        """Yield the records that are complete with this piece, each as its bytes and as what they say.

        Consume it wholly before the next.

        Raises:
            FormatError: The stream is malformed.
        """
        self._rest += piece
        if len(self._rest) < self._wanted:
            return
        data, position = bytes(self._rest), 0
        self._wanted = 0
        if not self._begun and len(data) >= len(MAGIC):
            if not data.startswith(MAGIC):
                raise FormatError("a tree does not begin like a tree")
            self._begun, position = True, len(MAGIC)
        last = len(data) - _LENGTH.size if self._begun else -1
        while position <= last:
            (length,) = _LENGTH.unpack_from(data, position)
            if length > RECORD_BYTES_MAX:
                raise FormatError("a tree's record is longer than one may be")
            end = position + _LENGTH.size + length
            if end > len(data):
                # A record of 64 MiB that comes in small pieces is not looked at again with each of them.
                self._wanted = end - position
                break
            body = data[position + _LENGTH.size : end]
            if body[:1] == _COUNT_BEGIN or self._ended:
                self._end(body)
            else:
                record = _decode(body)
                self._order.check(record.path, is_folder=record.type == _FOLDER)
                yield data[position:end], record
            position = end
        self._rest = bytearray(data[position:])

    def finish(self) -> None:
        """Check that the stream ended as it must.

        Raises:
            FormatError: It was cut off.
        """
        if not self._ended or self._rest:
            raise FormatError("a tree is cut off, or something follows its end")

    def _end(self, body: bytes) -> None:
        if self._ended:
            raise FormatError("something follows a tree's end")
        try:
            (count,) = _count_decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise FormatError("an entry of a tree is malformed") from error
        if count != self._order.count:
            raise FormatError("a tree has another number of entries than it says")
        self._ended = True


def _decode(body: bytes) -> TreeRecord:
    try:
        record = _record_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FormatError("an entry of a tree is malformed") from error
    _check_fields(record)
    return record


def _check_fields(raw: TreeRecord) -> None:
    """Check that fields are in range and fit each other; the path is judged together with its order.

    Raises:
        FormatError: They do not.
    """
    content = 0
    for frame, offset, length in raw.extents:
        if len(frame) != FRAME_ID_BYTES or offset < 0 or length <= 0:
            raise FormatError("an entry of a tree is out of range")
        content += length
    kind = raw.type
    is_file = kind == _FILE
    if (
        kind not in _TYPES or not 0 <= raw.mode <= 0o7777
        or not 0 <= raw.uid <= _ID_MAX or not 0 <= raw.gid <= _ID_MAX or raw.inode < 0
        or raw.size != content or (content and not is_file) or len(raw.digest) != (DIGEST_BYTES if is_file else 0)
        or bool(raw.target) != (kind == _SYMLINK) or (raw.target and b"\0" in raw.target)
    ):
        raise FormatError("an entry of a tree is out of range")
