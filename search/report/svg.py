"""Charts as SVG, written by hand: text stays text, and colours follow the page into the dark and onto paper.

A chart is drawn on a field of a few hundred units, small enough that its writing can be read on a phone.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

SERIES = 8  # colours that are told apart
LIGHT = ("#0067a5", "#c44e00", "#00805b", "#a8458a", "#8f6a00", "#2a8fc4", "#6a4fc0", "#666666")
DARK = ("#62b8ec", "#ff9558", "#45d1a3", "#e7a0ca", "#eec14f", "#a5d8f7", "#b5a3f7", "#b8b8b8")
LETTER = 6.6  # units that a letter of 12 takes at most, on the average


FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, sans-serif'


def _colours(palette: Sequence[str]) -> str:
    return " ".join(f"--s{number}: {colour};" for number, colour in enumerate(palette))


STYLE = f"""
:root {{ {_colours(LIGHT)} }}
@media (prefers-color-scheme: dark) {{ :root {{ {_colours(DARK)} }} }}
@media print {{ :root {{ {_colours(LIGHT)} }} }}
.svg {{ display: block; width: 100%; height: auto; font: 12px {FONT}; }}
.svg text {{ fill: var(--soft); }}
.svg .strong {{ fill: var(--ink); }}
.svg .small {{ font-size: 10.5px; }}
.svg .grid {{ stroke: var(--line); stroke-width: 1; fill: none; }}
.svg .axis {{ stroke: var(--soft); stroke-width: 1; fill: none; }}
.svg .line {{ fill: none; stroke-width: 1.5; stroke-linejoin: round; }}
.svg .thick {{ stroke-width: 2.6; }}
.svg .dense {{ opacity: .55; }}
.svg .thin {{ stroke-width: 1; opacity: .45; }}
.svg .dashed {{ stroke-dasharray: 5 4; }}
.svg .ink {{ stroke: var(--ink); }}
.svg .inside {{ fill: var(--card); stroke: none; }}
.svg .hollow {{ fill: var(--card); stroke: var(--soft); stroke-width: 1.5; }}
.svg .on {{ fill: var(--card); font-weight: 600; }}
""" + "".join(
    f".svg .f{n} {{ fill: var(--s{n}); }} .svg .l{n} {{ stroke: var(--s{n}); }}\n" for n in range(SERIES)
)
ALONE = (  # what a chart that is a file of its own lacks
    ":root { color-scheme: light dark; --card: #fff; --ink: #1f2933; --soft: #52606d; --line: #dfe3e8; }"
    "@media (prefers-color-scheme: dark) {"
    " :root { --card: #1c2227; --ink: #e4e9ee; --soft: #a3b1bf; --line: #333c45; } }"
    "svg { background: var(--card); }"
)


@dataclass(frozen=True)
class Axis:
    """From values to shares of a side. ticks: (value, writing)."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    log: bool = False

    def share(self, value: float) -> float:
        """0 at `low`, 1 at `high`; what lies outside is put on the edge."""
        low, high, at = self.low, self.high, value
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(max(value, self.low))
        return min(1.0, max(0.0, (at - low) / (high - low)))


def number(value: float) -> str:
    """A number in four letters or so.

    >>> number(0.0), number(1234567.0), number(35_000.0), number(0.25), number(2e9), number(0.00012), number(7.0)
    ('0', '1.2 M', '35 k', '0.25', '2 G', '0.00012', '7')
    """
    for size, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size * (1 if letter != " k" else 10):
            return f"{value / size:.2g}{letter}" if abs(value) < 100 * size else f"{value / size:.0f}{letter}"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def linear(values: Iterable[float], *, low: float | None = None, high: float | None = None) -> Axis:
    """An axis round values, from and to a round number; never outside `low` and `high`, where they are given.

    >>> linear([0.31, 0.58], low=0, high=1).ticks
    ((0.3, '0.3'), (0.4, '0.4'), (0.5, '0.5'), (0.6, '0.6'))
    """
    known = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    first, last = min(known), max(known)
    if last - first < 1e-9 * max(1.0, abs(last)):
        first, last = first - 0.5 * max(0.1, abs(first)), last + 0.5 * max(0.1, abs(last))
    raw = (last - first) / 4
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * part for part in (1, 2, 2.5, 5, 10) if size * part >= raw * 0.999)
    first, last = math.floor(first / step + 1e-9) * step, math.ceil(last / step - 1e-9) * step
    first, last = first if low is None else max(low, first), last if high is None else min(high, last)
    count = math.floor((last - first) / step + 1e-9)
    ticks = [round(first + place * step, 12) for place in range(count + 1)]
    return Axis(first, last, tuple((tick, number(tick)) for tick in ticks))


