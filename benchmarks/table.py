"""Measurements as Markdown: ratios to jbackupd first, the figures themselves beside them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import mean, median

from benchmarks.aims import Verdict
from benchmarks.child import Ran
from benchmarks.runner import Comparison, Measured
from benchmarks.units import exact, times

_HEADER = ("", "new bytes a day", "first copy", "first backup: wall, processor", "a day's backup: wall, processor",
           "restore of the newest", "peak memory", "restored identical")


def comparison_table(comparison: Comparison) -> str:
    """Return a heading, the table and what limits its figures; the first program is the measure of the others."""
    if comparison.absent:
        return f"### {comparison.kind.title}\n\nNot measured: {comparison.absent}."
    base = comparison.programs[0]
    sizes = dict.fromkeys((exact(min(comparison.source_bytes)), exact(max(comparison.source_bytes))))
    named = f" ({', '.join(comparison.kind.labels)})" if comparison.kind.labels else ""
    lines = [
        f"### {comparison.kind.title}", "",
        f"`--only {comparison.kind.name}`: {' to '.join(sizes)}, {len(comparison.source_bytes) - 1} days after the "
        f"first{named}.",
        "", _row(_HEADER), _row(["---"] * len(_HEADER)),
    ]
    lines += [_row(_program_cells(found, base, comparison)) for found in comparison.programs]
    lines += [_row(_bound_cells(name, found, base)) for name, found in comparison.bounds.items()]
    return "\n".join([*lines, "", comparison.kind.limits])


def aims_table(found: Sequence[Verdict]) -> str:
    """Return every aim beside what was reached."""
    words = {True: "met", False: "**missed**", None: "not judged"}
    rows = [_row((one.figure, one.aim, one.reached, words[one.met])) for one in found]
    return "\n".join([_row(("figure", "aim", "reached", "met / missed")), _row(["---"] * 4), *rows])


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _program_cells(found: Measured, base: Measured, comparison: Comparison) -> list[str]:
    if found.trouble:
        return [found.name, found.trouble, *[""] * (len(_HEADER) - 2)]
    rate = comparison.source_bytes[0] / 1e6 / _median(found.first)
    return [
        found.name,
        _sizes(found.new_bytes[1:], base.new_bytes[1:]),
        _sizes(found.new_bytes[:1], base.new_bytes[:1]),
        _seconds(found.first, base.first, f", {rate:.0f} MB/s"),
        _seconds(found.days, base.days),
        _seconds(found.restores, base.restores, _rate(found, comparison)),
        _against(found.peak_bytes, base.peak_bytes, f"{exact(found.peak_bytes)}"),
        "" if found.first_only else "yes" if found.whole else found.lost or "**no**",
    ]


def _rate(found: Measured, comparison: Comparison) -> str:
    return f", {comparison.source_bytes[-1] / 1e6 / _median(found.restores):.0f} MB/s" if found.restores else ""


def _bound_cells(name: str, found: Sequence[int] | str, base: Measured) -> list[str]:
    cells = found if isinstance(found, str) else _sizes(found, base.new_bytes[1:])
    return [f"*{name}*", cells, *[""] * (len(_HEADER) - 2)]


def _sizes(found: Sequence[int], base: Sequence[int]) -> str:
    if not found:
        return ""
    shown = [exact(size) for size in found]
    listed = ", ".join(shown) if len(shown) < 6 else f"{shown[0]} to {shown[-1]}, mean {exact(mean(found))}"
    return _against(mean(found), mean(base) if base else 0, listed)


def _seconds(found: Sequence[Ran], base: Sequence[Ran], more: str = "") -> str:
    if not found:
        return ""
    busy = median(ran.cpu_seconds for ran in found)
    return _against(_median(found), _median(base) if base else 0, f"{_median(found):.2f} s, {busy:.2f} s{more}")


def _median(runs: Iterable[Ran]) -> float:
    return median(ran.seconds for ran in runs)


def _against(value: float, base: float, absolute: str) -> str:
    return f"{times(value, base)} ({absolute})" if base else absolute


def put_section(document: str, name: str, text: str) -> str:
    """Return a document with its named section replaced, or added at the end."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    section = f"{begin}\n{text.strip()}\n{end}"
    before, found, rest = document.partition(begin)
    if not found:
        return f"{document.rstrip()}\n\n{section}\n"
    return before + section + rest.partition(end)[2]
