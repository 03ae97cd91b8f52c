"""Numbers for Prometheus, made from the facts of one moment: what is no longer there leaves no series behind.

Labels are bounded by the configuration: datasets and peers. Rendering takes milliseconds per thousand series, so it
runs in a thread. Times are seconds since 1970; what is not known is NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

import jbackupd
from jbackupd.continuity.drill import Proof
from jbackupd.policy.deadline import Deadline
from jbackupd.service.checkfacts import CheckFacts
from jbackupd.service.jobs import WITHOUT_RESULT, JobRecord
from jbackupd.service.ledger import CopyFacts, DatasetFacts, PointFacts
from jbackupd.service.reclaimfacts import ReclaimFacts
from jbackupd.service.sampling import SampleState
from jbackupd.service.status import Facts, PeerFacts, dataset_deadline, plan_proof, sample_state
from jbackupd.settings.schema import Dataset

CONTENT_TYPE = CONTENT_TYPE_LATEST
_UNKNOWN = float("nan")


@dataclass(frozen=True, slots=True)
class _Row:
    """What a dataset's numbers are made of."""

    dataset: Dataset
    known: DatasetFacts
    result: JobRecord | None
    last: JobRecord | None
    deadline: Deadline
    now: datetime

    def number(self, key: str) -> float:
        """Return a number of the last point's result."""
        value = self.result.result.get(key) if self.result is not None else None
        return float(value) if isinstance(value, (int, float)) else _UNKNOWN


@dataclass(frozen=True, slots=True)
class _CopyRow:
    """What a copy's numbers are made of."""

    copy: CopyFacts
    now: datetime


_DATASET: tuple[tuple[str, str, Callable[[_Row], float]], ...] = (
    ("point_time_seconds", "When the newest point here was taken", lambda r: _taken_at(r.known.newest)),
    ("point_age_seconds", "Age of the newest point here", lambda r: _age(r.known.newest, r.now)),
    ("point_sequence", "Number of the newest point here, 0 for none", lambda r: _sequence(r.known.newest)),
    ("rpo_seconds", "How old a copy may become", lambda r: r.dataset.rpo.total_seconds()),
    ("rpo_met", "1 if every copy is young enough", lambda r: r.deadline is Deadline.MET),
    ("vault_error", "1 if the vault cannot be read", lambda r: r.known.error is not None),
    ("last_backup_failed", "1 if the last run brought no point",
     lambda r: r.last is not None and r.last.state in WITHOUT_RESULT),
    ("last_success_time_seconds", "When a run last brought a point",
     lambda r: _seconds(r.result.ended_at if r.result else None)),
    ("last_backup_source_bytes", "What the last point consists of", lambda r: r.number("source_bytes")),
    ("last_backup_new_object_bytes", "What the last point added to the vault", lambda r: r.number("new_object_bytes")),
    ("last_backup_unreadable_files", "Files the last point could not take", lambda r: r.number("unreadable_files")),
    ("last_backup_changed_files", "Files that changed while the last point read them; they are in it as they were read",
     lambda r: r.number("changed_files")),
    ("last_backup_seconds", "How long the last run took", lambda r: r.number("seconds")),
)
_COPY: tuple[tuple[str, str, Callable[[_CopyRow], float]], ...] = (
    ("copy_age_seconds", "Age of the newest point that a peer has signed for", lambda r: _age(r.copy.point, r.now)),
    ("copy_sequence", "Number of the newest point that a peer has signed for", lambda r: _sequence(r.copy.point)),
    ("copy_received_time_seconds", "When it came in, by the peer's clock", lambda r: _seconds(r.copy.received_at)),
    ("queue_points", "Points that a peer has not signed for", lambda r: r.copy.waiting_points),
    ("queue_bytes", "What these points add", lambda r: r.copy.waiting_bytes),
)
_PEER: tuple[tuple[str, str, Callable[[PeerFacts], float]], ...] = (
    ("link_up", "1 if there is a link to the peer", lambda p: p.state.up),
    ("link_round_trip_seconds", "Last measured", lambda p: _or_unknown(p.state.round_trip_seconds)),
    ("link_limit_bytes_per_second", "Limit in force", lambda p: float("inf") if p.limit is None else p.limit),
    ("refused_datasets", "Datasets that a peer did not take", lambda p: len(p.state.troubles)),
)
_PEER_COUNTERS: tuple[tuple[str, str, Callable[[PeerFacts], float]], ...] = (
    ("link_sent_bytes", "Bytes sent to the peer since the start", lambda p: p.state.bytes_sent),
    ("link_received_bytes", "Bytes that came back on these links", lambda p: p.state.bytes_received),
    ("receipts", "Points that the peer has signed for since the start", lambda p: p.state.delivered_points),
)


