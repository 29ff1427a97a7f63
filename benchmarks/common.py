"""What the benchmarks share: alternating repeats, the rows of a table, the data, sections of a page."""

import os
import platform
import statistics
import textwrap
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from search.datasets.dataset import Dataset, open_dataset
from search.datasets.synthetic import write_esc50_folder

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = ROOT / "docs" / "benchmarks.md"
PROTOCOL = ROOT / "docs" / "protocol.md"
PERFORMANCE = ROOT / "docs" / "performance.md"
PRUNING = ROOT / "docs" / "pruning.md"
SCALE = ROOT / "docs" / "scale.md"
ACCURACY = ROOT / "docs" / "accuracy.md"
SEEDS = ROOT / "docs" / "seeds.md"
MODELS = ROOT / "docs" / "models.md"
LOAD = os.getloadavg()[0]  # before anything is measured: what else the machine was doing


@dataclass(frozen=True)
class Row:
    """One thing done in two ways. Seconds of each round; round i of both ways ran one after the other."""

    what: str
    contender: str
    slow: Sequence[float]
    ours: Sequence[float]

    @property
    def ratio(self) -> float:
        """How many times as long the contender takes, by the medians."""
        return statistics.median(self.slow) / statistics.median(self.ours)

    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        ratios = [slow / ours for slow, ours in zip(self.slow, self.ours, strict=True)]
        return (
            self.what,
            self.contender,
            times(self.ratio),
            f"{times(min(ratios))} to {times(max(ratios))}",
            duration(statistics.median(self.slow)),
            duration(statistics.median(self.ours)),
        )


def alternate(
    ways: dict[str, Callable[[], object]],
    rounds: int,
    unmeasured: int = 0,
    before: Callable[[], object] = lambda: None,
) -> dict[str, list[float]]:
    """Seconds of each way in each round; the ways take turns, so that a busy machine slows them all.

    `before` is called ahead of every turn, outside the measurement.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(unmeasured + rounds):
        for name, way in ways.items():
            before()
            began = time.perf_counter()
            way()
            if turn >= unmeasured:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def compare(
    what: str, contender: str, slow: Callable[[], object], ours: Callable[[], object], rounds: int = 5
) -> Row:
    """One row, after a round that is not measured."""
    found = alternate({"slow": slow, "ours": ours}, rounds, unmeasured=1)
    return told(Row(what, contender, found["slow"], found["ours"]))


def told(row: Row) -> Row:
    """The same row, shown to whoever waits for it."""
    print(" | ".join(row.cells()), flush=True)
    return row


def ratios(rows: Sequence[Row]) -> list[str]:
    """Rows as a Markdown table."""
    head = ("what", "contender", "ratio", "least to greatest", "contender takes", "ours takes")
    return table(head, [row.cells() for row in rows])


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """The lines of a Markdown table."""
    return [f"| {' | '.join(map(str, cells))} |" for cells in (head, ["---"] * len(head), *rows)]


def prose(text: str) -> list[str]:
    """A paragraph in lines, with an empty one behind it; how the text stands in the source does not matter."""
    joined = " ".join(text.split())
    return [*textwrap.wrap(joined, 130, break_long_words=False, break_on_hyphens=False), ""]


def times(ratio: float) -> str:
    """A ratio with two or three digits.

    >>> times(0.984), times(17.63), times(248.6)
    ('0.98x', '17.6x', '249x')
    """
    return f"{ratio:.2f}x" if ratio < 10 else f"{ratio:.1f}x" if ratio < 100 else f"{ratio:.0f}x"


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them.

    >>> duration(0.01123), duration(2.5), duration(81.234)
    ('11.2 ms', '2.50 s', '81.2 s')
    """
    if seconds < 1:
        return f"{1000 * seconds:.1f} ms"
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"


def esc10() -> Path | None:
    """Where ESC-10 lies (ESC10_ROOT, or ../shared/data beside the checkout), if it is there."""
    root = Path(os.environ.get("ESC10_ROOT", ROOT.parent / "shared" / "data" / "ESC-10"))
    return root if root.exists() else None


def data(scratch: Path) -> Dataset:
    """ESC-10, or the synthetic set written into `scratch` where ESC-10 is not found."""
    return open_dataset(esc10() or write_esc50_folder(scratch / "synthetic"))


def about(dataset: Dataset, *packages: str) -> str:
    """The sentence that says on what machine, with what and on which data something was measured."""
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    name = "the synthetic set, because ESC-10 was not found" if dataset.synthetic else dataset.name
    return (
        f"Measured on {platform.processor() or platform.machine()}, {os.cpu_count()} cores (load {LOAD:.1f} before), "
        f"Python {platform.python_version()}, {versions}; data: {name} ({len(dataset.clips)} clips)."
    )


def write_section(page: Path, name: str, lines: Sequence[str]) -> None:
    """Put `lines` between the markers `<!-- name -->` and `<!-- /name -->` of a page; the rest stays as it is.

    Raises:
        ValueError: the page has not exactly one such pair of markers.
    """
    first, last = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
    text = page.read_text(encoding="utf-8")
    if text.count(first) != 1 or text.count(last) != 1 or text.index(first) > text.index(last):
        raise ValueError(f"{page}: expected one line {first.strip()} and after it one line {last.strip()}")
    above, below = text.partition(first)[0], text.partition(last)[2]
    body = "\n".join(lines).strip("\n")
    page.write_text(f"{above}{first}\n{body}\n\n{last}{below}", encoding="utf-8")
