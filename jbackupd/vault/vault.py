"""A vault: objects, catalog and keys of one tenant as one thing to read points from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from jbackupd.catalog.database import Catalog
from jbackupd.codec.hashing import ContentHash
from jbackupd.codec.seal import PackOpener
from jbackupd.codec.signing import SiteVerifier
from jbackupd.format.point import (
    Point,
    PointBody,
    PointHeader,
    body_commitment,
    decode_point,
    open_body,
    verify_point,
)
from jbackupd.format.tree import TreeDecoder, TreeRecord
from jbackupd.model.errors import ChainError, DamageError, IdentityError, JbackupdError, KeyMissingError, NotFoundError
from jbackupd.model.ids import (
    NO_OBJECT,
    DatasetId,
    ObjectKind,
    ObjectName,
    ObjectRef,
    PointSelector,
    SiteId,
    TenantId,
)
from jbackupd.model.records import Extent, TreeEntry
from jbackupd.vault.erased import destroyed_objects, explained
from jbackupd.vault.expiry import removed_error, removed_points, where_now
from jbackupd.vault.keyring import KeySource
from jbackupd.vault.needs import Needs
from jbackupd.vault.reader import FrameReader
from jbackupd.vault.reading import Reading
from jbackupd.vault.soundness import Soundness
from jbackupd.vault.store import ObjectStore


@dataclass(frozen=True, slots=True)
class StoredPoint:
    """A point of the vault whose signature was checked."""

    name: ObjectName
    header: PointHeader
    length: int

    @property
    def label(self) -> str:
        """TENANT/DATASET@SEQUENCE."""
        return f"{self.header.dataset}@{self.header.sequence}"


class PointList:
    """The points of one store, checked against the cards of the sites that may sign. Needs no keys.

    Args:
        store: Where the points are.
        verifiers: Who may sign points.
    """

    def __init__(self, store: ObjectStore, verifiers: Mapping[SiteId, SiteVerifier]) -> None:
        self.store = store
        self.verifiers = verifiers
        self._read: dict[ObjectName, StoredPoint] = {}
        self._needs: dict[DatasetId, Needs] = {}
        self.damaged: dict[ObjectName, JbackupdError] = {}
        """Points that could not be read at the last look, with the reason of each."""

    def datasets(self) -> list[DatasetId]:
        """Return the datasets that have a point, sorted."""
        return sorted({point.header.dataset for point in self._all()})

    def chain(self, dataset: DatasetId) -> list[StoredPoint]:
        """Return a dataset's points in sequence, from the first on.

        Raises:
            ChainError: There is a gap or a fork; the message says where.
            DamageError: A point of the store is damaged.
            IdentityError: A point was not signed by the site that it names.
        """
        points = self.listed(dataset)
        previous, sequence = NO_OBJECT, 0
        for point in points:
            if point.header.sequence != sequence + 1 or point.header.previous != previous:
                self._raise_damage()
                raise ChainError(
                    "the points of {dataset} do not form a chain at {sequence}: one is missing",
                    "fetch the points again from a peer; do not back up on top of this vault",
                    dataset=dataset, sequence=point.header.sequence,
                )
            previous, sequence = point.name, point.header.sequence
        self._raise_damage()
        return points

    def listed(self, dataset: DatasetId) -> list[StoredPoint]:
        """Return those points of a dataset that are readable, in sequence; there may be gaps.

        Raises:
            ChainError: Two points have one sequence.
        """
        points = sorted(
            (p for p in self._all() if p.header.dataset == dataset), key=lambda point: point.header.sequence
        )
        for one, other in pairwise(points):
            if one.header.sequence == other.header.sequence:
                raise ChainError(
                    "the points of {dataset} fork at {sequence}: {one} and {other} both claim it",
                    "ask the other sites which one they have given a receipt for",
                    dataset=dataset, sequence=one.header.sequence, one=one.name.hex()[:12], other=other.name.hex()[:12],
                )
        return points

    def find(self, selector: PointSelector) -> StoredPoint:
        """Return the selected point; a damaged older one is no hindrance, and removed ones are passed over.

        Raises:
            NotFoundError: There is none; the hint names what there is.
            RemovedError: It was named by its number, and its content was given up here.
            DamageError: A damaged point may be the one that is meant: only a sequence number is safe then.
        """
        points = self.listed(selector.dataset)
        found = self._selected(selector, points)
        if not found or (selector.sequence is None and not self._is_newest(found[-1], points)):
            self._raise_damage()
        if found:
            return found[-1]
        if not points:
            raise NotFoundError(
                "{dataset} has no point", "take one with 'jbackupd backup {dataset}'", dataset=selector.dataset
            )
        if selector.verified:
            raise NotFoundError(
                "no point of {dataset} was verified whole", "run 'jbackupd verify' first", dataset=selector.dataset
            )
        raise NotFoundError(
            "{dataset} has no such point", "its points are {first} to {last}; see 'jbackupd points list'",
            dataset=selector.dataset, first=points[0].header.sequence, last=points[-1].header.sequence,
        )

    def _selected(self, selector: PointSelector, points: list[StoredPoint]) -> list[StoredPoint]:
        removed = removed_points(self.store, self.verifiers, lenient=True)
        if selector.sequence is not None:
            found = [point for point in points if point.header.sequence == selector.sequence]
            for point in found:
                if point.name in removed:
                    raise removed_error(point.label, removed[point.name])
            return found
        found = [
            point for point in points
            if point.name not in removed and (selector.before is None or point.header.taken_at < selector.before)
        ]
        return self._newest_verified(found) if selector.verified else found

    def _newest_verified(self, points: list[StoredPoint]) -> list[StoredPoint]:
        """Return the last of the points of which every object was read whole and found sound; or nothing."""
        soundness, gone = Soundness(self.store), destroyed_objects(self.store, self.verifiers)
        for point in reversed(points):
            needed = where_now(self.store, self.needed(point.header.dataset, point.header.sequence)) - gone
            if all(map(soundness.is_sound, (ObjectRef(ObjectKind.POINT, point.name), *needed))):
                return [point]
        return []

    def _is_newest(self, chosen: StoredPoint, points: list[StoredPoint]) -> bool:
        """Tell whether no damaged point can lie between a chosen one and the next readable one, or the end."""
        following = [point.header.sequence for point in points if point.header.sequence > chosen.header.sequence]
        if following:
            return following[0] == chosen.header.sequence + 1
        # A readable point names the one before it by its hash: what is named like this is not the last.
        return self.damaged.keys() <= {point.header.previous for point in self._read.values()}

    def needed(self, dataset: DatasetId, sequence: int) -> set[ObjectRef]:
        """Return the objects that a point needs; for sequence 0 none.

        Raises:
            NotFoundError: There is no such point.
        """
        if sequence == 0:
            return set()
        chain = self.chain(dataset)
        if not 0 < sequence <= len(chain):
            raise NotFoundError("{dataset} has no point {sequence}", dataset=dataset, sequence=sequence)
        return self._needs.setdefault(dataset, Needs()).at(chain, sequence)

    def _all(self) -> list[StoredPoint]:
        names = self.store.names(ObjectKind.POINT)
        self.damaged = {}
        for name in names:
            if name not in self._read:
                try:
                    self._read[name] = self._load(name)
                except (DamageError, IdentityError) as error:
                    self.damaged[name] = error
        return [self._read[name] for name in names if name in self._read]

    def _raise_damage(self) -> None:
        for error in self.damaged.values():
            raise error

    def _load(self, name: ObjectName) -> StoredPoint:
        data = self.store.read_checked(ObjectRef(ObjectKind.POINT, name))
        point = decode_point(data)
        self._check_signature(point)
        return StoredPoint(name, point.header, len(data))

    def _check_signature(self, point: Point) -> None:
        verifier = self.verifiers.get(point.header.site)
        if verifier is None:
            raise IdentityError(
                "point {dataset}@{sequence} was signed by the site {site}, which is not known here",
                "add the site's card to the configuration",
                dataset=point.header.dataset, sequence=point.header.sequence, site=point.header.site,
            )
        verify_point(point, verifier)


class OpenPoint:
    """A point opened for reading.

    Args:
        stored: The point.
        body: Its opened body.
        reader: Reads frames of the vault.
        content_hash: The tenant's keyed hashes, to check files.
    """

    def __init__(
        self, stored: StoredPoint, body: PointBody, reader: FrameReader, content_hash: ContentHash
    ) -> None:
        self.stored = stored
        self.body = body
        self.content_hash = content_hash
        self._reader = reader

    @property
    def header(self) -> PointHeader:
        """The point's clear part."""
        return self.stored.header

    def entries(self) -> Iterator[TreeEntry]:
        """Yield the tree's entries in path order.

        Raises:
            DamageError: The tree is damaged; what was yielded before is right as far as it goes.
        """
        for _, record in self.records():
            yield record.entry()

    def records(self) -> Iterator[tuple[bytes, TreeRecord]]:
        """Yield the tree's entries as records, each as its bytes and as what they say; raises as `entries`."""
        decoder = TreeDecoder()
        digest = self.content_hash.file_digest()
        with self.expect(self.body.tree) as reading:
            for piece in reading.read(self.body.tree):
                digest.update(piece)
                yield from decoder.records(piece)
        decoder.finish()
        if digest.digest() != self.body.tree_digest:
            raise DamageError("the tree of {point} is damaged", point=self.stored.label)

    def read(self, extents: Iterable[Extent]) -> Iterator[bytes]:
        """Yield the bytes of extents in order; see `FrameReader.read` for what it raises."""
        return self._reader.read(extents)

    def expect(self, extents: Iterable[Extent]) -> Reading:
        """Begin to read what is known beforehand; see `FrameReader.expect`."""
        return self._reader.expect(extents)


