"""From a study to a champion: the stages of `run` and `resume`, and each of them alone.

search -> exam -> refit -> gate -> registry. Every stage reads what it needs from the ledger and the study's
folder, so that each can be repeated, or done later by a command of its own.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from escmodels.scores import Exam

from . import exam
from .conductor import Conductor
from .datasets.clip import SHOWN, Dataset
from .datasets.waves.beside import halt
from .errors import Failure, UsageError
from .ledger import Ledger, TrialRow, sole_driver
from .local import LocalRunner
from .mlflow_tracker import MlflowTracker, check_reachable
from .pages import EXPERIMENT
from .paste import command, relative
from .progress import SearchView
from .projection import ProjectorThread, StudyFacts
from .runner import Runner
from .settings import Settings
from .ship import Shipped, refit, register
from .study import Spec, Study, check_unchanged, create, recorded_engine, reopen, update
from .terminal import progress, say
from .tracker import TrackerDown, TrackerRefused

FLUSH = 300.0  # seconds that the end of a stage waits for MLflow to take what is left


@dataclass(frozen=True)
class Engine:
    """Who runs the trainings."""

    runner: str = "ray"  # or "local": one after the other in this process
    workers: int | None = None  # side by side; None: one a core
    gpus_per_trial: float = 0.0
    address: str | None = None  # of a Ray cluster; None: what the settings say

    def __post_init__(self) -> None:
        if self.runner not in ("ray", "local"):
            raise ValueError(f"unknown runner {self.runner!r}, known: ray, local")
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers must be at least 1, got {self.workers}")
        if self.runner == "local" and (self.workers or 1) > 1:
            raise ValueError(f"the local runner trains one recipe at a time, got {self.workers} workers")
        share = self.gpus_per_trial
        fraction = 0 < share < 1 and abs(1 / share - round(1 / share)) > 0.01
        if share < 0 or fraction or (share > 1 and share % 1):
            raise ValueError(f"gpus per trial must be 0, 1/n or a whole number, got {share}")


@dataclass
class Outcome:
    """What a session of a study came to. `seconds` by stage of this session."""

    study: Study
    trials: list[TrialRow]
    exams: list[tuple[TrialRow, Exam]] = field(default_factory=list)
    shipped: Shipped | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    epochs_spent: int = 0  # by trials that did not fail
    epochs_full: int = 0  # that these would have taken without pruning
    backlog: int = 0  # changes that wait for MLflow

    def count(self, state: str) -> int:
        """Number of trials in a state."""
        return sum(row.state == state for row in self.trials)


def run_study(
    spec: Spec,
    space: str,
    settings: Settings,
    *,
    name: str | None = None,
    engine: Mapping[str, Any] | None = None,
    examine: bool = True,
) -> Outcome:
    """Begin a study and carry it to its end. Raises `Failure` and its kinds with one sentence.

    engine: fields of `Engine`; later sessions go on with the same unless they say otherwise.
    """
    check_reachable(settings.tracking_uri)
    study = create(spec, space, settings, name)
    with _session(study, settings, _engine(engine or {}), new=True) as session:
        return session.whole(examine)


def resume_study(
    name: str,
    settings: Settings,
    *,
    engine: Mapping[str, Any] | None = None,
    examine: bool = True,
    **changes: Any,
) -> Outcome:
    """Go on with a study where it stopped, with other limits if asked."""
    study = reopen(name, settings, **changes)
    check_reachable(settings.tracking_uri)
    with _session(study, settings, _continued(study, engine)) as session:
        return session.whole(examine)


def examine_study(
    name: str, settings: Settings, *, engine: Mapping[str, Any] | None = None, **changes: Any
) -> Outcome:
    """Hold the exam of a study again or for the first time."""
    study = reopen(name, settings, **changes)
    with _session(study, settings, _continued(study, engine)) as session:
        session.examine()
        return session.outcome()


def promote_study(
    name: str,
    settings: Settings,
    *,
    engine: Mapping[str, Any] | None = None,
    model: str | None = None,
    min_gain: float = 0.005,
) -> Outcome:
    """Ship the winner of an examined study through the gate."""
    study = reopen(name, settings, model=model)
    check_reachable(settings.tracking_uri)
    with _session(study, settings, _continued(study, engine)) as session:
        session.recall_exams()
        session.ship(min_gain)
        return session.outcome()


def _engine(asked: Mapping[str, Any]) -> Engine:
    try:
        return Engine(**asked)
    except (TypeError, ValueError) as error:
        raise UsageError(str(error)) from error


def _continued(study: Study, asked: Mapping[str, Any] | None) -> Engine:
    """As the study was run before, but for what is asked now; another runner has workers of its own."""
    before, now = recorded_engine(study), dict(asked or {})
    if now.get("runner", before.get("runner")) != before.get("runner"):
        before = {}
    return _engine(before | now)


@contextmanager
def _session(study: Study, settings: Settings, engine: Engine, *, new: bool = False) -> Iterator["Session"]:
    """Lock the study, open its data and its runner side by side, and close everything whatever happens."""
    began = time.monotonic()
    opened = _Beside(lambda: study.open_clips(settings, progress))  # Ray starts meanwhile: it mostly waits
    runner: Runner | None = None
    try:
        runner = _runner(engine, settings)
        opened.join()
        if new:
            for remark in (*study.dataset.remarks, *_left_out(study.dataset)):
                say(remark)
            study.write(asdict(engine))
        with sole_driver(study.folder):
            if not new:
                check_unchanged(study)
                update(study, asdict(engine))
            runner.load(study.clips)
            session = Session(study, settings, runner)
            session.seconds["start"] = time.monotonic() - began
            try:
                yield session
            except KeyboardInterrupt:
                session.interrupted()
                raise
            finally:
                session.close()
    finally:
        opened.stop()
        study.release()
        if runner is not None:
            runner.close()


def _left_out(dataset: Dataset) -> list[str]:
    """What a study does without, for the person who begins it."""
    reasons = [f"left out: {reason}" for _, reason in dataset.skipped[:SHOWN]]
    more = len(dataset.skipped) - len(reasons)
    return reasons + ([f"left out: {more} more, all in study.yaml"] if more else [])


class _Beside:
    """A call in a thread that dies with the process, so that nothing waits for it after an error elsewhere."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(call,), daemon=True)
        self._thread.start()

    def _run(self, call: Callable[[], None]) -> None:
        try:
            call()
        except BaseException as error:  # handed over to whoever waits
            self._error = error

    def stop(self) -> None:
        """End it at its next step if it still runs."""
        if self._thread.is_alive():
            halt()
            self._thread.join()
            halt(False)

    def join(self) -> None:
        """Wait for its end; raise what it raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error


def _runner(engine: Engine, settings: Settings) -> Runner:
    if engine.runner == "local":
        return LocalRunner(device="cuda" if engine.gpus_per_trial else "cpu")
    from .cluster import RayRunner  # Ray takes seconds to import

    address = engine.address or settings.ray_address
    return RayRunner(address, engine.workers, engine.gpus_per_trial)


class Session:
    """One process at work on one study."""

    def __init__(self, study: Study, settings: Settings, runner: Runner) -> None:
        self.study, self.settings, self.runner = study, settings, runner
        self.ledger = study.ledger()
        self.facts = study.facts(self.ledger.id)
        self.seconds: dict[str, float] = {}
        self.exams: list[tuple[TrialRow, Exam]] = []
        self.shipped: Shipped | None = None
        self._projector = ProjectorThread(
            study.ledger_path, self._connect, self.facts, settings.tracking_uri, say=say
        )

    def whole(self, examine: bool) -> Outcome:
        """All stages."""
        self.search()
        if examine:
            self.examine()
            self.ship()
        return self.outcome()

    def interrupted(self) -> None:
        """Ctrl-C: leave everything so that `resume` finds it."""
        for row in self.ledger.trials("running"):
            self.ledger.suspend_trial(row.number)
        self.ledger.set_state("interrupted")
        say(f"saved; go on with: {command(self.settings, 'resume', self.study.folder.name)}")

    def close(self) -> None:
        """Send what waits for MLflow, let go of the ledger."""
        if self.ledger.backlog(self.settings.tracking_uri):
            self._projector.finish(FLUSH)
        self.ledger.close()

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - began

    def _connect(self) -> MlflowTracker:
        return MlflowTracker(self.settings, EXPERIMENT)

    # stages

    def search(self) -> None:
        """Run trials until the limits are reached."""
        study, ledger = self.study, self.ledger
        ledger.write_fact("study", self.facts.to_json())
        ledger.set_state("running")
        view = SearchView(ledger, len(study.splits), study.epochs, study.spec.trials)

        def listen(trial: int) -> None:
            view.changed(trial)
            if ledger.any_epoch():  # importing MLflow must not delay the first training
                self._projector.start()

        with self._stage("search"), view:
            conductor = Conductor(
                ledger,
                study.proposer(),
                study.plan(),
                study.spec.limits(),
                data=study.data,
                code=study.code,
                listen=listen,
            )
            self.runner.search(conductor)
        if conductor.exhausted:
            say(f"the space holds only {ledger.count_trials()} different recipes; all were tried")
        ledger.set_state("searched")
        if not ledger.trials("complete"):
            reasons = [row.reason for row in ledger.trials("failed")]
            raise Failure(
                f"no trial of study {study.folder.name} is complete"
                + (f"; the last one failed: {reasons[-1]}" if reasons else "; resume it with more --trials")
            )

    def examine(self) -> None:
        """Hold the exam."""
        spec, study = self.study.spec, self.study
        self._projector.start()
        with self._stage("exam"), progress("exam, fold runs") as tick:
            plan = study.exam_plan(spec.exam_seeds)
            self.exams = exam.hold(self.ledger, self.runner, study.labels, plan, spec.finalists, tick)

    def recall_exams(self) -> None:
        """Take the exams from the ledger. Raises `UsageError` where the winner was not examined."""
        rows = exam.finalists(self.ledger, self.ledger.count_trials())
        for row in rows:
            if record := self.ledger.fact(f"exam/{row.number}"):
                self.exams.append(
                    (exam.trained(self.ledger, row), Exam.from_json(json.dumps(record["exam"])))
                )
        if not self.exams or self.exams[0][0].number != rows[0].number:
            name = self.study.folder.name
            raise UsageError(
                f"the winner of study {name}, trial {rows[0].number}, was not examined; "
                f"run '{command(self.settings, 'exam', name)}' first"
            )

    def ship(self, min_gain: float = 0.005) -> None:
        """Train the winner on all folds, and register it if it gets through the gate."""
        row, result = self.exams[0]
        with self._stage("ship"):
            folder = refit(self.study, self.ledger, self.runner, row, result)
            try:
                if self._projector.drain(FLUSH):  # the model's run hangs below the study's
                    raise TrackerDown(self._projector.trouble or "it is slow")
                self.shipped = register(
                    self.study, self.facts, self.settings, self._connect, row, result, folder, min_gain
                )
            except (TrackerDown, TrackerRefused, Failure) as error:
                again = command(self.settings, "promote", self.study.folder.name)
                raise Failure(
                    f"the model is ready at {relative(folder)} but could not be registered ({error}); "
                    f"run '{again}' when MLflow is there"
                ) from error
        self.ledger.set_state("done")

    def outcome(self) -> Outcome:
        """What this session came to."""
        backlog = self._projector.drain(FLUSH)
        rows = self.ledger.trials()
        counted = {row.number for row in rows if row.state != "failed"}
        folds = [fold for fold in self.ledger.folds(phase="search") if fold.trial in counted]
        return Outcome(
            self.study,
            rows,
            self.exams,
            self.shipped,
            self.seconds,
            epochs_spent=sum(fold.epochs for fold in folds),
            epochs_full=len(counted) * len(self.study.splits) * self.study.epochs,
            backlog=backlog,
        )


def sync_study(name: str, settings: Settings) -> int:
    """Send what the ledger of a study still holds for MLflow; the number of changes sent."""
    folder = settings.existing_study(name)
    check_reachable(settings.tracking_uri)
    with sole_driver(folder):  # there is one writer to MLflow
        ledger = Ledger(folder / "ledger.sqlite")
        try:
            if (facts := ledger.fact("study")) is None:
                raise Failure(f"study {name} was cut off before its first trial; resume it")
            before = ledger.backlog(settings.tracking_uri)
            thread = ProjectorThread(
                ledger.path,
                lambda: MlflowTracker(settings, EXPERIMENT),
                StudyFacts.from_json(facts),
                settings.tracking_uri,
                say=say,
            )
            if left := thread.finish(FLUSH):
                raise Failure(f"{left} of {before} changes still wait: {thread.trouble or 'MLflow is slow'}")
            return before
        finally:
            ledger.close()


def example_clip(study: Study) -> Path:
    """A clip to try the model on."""
    return Path(study.dataset.clips[0].path)
