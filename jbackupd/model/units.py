"""Quantities as operators write and read them: durations, sizes, rates, addresses.

Parsing is exact and refuses what it does not know; showing rounds for people. Machines get plain
numbers: seconds, bytes, bytes per second.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction

from jbackupd.model.errors import UsageError

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_RATES = {"bit/s": Fraction(1, 8), "B/s": Fraction(1)} | {
    prefix + unit: Fraction(1000**power, divisor)
    for power, prefix in enumerate("kMG", start=1)
    for unit, divisor in (("bit/s", 8), ("B/s", 1))
}
_SIZES = {"B": 1} | {
    prefix + unit: base**power
    for power, prefix in enumerate("kMGT", start=1) for unit, base in (("B", 1000), ("", 1000), ("iB", 1024))
} | {"KiB": 1024}
_NUMBER = re.compile(r"(\d{1,15}(?:\.\d{1,6})?) ?([A-Za-z/]*)", re.ASCII)
_DURATION_PART = re.compile(r"(\d{1,9})([smhdw])", re.ASCII)
_DURATION = re.compile(r"(?:\d{1,9}[smhdw])+", re.ASCII)
_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+)):(\d{1,5})", re.ASCII)


@dataclass(frozen=True, order=True, slots=True)
class Address:
    """Where to listen or dial: a host name or IP address, and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_duration(text: str) -> timedelta:
    """Parse a duration such as 90s, 15m, 24h, 1h30m, 35d or 2w; at most a hundred years.

    Raises:
        UsageError: The text is anything else, or the duration is zero.
    """
    seconds = 0
    if _DURATION.fullmatch(text):
        seconds = sum(int(count) * _SECONDS[unit] for count, unit in _DURATION_PART.findall(text))
    if not 0 < seconds <= 100 * 366 * 86400:
        raise UsageError("{text!r} is not a duration", "write for example 90s, 15m, 1h30m or 35d", text=text)
    return timedelta(seconds=seconds)


def parse_rate(text: str) -> int:
    """Parse a line's rate such as 10Mbit/s or 1.25MB/s into bytes per second; k, M, G are powers of 1000.

    Raises:
        UsageError: The text is anything else, or less than one byte per second.
    """
    match = _NUMBER.fullmatch(text)
    factor = _RATES.get(match[2]) if match else None
    rate = int(Fraction(match[1]) * factor) if match and factor else 0
    if rate < 1:
        raise UsageError("{text!r} is not a rate", "write for example 512kbit/s or 10Mbit/s", text=text)
    return rate


def parse_size(text: str) -> int:
    """Parse a size such as 500G, 1.5TB or 200GiB into bytes; k, M, G, T are powers of 1000, with i of 1024.

    Raises:
        UsageError: The text is anything else, or less than one byte.
    """
    match = _NUMBER.fullmatch(text)
    factor = _SIZES.get(match[2]) if match else None
    size = int(Fraction(match[1]) * factor) if match and factor else 0
    if size < 1:
        raise UsageError("{text!r} is not a size", "write for example 500M, 20GB or 200GiB", text=text)
    return size


def parse_address(text: str) -> Address:
    """Parse HOST:PORT; an IPv6 address stands in brackets. Port 0 means: any free one.

    Raises:
        UsageError: The text does not have that form.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match[3]) > 65535:
        raise UsageError(
            "{text!r} is not an address", "write HOST:PORT, for example 192.0.2.7:7420 or [2001:db8::7]:7420",
            text=text,
        )
    return Address(match[1] or match[2], int(match[3]))


def show_size(size: float) -> str:
    """Return bytes for people, three digits: 812 B, 4.19 MB, 80.2 GB."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 999.5 or unit == "TB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" or value >= 99.95 else f"{value:.3g} {unit}"


def show_rate(bytes_per_second: float) -> str:
    """Return a rate for people in bits, as lines are sold: 9.6 Mbit/s."""
    value = bytes_per_second * 8
    for unit in ("bit/s", "kbit/s", "Mbit/s", "Gbit/s"):
        if value < 999.5 or unit == "Gbit/s":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if value >= 99.95 else f"{value:.3g} {unit}"


def show_duration(seconds: float) -> str:
    """Return a duration for people, its two largest units: 0.8s, 42s, 3m20s, 26h, 3d4h."""
    if seconds < 10:
        return f"{max(seconds, 0):.1f}s"
    rest = round(seconds)
    shown: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count or shown:
            shown.append(f"{count}{unit}" if count else "")
        if len(shown) == 2:
            break
    return "".join(shown)


def duration_text(duration: timedelta) -> str:
    """Return a duration as `parse_duration` reads it, in the largest unit that fits: 36h, 90s, 35d."""
    seconds = int(duration.total_seconds())
    for unit in ("d", "h", "m"):
        if seconds % _SECONDS[unit] == 0:
            return f"{seconds // _SECONDS[unit]}{unit}"
    return f"{seconds}s"


def rate_text(bytes_per_second: int) -> str:
    """Return a rate as `parse_rate` reads it."""
    bits = bytes_per_second * 8
    for power, prefix in ((3, "G"), (2, "M"), (1, "k")):
        if bits % 1000**power == 0:
            return f"{bits // 1000**power}{prefix}bit/s"
    return f"{bits}bit/s"
