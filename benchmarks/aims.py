"""What was aimed at, what was reached. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.child import Ran
from benchmarks.kinds import Aim
from benchmarks.runner import Comparison, Measured
from benchmarks.units import exact

PEAK_BYTES_MAX = 250_000_000
FIRST_COPY_PART_MAX = 1.02


@dataclass(frozen=True, slots=True)
class Verdict:
    """One aim and what was reached.

    Attributes:
        figure: What is judged, the kind of data in front.
        met: None if it could not be judged: something it is compared with is missing.
    """

    figure: str
    aim: str
    reached: str
    met: bool | None


def verdicts(comparisons: Sequence[Comparison]) -> list[Verdict]:
    """Return a verdict on every aim that these comparisons say something about."""
    return [verdict for found in comparisons for verdict in _of_kind(found)] + _memory(comparisons)


def _of_kind(comparison: Comparison) -> Iterator[Verdict]:
    name = comparison.kind.name
    if comparison.absent:
        yield Verdict(name, "is measured", comparison.absent, None)
        return
    own = comparison.programs[0]
    if own.trouble:
        yield Verdict(name, "restores what it was given", own.trouble, False)
        return
    if not own.whole:
        yield Verdict(name, "restores what it was given", own.lost or "other bytes", False)
    if comparison.kind.aim is not None:
        for day in range(1, len(own.new_bytes)):
            yield from _bytes_of_day(comparison, own, comparison.kind.aim, day)
    match name:
        case "unchanged" | "unchanged100k":
            yield _time(f"{name}: no change", own.days, comparison, "days")
        case "deltas":
            yield _restore(comparison, own)
        case _:
            for found in (own, comparison.find("jbackupd, thin-line")):
                if found is not None:
                    yield _first_size(comparison, found)
            for found in (own, comparison.find("jbackupd, fast")):
                if found is not None:
                    yield _first_time(comparison, found)


def _bytes_of_day(comparison: Comparison, own: Measured, aim: Aim, day: int) -> Iterator[Verdict]:
    figure = f"{comparison.kind.name}: {comparison.kind.label(day)}, bytes"
    size, bound = own.new_bytes[day], comparison.bound(day)
    if bound is None:
        yield Verdict(figure, f"at most {aim.bound:g} × the bound", f"{exact(size)}; no bound", None)
    else:
        yield Verdict(figure, f"at most {aim.bound:g} × the bound ({exact(bound)})",
                      f"{size / bound:.2f} × ({exact(size)})", size <= aim.bound * bound)
    peers = [found.new_bytes[day] for name in ("restic", "borg") if (found := comparison.find(name))]
    if aim.peers and peers:
        best = min(peers)
        yield Verdict(figure, f"at most 1/{aim.peers} of restic and borg ({exact(best)})",
                      f"1/{best / size:.0f}", size * aim.peers <= best)


def _first(comparison: Comparison, own: Measured) -> str:
    """Return what is judged, with the preset in words: size and time of a first copy are a trade."""
    return f"{comparison.kind.name}: first copy, {own.name.partition(', ')[2] or 'balanced'}"


def _first_size(comparison: Comparison, own: Measured) -> Verdict:
    rivals = [(found.new_bytes[0], name) for name in ("restic", "borg") if (found := comparison.find(name))]
    figure, aim = _first(comparison, own), "at most 2 % above restic max and borg zstd,10"
    if not rivals:
        return Verdict(figure, aim, f"{exact(own.new_bytes[0])}; neither is there", None)
    best, who = min(rivals)
    above = own.new_bytes[0] / best - 1
    return Verdict(figure, f"{aim} ({who}, {exact(best)})", f"{above:+.1%} ({exact(own.new_bytes[0])})",
                   own.new_bytes[0] <= FIRST_COPY_PART_MAX * best)


def _first_time(comparison: Comparison, own: Measured) -> Verdict:
    rivals = [(_seconds(found.first), name) for name in ("restic, auto", "borg, zstd,3")
              if (found := comparison.find(name))]
    return _against(_first(comparison, own), "wall time of restic auto and borg zstd,3",
                    _seconds(own.first), rivals)


def _time(figure: str, own: Sequence[Ran], comparison: Comparison, which: str) -> Verdict:
    restic = comparison.find("restic")
    rivals = [(_seconds(getattr(restic, which)), "restic")] if restic else []
    return _against(figure, "restic's time", _seconds(own), rivals)


def _restore(comparison: Comparison, own: Measured) -> Verdict:
    restic = comparison.find("restic")
    rivals = [(_seconds(restic.restores), "restic")] if restic and restic.restores else []
    figure = f"restore of the newest of {len(own.new_bytes)} points"
    if not own.restores:
        return Verdict(figure, "at most restic's time", own.lost, False)
    return _against(figure, "restic's time", _seconds(own.restores), rivals)


def _against(figure: str, aim: str, own: float, rivals: Sequence[tuple[float, str]]) -> Verdict:
    if not rivals:
        return Verdict(figure, f"at most the {aim}", f"{own:.2f} s; nobody to compare with", None)
    best, who = min(rivals)
    return Verdict(figure, f"at most {aim} ({who}, {best:.2f} s)", f"{own / best:.2f} × ({own:.2f} s)", own <= best)


def _memory(comparisons: Sequence[Comparison]) -> list[Verdict]:
    aim = f"at most {exact(PEAK_BYTES_MAX)}"
    return [
        Verdict(f"{found.kind.name}: peak memory", aim, f"{exact(found.programs[0].peak_bytes)}",
                found.programs[0].peak_bytes <= PEAK_BYTES_MAX)
        for found in comparisons if not found.absent and not found.programs[0].trouble
    ]


def _seconds(runs: Sequence[Ran]) -> float:
    return median(ran.seconds for ran in runs)
