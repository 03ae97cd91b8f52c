"""Figures as people read them."""

from __future__ import annotations


def megabytes(size: float) -> str:
    """Return a size in MB with three digits or so: 0.846, 63.1, 402."""
    value = size / 1e6
    decimals = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{decimals}f}"


def times(value: float, base: float) -> str:
    """Return how many times a base a value is."""
    if base == 0:
        return "-"
    ratio = value / base
    return f"×{ratio:.2f}" if ratio < 10 else f"×{ratio:.0f}"


def amount(size: float) -> str:
    """Return a size with the unit that suits it: 870 B, 1.2 kB, 87 kB, 63 MB."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= unit:
            value = size / unit
            return f"{value:.1f} {name}" if value < 10 and value != round(value) else f"{value:.0f} {name}"
    return f"{size:.0f} B"
