"""Ask every site what it holds, and find out which point is the newest and who is not telling the truth.

A site that has never been there before can trust no single answer: a peer may show an old state. But receipts are
signed: whoever gave one for point n and now shows less has stepped back, and two names for one sequence number are a
fork. The newest point is the one with the highest sequence that anybody shows with a right signature; a receipt for a
higher one says that something newer exists with a site that did not answer. What the survey says is evidence for
people: it decides nothing.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from jbackupd.codec.signing import SiteVerifier
from jbackupd.engine.replicate import Offload
from jbackupd.format.point import PointHeader, decode_point, verify_point
from jbackupd.format.receipt import Receipt, decode_receipt, verify_receipt
from jbackupd.model.errors import ChainError, FormatError, IdentityError, JbackupdError, NotFoundError, PeerError
from jbackupd.model.ids import DatasetId, ObjectKind, ObjectName, ObjectRef, SiteId, TenantId
from jbackupd.vault.peer import Head, Peer
from jbackupd.vault.receipts import ReceiptList
from jbackupd.vault.store import ObjectStore
from jbackupd.vault.vault import PointList

ANSWER_SECONDS = 60


@dataclass(frozen=True, slots=True)
class SeenPoint:
    """A point that a site shows as its newest; its signature fits."""

    name: ObjectName
    header: PointHeader


@dataclass(frozen=True, slots=True)
class Sighting:
    """What one site answered.

    Attributes:
        points: The newest point of each dataset that it shows.
        receipts: Receipts that it has, its own and others'; their signatures fit.
        error: Why there is no answer, or what was wrong with a part of it; None when all is well.
        answered: Whether it answered at all.
    """

    site: SiteId
    answered: bool
    points: tuple[SeenPoint, ...] = ()
    receipts: tuple[Receipt, ...] = ()
    error: JbackupdError | None = None


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest point of a dataset that anybody shows.

    Attributes:
        holders: Sites that show exactly this point.
        receipted_by: Sites that have signed for exactly this point.
    """

    point: SeenPoint
    holders: tuple[SiteId, ...]
    receipted_by: tuple[SiteId, ...]


@dataclass(frozen=True, slots=True)
class Survey:
    """What all sites together say.

    Attributes:
        alarms: Forks, steps back, points that nobody shows any more, wrong signatures: for people to look at.
    """

    sightings: tuple[Sighting, ...]
    newest: Mapping[DatasetId, Newest]
    alarms: tuple[JbackupdError, ...]


async def survey(
    peers: Mapping[SiteId, Peer | JbackupdError], tenant: TenantId, *, verifiers: Mapping[SiteId, SiteVerifier],
    own: tuple[SiteId, ObjectStore] | None = None, offload: Offload = asyncio.to_thread,
) -> Survey:
    """Ask all sites for the newest points of a tenant, and judge the answers together.

    Args:
        peers: The link to each site, or why there is none: that is evidence too.
        tenant: Whose points.
        verifiers: The pinned keys of all sites.
        own: This site and its store of the tenant, if it has one.
        offload: Runs blocking work.
    """
    sightings = list(await asyncio.gather(*(_ask(site, peer, tenant, verifiers) for site, peer in peers.items())))
    if own is not None:
        sightings.append(await offload(look, *own, tenant, verifiers))
    return judge(sightings)


def look(
    site: SiteId, store: ObjectStore, tenant: TenantId, verifiers: Mapping[SiteId, SiteVerifier]
) -> Sighting:
    """Return what a store of this machine shows, with every receipt in it."""
    points = PointList(store, verifiers)
    seen = []
    for dataset in points.datasets():
        newest = points.listed(dataset)[-1]
        seen.append(SeenPoint(newest.name, newest.header))
    names = [name for name, receipt in ReceiptList(store).all() if receipt.dataset.tenant == tenant]
    data = [store.read(ObjectRef(ObjectKind.RECEIPT, name)) for name in names]
    receipts, error = _receipts(data, verifiers)
    return Sighting(site, True, tuple(seen), receipts, error)


def judge(sightings: Sequence[Sighting]) -> Survey:
    """Put the answers of all sites side by side; pure."""
    receipts = {receipt for sighting in sightings for receipt in sighting.receipts}
    newest: dict[DatasetId, SeenPoint] = {}
    for point in (point for sighting in sightings for point in sighting.points):
        best = newest.get(point.header.dataset)
        if best is None or _rank(point) > _rank(best):
            newest[point.header.dataset] = point
    alarms: list[JbackupdError] = [s.error for s in sightings if s.answered and s.error is not None]
    alarms += [*_forks(sightings, receipts), *_steps_back(sightings, receipts), *_unseen(newest, receipts)]
    return Survey(
        tuple(sightings),
        {dataset: _supported(point, sightings, receipts) for dataset, point in sorted(newest.items())},
        tuple(alarms),
    )


def _rank(point: SeenPoint) -> tuple[int, bytes]:
    return point.header.sequence, point.name


def _supported(point: SeenPoint, sightings: Sequence[Sighting], receipts: set[Receipt]) -> Newest:
    holders = {s.site for s in sightings if any(seen.name == point.name for seen in s.points)}
    signers = {receipt.holder for receipt in receipts if receipt.point == point.name}
    return Newest(point, tuple(sorted(holders)), tuple(sorted(signers)))


