"""From a study to a champion: the stages of `run` and `resume`, and each of them alone.

search -> exam -> refit -> gate -> registry. Every stage reads what it needs from the ledger and the study's
folder, so that each can be repeated, or done later by a command of its own.
"""

import json
import shutil
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from escmodels.scores import Exam

from . import exam
from .conductor import Conductor
from .errors import Failure, UsageError
from .ledger import Ledger, TrialRow, sole_driver
from .local import LocalRunner
from .mlflow_tracker import MlflowTracker, check_reachable
from .pages import EXPERIMENT
from .progress import SearchView
from .projection import ProjectorThread, StudyFacts
from .runner import Runner
from .settings import Settings
from .ship import Shipped, refit, register
from .study import Spec, Study, check_unchanged, create, reopen, update
from .terminal import progress, say
from .tracker import TrackerDown

FLUSH = 300.0  # seconds that the end of a stage waits for MLflow to take what is left


@dataclass(frozen=True)
class Engine:
    """Who runs the trainings."""

    runner: str = "ray"  # or "local": one after the other in this process
    workers: int | None = None  # side by side; None: one a core
    gpus_per_trial: float = 0.0

    def __post_init__(self) -> None:
        if self.runner not in ("ray", "local"):
            raise ValueError(f"unknown runner {self.runner!r}, known: ray, local")
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers must be at least 1, got {self.workers}")
        share = self.gpus_per_trial
        if (
            share < 0
            or (0 < share < 1 and abs(1 / share - round(1 / share)) > 0.01)
            or (share > 1 and share % 1)
        ):
            raise ValueError(f"gpus per trial must be 0, 1/n or a whole number, got {share}")


@dataclass
class Outcome:
    """What a session of a study came to. `seconds` by stage."""

    study: Study
    trials: list[TrialRow]
    exams: list[tuple[TrialRow, Exam]] = field(default_factory=list)
    shipped: Shipped | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    epochs_spent: int = 0
    epochs_full: int = 0
    backlog: int = 0

    def count(self, state: str) -> int:
        """Number of trials in a state."""
        return sum(row.state == state for row in self.trials)


def run_study(
    spec: Spec,
    space: str,
    settings: Settings,
    *,
    name: str | None = None,
    engine: Engine | None = None,
    examine: bool = True,
) -> Outcome:
    """Begin a study and carry it to its end. Raises `Failure` and its kinds with one sentence."""
    check_reachable(settings.tracking_uri)
    study = create(spec, space, settings, name)
    with _session(study, settings, engine or Engine(), new=True) as session:
        return session.whole(examine)


def resume_study(
    name: str, settings: Settings, *, engine: Engine | None = None, examine: bool = True, **changes: Any
) -> Outcome:
    """Go on with a study where it stopped, with other limits if asked."""
    check_reachable(settings.tracking_uri)
    study = reopen(name, settings, **changes)
    with _session(study, settings, engine or Engine()) as session:
        check_unchanged(study)
        update(study)
        return session.whole(examine)


def examine_study(name: str, settings: Settings, *, engine: Engine | None = None, **changes: Any) -> Outcome:
    """Hold the exam of a study again or for the first time."""
    study = reopen(name, settings, **changes)
    with _session(study, settings, engine or Engine()) as session:
        check_unchanged(study)
        session.examine()
        return session.outcome()


def promote_study(
    name: str,
    settings: Settings,
    *,
    engine: Engine | None = None,
    model: str | None = None,
    min_gain: float = 0.005,
) -> Outcome:
    """Ship the winner of an examined study through the gate."""
    check_reachable(settings.tracking_uri)
    study = reopen(name, settings, model=model)
    with _session(study, settings, engine or Engine()) as session:
        check_unchanged(study)
        session.recall_exams()
        session.ship(min_gain)
        return session.outcome()


@contextmanager
def _session(study: Study, settings: Settings, engine: Engine, *, new: bool = False) -> Iterator["Session"]:
    """Lock the study, open its data and its runner side by side, and close everything whatever happens."""
    began = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        if not new:
            study.folder.mkdir(parents=True, exist_ok=True)

        def open_data() -> None:
            with progress(f"decoding {study.dataset.name}") as tick:
                study.open_clips(settings, tick)

        data = pool.submit(open_data)  # Ray starts meanwhile: it mostly waits
        runner = _runner(engine, settings)
        try:
            data.result()
            if new:
                study.write()
            with sole_driver(study.folder):
                runner.load(study.clips)
                session = Session(study, settings, runner)
                session.seconds["start"] = time.monotonic() - began
                try:
                    yield session
                finally:
                    session.close()
        finally:
            runner.close()


def _runner(engine: Engine, settings: Settings) -> Runner:
    if engine.runner == "local":
        return LocalRunner(threads=engine.workers or 1, device="cuda" if engine.gpus_per_trial else "cpu")
    from .cluster import RayRunner  # Ray takes seconds to import

    return RayRunner(settings.ray_address, engine.workers, engine.gpus_per_trial)


