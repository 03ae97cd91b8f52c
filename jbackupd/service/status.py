"""The one page: how every dataset and every peer stands. Pure: facts and the time in, a document out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import jbackupd
from jbackupd.continuity.drill import DrillRecord, Proof, proof_of
from jbackupd.continuity.drillcall import DrillCall
from jbackupd.model.errors import JbackupdError
from jbackupd.model.ids import DatasetId, SiteId, TenantId
from jbackupd.policy.deadline import Deadline, deadline_of, worst
from jbackupd.service.checkfacts import CheckFacts, coverage_document
from jbackupd.service.depositing import DeskDeposits
from jbackupd.service.feeds import FeedFacts
from jbackupd.service.intakeplaces import Place
from jbackupd.service.jobs import JobRecord
from jbackupd.service.ledger import CopyFacts, DatasetFacts, PointFacts
from jbackupd.service.packagekeeping import PackageFacts
from jbackupd.service.planchecks import PlanFacts
from jbackupd.service.queue import QueueState
from jbackupd.service.reclaimfacts import ReclaimFacts
from jbackupd.service.samples import SampleFacts
from jbackupd.service.sampling import SampleResult, SampleState, standing
from jbackupd.settings.schema import Dataset, Settings


@dataclass(frozen=True)
class PeerFacts:
    """A peer: its line, and what the daemon knows apart from the line.

    Attributes:
        limit: Bytes a second in force; None is unlimited.
        links_from: Connections that it has made to this site.
    """

    state: QueueState
    limit: float | None = None
    links_from: int = 0


@dataclass(frozen=True)
class Facts:
    """Everything the page is made of, at one moment.

    Attributes:
        taken: How each dataset of this site stands.
        held: The newest points of datasets that this site holds for others.
        next_runs: When each dataset is due.
        jobs: Jobs that wait or run, as documents.
        last_ends: The last job of each dataset that ended.
        last_results: The last job of each dataset that brought a point.
        config_error: Why the configuration of the last reload was not taken.
        reclaims: How retention stands in the vaults that have one.
        checks: How sound every vault is, held ones too.
        plans: What the last look at each plan found, by its file.
        drills: The records of this site's drills.
        calls: For drills, by the plan's file; one that is not made yet is told to nobody.
        feeds: How each feed stands, by its name.
        packages: How each package stands, by its name.
        samples: What sample restores have proved, by dataset.
        asking: Recovery runs that wait for people.
        conflicts: Sites about which two declarations contradict each other.
        free_bytes: Of the state folder's disk; None if nobody can tell.
        deposits: How far the journals of this site's desks are deposited elsewhere.
    """

    settings: Settings
    begun_at: datetime
    pid: int
    taken: Mapping[DatasetId, DatasetFacts] = field(default_factory=dict)
    held: Mapping[DatasetId, PointFacts | None] = field(default_factory=dict)
    peers: Mapping[SiteId, PeerFacts] = field(default_factory=dict)
    next_runs: Mapping[DatasetId, datetime | None] = field(default_factory=dict)
    jobs: Sequence[Mapping[str, Any]] = ()
    last_ends: Mapping[DatasetId, JobRecord] = field(default_factory=dict)
    last_results: Mapping[DatasetId, JobRecord] = field(default_factory=dict)
    loaded_at: datetime | None = None
    config_error: JbackupdError | None = None
    reclaims: Mapping[TenantId, ReclaimFacts] = field(default_factory=dict)
    checks: Mapping[TenantId, CheckFacts] = field(default_factory=dict)
    plans: Mapping[str, PlanFacts] = field(default_factory=dict)
    drills: Sequence[DrillRecord] = ()
    calls: Mapping[str, DrillCall] = field(default_factory=dict)
    deposits: Mapping[Place, DeskDeposits] = field(default_factory=dict)
    asking: int = 0
    conflicts: int = 0
    free_bytes: int | None = None
    feeds: Mapping[str, FeedFacts] = field(default_factory=dict)
    packages: Mapping[str, PackageFacts] = field(default_factory=dict)
    samples: Mapping[DatasetId, SampleFacts] = field(default_factory=dict)

    def queue_bytes(self, peer: SiteId) -> int:
        """Return what waits for a peer, in bytes."""
        return sum(facts.copies[peer].waiting_bytes for facts in self.taken.values() if peer in facts.copies)


def status_document(facts: Facts, now: datetime) -> dict[str, Any]:
    """Return the page for machines."""
    return {
        "site": facts.settings.site.id,
        "version": jbackupd.__version__,
        "pid": facts.pid,
        "running_since": _time(facts.begun_at),
        "configuration": {
            "loaded_at": _time(facts.loaded_at),
            "error": _error(facts.config_error),
        },
        "datasets": [_dataset(facts, dataset, now) for dataset in facts.settings.datasets],
        "held": [_held(dataset, point, now) for dataset, point in sorted(facts.held.items())],
        "peers": [_peer(facts, peer.id) for peer in facts.settings.peers],
        "jobs": list(facts.jobs),
        "retention": [_retention(tenant, known) for tenant, known in sorted(facts.reclaims.items())],
        "soundness": [_soundness(tenant, known) for tenant, known in sorted(facts.checks.items())],
        "plans": [
            _plan(known, facts.drills, facts.calls.get(file), now) for file, known in sorted(facts.plans.items())
        ],
        "samples": [_sample(dataset, known, now) for dataset, known in sorted(facts.samples.items())],
        "feeds": [_feed(name, known, now) for name, known in sorted(facts.feeds.items())],
        "packages": [_package(name, known, now) for name, known in sorted(facts.packages.items())],
        "intake": [_desk(place, desk) for place, desk in facts.deposits.items()],
    }


def sample_state(known: SampleFacts, now: datetime) -> SampleState:
    """Return whether a dataset's restore is proved now."""
    return standing(known.result, known.within, now)


