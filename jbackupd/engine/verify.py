"""Verifying a vault: are all bytes what they must be, and is everything there that a point needs?

A look at an object reads it whole. With an allowance the objects that wait longest are looked at first, as far as it
goes; `vault.soundness` remembers the looks, so that a few minutes every night come round to everything.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from jbackupd.model.clock import Clock, SystemClock
from jbackupd.model.errors import (
    ChainError,
    DamageError,
    ErasedError,
    IdentityError,
    JbackupdError,
    KeyMissingError,
    NoSpaceError,
    StorageError,
)
from jbackupd.model.ids import DatasetId, ObjectKind, ObjectRef
from jbackupd.model.records import EntryType
from jbackupd.vault.erased import destroyed_objects
from jbackupd.vault.expiry import damaged_expiries, removed_points, where_now
from jbackupd.vault.soundness import Soundness
from jbackupd.vault.store import ObjectStore
from jbackupd.vault.vault import PointList, StoredPoint, Vault

READERS = 2
"""Hashing and the disk take turns; more than two only make a disk with heads seek."""
SAVE_SECONDS = 60.0
"""A kill costs at most so much looking."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """How much a rolling verify may take; at least one object is always looked at.

    Attributes:
        seconds: Of time; None for any.
        bytes: Of objects; None for any.
    """

    seconds: float | None = None
    bytes: int | None = None


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
    left_objects: int = 0
    """Objects that the allowance did not reach."""


def verify_objects(
    store: ObjectStore, points: PointList, datasets: Iterable[DatasetId] | None = None, *,
    soundness: Soundness | None = None, allowance: Allowance | None = None, clock: Clock | None = None,
    progress: Callable[[int], None] = lambda _: None, stopped: Callable[[], bool] = lambda: False,
) -> VerifyReport:
    """Verify every object against its name, every chain, and that what points need is there. Needs no keys.

    Args:
        datasets: Verify what the points of these need; None means everything in the store.
        soundness: Remembers the looks, and says which objects wait longest.
        allowance: Only so much; all without it.
        clock: Dates the looks and measures the allowance.
        progress: Called with the bytes verified so far.
        stopped: Asked between objects; what is left then waits for the next run.

    Raises:
        StorageError: With an allowance: the looks cannot be remembered, so that the next run would read the same again.
    """
    clock, report = clock or SystemClock(), VerifyReport()
    needs = needs_of(points, datasets, report)
    wanted = wanted_of(store, points, needs, datasets, soundness)
    order = sorted(wanted) if soundness is None or allowance is None else soundness.oldest_first(wanted)
    goes_on = _gauge(allowance or Allowance(), clock, report)
    saved_at = clock.monotonic()
    for ref, size, error in _looks(store, order, lambda: goes_on() and not stopped()):
        report.objects += 1
        report.bytes += size
        if error is not None:
            report.findings.append(Finding(error, ref, needs.labels(ref)))
        if soundness is not None:
            soundness.note(ref, clock.now(), size, sound=error is None)
            if clock.monotonic() - saved_at > SAVE_SECONDS:
                _remember(soundness, None, allowance)
                saved_at = clock.monotonic()
        progress(report.bytes)
    report.left_objects = len(order) - report.objects
    if soundness is not None:
        _remember(soundness, wanted if datasets is None else None, allowance)
    report.findings += [Finding(error) for error in damaged_expiries(store)]
    known = {finding.ref for finding in report.findings}
    report.findings += [
        Finding(error, ref) for name, error in points.damaged.items()
        if (ref := ObjectRef(ObjectKind.POINT, name)) not in known
    ]
    return report


def wanted_of(
    store: ObjectStore, points: PointList, needs: Needs, datasets: Iterable[DatasetId] | None = None,
    soundness: Soundness | None = None,
) -> set[ObjectRef]:
    """Return the objects that must be there and sound: those that points need, and all others that are there.

    Args:
        datasets: Only what these need, and their points.
        soundness: Remembers the points that were there: nothing ever removes one, and nobody else misses the newest.
    """
    # What was destroyed or moved on purpose is not missing; points name it still.
    wanted = where_now(store, needs.spans) - destroyed_objects(store, points.verifiers)
    if datasets is None:
        wanted |= soundness.known(ObjectKind.POINT) if soundness is not None else set()
        return wanted | {ObjectRef(kind, name) for kind in ObjectKind for name in store.names(kind)}
    return wanted | {ObjectRef(ObjectKind.POINT, p.name) for dataset in datasets for p in points.listed(dataset)}


def look_at(store: ObjectStore, ref: ObjectRef) -> tuple[int, JbackupdError | None]:
    """Read an object whole; return how many bytes were read, and what is wrong with it."""
    try:
        return len(store.read_checked(ref)), None
    except (DamageError, StorageError) as error:
        return 0, error


def _looks(
    store: ObjectStore, order: Sequence[ObjectRef], goes_on: Callable[[], bool]
) -> Iterator[tuple[ObjectRef, int, JbackupdError | None]]:
    """Look at objects in order with several readers, until told to end; yields in order."""
    with ThreadPoolExecutor(READERS, "verify") as pool:
        under_way: deque[tuple[ObjectRef, Future[tuple[int, JbackupdError | None]]]] = deque()
        for ref in order:
            if len(under_way) == READERS:
                looked, result = under_way.popleft()
                yield looked, *result.result()
            if not goes_on():
                break
            under_way.append((ref, pool.submit(look_at, store, ref)))
        for looked, result in under_way:
            yield looked, *result.result()


def _remember(soundness: Soundness, there: set[ObjectRef] | None, allowance: Allowance | None) -> None:
    try:
        soundness.save(there)
    except (StorageError, NoSpaceError):
        # Who looks at everything may do so on a medium that cannot be written.
        if allowance is not None:
            raise


def _gauge(allowance: Allowance, clock: Clock, report: VerifyReport) -> Callable[[], bool]:
    """Return what tells whether there is something left of an allowance."""
    begun = clock.monotonic()

    def goes_on() -> bool:
        if not report.objects:
            return True
        if allowance.seconds is not None and clock.monotonic() - begun >= allowance.seconds:
            return False
        return allowance.bytes is None or report.bytes < allowance.bytes

    return goes_on


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


class Needs:
    """Which points need an object: per dataset the first and the last sequence."""

    def __init__(self) -> None:
        self.spans: dict[ObjectRef, dict[DatasetId, tuple[int, int]]] = {}

    def note(self, ref: ObjectRef, dataset: DatasetId, sequence: int) -> None:
        """Say that a point needs an object; called in sequence."""
        spans = self.spans.setdefault(ref, {})
        spans[dataset] = spans.get(dataset, (sequence, sequence))[0], sequence

    def labels(self, ref: ObjectRef) -> tuple[str, ...]:
        """Return the spans of points that need an object, for people."""
        return tuple(
            f"{dataset}@{first}" if first == last else f"{dataset}@{first}..{last}"
            for dataset, (first, last) in self.spans.get(ref, {}).items()
        )


def needs_of(points: PointList, datasets: Iterable[DatasetId] | None, report: VerifyReport) -> Needs:
    """Return what every readable point needs that was not removed; counts the points and notes broken chains."""
    needs = Needs()
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
            if point.header.sequence > 1:
                needs.note(ObjectRef(ObjectKind.POINT, point.header.previous), dataset, point.header.sequence - 1)
            needed = (needed | set(point.header.added)) - set(point.header.removed)
            if point.name in removed:
                continue
            report.points += 1
            for ref in needed:
                needs.note(ref, dataset, point.header.sequence)
    return needs
