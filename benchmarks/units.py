"""Figures as people read them."""

from __future__ import annotations

_UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def exact(size: float) -> str:
    """Return a size with three digits and the unit that suits it: 846 B, 63.1 kB, 3.00 MB."""
    for unit, name in _UNITS:
        if size >= unit:
            value = size / unit
            decimals = 2 if value < 10 else 1 if value < 100 else 0
            return f"{value:.{decimals}f} {name}"
    return f"{size:.0f} B"


def rough(size: float) -> str:
    """Return a size as a picture has room for it: 870 B, 1.2 kB, 87 kB, 63 MB."""
    for unit, name in _UNITS:
        if size >= unit:
            value = size / unit
            return f"{value:.1f} {name}" if value < 10 and value != round(value) else f"{value:.0f} {name}"
    return f"{size:.0f} B"


def times(value: float, base: float) -> str:
    """Return how many times a base a value is."""
    if base == 0:
        return "-"
    ratio = value / base
    return f"×{ratio:.2f}" if ratio < 10 else f"×{ratio:.0f}"
