"""The search as Optuna's own tools want it: a projection of the ledger into a file that they read.

The ledger is the truth. Every trial that has ended becomes one trial of Optuna, with the number it has in the
ledger as its user attribute `trial`; the file can be thrown away at any time and is written anew.
"""

import math
import shlex
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spaces.space import PointError, Space, complete

from .errors import Failure
from .ledger import Ledger, TrialRow
from .objectives import Objective, judged
from .parameters import Parameters

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial, TrialState

READER = "optuna"  # in the ledger's outbox
PAGE = 20_000  # changes that are looked at in one go
METRIC_NAMES = "study:metric_names"  # what `Study.set_metric_names` writes, which warns of being experimental
THERE = "SELECT value_json FROM trial_user_attributes JOIN trials USING (trial_id) WHERE study_id = ? AND key = 'trial'"


class OptunaStore:
    """One study in one SQLite file of Optuna. Lives in one thread.

    objectives: they give the directions; a trial's values are in this order and in the objectives' own units.
    """

    def __init__(self, path: Path, space: Space, name: str, objectives: Sequence[Objective]) -> None:
        self.path = path.absolute()
        self._space, self._name, self._objectives = space, name, tuple(objectives)
        self._parameters: Parameters | None = None
        self._opened: tuple[optuna.storages.RDBStorage, int] | None = None
        self._there: set[int] = set()  # trials that are in the file

    def catch_up(self, ledger: Ledger) -> int:
        """Add the trials that have ended and are not in the file yet; their number.

        Costs one look at the outbox when nothing has changed. Whatever it raises, and wherever it is killed, nothing
        is lost or doubled: it can be called again.
        """
        added = 0
        try:
            if not self.path.is_file():  # new, or thrown away: from the beginning, whatever was acknowledged
                self.close()
                added += self._add(ledger, ledger.trials())
            while changes := ledger.changes(READER, PAGE):
                numbers = {int(change.key) for change in changes if change.kind == "trial"}
                added += self._add(ledger, [ledger.trial(number) for number in sorted(numbers)])
                ledger.acknowledge(READER, changes[-1].id)
        except BaseException:
            self.close()
            raise
        return added

    def close(self) -> None:
        """Let go of the file."""
        if self._opened is not None:
            self._opened[0].remove_session()
            self._opened[0].engine.dispose()
        self._opened, self._there = None, set()

    def _add(self, ledger: Ledger, rows: Sequence[TrialRow]) -> int:
        ended = [row for row in rows if row.ended is not None]
        if not ended:
            return 0
        storage, study = self._open()
        epochs = int(ledger.fact("asked", {}).get("epochs", self._space.epochs))
        added = 0
        for row in ended:
            if row.number not in self._there and (trial := self._trial(ledger, row, epochs)) is not None:
                storage.create_new_trial(study, trial)  # one transaction
                self._there.add(row.number)
                added += 1
        return added

    def _open(self) -> "tuple[optuna.storages.RDBStorage, int]":
        """The file and the number of the study in it; both are made where they are missing."""
        if self._opened is not None:
            return self._opened
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        up, down = optuna.study.StudyDirection.MAXIMIZE, optuna.study.StudyDirection.MINIMIZE
        directions = [up if objective.sign > 0 else down for objective in self._objectives]
        storage = optuna.storages.RDBStorage(address(self.path))
        made = optuna.create_study(
            storage=storage, study_name=self._name, directions=directions, load_if_exists=True
        )
        number = storage.get_study_id_from_name(self._name)
        self._opened = storage, number
        if made.directions != directions:
            raise Failure(f"it holds study {self._name} with other objectives")
        names = [objective.name for objective in self._objectives]
        if made.metric_names != names:
            storage.set_study_system_attr(number, METRIC_NAMES, names)
        with storage.engine.connect() as connection:  # reading 2,000 whole trials takes seconds
            self._there = {int(trial) for (trial,) in connection.exec_driver_sql(THERE, (number,))}
        return self._opened

    def _trial(self, ledger: Ledger, row: TrialRow, epochs: int) -> "FrozenTrial | None":
        """An ended trial in Optuna's words; None if its values are no point of the space any more."""
        from optuna.trial import create_trial

        parameters = self._parameters = self._parameters or Parameters(self._space)
        try:
            params = parameters.of(complete(self._space, row.values))
        except PointError:
            return None
        state, values = self._ending(ledger, row)
        facts: dict[str, Any] = {"trial": row.number, "state": row.state}
        facts |= {name: value for name, value in (("reason", row.reason), ("costs", row.costs)) if value}
        trial = create_trial(
            state=state,
            values=values,
            params=params,
            distributions={name: parameters.distributions[name] for name in params},
            user_attrs=facts,
            intermediate_values={
                (position - 1) * epochs + epoch: score
                for _, position, epoch, score in ledger.rungs(row.number)
                if math.isfinite(score)
            },
        )
        assert row.ended is not None
        trial.datetime_start = datetime.fromtimestamp(row.started)
        trial.datetime_complete = datetime.fromtimestamp(row.ended)
        return trial

    def _ending(self, ledger: Ledger, row: TrialRow) -> "tuple[TrialState, list[float] | None]":
        """Optuna's state and values; a trial that is not finitely worth something in each objective has failed."""
        from optuna.trial import TrialState

        values = judged(ledger, row, self._objectives) if row.state == "complete" else None
        if values is not None and all(map(math.isfinite, values)):
            return TrialState.COMPLETE, list(values)
        return TrialState.PRUNED if row.state == "pruned" else TrialState.FAIL, None


