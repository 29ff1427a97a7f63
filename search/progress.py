"""How a search looks while it runs: one live table on a terminal, a line a change elsewhere; on stderr."""

import sqlite3
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from urllib.parse import quote, urlencode

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from .glance import Glance
from .ledger import ENDED, Ledger, TrialRow
from .paste import command
from .settings import Settings
from .standing import Follower, Standing, UnderWay
from .terminal import say, stderr_console

REDRAW = 1  # drawings of the live table a second
SUMMARY = 60.0  # seconds between two summary lines where there is no terminal
SHOWN, LEAST = 12, 3  # running trials in the live table: at most, and however low the terminal
MEMBERS = 5  # of a front that are named
LISTED = 5  # scores of a trial that are listed one by one


def label(row: TrialRow) -> str:
    """A trial in a word or two."""
    return f"t{row.number:03d} {row.values.get('architecture', '')}".rstrip()


def clock(seconds: float) -> str:
    """Seconds as minutes and seconds, with hours where there are any."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"


def silence(seconds: float) -> str:
    """Seconds without news, for people.

    >>> silence(3.2), silence(99), silence(130)
    ('3 s', '99 s', '02:10')
    """
    return f"{max(0.0, seconds):.0f} s" if seconds < 99.5 else clock(seconds)


def score_list(scores: Sequence[float]) -> str:
    """Scores one by one, or summed up where they are many."""
    if len(scores) > LISTED:
        mean = sum(scores) / len(scores)
        return f"{len(scores)} of mean {mean:.3f}, {min(scores):.3f} to {max(scores):.3f}"
    return " ".join(f"{score:.3f}" for score in scores) or "-"


def headline(now: Standing, runs: bool = True) -> list[str]:
    """What a search has come to, in pieces: trials, best, epochs; time and ETA of one that `runs`."""
    counts = now.counts
    states = ", ".join(f"{counts[state]} {state}" for state in (*ENDED, "queued") if counts[state])
    asked = now.asked.get("trials", len(now.rows))
    pieces = [
        *([clock(now.moment - now.began)] if runs else []),
        f"{now.ended}/{asked} trials" + (f" ({states})" if states else ""),
        best(now),
    ]
    if now.saved is not None:
        pieces.append(f"{now.spent:,} of {now.full:,} epochs, {now.saved:.0%} saved")
    if runs and now.state == "running":
        pieces.append(f"ETA {'-' if now.eta is None else clock(now.eta)}")
        pieces += ["stopping"] if now.stopping else []
    return pieces


def best(now: Standing) -> str:
    """The best trial so far, with the 95 % interval of its objective."""
    if now.best is None or now.best.objective is None:
        return "no complete trial yet"
    interval = f" [{now.interval[0]:.3f}, {now.interval[1]:.3f}]" if now.interval else ""
    return f"best {now.best.objective:.3f}{interval} ({label(now.best)})"


def packed(pieces: Sequence[str], width: int) -> list[str]:
    """Pieces side by side, in as few lines as they fit into; none is wider than `width` characters."""
    lines: list[str] = []
    for piece in pieces:
        for part in textwrap.wrap(piece, width) or [""]:
            if lines and part == piece and len(lines[-1]) + 2 + len(part) <= width:
                lines[-1] += f"  {part}"
            else:
                lines.append(part)
    return lines


def front_lines(now: Standing) -> list[str]:
    """The Pareto front: its size, then its members with what they are worth. Empty with one objective."""
    if len(now.objectives) < 2:
        return []
    members = [
        f"  {label(now.rows[number])}: "
        + ", ".join(figure(name, value) for name, value in zip(now.objectives, worth, strict=True))
        for number, worth in now.front.items()
    ]
    more = [f"  and {len(members) - MEMBERS} more"] if len(members) > MEMBERS else []
    return [f"{len(members)} trial{'' if len(members) == 1 else 's'} on the front", *members[:MEMBERS], *more]


def figure(objective: str, value: float) -> str:
    """What a trial is worth in one objective.

    >>> figure("accuracy", 0.91234), figure("-params", 12345.0), figure("-latency", 3.21)
    ('accuracy 0.912', 'params 12,345', 'latency 3.2 ms')
    """
    name = objective.lstrip("-")
    if name in ("params", "macs"):
        return f"{name} {value:,.0f}"
    return f"{name} {value:.1f} ms" if name == "latency" else f"{name} {value:.3f}"


def page(now: Standing, study: str, settings: Settings) -> str:
    """Where to look at the trials in a browser: the address in MLflow, or the command that serves its pages."""
    uri = settings.tracking_uri
    if not uri.startswith(("http://", "https://")):
        return command(settings, "ui")
    if now.page is None or now.page.get("uri") != uri:
        return uri
    query = {
        "searchFilter": f"tags.`esc.level` = 'trial' and tags.study = '{study}'",
        "orderByKey": "metrics.`objective`",
        "orderByAsc": "false",
    }
    place = f"{uri.rstrip('/')}/#/experiments/{now.page['experiment']}/runs"
    return f"{place}?{urlencode(query, quote_via=quote)}"


def backlog_line(now: Standing, trouble: str = "") -> str:
    """What waits for MLflow, and why; empty where nothing does."""
    if not now.backlog:
        return ""
    return f"{now.backlog:,} changes wait for MLflow{f': {trouble}' if trouble else ''}"


def drawing(now: Standing, link: str, width: int, trouble: str = "", height: int = 24) -> RenderableType:
    """The live view of at most `width` characters and `height` lines. trouble: why changes wait for MLflow."""
    lines: list[RenderableType] = [Text(line) for line in packed(headline(now), width)]
    for line in (*front_lines(now), backlog_line(now, trouble)):
        lines += [Text(part) for part in textwrap.wrap(line, width)]
    shown = Text(f"see {link.partition('/#/')[0]}", no_wrap=True, overflow="ellipsis")
    if link.startswith("http"):
        shown.stylize(f"link {link}")  # the whole address is too long for a line
    lines.append(shown)
    if now.running:
        room = height - len(lines) - 4  # lines: one empty, the head, the end, where the cursor stands
        listed = max(LEAST, min(SHOWN, room))
        lines += [Text(""), _table(now, listed)]
        if len(now.running) > listed:
            lines.append(Text(f"and {len(now.running) - listed} more running trials"))
    return Group(*lines)


def _table(now: Standing, listed: int) -> Table:
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for header in ("trial", "split", "epoch", "accuracy", "splits so far", "silent"):
        grid.add_column(header, no_wrap=True, overflow="ellipsis")
    for trial in now.running[:listed]:
        grid.add_row(
            Text(label(trial.row)),
            f"{trial.place}/{now.splits or '?'}",
            f"{trial.epoch or '-'}/{now.epochs or '?'}",
            "-" if trial.accuracy is None else f"{trial.accuracy:.3f}",
            score_list(trial.scores),
            silence(now.moment - trial.heard),
        )
    return grid


def under_way(trial: UnderWay, now: Standing) -> str:
    """A running trial in one line."""
    split, epoch = f"{trial.place} of {now.splits or '?'}", f"{trial.epoch or '-'}/{now.epochs or '?'}"
    accuracy = "" if trial.accuracy is None else f", {trial.accuracy:.3f}"
    return f"split {split}, epoch {epoch}{accuracy}, {silence(now.moment - trial.heard)} ago"


class SearchView:
    """Shows a running search; call `changed` as often as you like. A context manager.

    It reads the ledger for itself. trouble: why changes wait for MLflow at present, if they do.
    """

    def __init__(
        self, ledger: Ledger, settings: Settings, trouble: Callable[[], str | None] = lambda: None
    ) -> None:
        self._ledger, self._settings, self._trouble = ledger, settings, trouble
        self._glance = Glance(ledger.path)
        self._follower = Follower(self._glance, settings.tracking_uri)
        self._now = self._follower.read()
        self._told = time.monotonic()
        self._away: float | None = None  # since when MLflow does not answer, seconds since 1970
        self._seen = {row.number: (row.state, ledger.scores(row.number)) for row in self._now.rows.values()}
        self._console = stderr_console()
        self._live: Live | None = None
        if sys.stderr.isatty():
            self._live = Live(
                get_renderable=self._draw,
                console=self._console,
                refresh_per_second=REDRAW,
                transient=True,
            )

    def __enter__(self) -> "SearchView":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()
        self._glance.close()

    def changed(self, trial: int) -> None:
        """Something about a trial was written into the ledger."""
        if self._live:
            return  # its own thread looks
        self._lines(trial)
        if time.monotonic() - self._told >= SUMMARY:
            self._told = time.monotonic()
            self._now = self._follower.read()
            pieces = [*headline(self._now), f"{len(self._now.running)} running"]
            pieces += filter(None, (*front_lines(self._now)[:1], backlog_line(self._now, self._reason())))
            say("  ".join(pieces))

    def _draw(self) -> RenderableType:
        try:
            self._now = self._follower.read()
        except sqlite3.OperationalError:
            pass  # it is being repaired after a crash of another reader: half a second later it can be read
        size = self._console.size
        return drawing(self._now, self._link, size.width, self._reason(), size.height)

    @property
    def _link(self) -> str:
        return page(self._now, self._ledger.path.parent.name, self._settings)

    def _reason(self) -> str:
        reason = self._trouble()
        if not reason:
            self._away = None
            return ""
        self._away = self._away or time.time()
        return f"{reason} since {time.strftime('%H:%M', time.localtime(self._away))}"

    def _lines(self, trial: int) -> None:
        row, scores = self._ledger.trial(trial), self._ledger.scores(trial)
        state, known = self._seen.get(trial, ("", {}))
        moment = clock(time.time() - self._now.began)
        for split in scores.keys() - known.keys():
            done = f"split {split} ({len(scores)} of {self._now.splits})"
            say(f"{moment}  {label(row)}: {done} done, accuracy {scores[split]:.3f}")
        if row.state != state:
            say(f"{moment}  {label(row)}: {_event(row)}")
        self._seen[trial] = (row.state, scores)


def _event(row: TrialRow) -> str:
    if row.state == "complete":
        return f"complete, objective {row.objective:.3f}"
    if row.state == "waiting" and row.losses:
        return f"lost its worker ({row.losses}), will be taken up again"
    if row.state == "queued":
        return "queued: held back until its turn comes in the race"
    return f"{row.state}{f' ({row.reason})' if row.reason else ''}"
