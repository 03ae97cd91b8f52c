"""What is known of a site before it is declared lost: asked of other sites, read from the vaults, seen by people."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from jbackupd.codec.signing import SiteVerifier
from jbackupd.continuity.decision import Decisions, Entry
from jbackupd.model.clock import Clock
from jbackupd.model.errors import JbackupdError
from jbackupd.model.ids import SiteId, TenantId
from jbackupd.protocol.messages import ContactIs
from jbackupd.service.live import Live
from jbackupd.service.peers import PeerSet
from jbackupd.service.queue import Line
from jbackupd.service.wiring import existing_store, tenants_here
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.receipts import ReceiptList
from jbackupd.vault.soundness import Soundness
from jbackupd.vault.vault import PointList

ASK_SECONDS = 5.0
"""A site with a line answers within a round trip; nobody waits for the others before a declaration is begun."""
EVIDENCE_SCHEMA = 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Evidence:
    """Collects the evidence about a site.

    Args:
        known: What this site knows by itself, under `sites` and `held`; see `Succession.evidence`.
        line: Gives a line to a peer.
    """

    def __init__(
        self, live: Live, files: PosixFiles, peers: PeerSet, decisions: Decisions, *,
        known: Callable[[], dict[str, Any]], line: Callable[[SiteId], Awaitable[Line]], clock: Clock,
    ) -> None:
        self._live = live
        self._files = files
        self._peers = peers
        self._decisions = decisions
        self._known = known
        self._line = line
        self._clock = clock

    async def of(self, site: SiteId) -> dict[str, Any]:
        """Return all that is known of a site, for machines; takes up to ASK_SECONDS."""
        others = [peer for peer in self._live.cards if peer != site]
        own = self._peers.met(site)
        reading = asyncio.to_thread(local_evidence, self._files, self._live.verifiers, self._decisions, site)
        local, *asked = await asyncio.gather(reading, *(self._ask(peer, site) for peer in others))
        return {
            **local, "about": site, "by": self._live.identity.site, "at": _time(self._clock.now()), **self._known(),
            "contacts": [_contact(self._live.identity.site, own), *asked],
        }

    async def _ask(self, peer: SiteId, about: SiteId) -> dict[str, Any]:
        try:
            async with asyncio.timeout(ASK_SECONDS):
                return _contact(peer, await (await self._line(peer)).contact(about))
        except TimeoutError:
            return _contact(peer, None, "no answer")
        except JbackupdError as error:
            return _contact(peer, None, str(error))


def local_evidence(
    files: PosixFiles, verifiers: Mapping[SiteId, SiteVerifier], decisions: Decisions, site: SiteId
) -> dict[str, Any]:
    """Return what the disk tells of a site: the newest points that it made, and what people noted. Blocks."""
    case = decisions.case(site)
    return {
        "schema": EVIDENCE_SCHEMA,
        "datasets": [found for tenant in tenants_here(files) for found in _datasets(files, verifiers, tenant, site)],
        "suspected_at": _time(case.suspected_at),
        "checklist": [_entry_document(entry) for entry in case.observations],
    }


def _datasets(
    files: PosixFiles, verifiers: Mapping[SiteId, SiteVerifier], tenant: TenantId, site: SiteId
) -> Iterator[dict[str, Any]]:
    """Yield the newest point that a site made of each dataset, who signed for what, and when it was verified here."""
    try:
        store = existing_store(files, tenant)
        points, receipts, looks = PointList(store, verifiers), ReceiptList(store), Soundness(store)
        for dataset in points.datasets():
            newest = points.listed(dataset)[-1]
            if newest.header.site != site:
                continue
            needed = points.needed(dataset, newest.header.sequence)
            cover = looks.coverage(needed, _EPOCH)
            signed = [receipt for _name, receipt in receipts.all() if receipt.dataset == dataset]
            best = {receipt.holder: receipt for receipt in sorted(signed, key=lambda each: each.sequence)}
            yield {
                "dataset": str(dataset), "sequence": newest.header.sequence,
                "taken_at": _time(newest.header.taken_at), "incomplete": newest.header.incomplete,
                "receipts": [
                    {"site": holder, "sequence": receipt.sequence, "at": _time(receipt.received_at)}
                    for holder, receipt in sorted(best.items())
                ],
                "objects": cover.objects, "verified": cover.recent, "unsound": cover.unsound,
                "verified_since": _time(cover.oldest),
            }
    except JbackupdError as error:
        yield {"dataset": str(tenant), "error": str(error)}


def _contact(site: SiteId, met: ContactIs | None, error: str | None = None) -> dict[str, Any]:
    return {
        "site": site, "up": None if met is None else met.up, "error": error,
        "last_contact": None if met is None else _time(_moment(met.at)),
        "last_receipt": None if met is None else _time(_moment(met.receipt)),
    }


def _entry_document(entry: Entry) -> dict[str, Any]:
    return {"at": _time(entry.at), "item": entry.item, "says": entry.says, "words": entry.words, "by": entry.by}


def _moment(micros: int) -> datetime | None:
    try:
        return _EPOCH + timedelta(microseconds=micros) if micros else None
    except OverflowError:
        # A peer's clock, or a lie: no evidence.
        return None


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds")