def whole(last: float) -> Axis:
    """An axis of whole numbers from 0."""
    axis = linear([0, max(last, 1)], low=0)
    return Axis(
        -0.02 * max(last, 1),
        1.02 * max(last, 1),
        tuple((t, w) for t, w in axis.ticks if t == int(t) and t <= max(last, 1)),
    )


def percents(values: Iterable[float]) -> Axis:
    """An axis for shares of 1."""
    axis = linear(values, low=0, high=1)
    return Axis(axis.low, axis.high, tuple((tick, f"{100 * tick:.3g} %") for tick, _ in axis.ticks))


def logarithmic(values: Iterable[float]) -> Axis:
    """An axis round positive values, with ticks at 1, 2 and 5 times powers of ten where they fit."""
    known = [value for value in values if value > 0 and math.isfinite(value)] or [1.0, 10.0]
    low, high = min(known) / 1.25, max(known) * 1.25
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    parts: tuple[int, ...] = (1, 2, 5) if math.log10(high / low) < 2.2 else (1,)
    ticks = [part * 10.0**power for power in decades for part in parts]
    return Axis(low, high, tuple((tick, number(tick)) for tick in ticks if low <= tick <= high), log=True)


def categories(names: Sequence[str]) -> Axis:
    """An axis with a place for each name: number i of them is at i."""
    return Axis(-0.5, len(names) - 0.5, tuple(enumerate(names)))


