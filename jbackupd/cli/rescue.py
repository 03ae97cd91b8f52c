"""`jbackupd rescue`: read a vault with nothing but its folder, shares, and this package's codec, format and model.

The last resort, and the proof that docs/format is enough: no configuration, no catalog, no daemon, no database. It
trusts nothing: every object must hash to its name, every frame must open, every file must match its digest.

    jbackupd rescue VAULT [TENANT/DATASET[@SEQUENCE]] --share FILE ... [--card FILE] [--to DIR|-] [PATH ...]

Without --to the points, or the files of a point, are listed; "--to -" writes one file to the standard output.
Contents, modes, times and symlinks come back; everything belongs to who rescued it.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from jbackupd.cli.rescuetarget import Target, checked, shown
from jbackupd.codec.compress import decompress
from jbackupd.codec.hashing import ContentHash, name_of
from jbackupd.codec.seal import PackOpener
from jbackupd.codec.shares import Share, combine
from jbackupd.format.expiry import decode_expiry
from jbackupd.format.identity import CardKind, decode_card
from jbackupd.format.index import IndexedPack, decode_index_head, open_index
from jbackupd.format.key import KeyRole, RecoveredChain, decode_key
from jbackupd.format.keyrecord import decode_record, moved_packs
from jbackupd.format.pack import (
    PACK_HEAD_BYTES,
    PACK_TAIL_BYTES,
    FrameRecord,
    decode_pack_head,
    open_trailer,
    trailer_span,
)
from jbackupd.format.point import Point, body_commitment, decode_point, open_body, verify_point
from jbackupd.format.tree import TreeDecoder
from jbackupd.model.errors import (
    DamageError,
    JbackupdError,
    MissingObjectError,
    NoSpaceError,
    NotFoundError,
    UsageError,
)
from jbackupd.model.ids import FrameId, ObjectKind, ObjectName, PointSelector, TenantId
from jbackupd.model.records import EntryType, Extent, TreeEntry
from jbackupd.model.texts import _

T = TypeVar("T")
CACHE_BYTES = 96 * 1024 * 1024
DEPTH_MAX = 64
"""No encoder goes beyond eight."""


class Vault:
    """A vault folder, opened with the recovery key.

    Args:
        folder: The tenant's vault: it has packs, indexes, points and keys.
        shares: Enough shares of the tenant's recovery key.
    """

    def __init__(self, folder: str, shares: Sequence[Share]) -> None:
        self.folder = folder
        self.tenant = TenantId(shares[0].label) if shares else TenantId("")
        keys = list(self._decoded(ObjectKind.KEY, decode_key))
        self.chain = RecoveredChain(combine(shares), self.tenant, keys)
        self.hashes = ContentHash(self.chain.tenant_secret)
        self._moved = moved_packs(decode_record(key) for key in keys if key.role is KeyRole.RECORD)
        self._places: dict[FrameId, tuple[str, bytes, int, FrameRecord]] = {}
        self._cache: OrderedDict[FrameId, bytes] = OrderedDict()
        self._room = CACHE_BYTES
        self._depth = 0
        self.damaged_points = 0
        """Of no dataset: a damaged point does not tell which one it is of."""

    def points(self) -> list[Point]:
        """Return the points that are readable, by dataset and sequence; damaged ones are told on stderr."""
        found = list(self._decoded(ObjectKind.POINT, decode_point))
        self.damaged_points = len(os.listdir(os.path.join(self.folder, ObjectKind.POINT.folder))) - len(found)
        return sorted(found, key=lambda point: (point.header.dataset, point.header.sequence))

    def removed(self) -> set[ObjectName]:
        """Return the points of which this copy says that their content was given up."""
        folder = os.path.join(self.folder, "expiry")
        found: set[ObjectName] = set()
        for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
            with _telling():
                data = _read(os.path.join(folder, name))
                if name_of(data).hex() == name:
                    found |= {point.name for point in decode_expiry(data).removed}
        return found

    def entries(self, point: Point) -> Iterator[TreeEntry]:
        """Yield a point's tree."""
        self._find_frames()
        header = point.header
        opener = PackOpener.with_object_key(
            self.chain.object_key(header.session_id, header.point_id, ObjectKind.POINT), tenant=self.tenant,
            pack_id=header.point_id, commitment=body_commitment(point.sealed_body), kind=ObjectKind.POINT,
        )
        decoder = TreeDecoder()
        for piece in self.read(open_body(opener, point.sealed_body).tree):
            yield from decoder.feed(piece)
        decoder.finish()

    def read(self, extents: Iterable[Extent]) -> Iterator[bytes]:
        """Yield the bytes of extents."""
        for extent in extents:
            piece = self._frame(extent.frame)[extent.offset : extent.offset + extent.length]
            if len(piece) != extent.length:
                raise DamageError("an extent reaches beyond its frame")
            yield piece

    def _decoded(self, kind: ObjectKind, decode: Callable[[bytes], T]) -> Iterator[T]:
        for data in self._objects(kind):
            with _telling():
                yield decode(data)

    def _objects(self, kind: ObjectKind) -> Iterator[bytes]:
        """Yield the objects of a kind that hash to their names; tell of the others."""
        folder = os.path.join(self.folder, kind.folder)
        try:
            names = sorted(os.listdir(folder))
        except OSError as error:
            raise NotFoundError(
                "{folder} is not a vault: {reason}", "name the folder of a tenant, as STATE/vaults/TENANT",
                folder=self.folder, reason=error.strerror,
            ) from error
        for name in names:
            with _telling():
                data = _read(os.path.join(folder, name))
                if name_of(data).hex() == name:
                    yield data
                else:
                    _say(_("damaged: {object}").format(object=f"{kind.folder}/{name}"))

    def _find_frames(self) -> None:
        """Learn where frames are: from the indexes, and from the trailers of packs that no index lists."""
        if self._places:
            return
        packs = {
            name: os.path.join(path, name)
            for path, _folders, names in os.walk(os.path.join(self.folder, "packs")) for name in names
        }
        for superseded, new in self._moved.items():
            if all(name.hex() in packs for name in new):
                packs.pop(superseded.hex(), None)
        listed: set[str] = set()
        for data in self._objects(ObjectKind.INDEX):
            with _telling():
                for pack in self._index(data):
                    listed.add(pack.name.hex())
                    self._add_pack(packs.get(pack.name.hex(), ""), pack.session_id, pack.frames)
        for name in packs.keys() - listed:
            with _telling():
                pack = self._trailer(packs[name])
                self._add_pack(packs[name], pack.session_id, pack.frames)

    def _index(self, data: bytes) -> list[IndexedPack]:
        head = decode_index_head(data)
        opener = PackOpener.with_object_key(
            self.chain.object_key(head.session_id, head.pack_id, ObjectKind.INDEX), tenant=self.tenant,
            pack_id=head.pack_id, commitment=head.commitment, kind=ObjectKind.INDEX,
        )
        return open_index(opener, data)

    def _add_pack(self, path: str, session_id: bytes, frames: Iterable[FrameRecord]) -> None:
        for slot, frame in enumerate(frames):
            if path:
                self._places[frame.id] = path, session_id, slot, frame

    def _trailer(self, path: str) -> IndexedPack:
        data = _read(path)
        head = decode_pack_head(data[:PACK_HEAD_BYTES])
        offset, length = trailer_span(data[-PACK_TAIL_BYTES:], len(data))
        frames = open_trailer(self._opener(data[:PACK_HEAD_BYTES]), data[offset : offset + length])
        return IndexedPack(name_of(data), len(data), head.session_id, tuple(frames))

    def _opener(self, head_bytes: bytes) -> PackOpener:
        head = decode_pack_head(head_bytes)
        return PackOpener.with_object_key(
            self.chain.object_key(head.session_id, head.pack_id, ObjectKind.PACK), tenant=self.tenant,
            pack_id=head.pack_id, commitment=head.commitment,
        )

    def _frame(self, frame: FrameId) -> bytes:
        if frame not in self._cache:
            if frame not in self._places:
                raise MissingObjectError(
                    "the vault does not hold frame {frame}", "fetch the missing pack from another site",
                    frame=frame.hex(),
                )
            data = self._decode(frame)
            self._cache[frame] = data
            self._room -= len(data)
            while self._room < 0 and len(self._cache) > 1:
                self._room += len(self._cache.popitem(last=False)[1])
        self._cache.move_to_end(frame)
        return self._cache[frame]

    def _decode(self, frame: FrameId) -> bytes:
        # In a hostile vault frames may need each other.
        if self._depth > DEPTH_MAX:
            raise DamageError("a chain of frames is longer than any that is written")
        path, _session, slot, record = self._places[frame]
        self._depth += 1
        try:
            prefix = b"".join(self.read(record.bases))
        finally:
            self._depth -= 1
        opener = self._opener(_read(path, 0, PACK_HEAD_BYTES))
        payload = opener.open(slot, _read(path, record.offset, record.sealed_length))
        return decompress(record.encoding, payload, record.plain_length, prefix)