class Vault:
    """One tenant's vault with its keys.

    Args:
        store: The objects.
        catalog: Where frames and chunks are.
        keys: The owner's keyring, or recovered keys.
        verifiers: Sites that may sign points.
    """

    def __init__(
        self, store: ObjectStore, catalog: Catalog, keys: KeySource, *, tenant: TenantId,
        verifiers: Mapping[SiteId, SiteVerifier],
    ) -> None:
        self.store = store
        self.catalog = catalog
        self.keys = keys
        self.tenant = tenant
        self.points = PointList(store, verifiers)
        self.reader = FrameReader(store, catalog, keys, tenant=tenant)

    def open_point(self, stored: StoredPoint, reader: FrameReader | None = None) -> OpenPoint:
        """Open a point.

        Args:
            reader: Another one than the vault's own, to have a cache for itself.

        Raises:
            ErasedError: Its key was destroyed on purpose.
            KeyMissingError: Its session's key is not at hand.
            DamageError: Its body is damaged.
        """
        header = stored.header
        try:
            key = self.keys.object_key(header.session_id, header.point_id, ObjectKind.POINT)
        except KeyMissingError as error:
            raise explained(
                error, stored.name, stored.label, store=self.store, verifiers=self.points.verifiers
            ) from error
        # Read again: a year of points would fill memory with bodies that nobody opens.
        sealed_body = decode_point(self.store.read_checked(ObjectRef(ObjectKind.POINT, stored.name))).sealed_body
        opener = PackOpener.with_object_key(
            key, tenant=self.tenant, pack_id=header.point_id, commitment=body_commitment(sealed_body),
            kind=ObjectKind.POINT,
        )
        return OpenPoint(stored, open_body(opener, sealed_body), reader or self.reader, self.keys.content_hash())