def _forks(sightings: Sequence[Sighting], receipts: set[Receipt]) -> Iterator[ChainError]:
    """Yield an alarm for each sequence number that two points claim, by being shown, receipted or named before."""
    claims: dict[tuple[DatasetId, int], dict[ObjectName, set[SiteId]]] = defaultdict(lambda: defaultdict(set))
    for sighting in sightings:
        for seen in sighting.points:
            header = seen.header
            claims[header.dataset, header.sequence][seen.name].add(sighting.site)
            if header.sequence > 1:
                claims[header.dataset, header.sequence - 1][header.previous].add(sighting.site)
    for receipt in receipts:
        claims[receipt.dataset, receipt.sequence][receipt.point].add(receipt.holder)
    for (dataset, sequence), names in sorted(claims.items()):
        if len(names) > 1:
            yield ChainError(
                "{dataset}@{sequence} exists {count} times, at {sites}: a fork",
                "people must decide which one is right before anything is restored from it",
                dataset=dataset, sequence=sequence, count=len(names),
                sites="; ".join(", ".join(sorted(sites)) for _, sites in sorted(names.items())),
            )


def _steps_back(sightings: Sequence[Sighting], receipts: set[Receipt]) -> Iterator[ChainError]:
    """Yield an alarm for each site that has signed for a newer point than it shows."""
    for sighting in (sighting for sighting in sightings if sighting.answered):
        shown = {seen.header.dataset: seen.header.sequence for seen in sighting.points}
        signed = {receipt for receipt in receipts if receipt.holder == sighting.site}
        for dataset, sequence in sorted(_highest(signed).items()):
            if shown.get(dataset, 0) < sequence:
                yield ChainError(
                    "{site} has stepped back: it signed for {dataset}@{sequence}, but shows {shown}",
                    "do not trust its data before its officers have explained this",
                    site=sighting.site, dataset=dataset, sequence=sequence, shown=shown.get(dataset, 0),
                )


def _unseen(newest: Mapping[DatasetId, SeenPoint], receipts: set[Receipt]) -> Iterator[ChainError]:
    """Yield an alarm for each dataset of which a newer point exists than anybody shows."""
    for dataset, sequence in sorted(_highest(receipts).items()):
        shown = newest[dataset].header.sequence if dataset in newest else 0
        if sequence > shown:
            signers = sorted(r.holder for r in receipts if (r.dataset, r.sequence) == (dataset, sequence))
            yield ChainError(
                "{dataset}@{sequence} exists, signed for by {sites}, but the newest that is shown is {shown}",
                "reach one of these sites before an older point is restored",
                dataset=dataset, sequence=sequence, sites=", ".join(signers), shown=shown,
            )


def _highest(receipts: set[Receipt]) -> dict[DatasetId, int]:
    found: dict[DatasetId, int] = {}
    for receipt in receipts:
        found[receipt.dataset] = max(receipt.sequence, found.get(receipt.dataset, 0))
    return found


async def _ask(
    site: SiteId, peer: Peer | JbackupdError, tenant: TenantId, verifiers: Mapping[SiteId, SiteVerifier]
) -> Sighting:
    if isinstance(peer, JbackupdError):
        return Sighting(site, False, error=peer)
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            heads = await peer.heads(tenant)
    except NotFoundError:
        return Sighting(site, True)
    except JbackupdError as error:
        return Sighting(site, False, error=error)
    except TimeoutError:
        late = PeerError("{site} did not answer within {seconds} seconds", site=site, seconds=ANSWER_SECONDS)
        return Sighting(site, False, error=late)
    try:
        points = tuple(_seen(head, site, verifiers) for head in heads)
    except JbackupdError as error:
        return Sighting(site, True, error=error)
    receipts, wrong = _receipts([data for head in heads for data in head.receipts], verifiers)
    return Sighting(site, True, points, receipts, wrong)


def _seen(head: Head, site: SiteId, verifiers: Mapping[SiteId, SiteVerifier]) -> SeenPoint:
    """Return the point of a head.

    Raises:
        IdentityError: It is not signed by the site that it names, or is not what the head says.
    """
    point = decode_point(head.point)
    verifier = verifiers.get(point.header.site)
    if verifier is None:
        raise IdentityError("{site} shows a point of the unknown site {maker}", site=site, maker=point.header.site)
    verify_point(point, verifier)
    if (point.header.dataset, point.header.sequence) != (head.dataset, head.sequence):
        raise IdentityError("{site} shows a point that is not the one it speaks of", site=site)
    return SeenPoint(point.name, point.header)


def _receipts(
    data: Sequence[bytes], verifiers: Mapping[SiteId, SiteVerifier]
) -> tuple[tuple[Receipt, ...], JbackupdError | None]:
    """Return the receipts whose signatures fit, and what was wrong with the last that did not."""
    good: list[Receipt] = []
    wrong: JbackupdError | None = None
    for each in data:
        try:
            verifier = verifiers.get(decode_receipt(each).holder)
            if verifier is not None:
                good.append(verify_receipt(each, verifier))
        except (FormatError, IdentityError) as error:
            wrong = error
    return tuple(good), wrong
