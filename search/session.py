"""One process at work on one study: its lock, its data and its runner, and the stages between search and champion."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from escmodels.exams import Exam
from escmodels.folds import ROTATING

from . import exam
from .conductor import Conductor
from .datasets.clip import SHOWN, Dataset
from .datasets.waves.beside import halt
from .engine import Engine, gently, make_runner
from .errors import Failure, UsageError
from .files import write_atomically
from .ledger import TrialRow, sole_driver
from .mlflow_tracker import MlflowTracker
from .optuna_store import OptunaThread
from .pages import EXPERIMENT
from .paste import command, relative
from .progress import SearchView
from .projection import PICTURES, REPORT, read_doubts
from .promote import USUAL, Gate, options
from .registration import Shipped, register
from .rehearsal import recalled
from .runner import Runner
from .sender import ProjectorThread
from .settings import Settings
from .ship import refit
from .studies import changed, sentence_of, update
from .study import Study
from .terminal import progress, say
from .tracker import TrackerDown, TrackerRefused

FLUSH = 300.0  # seconds that MLflow is waited for where nothing can be done without it
PATIENCE = 60.0  # seconds where the rest can be sent later
HURRY = 5.0  # seconds where somebody wants to leave


@dataclass
class Outcome:
    """What a session of a study came to. `seconds` by stage of this session."""

    study: Study
    trials: list[TrialRow]
    exams: list[tuple[TrialRow, Exam]] = field(default_factory=list)
    shipped: Shipped | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    epochs_spent: int = 0  # by trials that are complete or pruned
    epochs_full: int = 0  # that these would have taken without pruning
    backlog: int = 0  # changes that wait for MLflow
    front: list[int] = field(default_factory=list)  # trials that no other beats in every objective
    mixed: list[dict[str, Any]] = field(default_factory=list)  # changes of data or code that were accepted
    trouble: str = ""  # why the model is not registered

    @property
    def best(self) -> TrialRow | None:
        """The complete trial with the highest objective."""
        complete = [row for row in self.trials if row.objective is not None]
        return max(complete, key=lambda row: (row.objective or 0.0, -row.number), default=None)

    def count(self, state: str) -> int:
        """Number of trials in a state."""
        return sum(row.state == state for row in self.trials)


@contextmanager
def open_session(
    study: Study,
    settings: Settings,
    engine: Engine,
    *,
    new: bool = False,
    accept: Callable[[str], bool] = lambda sentence: False,
) -> Iterator["Session"]:
    """Lock the study, open its data and its runner side by side, and close everything whatever happens.

    accept: asked whether to go on where data or code have changed since the study began.
    """
    began = time.monotonic()
    opened = _Beside(lambda: study.open_clips(settings, progress))  # Ray starts meanwhile: it mostly waits
    runner: Runner | None = None
    try:
        runner = make_runner(engine, settings)
        if runner.nodes > 1 and settings.tracking_uri.startswith("sqlite:"):
            raise UsageError(
                f"the cluster has {runner.nodes} nodes and MLflow's store is {settings.tracking_uri}, a file that ends "
                "with the machine it lies on; start 'mlflow server' on the head and say --tracking-uri http://HOST:5000"
            )
        opened.join()
        if new:
            for remark in (*study.dataset.remarks, *_left_out(study.dataset)):
                say(remark)
            study.read_warm(settings)  # what teaches nothing is refused before there is a folder
            study.write(asdict(engine))
        with sole_driver(study.folder):
            if not new:
                _mix(study, accept)
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


def _mix(study: Study, accept: Callable[[str], bool]) -> None:
    """Data or code that have changed are accepted, and recorded, or end the command."""
    changes = changed(study)
    if not changes:
        return
    sentence = "; ".join(sentence_of(study, change) for change in changes)
    if not accept(sentence):
        raise Failure(
            f"{sentence}; restore what it began with, {_anew(study)}, "
            "or resume with --accept-changed, which is recorded"
        )
    ledger = study.ledger()
    try:
        with ledger.transaction():
            for row in ledger.trials("running"):
                ledger.suspend_trial(row.number)
            ledger.set_aside()
            known = ledger.fact("mixed", [])
            told = [{name: entry[name] for name in ("what", "before", "now")} for entry in known]
            fresh = [
                {**change, "time": time.time()} for change in changes if change not in told[-len(changes) :]
            ]
            ledger.write_fact("mixed", [*known, *fresh])
    finally:
        ledger.close()


def _anew(study: Study) -> str:
    """How to begin again with what a study has found, where that may be: a fold that is held out shall stay unknown."""
    warm = study.spec.protocol == ROTATING
    return f"begin a new study with --warm-start {study.name}" if warm else "begin a new study"


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


class Session:
    """One process at work on one study."""

    def __init__(self, study: Study, settings: Settings, runner: Runner) -> None:
        self.study, self.settings, self.runner = study, settings, runner
        self.ledger = study.ledger()
        self.facts = study.facts(self.ledger.id)
        self.seconds: dict[str, float] = {}
        self.exams: list[tuple[TrialRow, Exam]] = []
        self.shipped: Shipped | None = None
        self._trouble = ""
        self._hurry = False
        self._projector = ProjectorThread(
            study.ledger_path, self._connect, self.facts, settings.tracking_uri, say=say
        )

    def whole(self, examine: bool) -> Outcome:
        """All stages."""
        self.search()
        if examine:
            self.examine()
            try:
                self.ship()
            except Failure as error:  # what was found shall be shown all the same
                self._trouble = str(error)
            self.report()
        return self.outcome()

    def interrupted(self) -> None:
        """Ctrl-C: leave everything so that `resume` finds it."""
        for row in self.ledger.trials("running"):
            self.ledger.suspend_trial(row.number)
        if self.ledger.state[0] == "running":  # a search that has ended stays so, whatever its exam does
            self.ledger.set_state("interrupted")
        self._hurry = True
        whole = self.study.name.partition("/")[0]  # a fold of a nested study is carried on by that
        say(f"saved; go on with: {command(self.settings, 'resume', whole)}")

    def close(self) -> None:
        """Send what waits for MLflow, let go of the ledger."""
        uri = self.settings.tracking_uri
        if self.ledger.backlog(uri) or read_doubts(self.ledger, uri):
            self._projector.finish(HURRY if self._hurry else PATIENCE)
        self.ledger.close()

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - began

    def _connect(self) -> MlflowTracker:
        """In the projector's thread, which therefore opens the ledger for itself."""
        tracker = MlflowTracker(self.settings, EXPERIMENT)
        page = {"uri": self.settings.tracking_uri, "experiment": tracker.experiment}
        ledger = self.study.ledger()
        try:
            if ledger.fact("page") != page:  # for the link that the live view shows
                ledger.keep("page", page)
        finally:
            ledger.close()
        return tracker

    # stages

    def search(self) -> None:
        """Run trials until the limits are reached."""
        study, ledger = self.study, self.ledger
        self._introduce()
        view = SearchView(ledger, self.settings, lambda: self._projector.trouble)
        optuna = OptunaThread(
            study.ledger_path, study.optuna_path, study.space, study.name, study.objectives, say=say
        )

        def listen(trial: int) -> None:
            view.changed(trial)
            if ledger.any_epoch():  # importing MLflow and Optuna's storage must not delay the first training
                self._projector.start()
                optuna.start()

        with self._stage("search"), view:
            conductor = Conductor(
                ledger,
                study.proposer(ledger, self.settings),
                study.plan(),
                study.spec.limits(),
                labels=study.answers,
                data=study.data,
                code=study.code,
                objectives=study.objectives,
                listen=listen,
            )
            try:
                with gently(conductor):
                    self.runner.search(conductor)
            except BaseException:
                optuna.finish(HURRY)
                raise
            optuna.finish(PATIENCE)
        if conductor.trouble:
            raise conductor.trouble
        if conductor.stopping:
            if ledger.fact("stop"):
                say("stopped, as 'escsearch stop' asked")
            raise KeyboardInterrupt
        if conductor.exhausted:
            say(f"the space holds only {ledger.count_trials()} different recipes; all were tried")
        ledger.set_state("searched")
        if not ledger.trials("complete"):
            broken = [*ledger.trials("failed"), *ledger.trials("infeasible")]
            last = max(broken, key=lambda row: row.ended or 0.0, default=None)
            raise Failure(
                f"no trial of study {study.name} is complete"
                + (
                    f"; the last one is {last.state}: {last.reason}"
                    if last
                    else "; resume it with more --trials"
                )
            )

    def _introduce(self) -> None:
        """Write down what readers of the ledger need to know of the study and of this session."""
        study, spec, clips = self.study, self.study.spec, self.study.labels
        valid = {split.number: list(split.valid) for split in study.splits}
        asked = {
            "trials": spec.trials,
            "hours": spec.hours,
            "workers": self.runner.workers,
            "epochs": study.epochs,
            "splits": [split.number for split in study.splits],
            "objectives": [str(objective) for objective in study.objectives],
            "policy": asdict(spec.limits().policy),
            "began": time.time(),
            "host": socket.gethostname(),
            "pid": os.getpid(),
        }
        described = {"labels": clips.labels.tolist(), "sources": clips.sources.tolist()}
        with self.ledger.transaction():
            self.ledger.write_fact("study", self.facts.to_json())
            self.ledger.write_fact("clips", described | {"classes": list(clips.classes), "valid": valid})
            self.ledger.write_fact("asked", asked)
            self.ledger.write_fact("stop", False)
            self.ledger.set_state("running")

    def examine(self) -> None:
        """Hold the exam."""
        spec, study = self.study.spec, self.study
        self._unseal()
        self._projector.start()
        with self._stage("exam"), progress("exam, fold runs") as tick:
            plan = study.exam_plan(spec.exam_seeds)
            self.exams = exam.hold(
                self.ledger, self.runner, study.labels, plan, spec.finalists, study.folder, tick
            )

    def _unseal(self) -> None:
        """Let the runner have the fold that was held out."""
        if self.study.unseal():
            self.runner.load(self.study.clips)

    def recall_exams(self) -> None:
        """Take the exams from the ledger. Raises `UsageError` where the winner was not examined."""
        self._unseal()
        self.exams = recalled(self.ledger, self.study.name, self.settings)

    def ship(self, gate: Gate = USUAL, how: str = "refit", name: str | None = None) -> None:
        """Make a model of the winner, and register it if it gets through the gate.

        how: see `ship.refit`; name: to register it under, None for the study's.
        """
        row, result = self.exams[0]
        with self._stage("ship"):
            folder = refit(self.study, self.ledger, self.runner, row, result, how)
            try:
                if self._projector.drain(FLUSH):  # the model's run hangs below the study's
                    raise TrackerDown(self._projector.trouble or "it is slow")
                self.shipped = register(
                    self.study, self.facts, self.settings, self._connect, row, result, folder, gate, name=name
                )
            except (TrackerDown, TrackerRefused, Failure) as error:
                words = options(gate, how, name)
                again = command(self.settings, "promote", self.study.name, *words)
                when = "when MLflow is there" if isinstance(error, TrackerDown) else "when that is mended"
                raise Failure(
                    f"the model is ready at {relative(folder)} but could not be registered ({error}); "
                    f"run '{again}' {when}"
                ) from error
        self.ledger.set_state("done")

    def report(self) -> None:
        """The page of the study, in its folder and at its run in MLflow."""
        from .report import page

        folder, again = self.study.folder, command(self.settings, "report", self.study.name)
        try:
            with self._stage("report"):
                made = page.collect(folder, self.settings, progress)
                page.write(made, folder / REPORT, self.settings)
                (folder / PICTURES).mkdir(exist_ok=True)
                for name, content in page.pictures(made).items():
                    write_atomically(folder / PICTURES / name, content)
        except Exception as error:  # also a bug: a page that can be made again must not cost the summary
            reason = f"{error}" if isinstance(error, Failure) else f"{type(error).__name__}: {error}"
            say(f"no report was written ({reason}); everything else stands; again: {again}")
            return
        self.ledger.write_fact(REPORT, {"time": time.time()}, change="report")

    def outcome(self) -> Outcome:
        """What this session came to."""
        backlog = self._projector.drain(PATIENCE)
        rows = self.ledger.trials()
        counted = {row.number for row in rows if row.state in ("complete", "pruned")}
        folds = [f for f in self.ledger.folds(phase="search") if f.trial in counted and f.state != "stale"]
        return Outcome(
            self.study,
            rows,
            self.exams,
            self.shipped,
            self.seconds,
            epochs_spent=sum(fold.epochs for fold in folds),
            epochs_full=len(counted) * len(self.study.splits) * self.study.epochs,
            backlog=backlog,
            front=self.ledger.fact("front", []),
            mixed=self.ledger.fact("mixed", []),
            trouble=self._trouble,
        )
