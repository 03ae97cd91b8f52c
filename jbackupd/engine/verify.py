"""Verifying a vault: are all bytes what they must be, and is everything there that a point needs?"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from jbackupd.model.errors import ChainError, DamageError, ErasedError, IdentityError, JbackupdError, KeyMissingError
from jbackupd.model.ids import DatasetId, ObjectKind, ObjectRef
from jbackupd.model.records import EntryType
from jbackupd.vault.erased import destroyed_objects
from jbackupd.vault.expiry import removed_points, where_now
from jbackupd.vault.store import ObjectStore
from jbackupd.vault.vault import PointList, StoredPoint, Vault


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it must be.

    Attributes:
        ref: The object, where it is one.
        points: Labels of the points that need it or are concerned.
        path: The file, where a full verify found one.
    """

    error: JbackupdError
    ref: ObjectRef | None = None
    points: tuple[str, ...] = ()
    path: bytes | None = None


@dataclass(slots=True)
class VerifyReport:
    """What was verified, and what was found."""

    objects: int = 0
    bytes: int = 0
    points: int = 0
    files: int = 0
    findings: list[Finding] = field(default_factory=list)
    closed_points: list[str] = field(default_factory=list)
    """Points whose content was not looked at, since their session's key is not at hand."""
    erased_points: list[str] = field(default_factory=list)
    """Points that nobody can read any more, as a record says."""


def verify_objects(
    store: ObjectStore, points: PointList, datasets: Iterable[DatasetId] | None = None,
    *, progress: Callable[[int], None] = lambda _: None,
) -> VerifyReport:
    """Verify every object against its name, every chain, and that what points need is there. Needs no keys.

    Args:
        datasets: Verify what the points of these need; None means everything in the store.
        progress: Called with the bytes verified so far.
    """
    report = VerifyReport()
    needs = _needs(points, datasets, report)
    # What was destroyed or moved on purpose is not missing; points name it still.
    wanted = where_now(store, needs.spans) - destroyed_objects(store, points.verifiers)
    if datasets is None:
        wanted |= {ObjectRef(kind, name) for kind in ObjectKind for name in store.names(kind)}
    else:
        wanted |= {ObjectRef(ObjectKind.POINT, p.name) for dataset in datasets for p in points.listed(dataset)}
    for ref in sorted(wanted):
        try:
            report.bytes += len(store.read_checked(ref))
        except DamageError as error:
            report.findings.append(Finding(error, ref, needs.labels(ref)))
        report.objects += 1
        progress(report.bytes)
    known = {finding.ref for finding in report.findings}
    report.findings += [
        Finding(error, ref) for name, error in points.damaged.items()
        if (ref := ObjectRef(ObjectKind.POINT, name)) not in known
    ]
    return report


def verify_content(
    vault: Vault, stored: Iterable[StoredPoint], report: VerifyReport,
    *, progress: Callable[[int], None] = lambda _: None,
) -> None:
    """Decode points wholly and compare every file with its digest; adds to a report. Removed points are passed over."""
    removed = removed_points(vault.store, lenient=True)
    for point in stored:
        if point.name in removed:
            continue
        try:
            _verify_point(vault, point, report, progress)
        except ErasedError:
            report.erased_points.append(point.label)
        except KeyMissingError:
            report.closed_points.append(point.label)
        except DamageError as error:
            report.findings.append(Finding(error, points=(point.label,)))


def _verify_point(
    vault: Vault, stored: StoredPoint, report: VerifyReport, progress: Callable[[int], None]
) -> None:
    point = vault.open_point(stored)
    for entry in point.entries():
        if entry.type is not EntryType.FILE:
            continue
        digest = point.content_hash.file_digest()
        try:
            for piece in point.read(entry.extents):
                digest.update(piece)
                report.bytes += len(piece)
            if digest.digest() != entry.digest:
                raise DamageError("the content of a file in {point} is not what was taken", point=stored.label)
        except DamageError as error:
            report.findings.append(Finding(error, points=(stored.label,), path=entry.path))
        report.files += 1
        progress(report.bytes)


class _Needs:
    """Which points need an object: per dataset the first and the last sequence."""

    def __init__(self) -> None:
        self.spans: dict[ObjectRef, dict[DatasetId, tuple[int, int]]] = {}

    def note(self, ref: ObjectRef, dataset: DatasetId, sequence: int) -> None:
        spans = self.spans.setdefault(ref, {})
        spans[dataset] = spans.get(dataset, (sequence, sequence))[0], sequence

    def labels(self, ref: ObjectRef) -> tuple[str, ...]:
        return tuple(
            f"{dataset}@{first}" if first == last else f"{dataset}@{first}..{last}"
            for dataset, (first, last) in self.spans.get(ref, {}).items()
        )


def _needs(points: PointList, datasets: Iterable[DatasetId] | None, report: VerifyReport) -> _Needs:
    """Return what every readable point needs that was not removed; note broken chains."""
    needs = _Needs()
    removed = removed_points(points.store, lenient=True)
    for dataset in points.datasets() if datasets is None else datasets:
        try:
            points.chain(dataset)
        except ChainError as error:
            report.findings.append(Finding(error, points=(str(dataset),)))
        except (DamageError, IdentityError):
            pass  # The damaged point is found with the objects; the others still tell what they need.
        needed: set[ObjectRef] = set()
        for point in points.listed(dataset):
            needed = (needed | set(point.header.added)) - set(point.header.removed)
            if point.name in removed:
                continue
            report.points += 1
            for ref in needed:
                needs.note(ref, dataset, point.header.sequence)
    return needs