def _sample(dataset: DatasetId, known: SampleFacts, now: datetime) -> dict[str, Any]:
    result = known.result or SampleResult(SampleState.UNPROVED, now)
    return {
        "dataset": str(dataset), "tenant": dataset.tenant, "state": sample_state(known, now).value,
        "at": _time(result.at if known.result else None), "point": result.point or None, "files": result.files,
        "total_files": result.total_files, "whole": result.whole, "reason": result.reason,
    }


def _feed(name: str, known: FeedFacts, now: datetime) -> dict[str, Any]:
    last = known.last
    return {
        "feed": name, "state": known.state(now), "point": last.point if last else None,
        "made_at": _time(last.made_at if last else None), "rows": last.rows if last else None,
        "due_at": _time(known.due_at), "error": _error(known.error),
    }


def _package(name: str, known: PackageFacts, now: datetime) -> dict[str, Any]:
    last = known.last
    return {
        "package": name, "state": known.state(now).value, "point": last.point if last else None,
        "as_of": _time(last.as_of if last else None), "made_at": _time(last.made_at if last else None),
        "expires_at": _time(last.expires_at if last else None), "residents": last.residents if last else None,
        "newest": known.newest, "error": _error(known.error),
    }


def _desk(place: Place, desk: DeskDeposits) -> dict[str, Any]:
    return {
        "tenant": place.tenant, "desk": place.name, "bytes": desk.size, "undeposited_bytes": desk.undeposited,
        "deposits": [
            {"site": site, "bytes": desk.at.get(site, 0), "error": _error(desk.troubles.get(site))}
            for site in sorted(desk.at.keys() | desk.troubles.keys())
        ],
    }


def dataset_deadline(facts: Facts, dataset: Dataset, now: datetime) -> Deadline:
    """Return how a dataset stands against its RPO: at every peer that must hold it, or here if there is no peer."""
    known = facts.taken.get(dataset.id, DatasetFacts())
    peers = facts.settings.peers_of(dataset)
    if not peers:
        return deadline_of(known.newest.taken_at if known.newest else None, dataset.rpo, now)
    return worst([_copy_deadline(known.copies.get(peer.id, CopyFacts()), dataset, now) for peer in peers])


def _copy_deadline(copy: CopyFacts, dataset: Dataset, now: datetime) -> Deadline:
    return deadline_of(copy.point.taken_at if copy.point else None, dataset.rpo, now)


def _dataset(facts: Facts, dataset: Dataset, now: datetime) -> dict[str, Any]:
    known = facts.taken.get(dataset.id, DatasetFacts())
    last = facts.last_ends.get(dataset.id)
    result = facts.last_results.get(dataset.id)
    return {
        "id": str(dataset.id),
        "name": dataset.name,
        "tier": dataset.tier,
        "schedule": str(dataset.schedule),
        "rpo_seconds": int(dataset.rpo.total_seconds()),
        "deadline": dataset_deadline(facts, dataset, now).value,
        "newest": _point(known.newest, now),
        "next_run": _time(facts.next_runs.get(dataset.id)),
        "last_job": _job(last),
        "unreadable_files": result.result.get("unreadable_files", 0) if result else None,
        "error": _error(known.error),
        "copies": [
            _copy(peer.id, known.copies.get(peer.id, CopyFacts()), dataset, now)
            for peer in facts.settings.peers_of(dataset)
        ],
    }


