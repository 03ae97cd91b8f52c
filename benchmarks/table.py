"""Measurements as Markdown: ratios to jbackupd first, the figures themselves beside them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import mean, median

from benchmarks.child import Ran
from benchmarks.runner import Comparison, Measured

_HEADER = ("", "new bytes a day", "first copy", "first backup", "a day's backup", "restore of the last day",
           "peak memory", "restored identical")


def megabytes(size: float) -> str:
    """Return a size with three digits or so: 0.846, 63.1, 402."""
    value = size / 1e6
    decimals = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{decimals}f}"


def times(value: float, base: float) -> str:
    """Return how many times a base a value is."""
    if base == 0:
        return "-"
    ratio = value / base
    return f"×{ratio:.2f}" if ratio < 10 else f"×{ratio:.0f}"


def seconds(runs: Iterable[Ran]) -> float:
    """Return the median time of runs of the same deed."""
    return median(ran.seconds for ran in runs)


def comparison_table(comparison: Comparison) -> str:
    """Return a heading, the table and what limits its figures; the first program is the measure of the others."""
    base = comparison.programs[0]
    sizes = dict.fromkeys((megabytes(min(comparison.source_bytes)), megabytes(max(comparison.source_bytes))))
    lines = [
        f"### {comparison.title}", "",
        f"{' to '.join(sizes)} MB, {len(comparison.source_bytes) - 1} days after the first.",
        "", _row(_HEADER), _row(["---"] * len(_HEADER)),
    ]
    lines += [_row(_program_cells(found, base, comparison)) for found in comparison.programs]
    lines += [_row(_bound_cells(name, found, base)) for name, found in comparison.bounds.items()]
    return "\n".join([*lines, "", comparison.limits])


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _program_cells(found: Measured, base: Measured, comparison: Comparison) -> list[str]:
    if found.trouble:
        return [found.name, found.trouble, *[""] * (len(_HEADER) - 2)]
    rate = comparison.source_bytes[0] / 1e6 / seconds(found.first)
    return [
        found.name,
        _sizes(found.new_bytes[1:], base.new_bytes[1:]),
        _sizes(found.new_bytes[:1], base.new_bytes[:1]),
        _seconds(found.first, base.first, f", {rate:.0f} MB/s"),
        _seconds(found.days, base.days),
        _seconds(found.restores[-1:], base.restores[-1:]),
        _against(found.peak_bytes, base.peak_bytes, f"{megabytes(found.peak_bytes)} MB"),
        "yes" if found.identical else "**no**",
    ]


def _bound_cells(name: str, found: Sequence[int | None] | str, base: Measured) -> list[str]:
    name = f"*{name}*"
    if isinstance(found, str):
        return [name, found, *[""] * (len(_HEADER) - 2)]
    sizes = [_sizes(found[1:], base.new_bytes[1:]), _sizes(found[:1], base.new_bytes[:1])]
    return [name, *sizes, *[""] * (len(_HEADER) - 3)]


def _sizes(found: Sequence[int | None], base: Sequence[int]) -> str:
    known = [size for size in found if size is not None]
    if not known:
        return ""
    return _against(mean(known), mean(base) if base else 0, f"{', '.join(map(megabytes, known))} MB")


def _seconds(found: Sequence[Ran], base: Sequence[Ran], more: str = "") -> str:
    if not found:
        return ""
    return _against(seconds(found), seconds(base) if base else 0, f"{seconds(found):.2f} s{more}")


def _against(value: float, base: float, absolute: str) -> str:
    return f"{times(value, base)} ({absolute})" if base else absolute


def aims_table(comparison: Comparison) -> tuple[str, bool]:
    """Return the register's aims beside what was reached, and whether all are met."""
    found = comparison.programs[0]
    if found.trouble:
        return f"No aim was measured: {found.trouble}", False
    worst = max(found.new_bytes[1:], default=0)
    rate = comparison.source_bytes[0] / 1e6 / seconds(found.first)
    aims = (
        ("new_object_bytes of a day", "at most 3 MB", f"{megabytes(worst)} MB", worst <= 3_000_000),
        ("first backup", "100 MB/s or more", f"{rate:.0f} MB/s (median of {len(found.first)})", rate >= 100),
        ("peak memory", "under 400 MB", f"{megabytes(found.peak_bytes)} MB", found.peak_bytes < 400_000_000),
        ("restore of every day", "byte-identical", "yes" if found.identical else "no", found.identical),
    )
    rows = [_row((what, aim, reached, "met" if met else "**missed**")) for what, aim, reached, met in aims]
    table = "\n".join([_row(("", "aim", "reached", "")), _row(["---"] * 4), *rows])
    return table, all(met for *_, met in aims)


def put_section(document: str, name: str, text: str) -> str:
    """Return a document with its named section replaced, or added at the end."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    section = f"{begin}\n{text.strip()}\n{end}"
    before, found, rest = document.partition(begin)
    if not found:
        return f"{document.rstrip()}\n\n{section}\n"
    return before + section + rest.partition(end)[2]