_RETENTION: tuple[tuple[str, str, Callable[[ReclaimFacts], float]], ...] = (
    ("reclaim_last_time_seconds", "When the last reclaim ended well", lambda r: _seconds(r.last_run)),
    ("reclaim_error", "1 if the last try removed nothing for an error", lambda r: r.error is not None),
    ("reclaim_frozen", "1 if somebody has stopped all removal", lambda r: r.frozen is not None),
    ("held_points", "Points that somebody holds", lambda r: r.held_points),
    ("overdue_points", "Points that stay although their upper bound is passed", lambda r: r.overdue_points),
)
_RETENTION_COUNTERS: tuple[tuple[str, str, Callable[[ReclaimFacts], float]], ...] = (
    ("removed_points", "Points that retention has given up in this vault", lambda r: r.removed_points),
    ("reclaimed_bytes", "Bytes of objects that were removed from this vault", lambda r: r.freed_bytes),
)

_SOUNDNESS: tuple[tuple[str, str, Callable[[CheckFacts], float]], ...] = (
    ("verify_coverage_ratio", "Part of the objects that was read and sound lately", lambda c: c.coverage.ratio),
    ("verify_unsound_objects", "Objects that the last look found damaged or missing", lambda c: c.coverage.unsound),
    ("verify_oldest_time_seconds", "When the object that waits longest was read; 0 if some never was",
     lambda c: _seconds(c.coverage.oldest)),
    ("verify_error", "1 if the last try could not look", lambda c: c.error is not None),
)