class Chart:
    """A drawing. about: what it shows, for those who do not see it."""

    def __init__(
        self,
        width: float,
        height: float,
        about: str,
        *,
        left: float = 62,
        right: float = 14,
        top: float = 12,
        bottom: float = 44,
    ) -> None:
        self.width, self.height, self._about = width, height, about
        self.left, self.right, self.top, self.bottom = left, width - right, top, height - bottom
        self._parts: list[str] = []
        self._x, self._y = Axis(0, 1, ()), Axis(0, 1, ())

    # the field

    def axes(self, x: Axis, y: Axis, x_title: str = "", y_title: str = "", *, tilted: bool = False) -> None:
        """Grid, ticks and titles; what is drawn after it goes by these axes. tilted: long writing below."""
        self._x, self._y = x, y
        for value, writing in y.ticks:
            at = self.y(value)
            self._line(self.left, at, self.right, at, "grid")
            self.text(self.left - 7, at + 4, writing, anchor="end")
        for value, writing in x.ticks:
            at = self.x(value)
            self._line(at, self.bottom, at, self.bottom + 4, "axis")
            if tilted:
                self.text(at + 3, self.bottom + 15, writing, anchor="end", turn=-35)
            else:
                self.text(at, self.bottom + 18, writing, anchor="middle")
        self._line(self.left, self.bottom, self.right, self.bottom, "axis")
        if x_title:
            self.text((self.left + self.right) / 2, self.height - 6, x_title, anchor="middle")
        if y_title:
            self.text(12, (self.top + self.bottom) / 2, y_title, anchor="middle", turn=-90)

    def legend(self, names: Sequence[tuple[str, str]], top: float = 12) -> None:
        """(writing, classes of its mark or "" for none), side by side over the field, in as many lines as it takes."""
        x, y = self.left, top
        for writing, classes in names:
            takes = 22 + LETTER * len(writing)
            if x + takes > self.width and x > self.left:
                x, y = self.left, y + 17
            if "line" in classes.split():
                self._line(x, y - 4, x + 14, y - 4, classes)
            elif classes:
                self._parts.append(f'<circle cx="{x + 7:g}" cy="{y - 4:g}" r="4" class="{classes}"/>')
            self.text(x + 18 if classes else x + 3, y, writing)
            x += takes + 6

    @staticmethod
    def legend_height(names: Sequence[tuple[str, str]], width: float, left: float = 62) -> float:
        """Units that `legend` takes."""
        x, lines = left, 1
        for writing, _ in names:
            takes = 22 + LETTER * len(writing)
            if x + takes > width and x > left:
                x, lines = left, lines + 1
            x += takes + 6
        return 17.0 * lines + 8

    def x(self, value: float) -> float:
        """Units from the left."""
        return self.left + self._x.share(value) * (self.right - self.left)

    def y(self, value: float) -> float:
        """Units from the top."""
        return self.bottom - self._y.share(value) * (self.bottom - self.top)

    # what is drawn, in units of the field's axes

    def dot(self, x: float, y: float, classes: str, about: str = "", radius: float = 4) -> None:
        """A point; `about` is shown when one points at it."""
        place = f'cx="{self.x(x):.1f}" cy="{self.y(y):.1f}" r="{radius:g}"'
        self._titled("circle", f'{place} class="{classes}"', about)

    def cross(self, x: float, y: float, classes: str, about: str = "") -> None:
        """A point that came to nothing."""
        a, b = self.x(x), self.y(y)
        path = f"M{a - 3.5:.1f} {b - 3.5:.1f}l7 7m0 -7l-7 7"
        self._titled("path", f'd="{path}" class="line {classes}"', about)

    def path(self, points: Iterable[tuple[float, float]], classes: str, about: str = "") -> None:
        """A line through points; one whose values are no numbers is left out."""
        known = [
            f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points if math.isfinite(x) and math.isfinite(y)
        ]
        self._titled("polyline", f'points="{" ".join(known)}" class="line {classes}"', about)

    # what is drawn, in units of the drawing

    def box(self, x: float, y: float, width: float, height: float, style: str, about: str = "") -> None:
        """A rectangle. style: its attributes."""
        self._titled(
            "rect", f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" {style}', about
        )

    def text(
        self, x: float, y: float, writing: str, classes: str = "", *, anchor: str = "start", turn: float = 0
    ) -> None:
        """Writing at a point; turned round it by so many degrees."""
        turned = f' transform="rotate({turn:g} {x:.1f} {y:.1f})"' if turn else ""
        style = f' class="{classes}"' if classes else ""
        place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
        self._parts.append(f"<text {place}{style}{turned}>{escape(writing)}</text>")

    def line(self, x0: float, y0: float, x1: float, y1: float, classes: str) -> None:
        """A straight line."""
        self._line(x0, y0, x1, y1, f"line {classes}")

    def _line(self, x0: float, y0: float, x1: float, y1: float, classes: str) -> None:
        self._parts.append(
            f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" class="{classes}"/>'
        )

    def _titled(self, tag: str, attributes: str, about: str) -> None:
        inside = f"><title>{escape(about)}</title></{tag}>" if about else "/>"
        self._parts.append(f"<{tag} {attributes}{inside}")

    def svg(self, style: str = "") -> str:
        """The drawing as an element. style: a sheet to carry, for a file of its own."""
        sheet = f"<style>{escape(style)}</style>" if style else ""
        size = f'viewBox="0 0 {self.width:g} {self.height:g}"'
        if style:
            size += f' width="{self.width:g}" height="{self.height:g}"'
        about = f'role="img" aria-label={quoteattr(self._about)}'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" class="svg" {size} {about}>'
        return f"{head}{sheet}{''.join(self._parts)}</svg>"

    def file(self) -> bytes:
        """The drawing as the content of a file."""
        return self.svg(ALONE + STYLE).encode("utf-8")