def _copy(peer: SiteId, copy: CopyFacts, dataset: Dataset, now: datetime) -> dict[str, Any]:
    return {
        "peer": peer,
        "point": _point(copy.point, now),
        "received_at": _time(copy.received_at),
        "deadline": _copy_deadline(copy, dataset, now).value,
        "waiting_points": copy.waiting_points,
        "waiting_bytes": copy.waiting_bytes,
        "waiting_since": _time(copy.waiting_since),
    }


def _held(dataset: DatasetId, point: PointFacts | None, now: datetime) -> dict[str, Any]:
    return {"id": str(dataset), "newest": _point(point, now)}


def _retention(tenant: TenantId, known: ReclaimFacts) -> dict[str, Any]:
    return {
        "tenant": tenant, "last_run": _time(known.last_run), "next_run": _time(known.next_run),
        "error": _error(known.error), "frozen": known.frozen, "removed_points": known.removed_points,
        "freed_bytes": known.freed_bytes, "held_points": known.held_points, "overdue_points": known.overdue_points,
    }


def _soundness(tenant: TenantId, known: CheckFacts) -> dict[str, Any]:
    return {
        "tenant": tenant, "last_look": _time(known.last_look), "next_run": _time(known.next_run),
        "error": _error(known.error), "healed_objects": known.healed_objects, **coverage_document(known.coverage),
    }


def plan_proof(known: PlanFacts, drills: Sequence[DrillRecord], now: datetime) -> tuple[Proof, DrillRecord | None]:
    """Return how a plan stands by its drills; one that cannot be read was never proved."""
    if known.plan is None:
        return Proof.NEVER, None
    within = known.plan.prove_within.total_seconds()
    return proof_of(known.digest, known.plan.id, drills, within_seconds=within, now=now)


def _plan(
    known: PlanFacts, drills: Sequence[DrillRecord], call: DrillCall | None, now: datetime
) -> dict[str, Any]:
    proof, drill = plan_proof(known, drills, now)
    report = (drill.report if drill is not None else None) or {}
    return {
        "file": known.file, "plan": known.plan.id if known.plan else None,
        "title": known.plan.title if known.plan else None, "checked_at": _time(known.checked_at),
        "ready": known.ready, "error": _error(known.error),
        "findings": [
            {"step": finding.step or None, "text": finding.text.format(**finding.fields)} for finding in known.bad
        ],
        "proof": proof.value, "proved_at": _time(drill.ended_at if drill and proof is not Proof.FAILED else None),
        "drill_called_at": _time(call.called_at if call else None),
        "drill": drill.name if drill else None, "rto_seconds": report.get("rto_seconds"),
        "rpo_seconds": report.get("rpo_seconds"),
        "rto_target_seconds": known.plan.rto.total_seconds() if known.plan else None,
    }


def _peer(facts: Facts, peer: SiteId) -> dict[str, Any]:
    known = facts.peers.get(peer, PeerFacts(QueueState()))
    state, sending = known.state, known.state.sending
    return {
        "id": peer,
        "link": "up" if state.up else "down",
        "since": _time(state.changed_at),
        "error": _error(state.error),
        "round_trip_seconds": state.round_trip_seconds,
        "limit_bytes_per_second": known.limit,
        "links_from": known.links_from,
        "queue_bytes": facts.queue_bytes(peer),
        "receipts": state.delivered_points,
        "bytes_sent": state.bytes_sent,
        "bytes_received": state.bytes_received,
        "sending": None if sending is None else {
            "dataset": str(sending.dataset), "sequence": sending.sequence, "bytes_done": sending.bytes_done,
            "bytes_total": sending.bytes_total,
        },
        "troubles": [
            {"dataset": str(dataset), **(_error(error) or {})} for dataset, error in sorted(state.troubles.items())
        ],
    }  # fmt: skip


def _point(point: PointFacts | None, now: datetime) -> dict[str, Any] | None:
    if point is None:
        return None
    return {
        "sequence": point.sequence,
        "taken_at": _time(point.taken_at),
        "age_seconds": round((now - point.taken_at).total_seconds()),
        "incomplete": point.incomplete,
    }


def _job(record: JobRecord | None) -> dict[str, Any] | None:
    if record is None:
        return None
    failure = record.failure
    return {
        "number": record.number,
        "state": record.state.value,
        "reason": record.reason,
        "begun_at": _time(record.begun_at),
        "ended_at": _time(record.ended_at),
        "error": None if failure is None else {
            "code": failure.code, "message": failure.message, "hint": failure.hint, "fields": dict(failure.fields),
        },
    }  # fmt: skip


def _error(error: JbackupdError | None) -> dict[str, Any] | None:
    """Return an error so that whoever shows it can translate it."""
    if error is None:
        return None
    fields = {name: value if isinstance(value, (int, str)) else str(value) for name, value in error.fields.items()}
    return {"code": error.code, "message": error.message, "hint": error.hint, "fields": fields}


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
