"""How a search looks while it runs: one live table on a terminal, a line a change elsewhere; on stderr."""

import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from rich.box import SIMPLE
from rich.live import Live
from rich.table import Table

from .ledger import Ledger, TrialRow
from .terminal import say, stderr_console

REDRAW = 0.5  # seconds between two drawings of the live table


@dataclass(frozen=True)
class Standing:
    """Where a search stands, read from its ledger."""

    trials: tuple[TrialRow, ...]
    finished: Mapping[int, tuple[float, ...]]  # trial -> scores of its whole splits
    under_way: Mapping[int, tuple[int, int, float]]  # trial -> (split, epoch, validation accuracy)

    @property
    def counts(self) -> Mapping[str, int]:
        """Number of trials by state."""
        return Counter(row.state for row in self.trials)

    @property
    def best(self) -> TrialRow | None:
        """The complete trial with the highest objective."""
        complete = [row for row in self.trials if row.objective is not None]
        return max(complete, key=lambda row: (row.objective or 0.0, -row.number), default=None)


def standing(ledger: Ledger) -> Standing:
    """Read where a search stands."""
    finished: dict[int, list[float]] = {}
    under_way: dict[int, tuple[int, int, float]] = {}
    for fold in ledger.folds(phase="search"):
        if fold.state == "finished" and fold.score is not None:
            finished.setdefault(fold.trial, []).append(fold.score)
        elif fold.state == "running" and (epochs := ledger.epochs(fold.key)):
            epoch, metrics, _ = epochs[-1]
            under_way[fold.trial] = (fold.split, epoch, metrics["valid_accuracy"])
    scores = {trial: tuple(values) for trial, values in finished.items()}
    return Standing(tuple(ledger.trials()), scores, under_way)


def label(row: TrialRow) -> str:
    """A trial in a word or two."""
    return f"t{row.number:03d} {row.values.get('architecture', '')}"


def headline(now: Standing, asked: int, seconds: float) -> str:
    """One line: how many of how many, the best so far, the time."""
    counts = now.counts
    ended = counts["complete"] + counts["pruned"] + counts["failed"]
    best = f"best {now.best.objective:.3f} ({label(now.best)})" if now.best else "no complete trial yet"
    states = ", ".join(
        f"{counts[state]} {state}" for state in ("complete", "pruned", "failed") if counts[state]
    )
    return f"{clock(seconds)}  {ended}/{asked} trials{f' ({states})' if states else ''}  {best}"


def clock(seconds: float) -> str:
    """Seconds as minutes and seconds, with hours where there are any."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"


class SearchView:
    """Shows a running search; call `changed` as often as you like. A context manager."""

    def __init__(self, ledger: Ledger, splits: int, epochs: int, asked: int) -> None:
        self._ledger, self._splits, self._epochs, self._asked = ledger, splits, epochs, asked
        self._began = time.monotonic()
        self._drawn = 0.0
        self._seen = {row.number: (row.state, ledger.scores(row.number)) for row in ledger.trials()}
        self._live: Live | None = None
        if sys.stderr.isatty():
            self._live = Live(console=stderr_console(), auto_refresh=False, transient=True)

    def __enter__(self) -> "SearchView":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def changed(self, trial: int) -> None:
        """Something about a trial was written into the ledger."""
        if not self._live:
            self._lines(trial)
        elif time.monotonic() - self._drawn >= REDRAW:
            self._drawn = time.monotonic()
            self._live.update(self._table(standing(self._ledger)), refresh=True)

    def _table(self, now: Standing) -> Table:
        title = headline(now, self._asked, time.monotonic() - self._began)
        grid = Table("trial", "split", "epoch", "accuracy now", "splits so far", box=SIMPLE, title=title)
        for row in now.trials:
            if row.state == "running":
                split, epoch, accuracy = now.under_way.get(row.number, (0, 0, 0.0))
                grid.add_row(
                    label(row),
                    str(split or "-"),
                    f"{epoch}/{self._epochs}" if epoch else "-",
                    f"{accuracy:.3f}" if epoch else "-",
                    " ".join(f"{score:.3f}" for score in now.finished.get(row.number, ())) or "-",
                )
        return grid

    def _lines(self, trial: int) -> None:
        row, scores = self._ledger.trial(trial), self._ledger.scores(trial)
        state, known = self._seen.get(trial, ("", {}))
        moment = clock(time.monotonic() - self._began)
        for split in scores.keys() - known.keys():
            done = f"split {split} ({len(scores)} of {self._splits})"
            say(f"{moment}  {label(row)}: {done} done, accuracy {scores[split]:.3f}")
        if row.state != state:
            say(f"{moment}  {label(row)}: {_event(row)}")
        self._seen[trial] = (row.state, scores)


def _event(row: TrialRow) -> str:
    if row.state == "complete":
        return f"complete, objective {row.objective:.3f}"
    if row.state == "waiting" and row.losses:
        return f"lost its worker ({row.losses}), will be taken up again"
    return f"{row.state}{f' ({row.reason})' if row.reason else ''}"