def rescue(arguments: argparse.Namespace) -> int:
    """Do what was asked; return the exit code."""
    vault = Vault(arguments.vault, [_read_share(path) for path in arguments.share])
    points = vault.points()
    code = DamageError.exit_code if vault.damaged_points else 0
    removed = vault.removed()
    if arguments.point is None:
        for point in points:
            mark = "\t" + _("removed here") if point.name in removed else ""
            print(f"{point.header.dataset}@{point.header.sequence}\t{point.header.taken_at.isoformat()}{mark}")
        return code
    selector = PointSelector.parse(arguments.point)
    chosen = _choose(points, selector, arguments.card)
    if selector.sequence is not None:
        code = 0
    elif code:
        _say(_("a damaged point may be a newer one: ask other copies of the vault, or name a point by its number"))
    if chosen.name in removed:
        # Tried all the same: no statement is worth more than what may still be there.
        _say(_("this copy of the vault has given its content up: another one may have it"))
    return _rescue_point(vault, chosen, arguments) or code


def _rescue_point(vault: Vault, chosen: Point, arguments: argparse.Namespace) -> int:
    wanted = [os.fsencode(path).strip(b"/") for path in arguments.paths]
    entries = (entry for entry in vault.entries(chosen) if _is_wanted(entry, wanted))
    if arguments.to is None:
        for entry in entries:
            sys.stdout.buffer.write(b"%12d %s\n" % (entry.size, entry.path))
        return 0
    if arguments.to == "-":
        return _write_out(vault, entries)
    return _place_all(vault, entries, Target(arguments.to))


