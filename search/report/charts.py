"""The charts of a report: each a function of what was read, each an SVG.

Shape letters: K classes.
"""

import math
from collections.abc import Sequence

import numpy as np

from spaces.space import every

from .facts import Curve, Examined, Facts, family
from .importance import Importances
from .leaderboard import Entry, pareto
from .svg import SERIES, Axis, Chart, categories, linear, logarithmic, number, percents, whole

WIDTH, HEIGHT = 410, 285  # of most charts: readable on a phone, two beside each other elsewhere
POINTED = 400  # points that say what they are when one points at them; more would make the page heavy
BARS = 12  # knobs whose importance is shown
CELL = 34.0  # of a confusion matrix of few classes
MANY = 16  # classes from which on cells are small
COSTS = {"params": "parameters", "macs": "multiply-adds for one clip", "latency": "ms for one clip"}


def percent(share: float, digits: int = 1) -> str:
    """A share of 1 for people.

    >>> percent(0.5804)
    '58.0\\xa0%'
    """
    return f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"


def label(number: int) -> str:
    """A trial in four letters or so."""
    return f"t{number:03d}"


def colours(families: Sequence[str]) -> dict[str, int]:
    """Architecture -> number of its colour."""
    return {name: place % SERIES for place, name in enumerate(families)}


def exam_chart(exams: Sequence[Examined], chance: float | None) -> Chart:
    """Accuracy of each finalist: mean, interval, and every fold."""
    values = [v for one in exams for v in (one.exam.low, one.exam.high, *one.exam.folds)]
    axis = percents([*values, *([] if chance is None else [chance])])
    about = "Accuracy of the examined trials with their 95 % intervals and their folds"
    chart = Chart(WIDTH, 74 + 34 * len(exams), about, left=112, top=22, right=24)
    chart.axes(axis, Axis(-0.5, len(exams) - 0.5, ()), "accuracy on clips never heard")
    if chance is not None:
        at = chart.x(chance)
        chart.line(at, chart.top, at, chart.bottom, "dashed axis")
        chart.text(at + 4, chart.top - 6, "guessing", "small", anchor="start")
    for place, one in enumerate(exams):
        row, exam = len(exams) - 1 - place, one.exam
        at, colour = chart.y(row), 0 if place == 0 else 7
        chart.line(chart.x(exam.low), at, chart.x(exam.high), at, f"thick l{colour}")
        for end in (exam.low, exam.high):
            chart.line(chart.x(end), at - 5, chart.x(end), at + 5, f"l{colour}")
        for fold in exam.folds:
            chart.line(chart.x(fold), at + 9, chart.x(fold), at + 14, f"l{colour}")
        low, high = percent(exam.low), percent(exam.high)
        chart.dot(exam.mean, row, f"f{colour}", f"{percent(exam.mean)}, 95 % interval {low} to {high}", 5.5)
        chart.text(8, at + 4, one.title, "strong" if place == 0 else "")
    return chart


def history_chart(facts: Facts) -> Chart:
    """Every trial in the order in which it was begun: what it reached, and the best so far."""
    colour = colours(facts.families)
    points = [
        (row, row.objective if row.objective is not None else facts.reached.get(row.number))
        for row in facts.rows
    ]
    known = [(row, value) for row, value in points if value is not None and math.isfinite(value)]
    names = [(name, f"f{colour[name]}") for name in facts.families]
    if any(row.state != "complete" for row, _ in known):
        names.append(("hollow: stopped early", "hollow"))
    if len(known) < len(points):
        names.append(("× came to nothing", ""))
    names.append(("best so far", "line ink"))
    top = Chart.legend_height(names, WIDTH)
    chart = Chart(WIDTH, HEIGHT + top - 12, "Validation accuracy of every trial in order", top=top + 4)
    axis = percents([value for _, value in known])
    chart.axes(
        whole(max((row.number for row in facts.rows), default=1)), axis, "trial", "validation accuracy"
    )
    chart.legend(names)
    spoken, radius = len(points) <= POINTED, 4 if len(points) <= 100 else 2.5
    for row, value in points:
        about = f"{label(row.number)} {family(row)}: {row.state}" if spoken else ""
        if value is None or not math.isfinite(value):
            chart.cross(row.number, axis.low, "axis", f"{about} {row.reason}" if spoken else "")
            continue
        about += f", {percent(value)}" if spoken else ""
        filled = (
            f"f{colour[family(row)]}" if row.state == "complete" else f"inside line l{colour[family(row)]}"
        )
        chart.dot(row.number, value, filled, about, radius)
    best, line = -math.inf, []
    for row in facts.rows:
        if row.objective is not None and row.objective > best:
            line += [] if best == -math.inf else [(row.number, best)]
            best = row.objective
            line.append((row.number, best))
    if line:
        chart.path([*line, (facts.rows[-1].number, best)], "ink", "best so far")
    return chart


