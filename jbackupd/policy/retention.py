"""Which points of a dataset stay, which go, and why. Pure: points, rules and the time in, decisions out.

Points are ordered by their sequence numbers, never by the times that they bear: a source's clock may be wrong, and a
point "of 2036" must not push this year's out. Times only say into which day, week, month or fiscal year a point falls.

===================================================  ==========================================================
the newest point, the newest complete one            always stay
the newest `min_points` complete points              always stay
held, or not yet at every peer                       stays; told where the upper bound is passed
younger than `min_age`                               stays
older than the upper bound (`max_age`, disposal)     goes
newest of one of the newest N days, weeks, ...       stays
no rule of that kind at all                          stays
else                                                 goes
===================================================  ==========================================================

The first row that fits decides. Complete points are counted by themselves, so that an incomplete one never takes the
place of a complete one; then all points are counted, so that a dataset that is never complete is thinned as well.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from enum import Enum

FISCAL_MONTH = 4
"""April 1 begins the fiscal year, and a 保存年限 is counted from the April 1 after the record was made."""
CLOCK_BACK_MAX = timedelta(hours=26)
"""A clock that is further behind the newest point was set back; a wrong time zone alone makes up to 26 hours."""
CLOCK_AHEAD_MAX = timedelta(days=40)
"""Nothing happened for longer: either nobody backs up, or the clock jumped. Monthly points are 31 days apart."""


class Reason(Enum):
    """Why a point stays or goes; the words are part of the expiry object's format."""

    NEWEST = "newest"
    FEW = "few"
    HELD = "held"
    WAITING = "waiting"
    YOUNG = "young"
    LAST = "last"
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    YEARLY = "yearly"
    NO_RULE = "no-rule"
    TOO_OLD = "too-old"
    NOT_KEPT = "not-kept"


@dataclass(frozen=True, slots=True)
class Rules:
    """What a dataset's retention says; all zeros keep everything.

    Attributes:
        last: So many newest points.
        daily: The newest point of each of so many newest days that have one; the others likewise.
        yearly: Fiscal years.
        min_points: So many newest complete points never go.
        min_age: No younger point goes.
        max_age: Every older point goes, but for those that always stay.
        disposal_years: Points go so many years after the April 1 that follows them; 0 for never.
    """

    last: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    min_points: int = 1
    min_age: timedelta = timedelta(0)
    max_age: timedelta | None = None
    disposal_years: int = 0

    @property
    def counts(self) -> bool:
        """Whether points are chosen by counting."""
        return any((self.last, self.daily, self.weekly, self.monthly, self.yearly))

    @property
    def keeps_everything(self) -> bool:
        """Whether no point ever goes."""
        return not self.counts and self.max_age is None and not self.disposal_years


