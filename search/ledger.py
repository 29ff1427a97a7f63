"""The ledger: the truth about one study, in one SQLite file.

Every change is one transaction (several that belong together are put in one with `transaction`), and what
others may want to see of it leaves a line in `changes` in the same transaction (an outbox), so that whoever
projects the ledger elsewhere (MLflow) can stop, fall behind and catch up without losing or doubling anything.
A fold run is a row with a state; an attempt that was cut off before its end leaves nothing behind but a higher
attempt number.
"""

import fcntl
import hashlib
import json
import sqlite3
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from .errors import Failure, UsageError

Values = Mapping[str, Any]

VERSION = 2
ENDED = ("complete", "pruned", "failed", "infeasible")  # states of trials that nothing more comes of
PATIENCE = 5  # looks at a lock that is held, a tenth of a second apart
SCHEMA = f"""
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE trials (
    number INTEGER PRIMARY KEY, vals TEXT NOT NULL, state TEXT NOT NULL, objective REAL,
    reason TEXT NOT NULL DEFAULT '', losses INTEGER NOT NULL DEFAULT 0, started REAL NOT NULL, ended REAL,
    rescue TEXT NOT NULL DEFAULT '{{}}', costs TEXT NOT NULL DEFAULT '{{}}');
CREATE TABLE folds (
    key TEXT PRIMARY KEY, trial INTEGER NOT NULL, phase TEXT NOT NULL, split INTEGER NOT NULL,
    seed INTEGER NOT NULL, state TEXT NOT NULL, attempt INTEGER NOT NULL, epochs INTEGER NOT NULL DEFAULT 0,
    score REAL, loss REAL, seconds REAL, predictions BLOB, started REAL NOT NULL, ended REAL);
CREATE INDEX folds_by_trial ON folds (trial, phase, split);
CREATE TABLE epochs (
    fold TEXT NOT NULL, epoch INTEGER NOT NULL, metrics TEXT NOT NULL, time REAL NOT NULL,
    PRIMARY KEY (fold, epoch));
CREATE TABLE rungs (
    trial INTEGER NOT NULL, position INTEGER NOT NULL, epoch INTEGER NOT NULL, score REAL NOT NULL,
    PRIMARY KEY (trial, position, epoch));
CREATE TABLE changes (id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, key TEXT NOT NULL);
CREATE TABLE cursors (reader TEXT PRIMARY KEY, position INTEGER NOT NULL);
PRAGMA user_version = {VERSION};
"""
UPGRADES = {  # from a version to the next
    1: """
ALTER TABLE trials ADD COLUMN rescue TEXT NOT NULL DEFAULT '{}';
ALTER TABLE trials ADD COLUMN costs TEXT NOT NULL DEFAULT '{}';
PRAGMA user_version = 2;
"""
}
TRIAL = "SELECT number, vals, state, objective, reason, losses, started, ended, rescue, costs FROM trials "
FOLD = (
    "SELECT key, trial, phase, split, seed, state, attempt, epochs, score, loss, seconds, predictions, "
    "started, ended FROM folds "
)


@dataclass(frozen=True)
class TrialRow:
    """A recipe under judgement. state: waiting | running | queued | complete | pruned | failed | infeasible.

    waiting: nobody works on it, and it comes next. queued: held back at the end of its first split.
    """

    number: int
    values: dict[str, Any]
    state: str
    objective: float | None
    reason: str
    losses: int  # workers that died under it since it last finished a fold run
    started: float  # seconds since 1970
    ended: float | None
    rescue: dict[str, Any] = field(default_factory=dict)  # values it trains with instead, for lack of memory
    costs: dict[str, float] = field(default_factory=dict)  # where objectives or limits ask for them

    @property
    def trained(self) -> dict[str, Any]:
        """The values that it really trains with."""
        return self.values | self.rescue


@dataclass(frozen=True)
class FoldRow:
    """One training on one split.

    state: running | finished | stopped (with its trial) | cut (its worker was lost; it will begin again) | stale
    (finished, but under values, data or code that count no more); phase: search | exam.
    """

    key: str
    trial: int
    phase: str
    split: int
    seed: int
    state: str
    attempt: int
    epochs: int
    score: float | None  # accuracy, 0..1, of the validation clips (search) or the test clips (exam)
    loss: float | None
    seconds: float | None  # of training and scoring
    predictions: bytes | None  # search: int16 class per clip; exam: float32 [clips, classes]
    started: float
    ended: float | None


