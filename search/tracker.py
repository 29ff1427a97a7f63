"""What a place that shows runs has to offer, and its twin in memory.

Runs are addressed by our own keys, never by the tracker's: opening a key twice opens one run, and a point
that arrives twice counts once, so that a projection may repeat itself after a crash. One tracker writes at a
time; a later one finds what earlier ones made.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import uuid4

STATUSES = ("RUNNING", "SCHEDULED", "FINISHED", "KILLED", "FAILED")  # the first two have no end


class TrackerDown(Exception):
    """The tracker cannot be reached at the moment. Nothing is lost: the ledger keeps what was not sent."""


class TrackerRefused(Exception):
    """The tracker will never take this: a param that changes, a run that somebody deleted."""


@dataclass(frozen=True)
class Point:
    """One value of one metric. `time` in milliseconds since 1970 is part of its identity."""

    metric: str
    value: float
    step: int
    time: int


class Tracker(Protocol):
    """All methods may raise `TrackerDown`; they may then be called again with the same arguments.

    They raise `TrackerRefused` for what can never be done: a run or parent that was not opened, another value
    for a param.
    """

    @property
    def store(self) -> str:
        """Where the runs lie. An empty store has another identity than the one that lay there before."""

    def open(
        self,
        key: str,
        name: str,
        parent: str | None,
        tags: Mapping[str, str],
        params: Mapping[str, object],
        time: int,
        points: Sequence[Point] = (),
    ) -> None:
        """Make sure that the run exists and carries this name, these tags, params and points. Params never change.

        time: when a new run began, in milliseconds since 1970.
        """

    def log(self, key: str, points: Sequence[Point]) -> None:
        """Add points to a run that was opened."""

    def attach(self, key: str, name: str, content: bytes) -> None:
        """Put a file (a picture, a table) on a run; `name` may be in a folder, as `report/exam.svg`."""

    def mark(self, key: str, status: str, time: int) -> None:
        """Set the status of a run (one of `STATUSES`); `time` of its end, if so, in milliseconds since 1970."""

    def drop(self, key: str) -> None:
        """Remove a run that was cut off: another attempt takes its place under another key."""

    def settle(self, key: str) -> int:
        """After an outage: remove every run of this key but the one in use; the number removed.

        A call that went down may be executed all the same, even later. What the run carries is then to be
        sent again: nothing that was sent before counts as known.
        """


@dataclass
class MemoryRun:
    """A run as the memory twin keeps it."""

    name: str
    parent: str | None
    began: int  # milliseconds since 1970
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    points: set[Point] = field(default_factory=set)
    files: dict[str, bytes] = field(default_factory=dict)
    status: str = "RUNNING"


class MemoryTracker:
    """The twin: obeys the same laws, forgets at the end of the process."""

    def __init__(self) -> None:
        self.runs: dict[str, MemoryRun] = {}
        self.store = uuid4().hex
        self.down = False  # tests take it away for a while

    def _check(self) -> None:
        if self.down:
            raise TrackerDown("taken away")

    def _run(self, key: str) -> MemoryRun:
        if key not in self.runs:
            raise TrackerRefused(f"no run {key}")
        return self.runs[key]

    def open(
        self,
        key: str,
        name: str,
        parent: str | None,
        tags: Mapping[str, str],
        params: Mapping[str, object],
        time: int,
        points: Sequence[Point] = (),
    ) -> None:
        """See `Tracker.open`."""
        self._check()
        if parent is not None:
            self._run(parent)
        run = self.runs.setdefault(key, MemoryRun(name, parent, time))
        wanted = {param: str(value) for param, value in params.items()}
        if changed := [
            param for param in wanted.keys() & run.params.keys() if wanted[param] != run.params[param]
        ]:
            raise TrackerRefused(f"param {changed[0]} of {key} cannot change")
        run.name = name
        run.tags |= tags
        run.params |= wanted
        run.points |= set(points)

    def log(self, key: str, points: Sequence[Point]) -> None:
        """See `Tracker.log`."""
        self._check()
        self._run(key).points |= set(points)

    def attach(self, key: str, name: str, content: bytes) -> None:
        """See `Tracker.attach`."""
        self._check()
        self._run(key).files[name] = content

    def mark(self, key: str, status: str, time: int) -> None:
        """See `Tracker.mark`."""
        self._check()
        self._run(key).status = status

    def drop(self, key: str) -> None:
        """See `Tracker.drop`."""
        self._check()
        self.runs.pop(key, None)

    def settle(self, key: str) -> int:
        """See `Tracker.settle`. Here a key holds one run, and every call is executed or not."""
        self._check()
        return 0