class Session:
    """One process at work on one study."""

    def __init__(self, study: Study, settings: Settings, runner: Runner) -> None:
        self.study, self.settings, self.runner = study, settings, runner
        self.ledger = study.ledger()
        self.seconds: dict[str, float] = {}
        self.exams: list[tuple[TrialRow, Exam]] = []
        self.shipped: Shipped | None = None
        self.backlog = 0
        self._projector: ProjectorThread | None = None

    def whole(self, examine: bool) -> Outcome:
        """All stages."""
        self.search()
        if examine:
            self.examine()
            self.ship()
        return self.outcome()

    def close(self) -> None:
        """Send what waits for MLflow, let go of the ledger."""
        self.flush()
        self.ledger.close()

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - began

    # the projection

    def _connect(self) -> MlflowTracker:
        return MlflowTracker(self.settings, EXPERIMENT)

    def project(self) -> None:
        """Let the ledger be sent on from now on."""
        if self._projector is None:
            self._projector = ProjectorThread(
                self.study.ledger_path, self._connect, self.study.facts(), self.settings.tracking_uri, say=say
            )
            self._projector.start()

    def flush(self) -> None:
        """Send everything that waits; the rest stays in the ledger for `sync`."""
        reader = self.settings.tracking_uri
        if self._projector is None and self.ledger.backlog(reader):
            self.project()
        if self._projector is not None:
            self.backlog = self._projector.finish(FLUSH)
            self._projector = None

    # stages

    def search(self) -> None:
        """Run trials until the limits are reached."""
        study, ledger = self.study, self.ledger
        ledger.write_fact("study", study.facts().to_json())
        ledger.write_fact("state", "running")
        with (
            self._stage("search"),
            SearchView(ledger, len(study.splits), study.epochs, study.spec.trials) as view,
        ):

            def listen() -> None:
                view.changed()
                if ledger.folds(phase="search"):  # importing MLflow must not delay the first training
                    self.project()

            conductor = Conductor(
                ledger,
                study.proposer(),
                study.plan(),
                study.spec.limits(),
                data=study.data,
                code=study.code,
                listen=listen,
            )
            try:
                self.runner.search(conductor)
            except KeyboardInterrupt:
                for row in ledger.trials("running"):
                    ledger.suspend_trial(row.number)
                ledger.write_fact("state", "interrupted")
                say(f"saved; go on with: {own_command()} resume {study.folder.name}")
                raise
        if conductor.exhausted:
            say(f"the space holds only {len(ledger.trials())} different recipes; all were tried")
        ledger.write_fact("state", "searched")
        if not ledger.trials("complete"):
            reasons = [row.reason for row in ledger.trials("failed")]
            raise Failure(
                f"no trial of study {study.folder.name} is complete"
                + (f"; the last one failed: {reasons[-1]}" if reasons else "; resume it with more --trials")
            )

    def examine(self) -> None:
        """Hold the exam."""
        spec, study = self.study.spec, self.study
        self.project()
        with self._stage("exam"), progress("exam, fold runs") as tick:
            plan = study.exam_plan(spec.exam_seeds)
            self.exams = exam.hold(self.ledger, self.runner, study.labels, plan, spec.finalists, tick)

    def recall_exams(self) -> None:
        """Take the exams from the ledger. Raises `UsageError` where none was held."""
        for row in exam.finalists(self.ledger, len(self.ledger.trials())):
            if record := self.ledger.fact(f"exam/{row.number}"):
                self.exams.append((row, Exam.from_json(json.dumps(record["exam"]))))
        if not self.exams:
            raise UsageError(
                f"study {self.study.folder.name} was not examined; run 'escsearch exam' on it first"
            )

    def ship(self, min_gain: float = 0.005) -> None:
        """Train the winner on all folds, and register it if it gets through the gate."""
        row, result = self.exams[0]
        with self._stage("ship"):
            folder = refit(self.study, self.ledger, self.runner, row, result)
            self.flush()  # the model's run hangs below the study's
            try:
                self.shipped = register(
                    self.study, self.settings, self._connect, row, result, folder, min_gain
                )
            except (TrackerDown, Failure) as error:
                raise Failure(
                    f"the model is ready at {relative(folder)} but could not be registered ({error}); "
                    f"run 'escsearch promote {self.study.folder.name}' when MLflow is there"
                ) from error
        self.ledger.write_fact("state", "done")
        self.flush()

    def outcome(self) -> Outcome:
        """What this session came to."""
        self.flush()
        rows = self.ledger.trials()
        spent = sum(fold.epochs for fold in self.ledger.folds(phase="search") if fold.state != "running")
        full = (
            len([row for row in rows if row.state != "failed"]) * len(self.study.splits) * self.study.epochs
        )
        return Outcome(self.study, rows, self.exams, self.shipped, self.seconds, spent, full, self.backlog)


def sync_study(name: str, settings: Settings) -> int:
    """Send what the ledger of a study still holds for MLflow; the number of changes sent."""
    ledger = Ledger(settings.existing_study(name) / "ledger.sqlite")
    check_reachable(settings.tracking_uri)
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
        left = thread.finish(FLUSH)
        if left:
            raise Failure(
                f"MLflow did not take everything: {left} of {before} changes still wait ({thread.trouble})"
            )
        return before
    finally:
        ledger.close()


def example_clip(study: Study) -> Path:
    """A clip to try the model on."""
    return Path(study.dataset.clips[0].path)


def own_command() -> str:
    """How this program was called, for commands that can be pasted."""
    called = Path(sys.argv[0])
    found = shutil.which("escsearch")
    if found and Path(found).resolve() == called.resolve():
        return "escsearch"
    if called.name != "escsearch":
        return f"{sys.executable} -m search"
    return relative(called)


def relative(path: Path | str) -> str:
    """A path as short as it can be pasted from here."""
    try:
        return str(Path(path).absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