@dataclass(frozen=True)
class Change:
    """One line of the outbox."""

    id: int
    kind: str  # study | trial | fold | epoch | exam
    key: str


def fold_key(values: Values, *, phase: str, split: int, seed: int, epochs: int, data: str, code: str) -> str:
    """The identity of a fold run, 16 hex digits: what decides its result and nothing else."""
    facts = [sorted(values.items()), phase, split, seed, epochs, data, code]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


class Unwritable(Failure):
    """The ledger takes no more: a full disk, a file system that has become read-only."""


class Ledger:
    """Open the ledger at `path`; it is created where `create` says so.

    Raises `UsageError` where there is none, and `Failure` for one written by another version.
    One `Ledger` belongs to one thread; another thread or process opens its own.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        if not create and not path.is_file():
            raise UsageError(f"no study at {path.parent}: there is no {path.name} in it")
        self.path = path
        self._db = sqlite3.connect(path, timeout=30, isolation_level=None)
        try:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute(
                "PRAGMA synchronous = NORMAL"
            )  # survives kill -9; a power cut may cost the last lines
            with self.transaction():
                self._make()
        except sqlite3.DatabaseError as error:
            raise Failure(f"{path} cannot be used as a ledger: {error}") from error
        if (version := self._version()) != VERSION:
            raise Failure(f"{path} is a ledger of version {version}, this escsearch reads up to {VERSION}")

    def _version(self) -> int:
        return self._db.execute("PRAGMA user_version").fetchone()[0]

    def _make(self) -> None:
        """Make the tables of a new file; bring those of an older version up to date."""
        if self._version() == 0:
            self._all(SCHEMA)
            for name, value in (("began", time.time()), ("id", uuid.uuid4().hex[:12])):
                self._db.execute("INSERT INTO facts VALUES (?, ?)", (name, json.dumps(value)))
        while upgrade := UPGRADES.get(self._version()):
            self._all(upgrade)

    def _all(self, statements: str) -> None:
        for statement in statements.split(";\n"):
            self._db.execute(statement)

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes inside happen together or not at all; inside another one it is part of that."""
        if self._db.in_transaction:
            yield
            return
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a full disk ends it by itself
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.OperationalError as error:
            remedy = "another process holds it, end that" if "locked" in str(error) else "free some space"
            raise Unwritable(
                f"{self.path} cannot be written ({error}); nothing in it is lost: {remedy}, then resume"
            ) from error

    def _changed(self, kind: str, key: object) -> None:
        self._db.execute("INSERT INTO changes (kind, key) VALUES (?, ?)", (kind, str(key)))

    # facts about the study

    def write_fact(self, name: str, value: Any, *, change: str = "study") -> None:
        """Keep one JSON value under a name."""
        with self.transaction():
            self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, json.dumps(value)))
            self._changed(change, name)

    def keep(self, name: str, value: Any) -> None:
        """Keep one JSON value that is no news for any reader: what a reader notes about itself."""
        with self.transaction():
            self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, json.dumps(value)))

    def fact(self, name: str, default: Any = None) -> Any:
        """The value kept under a name."""
        row = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return default if row is None else json.loads(row[0])

    @property
    def began(self) -> float:
        """When the ledger was made, in seconds since 1970."""
        return float(self.fact("began"))

    @property
    def id(self) -> str:
        """12 hex digits of this study alone, whatever others are called."""
        return str(self.fact("id"))

    def set_state(self, state: str) -> None:
        """Where the study stands: running | searched | done | interrupted."""
        self.write_fact("state", [state, time.time()])

    @property
    def state(self) -> tuple[str, float]:
        """Where the study stands, and since when (seconds since 1970)."""
        state, since = self.fact("state", ["running", self.began])
        return state, since

    # trials

    def open_trial(self, number: int, values: Values) -> None:
        """A proposal becomes a trial."""
        with self.transaction():
            self._db.execute(
                "INSERT INTO trials (number, vals, state, started) VALUES (?, ?, 'running', ?)",
                (number, json.dumps(dict(values)), time.time()),
            )
            self._changed("trial", number)

    def queue_trial(self, number: int) -> None:
        """A trial is held back at the end of its first split."""
        with self.transaction():
            self._db.execute("UPDATE trials SET state = 'queued' WHERE number = ?", (number,))
            self._changed("trial", number)

    def reopen_trial(self, number: int) -> None:
        """A trial that was stopped for a reason that holds no more is put into the queue."""
        with self.transaction():
            self._db.execute("UPDATE trials SET reason = '', ended = NULL WHERE number = ?", (number,))
            self.queue_trial(number)

    def retry_trial(self, number: int) -> None:
        """A trial that waited goes on, or starts again where its worker or driver was lost; finished folds stand."""
        with self.transaction():
            self._db.execute("UPDATE trials SET state = 'running' WHERE number = ?", (number,))
            self._cut_off(number)
            self._changed("trial", number)

    def suspend_trial(self, number: int, *, lost: bool = False) -> None:
        """Nobody works on the trial any more; it waits to be taken up again. `lost`: its worker died."""
        with self.transaction():
            self._db.execute(
                "UPDATE trials SET state = 'waiting', losses = losses + ? WHERE number = ?",
                (int(lost), number),
            )
            self._cut_off(number)
            self._changed("trial", number)

    def _cut_off(self, trial: int) -> None:
        """Forget the epochs of unfinished fold runs: they will be trained again from their first epoch."""
        running = self._db.execute(
            "SELECT key FROM folds WHERE trial = ? AND phase = 'search' AND state = 'running'", (trial,)
        ).fetchall()
        for (key,) in running:
            self._db.execute("DELETE FROM epochs WHERE fold = ?", (key,))
            self._db.execute("UPDATE folds SET state = 'cut', attempt = attempt + 1 WHERE key = ?", (key,))
            self._changed("fold", key)

    def close_trial(self, number: int, state: str, objective: float | None, reason: str = "") -> None:
        """The end of a trial: complete, pruned or failed. An unfinished fold run is kept as stopped."""
        now = time.time()
        with self.transaction():
            self._db.execute(
                "UPDATE trials SET state = ?, objective = ?, reason = ?, ended = ? WHERE number = ?",
                (state, objective, reason, now, number),
            )
            unfinished = self._db.execute(
                "SELECT key FROM folds WHERE trial = ? AND phase = 'search' AND state = 'running'", (number,)
            ).fetchall()
            for (key,) in unfinished:
                self._db.execute(
                    "UPDATE folds SET state = 'stopped', ended = ?, "
                    "epochs = (SELECT count(*) FROM epochs WHERE fold = key) WHERE key = ?",
                    (now, key),
                )
                self._changed("fold", key)
            self._changed("trial", number)

    def trials(self, state: str | None = None) -> list[TrialRow]:
        """All trials, or those in one state, by number."""
        rows = self._db.execute(TRIAL + "WHERE ?1 IS NULL OR state = ?1 ORDER BY number", (state,))
        return [_trial(row) for row in rows]

    def count_trials(self) -> int:
        """How many trials were begun."""
        return self._db.execute("SELECT count(*) FROM trials").fetchone()[0]

    def trial(self, number: int) -> TrialRow:
        """One trial."""
        return _trial(self._db.execute(TRIAL + "WHERE number = ?", (number,)).fetchone())

    def rescue_trial(self, number: int, changes: Values) -> None:
        """Train a trial with other values for lack of memory, from its first split: it waits to be taken up again."""
        with self.transaction():
            self.suspend_trial(number)
            self._forget(number)
            self._db.execute(
                "UPDATE trials SET rescue = ? WHERE number = ?", (json.dumps(dict(changes)), number)
            )

    def set_aside(self) -> None:
        """Data or code have changed: fold runs of trials that go on count no more."""
        with self.transaction():
            for row in (*self.trials("waiting"), *self.trials("queued")):
                self._forget(row.number)
                self.suspend_trial(row.number)

    def _forget(self, trial: int) -> None:
        """The finished fold runs of a trial's search count no more."""
        finished = self._db.execute(
            "SELECT key FROM folds WHERE trial = ? AND phase = 'search' AND state = 'finished'", (trial,)
        ).fetchall()
        for (key,) in finished:
            self._db.execute("UPDATE folds SET state = 'stale' WHERE key = ?", (key,))
            self._changed("fold", key)
        self._db.execute("DELETE FROM rungs WHERE trial = ?", (trial,))

    def write_costs(self, number: int, costs: Mapping[str, float]) -> None:
        """What a trial costs, by the name of the cost."""
        with self.transaction():
            self._db.execute(
                "UPDATE trials SET costs = ? WHERE number = ?", (json.dumps(dict(costs)), number)
            )
            self._changed("trial", number)

    # fold runs

    def log_epoch(
        self,
        key: str,
        epoch: int,
        metrics: Mapping[str, float],
        *,
        trial: int,
        phase: str,
        split: int,
        seed: int,
    ) -> None:
        """One epoch of a fold run; its first epoch opens it."""
        now = time.time()
        with self.transaction():
            self._open_fold(key, trial, phase, split, seed, now)
            self._db.execute(
                "INSERT OR REPLACE INTO epochs VALUES (?, ?, ?, ?)",
                (key, epoch, json.dumps(dict(metrics)), now),
            )
            self._changed("epoch", f"{key}:{epoch}")

    def _open_fold(self, key: str, trial: int, phase: str, split: int, seed: int, now: float) -> None:
        row = self._db.execute("SELECT state FROM folds WHERE key = ?", (key,)).fetchone()
        if row is None:
            self._db.execute(
                "INSERT INTO folds (key, trial, phase, split, seed, state, attempt, started) "
                "VALUES (?, ?, ?, ?, ?, 'running', 1, ?)",
                (key, trial, phase, split, seed, now),
            )
            self._changed("fold", key)
        elif row[0] in ("cut", "stale"):
            self._db.execute("DELETE FROM epochs WHERE fold = ?", (key,))
            self._db.execute(
                "UPDATE folds SET state = 'running', attempt = attempt + (state = 'stale'), started = ? WHERE key = ?",
                (now, key),
            )
            self._changed("fold", key)

    def finish_fold(
        self,
        key: str,
        *,
        score: float,
        loss: float,
        epochs: int,
        seconds: float,
        predictions: bytes,
    ) -> None:
        """The result of a fold run that `log_epoch` has opened. A finished one is never written again."""
        with self.transaction():
            done = self._db.execute(
                "UPDATE folds SET state = 'finished', score = ?, loss = ?, epochs = ?, seconds = ?, "
                "predictions = ?, ended = ? WHERE key = ? AND state = 'running'",
                (score, loss, epochs, seconds, predictions, time.time(), key),
            )
            if done.rowcount:
                self._db.execute(
                    "UPDATE trials SET losses = 0 WHERE number = (SELECT trial FROM folds WHERE key = ?)",
                    (key,),
                )
                self._changed("fold", key)

    def record_exam_fold(
        self,
        key: str,
        *,
        trial: int,
        split: int,
        seed: int,
        score: float,
        loss: float,
        epochs: int,
        seconds: float,
        predictions: bytes,
        losses: list[float],
    ) -> None:
        """An exam's fold run, whole, in one transaction (nobody watches it while it trains)."""
        now = time.time()
        with self.transaction():
            self._db.execute(
                "INSERT OR IGNORE INTO folds VALUES (?, ?, 'exam', ?, ?, 'finished', 1, ?, ?, ?, ?, ?, ?, ?)",
                (key, trial, split, seed, epochs, score, loss, seconds, predictions, now - seconds, now),
            )
            for epoch, value in enumerate(losses, start=1):
                self._db.execute(
                    "INSERT OR IGNORE INTO epochs VALUES (?, ?, ?, ?)",
                    (
                        key,
                        epoch,
                        json.dumps({"train_loss": value}),
                        now - seconds + seconds * epoch / len(losses),
                    ),
                )
                self._changed("epoch", f"{key}:{epoch}")
            self._changed("fold", key)

    def folds(self, trial: int | None = None, phase: str | None = None) -> list[FoldRow]:
        """Fold runs, by trial, phase, split and seed."""
        one = "trial = ?1" if trial is not None else "?1 IS NULL"  # not both: that reads the whole table
        rows = self._db.execute(
            f"{FOLD} WHERE {one} AND (?2 IS NULL OR phase = ?2) ORDER BY trial, phase DESC, split, seed",
            (trial, phase),
        )
        return [FoldRow(*row) for row in rows]

    def fold(self, key: str) -> FoldRow | None:
        """One fold run, if it was ever begun."""
        row = self._db.execute(FOLD + "WHERE key = ?", (key,)).fetchone()
        return None if row is None else FoldRow(*row)

    def epochs(self, fold: str) -> list[tuple[int, dict[str, float], float]]:
        """(epoch, metrics, seconds since 1970) of a fold run, by epoch."""
        rows = self._db.execute(
            "SELECT epoch, metrics, time FROM epochs WHERE fold = ? ORDER BY epoch", (fold,)
        )
        return [(epoch, json.loads(metrics), moment) for epoch, metrics, moment in rows]

    def any_epoch(self) -> bool:
        """Whether any training has got as far as the end of an epoch."""
        return self._db.execute("SELECT 1 FROM epochs LIMIT 1").fetchone() is not None

    def scores(self, trial: int) -> dict[int, float]:
        """Split -> validation accuracy of the finished fold runs of a trial's search."""
        rows = self._db.execute(
            "SELECT split, score FROM folds WHERE trial = ? AND phase = 'search' AND state = 'finished' "
            "ORDER BY split",
            (trial,),
        )
        return dict(rows.fetchall())

    # rungs: what pruning compared

    def write_rung(self, trial: int, position: int, epoch: int, score: float) -> None:
        """The score of a trial at a rung."""
        with self.transaction():
            self._db.execute(
                "INSERT OR IGNORE INTO rungs VALUES (?, ?, ?, ?)", (trial, position, epoch, score)
            )

    def rungs(self, trial: int | None = None) -> list[tuple[int, int, int, float]]:
        """(trial, position, epoch, score) of every rung reached (by one trial), in the order they were reached."""
        one = "trial = ?1" if trial is not None else "?1 IS NULL"  # as in `folds`
        return self._db.execute(
            f"SELECT trial, position, epoch, score FROM rungs WHERE {one} ORDER BY rowid", (trial,)
        ).fetchall()

    # the outbox

    def changes(self, reader: str, most: int = 500) -> list[Change]:
        """What a reader has not acknowledged yet, oldest first."""
        rows = self._db.execute(
            "SELECT id, kind, key FROM changes WHERE id > coalesce("
            "(SELECT position FROM cursors WHERE reader = ?), 0) ORDER BY id LIMIT ?",
            (reader, most),
        )
        return [Change(*row) for row in rows]

    def acknowledge(self, reader: str, last: int) -> None:
        """Everything up to change number `last` has arrived at the reader."""
        with self.transaction():
            self._db.execute("INSERT OR REPLACE INTO cursors VALUES (?, ?)", (reader, last))

    def backlog(self, reader: str) -> int:
        """How many changes have not arrived at the reader."""
        return self._db.execute(
            "SELECT count(*) FROM changes WHERE id > coalesce((SELECT position FROM cursors WHERE reader = ?), 0)",
            (reader,),
        ).fetchone()[0]


def _trial(row: tuple[Any, ...]) -> TrialRow:
    number, values, state, objective, reason, losses, started, ended, rescue, costs = row
    return TrialRow(
        number,
        json.loads(values),
        state,
        objective,
        reason,
        losses,
        started,
        ended,
        rescue=json.loads(rescue),
        costs=json.loads(costs),
    )


@contextmanager
def sole_driver(folder: Path) -> Iterator[None]:
    """Hold the study's lock, which dies with its owner. Raises `Failure` while another driver holds it."""
    with open(folder / "lock", "w") as file:
        _lock(file, folder)
        yield


def _lock(file: IO[str], folder: Path) -> None:
    for attempt in range(PATIENCE):  # who only asks whether somebody drives holds it for a moment
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if attempt == PATIENCE - 1:
                raise Failure(
                    f"study {folder.name} is running in another process; wait for it or stop it"
                ) from error
            time.sleep(0.1)