def render(facts: Facts, now: datetime) -> bytes:
    """Return the page. Computes for a while: call it in a thread."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_FactsCollector(facts, now))
    return generate_latest(registry)


class _FactsCollector(Collector):
    """One scrape's values."""

    def __init__(self, facts: Facts, now: datetime) -> None:
        self._facts = facts
        self._now = now

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        facts = self._facts
        info = InfoMetricFamily("jbackupd", "The daemon")
        info.add_metric([], {"version": jbackupd.__version__, "site": facts.settings.site.id})
        yield info
        yield _gauge("start_time_seconds", "When the daemon began", [], [((), _seconds(facts.begun_at))])
        error = float(facts.config_error is not None)
        yield _gauge("config_error", "1 if the configuration of the last reload was not taken", [], [((), error)])
        rows = [((str(dataset.id),), self._row(dataset)) for dataset in facts.settings.datasets]
        for name, text, value in _DATASET:
            yield _gauge(name, text, ["dataset"], [(labels, value(row)) for labels, row in rows])
        copies = [
            ((str(dataset), peer), _CopyRow(copy, self._now))
            for dataset, known in facts.taken.items() for peer, copy in known.copies.items()
        ]
        for name, text, of_copy in _COPY:
            yield _gauge(name, text, ["dataset", "peer"], [(labels, of_copy(row)) for labels, row in copies])
        for name, text, of_peer in _PEER:
            yield _gauge(name, text, ["peer"], [((peer,), of_peer(each)) for peer, each in facts.peers.items()])
        for name, text, of_peer in _PEER_COUNTERS:
            counter = CounterMetricFamily(f"jbackupd_{name}", text, labels=["peer"])
            for peer, each in facts.peers.items():
                counter.add_metric([peer], of_peer(each))
            yield counter
        yield from self._retention()
        yield from self._soundness()
        yield from self._plans()
        yield _gauge("recovery_asking", "Recovery runs that wait for people", [], [((), facts.asking)])
        yield _gauge("declarations_disputed", "Sites about which two declarations contradict each other", [],
                     [((), facts.conflicts)])
        yield _gauge("state_free_bytes", "Free on the disk of the state folder", [],
                     [((), _or_unknown(facts.free_bytes))])
        left = sum(len(trace.found) for drill in facts.drills for trace in drill.traces)
        yield _gauge("drill_leftovers", "What drills have left behind, by their records", [], [((), left)])
        samples = [((str(dataset),), known) for dataset, known in facts.samples.items()]
        yield _gauge(
            "sample_state", "1 for what sample restores have proved of a dataset", ["dataset", "state"],
            [((*labels, state.value), float(sample_state(known, self._now) is state)) for labels, known in samples
             for state in SampleState],
        )
        yield _gauge("sample_time_seconds", "When a sample was last restored", ["dataset"],
                     [(labels, _seconds(known.result.at if known.result else None)) for labels, known in samples])
        feeds = facts.feeds.items()
        yield _gauge("feed_made_time_seconds", "When a feed's newest file was made", ["feed"],
                     [((name,), _seconds(known.last.made_at if known.last else None)) for name, known in feeds])
        yield _gauge("feed_late", "1 if a feed's file is late, or could not be made", ["feed"],
                     [((name,), float(known.state(self._now) in ("late", "failed"))) for name, known in feeds])
        packages = facts.packages.items()
        yield _gauge("package_as_of_time_seconds", "The moment that a package's residents show", ["package"],
                     [((name,), _seconds(known.last.as_of if known.last else None)) for name, known in packages])
        yield _gauge("package_expires_time_seconds", "Until when a package can be opened", ["package"],
                     [((name,), _seconds(known.last.expires_at if known.last else None)) for name, known in packages])
        yield _gauge("package_failed", "1 if a package could not be written", ["package"],
                     [((name,), float(known.error is not None)) for name, known in packages])
        yield _gauge(
            "intake_undeposited_bytes", "Of a desk's journal, what lies at this site alone", ["tenant", "desk"],
            [((place.tenant, place.name), desk.undeposited) for place, desk in facts.deposits.items()],
        )
        held = [((str(dataset),), _age(point, self._now)) for dataset, point in facts.held.items()]
        yield _gauge("held_point_age_seconds", "Age of the newest point held for another site", ["dataset"], held)

    def _retention(self) -> Iterator[Metric]:
        vaults = self._facts.reclaims
        for name, text, of_vault in _RETENTION:
            yield _gauge(name, text, ["tenant"], [((tenant,), of_vault(each)) for tenant, each in vaults.items()])
        for name, text, of_vault in _RETENTION_COUNTERS:
            counter = CounterMetricFamily(f"jbackupd_{name}", text, labels=["tenant"])
            for tenant, each in vaults.items():
                counter.add_metric([tenant], of_vault(each))
            yield counter

    def _soundness(self) -> Iterator[Metric]:
        vaults = self._facts.checks
        for name, text, of_vault in _SOUNDNESS:
            yield _gauge(name, text, ["tenant"], [((tenant,), of_vault(each)) for tenant, each in vaults.items()])
        healed = CounterMetricFamily(
            "jbackupd_healed_objects", "Objects that were taken again from a peer since the start", labels=["tenant"]
        )
        for tenant, each in vaults.items():
            healed.add_metric([tenant], each.healed_objects)
        yield healed

    def _plans(self) -> Iterator[Metric]:
        plans = [
            ((known.plan.id if known.plan else file,), known, *plan_proof(known, self._facts.drills, self._now))
            for file, known in self._facts.plans.items()
        ]
        yield _gauge("plan_ready", "1 if the last look found that the plan could be run here", ["plan"],
                     [(labels, float(known.ready)) for labels, known, _proof, _drill in plans])
        yield _gauge("plan_checked_time_seconds", "When that was", ["plan"],
                     [(labels, _seconds(known.checked_at)) for labels, known, _proof, _drill in plans])
        yield _gauge(
            "plan_proof", "1 for how the plan stands by its drills", ["plan", "state"],
            [((*labels, state.value), float(state is proof)) for labels, _known, proof, _drill in plans
             for state in Proof],
        )
        calls = [(labels, self._facts.calls.get(known.file)) for labels, known, _proof, _drill in plans]
        yield _gauge("plan_drill_called_time_seconds", "When people were called for a drill that nobody has begun",
                     ["plan"], [(labels, _seconds(call.called_at if call else None)) for labels, call in calls])
        yield _gauge("plan_proved_time_seconds", "When a drill last proved it", ["plan"],
                     [(labels, _seconds(drill.ended_at if drill and proof is not Proof.FAILED else None))
                      for labels, _known, proof, drill in plans])

    def _row(self, dataset: Dataset) -> _Row:
        facts, id_ = self._facts, dataset.id
        return _Row(
            dataset, facts.taken.get(id_, DatasetFacts()), facts.last_results.get(id_), facts.last_ends.get(id_),
            dataset_deadline(facts, dataset, self._now), self._now,
        )


def _gauge(name: str, text: str, labels: list[str], samples: Sequence[tuple[tuple[str, ...], float]]) -> Metric:
    family = GaugeMetricFamily(f"jbackupd_{name}", text, labels=labels)
    for values, value in samples:
        family.add_metric(list(values), value)
    return family


def _or_unknown(value: float | None) -> float:
    return _UNKNOWN if value is None else value


def _sequence(point: PointFacts | None) -> float:
    return point.sequence if point is not None else 0


def _taken_at(point: PointFacts | None) -> float:
    return _seconds(point.taken_at if point is not None else None)


def _age(point: PointFacts | None, now: datetime) -> float:
    return _UNKNOWN if point is None else (now - point.taken_at).total_seconds()


def _seconds(moment: datetime | None) -> float:
    return _UNKNOWN if moment is None else moment.timestamp()