@dataclass(frozen=True, slots=True)
class Candidate:
    """A point as retention sees it."""

    sequence: int
    taken_at: datetime
    incomplete: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What happens to a point.

    Attributes:
        reasons: All that speak for it if it stays; the one why it goes otherwise.
        overdue: It stays although the upper bound is passed: somebody must know.
    """

    point: Candidate
    stays: bool
    reasons: tuple[Reason, ...]
    overdue: bool = False


@dataclass(frozen=True, slots=True)
class Removal:
    """A point that will go.

    Attributes:
        at: The first look at which it goes.
    """

    point: Candidate
    at: datetime
    reason: Reason


def decide(
    points: Collection[Candidate], rules: Rules, *, now: datetime, zone: tzinfo, held: Collection[int] = (),
    waiting: Collection[int] = (),
) -> list[Decision]:
    """Return what happens to each point of a dataset, in sequence.

    Args:
        points: All that are there; in any order.
        now: Aware. It must have been looked at: see `clock_doubt`.
        zone: The site's own time, which days and years mean.
        held: Sequence numbers of held points.
        waiting: Of points that some peer has not signed for.
    """
    ordered = sorted(points, key=lambda point: point.sequence)
    always = _always(ordered, rules, held, waiting)
    counted = _counted(ordered, rules, zone)
    return [_decision(point, rules, now, zone, always, counted) for point in ordered]


def disposed_at(point: Candidate, rules: Rules, zone: tzinfo) -> datetime | None:
    """Return when a point passes the upper bound, aware UTC; None for never."""
    bounds = []
    if rules.max_age is not None:
        bounds.append(point.taken_at + rules.max_age)
    if rules.disposal_years:
        following = fiscal_year(point.taken_at, zone) + 1
        bounds.append(datetime(following + rules.disposal_years, FISCAL_MONTH, 1, tzinfo=zone))
    return min(bounds).astimezone(UTC) if bounds else None


def fiscal_year(moment: datetime, zone: tzinfo) -> int:
    """Return the fiscal year, from April to March, that a moment lies in."""
    local = moment.astimezone(zone)
    return local.year if local.month >= FISCAL_MONTH else local.year - 1


def clock_doubt(seen: Sequence[datetime], now: datetime) -> datetime | None:
    """Return the last moment that is believed if the clock may have jumped since, else None.

    Nothing is removed then until a person has looked at the clock: one that runs ten years ahead makes everything old.

    Args:
        seen: What bears witness, in the order in which it happened: the time of the last look that was believed, then
            the points taken since. Empty at the very first look.
        now: What the clock says.
    """
    believed: datetime | None = None
    for moment in (*seen, now):
        if believed is not None and not -CLOCK_BACK_MAX <= moment - believed <= CLOCK_AHEAD_MAX:
            return believed
        believed = moment if believed is None else max(believed, moment)
    return None


def forecast(
    points: Collection[Candidate], rules: Rules, *, now: datetime, zone: tzinfo, until: datetime,
    every: timedelta | None, look_every: timedelta = timedelta(days=1), held: Collection[int] = (),
) -> list[Removal]:
    """Return which of the points go until a moment, and when, if points go on being taken.

    Args:
        until: The last look; aware.
        every: A complete point is taken so often from now on; None: no more are.
        look_every: How often retention looks.
    """
    there = {point.sequence: point for point in points}
    known, number = set(there), max(there, default=0)
    removals: list[Removal] = []
    taken, look = now, now
    while look <= until and known:
        while every is not None and taken + every <= look:
            taken, number = taken + every, number + 1
            there[number] = Candidate(number, taken)
        for decision in decide(there.values(), rules, now=look, zone=zone, held=held):
            if not decision.stays:
                del there[decision.point.sequence]
                if decision.point.sequence in known:
                    known.discard(decision.point.sequence)
                    removals.append(Removal(decision.point, look, decision.reasons[0]))
        look += look_every
    return removals


def _decision(
    point: Candidate, rules: Rules, now: datetime, zone: tzinfo, always: dict[int, list[Reason]],
    counted: dict[int, list[Reason]],
) -> Decision:
    reasons = list(always.get(point.sequence, ()))
    if rules.min_age and now - point.taken_at < rules.min_age:
        reasons.append(Reason.YOUNG)
    end = disposed_at(point, rules, zone)
    if end is not None and end <= now:
        return Decision(point, bool(reasons), tuple(reasons) or (Reason.TOO_OLD,), overdue=bool(reasons))
    reasons += counted.get(point.sequence, ()) if rules.counts else (Reason.NO_RULE,)
    return Decision(point, bool(reasons), tuple(reasons) or (Reason.NOT_KEPT,))


def _always(
    ordered: Sequence[Candidate], rules: Rules, held: Collection[int], waiting: Collection[int]
) -> dict[int, list[Reason]]:
    """Return the points that no bound removes."""
    found: dict[int, list[Reason]] = {}
    complete = [point.sequence for point in ordered if not point.incomplete]
    for sequence in dict.fromkeys([*(point.sequence for point in ordered[-1:]), *complete[-1:]]):
        found.setdefault(sequence, []).append(Reason.NEWEST)
    for sequence in complete[max(0, len(complete) - rules.min_points) :]:
        found.setdefault(sequence, []).append(Reason.FEW)
    for reason, sequences in ((Reason.HELD, held), (Reason.WAITING, waiting)):
        for sequence in sequences:
            found.setdefault(sequence, []).append(reason)
    return found


def _counted(ordered: Sequence[Candidate], rules: Rules, zone: tzinfo) -> dict[int, list[Reason]]:
    """Return the points that some count keeps."""
    def local(point: Candidate) -> datetime:
        return point.taken_at.astimezone(zone)

    kinds: tuple[tuple[Reason, int, Callable[[Candidate], Hashable]], ...] = (
        (Reason.LAST, rules.last, lambda point: point.sequence),
        (Reason.DAILY, rules.daily, lambda point: local(point).date()),
        (Reason.WEEKLY, rules.weekly, lambda point: local(point).isocalendar()[:2]),
        (Reason.MONTHLY, rules.monthly, lambda point: (local(point).year, local(point).month)),
        (Reason.YEARLY, rules.yearly, lambda point: fiscal_year(point.taken_at, zone)),
    )
    complete = [point for point in ordered if not point.incomplete]
    found: dict[int, list[Reason]] = {}
    for reason, count, period_of in kinds:
        for sequence in {*_newest_of(complete, count, period_of), *_newest_of(ordered, count, period_of)}:
            found.setdefault(sequence, []).append(reason)
    return found


def _newest_of(
    ordered: Sequence[Candidate], count: int, period_of: Callable[[Candidate], Hashable]
) -> list[int]:
    """Return the newest point of each of the newest periods."""
    newest: dict[Hashable, int] = {}
    if count:
        for point in reversed(ordered):
            if newest.setdefault(period_of(point), point.sequence) == point.sequence and len(newest) == count:
                break
    return list(newest.values())