def cost_chart(entries: Sequence[Entry], cost: str, families: Sequence[str]) -> Chart | None:
    """Accuracy against a cost, with the Pareto front; None where fewer than two could be measured."""
    known = [entry for entry in entries if cost in entry.costs]
    if len(known) < 2:
        return None
    colour = colours(families)
    names = [(name, f"f{colour[name]}") for name in families if any(e.family == name for e in known)]
    names.append(("Pareto front", "line ink dashed"))
    top = Chart.legend_height(names, WIDTH)
    chart = Chart(WIDTH, HEIGHT + top - 12, f"Validation accuracy against {COSTS[cost]}", top=top + 4)
    y = percents([entry.row.objective or 0.0 for entry in known])
    chart.axes(logarithmic([entry.costs[cost] for entry in known]), y, COSTS[cost], "validation accuracy")
    chart.legend(names)
    line: list[tuple[float, float]] = []
    best = pareto(known, cost)
    for entry in best:
        at, value = entry.costs[cost], entry.row.objective or 0.0
        line += ([(at, line[-1][1])] if line else []) + [(at, value)]
    chart.path(line, "ink dashed", "no other trial is both cheaper and better")
    front = {entry.row.number for entry in best}
    taken: list[tuple[float, float]] = []
    for entry in known:
        x, value = entry.costs[cost], entry.row.objective or 0.0
        about = f"{label(entry.row.number)} {entry.family}: {percent(value)}, {number(x)} {COSTS[cost]}"
        chart.dot(x, value, f"f{colour[entry.family]}", about, 5 if entry.row.number in front else 3.5)
        if entry.row.number in front:
            _name(chart, chart.x(x), chart.y(value), label(entry.row.number), taken)
    return chart


def _name(chart: Chart, x: float, y: float, writing: str, taken: list[tuple[float, float]]) -> None:
    """Write beside a point where nothing else is written yet, or not at all."""
    for dx, dy, anchor in ((-8, -6, "end"), (8, -6, "start"), (8, 14, "start"), (-8, 14, "end")):
        left = x + dx - (32 if anchor == "end" else 0)
        inside = (
            chart.left <= left <= chart.right - 30 and chart.top - 4 <= y + dy - 8 and y + dy < chart.bottom
        )
        if inside and all(abs(left - a) > 34 or abs(y + dy - b) > 13 for a, b in taken):
            taken.append((left, y + dy))
            chart.text(x + dx, y + dy, writing, "small strong", anchor=anchor)
            return