class OptunaThread:
    """Keeps the file up to date beside a search, which it never disturbs.

    ledger: its file; the thread opens a connection of its own. say: hears once of trouble, and when it is over.
    pause: seconds between two looks at the outbox, five times that after trouble. The rest is `OptunaStore`'s.
    """

    def __init__(
        self,
        ledger: Path,
        path: Path,
        space: Space,
        name: str,
        objectives: Sequence[Objective],
        *,
        say: Callable[[str], None],
        pause: float = 2.0,
    ) -> None:
        self.store = OptunaStore(path, space, name, objectives)
        self._path, self._say, self._pause = ledger, say, pause
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="optuna", daemon=True)
        self.trouble: str | None = None  # why the file is behind at present

    def start(self) -> None:
        """Begin; calling it again does nothing."""
        if self._thread.ident is None:
            self._thread.start()

    def finish(self, seconds: float) -> None:
        """Catch up a last time, for so long at most; what is missing then is added by the next session."""
        self._end.set()
        self.start()
        self._thread.join(seconds)

    def _run(self) -> None:
        ledger = Ledger(self._path)
        try:
            while True:
                last = self._end.is_set()
                try:
                    self.store.catch_up(ledger)
                    self._note(None)
                except Exception as error:  # nothing here may end a search; the ledger keeps everything
                    self._note(_cause(error))
                if last:
                    return
                self._end.wait(self._pause if self.trouble is None else 5 * self._pause)
        finally:
            self.store.close()
            ledger.close()

    def _note(self, trouble: str | None) -> None:
        if trouble and not self.trouble:
            self._say(
                f"{self.store.path} is not kept up to date ({trouble}); the search goes on: free disk space if "
                "that is it, else move the file away, and it is written anew"
            )
        elif self.trouble and not trouble:
            self._say(f"{self.store.path} is up to date again")
        self.trouble = trouble


def address(path: Path) -> str:
    """A file of Optuna's as its tools want to be told of it."""
    from sqlalchemy.engine import URL

    return URL.create("sqlite", database=str(path.absolute())).render_as_string()


def open_command(path: Path) -> str:
    """The command that shows a file in a browser (package optuna-dashboard)."""
    return f"optuna-dashboard {shlex.quote(address(path))}"


def _cause(error: BaseException) -> str:
    """The first line of what lies at the bottom of an error; Optuna and SQLAlchemy wrap it in pages."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
