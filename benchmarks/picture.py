"""The picture of the results: bytes a day by kind of data on a logarithmic scale, as SVG for light and dark pages."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import mean
from xml.sax.saxutils import escape

from benchmarks.runner import Comparison
from benchmarks.units import rough

_WIDTH, _LEFT, _RIGHT, _TOP, _ROW = 960, 236, 816, 128, 34
_STYLE = """
  .page { fill: #ffffff; stroke: #d0d7de }  .band { fill: #f6f8fa }  .grid { stroke: #d8dee4 }
  .text { fill: #1f2328 }  .soft { fill: #59636e }  .reach { stroke: #c4ccd4 }
  .own { fill: #0b7a75 }  .restic { fill: #c4660a }  .borg { fill: #7a4bd0 }  .bound { stroke: #1f2328 }
  text { font: 13px system-ui, "Segoe UI", "Noto Sans", Helvetica, Arial, sans-serif }
  .head { font-size: 20px; font-weight: 600 }  .small { font-size: 12px }  .end { text-anchor: end }
  .mid { text-anchor: middle }  .strong { font-weight: 600 }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117; stroke: #30363d }  .band { fill: #151b23 }  .grid { stroke: #262c36 }
    .text { fill: #f0f6fc }  .soft { fill: #9198a1 }  .reach { stroke: #3d444d }
    .own { fill: #3fd0c4 }  .restic { fill: #f0a04b }  .borg { fill: #b998ff }  .bound { stroke: #f0f6fc }
  }
"""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the picture: bytes of a day; None where there is no figure."""

    label: str
    own: float
    restic: float | None
    borg: float | None
    bound: float | None

    @property
    def others(self) -> list[float]:
        """What restic and borg need, as far as it is known."""
        return [size for size in (self.restic, self.borg) if size is not None]


def lines_of(comparisons: Sequence[Comparison]) -> list[Line]:
    """Return a line for each kind, or for each day of a kind whose days differ."""
    return [line for found in comparisons if found.programs and not found.programs[0].trouble for line in _lines(found)]


def _lines(comparison: Comparison) -> Iterator[Line]:
    kind, last = comparison.kind, len(comparison.source_bytes) - 1
    days = [[day] for day in range(1, last + 1)] if kind.labels else [list(range(1, last + 1))]
    for group in days:
        own, restic, borg = (_mean(comparison, name, group) for name in ("jbackupd", "restic", "borg"))
        bounds = [size for day in group if (size := comparison.bound(day)) is not None]
        label = f"{kind.short}: {kind.label(group[0])}" if kind.labels else kind.short
        if own:
            yield Line(label, own, restic, borg, mean(bounds) if bounds else None)


def _mean(comparison: Comparison, name: str, days: Sequence[int]) -> float | None:
    found = comparison.find(name)
    return mean(found.new_bytes[day] for day in days) if found else None


def draw(lines: Sequence[Line], subtitle: str) -> str:
    """Return the picture as an SVG document.

    Args:
        lines: From top to bottom; at least one.
        subtitle: Where and when it was measured.
    """
    sizes = [size for line in lines for size in (line.own, line.bound, *line.others) if size]
    scale = _Scale(math.floor(math.log10(min(sizes))), math.ceil(math.log10(max(sizes))))
    height = _TOP + _ROW * len(lines) + 48
    body = [*_frame(height, subtitle, lines), *_grid(scale, len(lines))]
    for number, line in enumerate(lines):
        body += _row(line, scale, _TOP + _ROW * number + _ROW / 2)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-labelledby="title about">\n<title id="title">Bytes a day by kind of data: jbackupd, restic, borg, lower '
        f'bound</title>\n<desc id="about">{escape(subtitle)}. The figures are in RESULTS.md.</desc>\n'
        f"<style>{_STYLE}</style>\n" + "\n".join(body) + "\n</svg>\n"
    )


@dataclass(frozen=True, slots=True)
class _Scale:
    """Powers of ten between the left and the right edge of the plot."""

    low: int
    high: int

    def x(self, size: float) -> float:
        part = (math.log10(max(size, 1)) - self.low) / (self.high - self.low)
        return _LEFT + part * (_RIGHT - _LEFT)


def _frame(height: int, subtitle: str, lines: Sequence[Line]) -> Iterator[str]:
    yield f'<rect class="page" x=".5" y=".5" width="{_WIDTH - 1}" height="{height - 1}" rx="10"/>'
    yield '<text class="text head" x="28" y="40">What a day costs on the line</text>'
    yield f'<text class="soft small" x="28" y="62">{escape(subtitle)}</text>'
    keys = (("own", "jbackupd"), ("restic", "restic, max"), ("borg", "borg, zstd,10"), ("bound", "lower bound"))
    for number, (kind, name) in enumerate(keys):
        x = _LEFT + 6 + number * 132
        yield _mark(kind, x, 87)
        yield f'<text class="soft small" x="{x + 13}" y="91">{name}</text>'
    yield f'<text class="soft small end" x="{_WIDTH - 28}" y="91">less than both</text>'
    for number in range(0, len(lines), 2):
        yield f'<rect class="band" x="14" y="{_TOP + number * _ROW}" width="{_WIDTH - 28}" height="{_ROW}" rx="6"/>'


def _grid(scale: _Scale, count: int) -> Iterator[str]:
    for power in range(scale.low, scale.high + 1):
        x, bottom = scale.x(10**power), _TOP + count * _ROW
        yield f'<line class="grid" x1="{x:.1f}" y1="{_TOP - 8}" x2="{x:.1f}" y2="{bottom + 4}"/>'
        for y in (_TOP - 14, bottom + 22):
            yield f'<text class="soft small mid" x="{x:.1f}" y="{y}">{rough(10**power)}</text>'


def _row(line: Line, scale: _Scale, y: float) -> Iterator[str]:
    yield f'<text class="text" x="28" y="{y + 4.5}">{escape(line.label)}</text>'
    known = [line.own, *line.others]
    first, last = scale.x(min(known)), scale.x(max(known))
    yield f'<line class="reach" x1="{first:.1f}" y1="{y}" x2="{last:.1f}" y2="{y}" stroke-width="2"/>'
    for kind, size in (("bound", line.bound), ("borg", line.borg), ("restic", line.restic), ("own", line.own)):
        if size is not None:
            yield _mark(kind, scale.x(size), y, f"{line.label}: {rough(size)}")
    if line.others:
        ratio = min(line.others) / line.own
        said = f"{ratio:.0f} ×" if ratio >= 10 else f"{ratio:.1f} ×"
        yield f'<text class="text strong end" x="{_WIDTH - 28}" y="{y + 4.5}">{said}</text>'
    left = min(scale.x(size) for size in (line.own, line.bound) if size is not None)
    yield f'<text class="soft small end" x="{left - 12:.1f}" y="{y + 4}">{rough(line.own)}</text>'


def _mark(kind: str, x: float, y: float, said: str = "") -> str:
    told = f"<title>{escape(said)}</title>" if said else ""
    match kind:
        case "bound":
            return f'<path class="bound" d="M{x:.1f} {y - 8}v16" stroke-width="2.5">{told}</path>'
        case "borg":
            return f'<path class="borg" d="M{x:.1f} {y - 6.5}l6.5 6.5l-6.5 6.5l-6.5 -6.5z">{told}</path>'
        case "restic":
            return f'<rect class="restic" x="{x - 4.5:.1f}" y="{y - 4.5}" width="9" height="9" rx="1.5">{told}</rect>'
        case _:
            return f'<circle class="own" cx="{x:.1f}" cy="{y}" r="6.5">{told}</circle>'