def importance_chart(found: Importances) -> Chart:
    """The share of each knob, the greatest on top."""
    shares = found.shares[:BARS]
    chart = Chart(
        WIDTH, 66 + 24 * len(shares), f"Importance of knobs over {found.about}", left=158, right=46, top=6
    )
    top = max(share for _, share in shares)
    axis = percents([0.0, top])
    chart.axes(axis, Axis(-0.5, len(shares) - 0.5, ()), "share of the variation explained")
    for place, (knob, share) in enumerate(shares):
        at = chart.y(len(shares) - 1 - place)
        width = max(1.0, chart.x(share) - chart.left)
        chart.box(chart.left, at - 7, width, 14, 'rx="2" class="f0"', f"{knob}: {percent(share)}")
        chart.text(chart.left - 7, at + 4, _short(knob, 24), "strong", anchor="end")
        chart.text(chart.left + width + 5, at + 4, percent(share, 0), "small")
    return chart


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def slice_chart(facts: Facts, knob: str) -> Chart | None:
    """What complete trials reached by the value of one knob; None where it has fewer than two values."""
    rows = [row for row in facts.complete if knob in row.values]
    values = [row.values[knob] for row in rows]
    if len(set(values)) < 2:
        return None
    colour = colours(facts.families)
    chart = Chart(300, 220, f"Validation accuracy by {knob}", left=48, top=12, bottom=46)
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    if numeric and len(set(values)) > 4:
        x = logarithmic(values) if _logarithmic(facts, knob, values) else linear(values)
        places = [float(value) for value in values]
    else:
        kinds = sorted(set(values), key=lambda value: (value if numeric else 0, str(value)))
        x = categories([_short(number(kind) if numeric else str(kind), 11) for kind in kinds])
        spread = np.random.default_rng(0).uniform(-0.18, 0.18, len(values))
        places = [kinds.index(value) + float(shift) for value, shift in zip(values, spread, strict=True)]
    y = percents([row.objective or 0.0 for row in rows])
    tilted = not numeric and len(x.ticks) * max(len(name) for _, name in x.ticks) > 34
    chart.axes(x, y, "" if tilted else knob, "", tilted=tilted)
    radius = 3.5 if len(rows) <= 100 else 2
    for row, place in zip(rows, places, strict=True):
        about = (
            f"{label(row.number)} {family(row)}: {knob} {row.values[knob]}, {percent(row.objective or 0.0)}"
        )
        classes = f"f{colour[family(row)]}" + (" dense" if len(rows) > POINTED else "")
        chart.dot(place, row.objective or 0.0, classes, about if len(rows) <= POINTED // 2 else "", radius)
    return chart


def _logarithmic(facts: Facts, knob: str, values: Sequence[float]) -> bool:
    """Whether a knob was drawn by its logarithm; without a space, whether its values look like it."""
    if min(values) <= 0:
        return False
    if facts.space is None:
        return max(values) / min(values) > 20
    return any(name == knob and getattr(domain, "log", False) for name, domain, _ in every(facts.space))


def curve_chart(curves: Sequence[Curve]) -> Chart | None:
    """Validation accuracy by epoch: a line a split, and their mean."""
    known = [curve for curve in curves if np.isfinite(curve.valid_accuracy).any()]
    if not known:
        return None
    names = [(f"split {curve.split}", f"line l{place % 7}") for place, curve in enumerate(known)]
    longest = max(len(curve.valid_accuracy) for curve in known)
    mean = _mean([curve.valid_accuracy for curve in known])
    names.append(("mean", "line thick ink"))
    top = Chart.legend_height(names, WIDTH)
    chart = Chart(WIDTH, HEIGHT + top - 12, "Validation accuracy by epoch and split", top=top + 4)
    axis = percents(np.concatenate([curve.valid_accuracy for curve in known]).tolist())
    chart.axes(_epochs(longest), axis, "epoch", "validation accuracy")
    chart.legend(names)
    for place, curve in enumerate(known):
        chart.path(_points(curve.valid_accuracy), f"l{place % 7}", f"split {curve.split}")
    chart.path(_points(mean), "thick ink", "mean")
    return chart


def loss_chart(curves: Sequence[Curve]) -> Chart | None:
    """Loss by epoch on what is learned from and on what is not, mean over the splits."""
    lines = []
    for name, classes in (("train_loss", "l1"), ("valid_loss", "l0")):
        columns = [column for curve in curves if np.isfinite(column := getattr(curve, name)).any()]
        if columns:
            lines.append(
                (name.replace("train_", "training ").replace("valid_", "validation "), columns, classes)
            )
    if not lines:
        return None
    names = [(name, f"line thick {classes}") for name, _, classes in lines]
    top = Chart.legend_height(names, WIDTH)
    chart = Chart(WIDTH, HEIGHT + top - 12, "Loss by epoch", top=top + 4)
    every = np.concatenate([column for _, columns, _ in lines for column in columns])
    longest = max(len(column) for _, columns, _ in lines for column in columns)
    chart.axes(_epochs(longest), linear(every.tolist(), low=0), "epoch", "loss (nats)")
    chart.legend(names)
    for name, columns, classes in lines:
        for column in columns:
            chart.path(_points(column), f"{classes} thin")
        chart.path(_points(_mean(columns)), f"{classes} thick", name)
    return chart


def _epochs(longest: int) -> Axis:
    axis = whole(longest)
    ticks = ((1, "1"), *(tick for tick in axis.ticks if tick[0] > max(1, longest / 12)))
    return Axis(1 if longest > 1 else 0.5, max(longest, 1.5), ticks)


def _points(column: np.ndarray) -> list[tuple[float, float]]:
    return [(epoch, float(value)) for epoch, value in enumerate(column, start=1)]


def _mean(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Over curves as far as all of them go."""
    return np.mean([column[: min(map(len, columns))] for column in columns], axis=0)


def confusion_chart(counts_KK: np.ndarray, classes: Sequence[str], seeds: int = 1) -> Chart:
    """Clips by true (rows) and predicted class, each counted once a seed; the diagonal is what is right."""
    size = CELL if len(classes) <= MANY else 17.0
    longest = max(len(_short(name, 22)) for name in classes) * 6.4 + 12
    side = size * len(classes)
    caption = "rows: true class; columns: predicted" + (f"; {seeds} seeds" if seeds > 1 else "")
    width = max(longest * 1.5 + side + 4, longest + 6 * len(caption))
    chart = Chart(
        width,
        longest * 0.8 + side + 26,
        "Confusion matrix",
        left=longest,
        right=width - longest - side,
        top=longest * 0.8 + 18,
        bottom=6,
    )
    share_KK = counts_KK / np.maximum(counts_KK.sum(axis=1, keepdims=True), 1)
    chart.text(chart.left, 12, caption, "small")
    for place, name in enumerate(classes):
        middle = chart.top + (place + 0.5) * size + 4
        chart.text(
            longest - 7, middle, _short(name, 22), "strong" if size > 20 else "small strong", anchor="end"
        )
        across = chart.left + (place + 0.5) * size
        chart.text(across + 2, chart.top - 6, _short(name, 22), "" if size > 20 else "small", turn=-52)
    for row, column in np.ndindex(counts_KK.shape):
        count, share = counts_KK[row, column], float(share_KK[row, column])
        x, y = chart.left + column * size, chart.top + row * size
        colour = 0 if row == column else 1
        opacity = 0.06 if count == 0 else 0.16 + 0.84 * share**0.8
        style = f'class="f{7 if count == 0 else colour}" fill-opacity="{opacity:.2f}"'
        about = f"{classes[row]} taken for {classes[column]}: {count}" if count else ""
        chart.box(x + 0.5, y + 0.5, size - 1, size - 1, style, about)
        if count:
            classes_ = ("on" if share > 0.5 else "strong") + ("" if size > 20 else " small")
            chart.text(x + size / 2, y + size / 2 + 4, str(count), classes_, anchor="middle")
    return chart