def _write_out(vault: Vault, entries: Iterator[TreeEntry]) -> int:
    files = [entry for entry in entries if entry.type is EntryType.FILE]
    if len(files) != 1:
        raise UsageError("{count} files would be written one after the other", "name one file", count=len(files))
    for piece in checked(files[0], vault.read(files[0].extents), vault.hashes):
        sys.stdout.buffer.write(piece)
    return 0


def _place_all(vault: Vault, entries: Iterator[TreeEntry], target: Target) -> int:
    code = placed = 0
    for entry in entries:
        try:
            target.place(entry, vault.read(entry.extents), vault.hashes)
            placed += entry.type is EntryType.FILE
        except NoSpaceError:
            raise
        except JbackupdError as error:
            _say(_("not rescued: {path}: {reason}").format(path=shown(entry.path), reason=error))
            code = 4 if 4 in (code, error.exit_code) else error.exit_code
    target.finish()
    _say(_("{count} files rescued").format(count=placed))
    return code


def _is_wanted(entry: TreeEntry, wanted: list[bytes]) -> bool:
    """Tell whether an entry is asked for, or a folder on the way there."""
    return not wanted or any(
        entry.path == path or entry.path.startswith(path + b"/")
        or (entry.type is EntryType.FOLDER and path.startswith(entry.path + b"/"))
        for path in wanted
    )


def _choose(points: list[Point], selector: PointSelector, card: str | None) -> Point:
    found = [
        point for point in points
        if point.header.dataset == selector.dataset
        and selector.sequence in (None, point.header.sequence)
        and (selector.before is None or point.header.taken_at < selector.before)
    ]
    if not found:
        raise NotFoundError("{dataset} has no such point", "list the points: leave the point out",
                            dataset=selector.dataset)
    chosen = found[-1]
    if card is None:
        _say(_("the point's signature was not checked: name the home site's card with --card FILE"))
    else:
        with open(card, "rb") as file:
            verify_point(chosen, decode_card(file.read(), CardKind.SITE).verifier)
    label = f"{chosen.header.dataset}@{chosen.header.sequence}"
    _say(_("point {point}, taken {time}").format(point=label, time=chosen.header.taken_at.isoformat()))
    return chosen


def _read_share(path: str) -> Share:
    with open(path, "rb") as file:
        return Share.from_file(file.read(1 << 16), source=os.path.basename(path))


def _read(path: str, offset: int = 0, length: int = -1) -> bytes:
    """Return bytes of a file of the vault; a disk that fails is damage like any other."""
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            return file.read(length)
    except OSError as error:
        raise DamageError("unable to read {path}: {reason}", path=path, reason=error.strerror) from error


@contextmanager
def _telling() -> Iterator[None]:
    """Tell of an object that cannot be opened, and go on: what other objects hold can still be read."""
    try:
        yield
    except JbackupdError as error:
        _say(_("damaged: {object}").format(object=error))


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="jbackupd rescue", description=_("Read a vault on a bare machine."))
    parser.add_argument("vault", help=_("the tenant's folder: STATE/vaults/TENANT"))
    parser.add_argument("point", nargs="?", help=_("TENANT/DATASET[@SEQUENCE]; without it the points are listed"))
    parser.add_argument("paths", nargs="*", help=_("only these paths"))
    parser.add_argument("--share", action="append", default=[], metavar="FILE", help=_("a share of the recovery key"))
    parser.add_argument("--card", metavar="FILE", help=_("the home site's card, to check the point's signature"))
    parser.add_argument(
        "--to", metavar="DIR", help=_("a new folder, or - for one file; without it the files are listed")
    )
    try:
        return rescue(parser.parse_args(arguments))
    except JbackupdError as error:
        _say(_("error: {message}").format(message=error.render(_(error.message))))
        if error.hint:
            _say(_("next: {hint}").format(hint=error.render(_(error.hint))))
        return error.exit_code
    except OSError as error:
        _say(_("error: {message}").format(message=f"{error.filename}: {error.strerror}"))
        return 1


if __name__ == "__main__":
    sys.exit(main())
