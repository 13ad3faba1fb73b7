"""Line plots as SVG that stands in a page by itself."""

from collections.abc import Mapping, Sequence
from html import escape
from math import ceil, floor, log10
from typing import NamedTuple

WIDTH, HEIGHT = 640, 280
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 54, 40  # of the plotting area
# Distinguishable also by people who see fewer colours (Okabe and Ito).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a7a00", "#888888")

Points = Sequence[tuple[float, float]]


class Axis(NamedTuple):
    """`logarithmic`: by powers of ten, for figures above 0. `ticks`: place → what stands there, () for round ones."""

    title: str
    logarithmic: bool = False
    ticks: Sequence[tuple[float, str]] = ()


class Scale:
    """From figures to places in the picture."""

    def __init__(self, low: float, high: float, begin: float, end: float, *, logarithmic: bool) -> None:
        self._logarithmic = logarithmic
        low, high = (log10(max(low, 1e-3)), log10(max(high, 1e-3))) if logarithmic else (low, high)
        if logarithmic:
            low, high = floor(low), ceil(high)
        self.low, self.high = low, high if high > low else low + 1
        self._begin, self._length = begin, end - begin

    def __call__(self, figure: float) -> float:
        at = log10(max(figure, 10**self.low)) if self._logarithmic else figure
        return self._begin + (at - self.low) / (self.high - self.low) * self._length

    def ticks(self) -> list[tuple[float, str]]:
        if self._logarithmic:
            return [(10.0**power, f"{10.0**power:g}") for power in range(int(self.low), int(self.high) + 1)]
        step = _step(self.high - self.low)
        return [(step * n, f"{step * n:g}") for n in range(ceil(self.low / step), floor(self.high / step) + 1)]


def line_plot(title: str, x: Axis, y: Axis, series: Mapping[str, Points]) -> str:
    """Empty without points. Each series is a line with its name."""
    series = {name: points for name, points in series.items() if points}
    if not series:
        return ""
    xs = [at for points in series.values() for at, _ in points]
    ys = [figure for points in series.values() for _, figure in points]
    across = Scale(min(xs), max(xs), LEFT, WIDTH - RIGHT, logarithmic=False)
    lowest = min((figure for figure in ys if figure > 0), default=1.0) if y.logarithmic else 0
    up = Scale(lowest, max(ys), HEIGHT - BOTTOM, TOP, logarithmic=y.logarithmic)
    parts = [*_grid(x, y, across, up)]
    for number, (name, points) in enumerate(series.items()):
        parts += _line(name, points, across, up, number)
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title)}">{"".join(parts)}</svg></figure>'
    )


def _grid(x: Axis, y: Axis, across: Scale, up: Scale) -> list[str]:
    parts = [_text(LEFT, 12, y.title, "start"), _text(WIDTH - RIGHT, HEIGHT - 4, x.title, "end")]
    for figure, label in y.ticks or up.ticks():
        at = up(figure)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(_text(LEFT - 6, at + 4, label, "end"))
    for figure, label in x.ticks or across.ticks():
        parts.append(_text(across(figure), HEIGHT - BOTTOM + 16, label, "middle"))
    return parts


def _line(name: str, points: Points, across: Scale, up: Scale, number: int) -> list[str]:
    colour = COLOURS[number % len(COLOURS)]
    places = " ".join(f"{across(at):.1f},{up(figure):.1f}" for at, figure in points)
    left, top = LEFT + 150 * (number % 4), 28 + 12 * (number // 4)
    return [
        f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="1.8"><title>{escape(name)}</title>'
        "</polyline>",
        f'<rect x="{left}" y="{top - 8}" width="9" height="9" fill="{colour}"/>',
        _text(left + 13, top, name, "start"),
    ]


def _text(x: float, y: float, said: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(said)}</text>'


def _step(span: float) -> float:
    """A round distance of which about five fit into a span."""
    power = 10.0 ** floor(log10(span / 5))
    return next(power * times for times in (1, 2, 5, 10) if span / (power * times) <= 6)
