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
