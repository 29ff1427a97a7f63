"""From a study to a champion: `run`, `resume`, and each of their stages by a command of its own.

search -> exam -> refit -> gate -> registry. Every stage reads what it needs from the ledger and the study's
folder, so that each can be repeated, or done later.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from escmodels.folds import NESTED

from .engine import continued, engine_of
from .errors import Failure, UsageError
from .ledger import Ledger, sole_driver
from .mlflow_tracker import MlflowTracker, check_reachable, check_tracking
from .pages import EXPERIMENT
from .projection import StudyFacts
from .promote import USUAL, Gate
from .sender import ProjectorThread
from .session import FLUSH, Outcome, open_session
from .settings import Settings
from .spec import NAME, NAMED, Spec
from .studies import create, reopen
from .study import Study
from .terminal import say


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

    engine: fields of `Engine`; later sessions go on with the same unless they say otherwise. A nested study has no
    such outcome: see `nested_run.run_nested`.
    """
    if spec.protocol == NESTED:
        raise UsageError(
            "a nested study is run by search.nested_run.run_nested: it is several studies and has no model"
        )
    study = create(spec, space, settings, name)
    _remark(check_tracking(settings.tracking_uri))
    with open_session(study, settings, engine_of(engine or {}), new=True) as session:
        return session.whole(examine)


def resume_study(
    name: str,
    settings: Settings,
    *,
    engine: Mapping[str, Any] | None = None,
    examine: bool = True,
    accept_changed: bool = False,
    **changes: Any,
) -> Outcome:
    """Go on with a study where it stopped, with other limits if asked.

    accept_changed: go on although data or code are not those it began with; without it a person at a terminal is asked.
    """
    study = reopen(name, settings, **changes)
    _remark(check_tracking(settings.tracking_uri))
    accept = (lambda sentence: True) if accept_changed else asked
    with open_session(study, settings, continued(study, engine), accept=accept) as session:
        return session.whole(examine)


def examine_study(
    name: str, settings: Settings, *, engine: Mapping[str, Any] | None = None, **changes: Any
) -> Outcome:
    """Hold the exam of a study again or for the first time."""
    study = reopen(name, settings, **changes)
    with open_session(study, settings, continued(study, engine)) as session:
        session.examine()
        session.report()
        return session.outcome()


def promote_study(
    name: str,
    settings: Settings,
    *,
    engine: Mapping[str, Any] | None = None,
    model: str | None = None,
    gate: Gate = USUAL,
    how: str = "refit",
) -> Outcome:
    """Ship the winner of an examined study through the gate.

    model: the name to register it under, instead of the one that the study began with. how: see `ship.refit`.
    """
    if model is not None and not NAME.fullmatch(model):
        raise UsageError(f"model name {model!r} {NAMED}")
    study = reopen(name, settings)  # which keeps its own name for the model
    check_reachable(settings.tracking_uri)
    with open_session(study, settings, continued(study, engine)) as session:
        session.recall_exams()
        session.ship(gate, how, model)
        return session.outcome()


def _remark(sentence: str | None) -> None:
    if sentence:
        say(sentence)


def asked(sentence: str) -> bool:
    """A person's answer, where there is one to ask."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    print(
        f"{sentence}. Go on, and have results of both in one study? [y/N] ",
        end="",
        file=sys.stderr,
        flush=True,
    )
    return sys.stdin.readline().strip().lower() in ("y", "yes")


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
