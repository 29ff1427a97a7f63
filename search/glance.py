"""A look at a ledger that somebody else writes, through a connection that cannot write.

Whoever watches a search must never hold it up, nor change anything.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from .errors import Failure, UsageError
from .ledger import VERSION, Change, Ledger

# a ledger of the first version has no such columns, and whoever only looks must not add them
OLD = "CREATE TEMP VIEW trials AS SELECT *, '{}' AS rescue, '{}' AS costs FROM main.trials"


class Run(NamedTuple):
    """A fold run as far as it matters here."""

    key: str
    trial: int
    split: int
    state: str
    epochs: int  # that it was trained for; of a running one those that were reported
    score: float | None
    started: float
    heard: float  # seconds since 1970


class Glance(Ledger):
    """A ledger that is only looked at: nothing is ever written to its file, not even a lock.

    Raises `UsageError` where there is none, `Failure` for a file that cannot be read. May be used by several
    threads, one at a time.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise UsageError(f"no study at {path.parent}: there is no {path.name} in it")
        self.path = path
        address = f"{path.absolute().as_uri()}?mode=ro"
        try:
            self._db = sqlite3.connect(
                address, timeout=5, isolation_level=None, uri=True, check_same_thread=False
            )
            version = self._version()
            if version == 1:
                self._db.execute(OLD)
        except sqlite3.DatabaseError as error:
            raise Failure(f"{path} cannot be read as a ledger: {error}") from error
        if version not in (1, VERSION):
            raise Failure(f"{path} is a ledger of version {version}, this escsearch reads up to {VERSION}")

    @contextmanager
    def moment(self) -> Iterator[None]:
        """All that is read inside is of the same moment."""
        self._db.execute("BEGIN")
        try:
            yield
        finally:
            self._db.execute("ROLLBACK")

    def last_change(self) -> int:
        """Number of the newest change; 0 where there is none."""
        return self._db.execute("SELECT coalesce(max(id), 0) FROM changes").fetchone()[0]

    def changes_since(self, last: int) -> list[Change]:
        """The changes after one of them, each kind and key once."""
        rows = self._db.execute(
            "SELECT max(id), kind, key FROM changes WHERE id > ? GROUP BY kind, key", (last,)
        )
        return [Change(*row) for row in rows]

    def runs(self, key: str | None = None) -> list[Run]:
        """One or all fold runs of the search."""
        one = "" if key is None else "AND key = ?"  # not "? IS NULL OR", which reads the whole table
        rows = self._db.execute(
            "SELECT key, trial, split, state, CASE state WHEN 'running' THEN "
            "coalesce((SELECT max(epoch) FROM epochs WHERE fold = key), 0) ELSE epochs END, "
            f"score, started, coalesce(ended, started) FROM folds WHERE phase = 'search' {one}",
            () if key is None else (key,),
        )
        return [Run(*row) for row in rows]

    def epoch(self, fold: str, number: int) -> tuple[dict[str, float], float]:
        """Metrics and time (seconds since 1970) of one epoch of a fold run."""
        metrics, moment = self._db.execute(
            "SELECT metrics, time FROM epochs WHERE fold = ? AND epoch = ?", (fold, number)
        ).fetchone()
        return json.loads(metrics), moment

    def mean_loss(self, trial: int) -> float:
        """Mean validation loss (nats) over the whole splits of a trial's search."""
        return self._db.execute(
            "SELECT avg(loss) FROM folds WHERE trial = ? AND phase = 'search' AND state = 'finished'",
            (trial,),
        ).fetchone()[0]

    def exams(self) -> dict[int, Any]:
        """Trial -> the record of its exam."""
        rows = self._db.execute("SELECT name, value FROM facts WHERE name GLOB 'exam/[0-9]*'")
        records = {int(name.removeprefix("exam/")): json.loads(value) for name, value in rows}
        return dict(sorted(records.items()))

    def facts(self, *names: str) -> dict[str, Any]:
        """Several facts at once; None for those that were never written."""
        return {name: self.fact(name) for name in names}
