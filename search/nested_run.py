"""A nested study carried on: one study a fold, one after another, all with the same limits; see `nested`."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .engine import Engine, continued, engine_of
from .errors import Failure, UsageError
from .inside import folds_of
from .ledger import sole_driver
from .mlflow_tracker import check_tracking
from .nested import NOT_BEGUN, FoldResult, Nested, conclude, recalled, results, unequal
from .nested_projection import send, sent_to
from .paste import command
from .rerun import keep_label_map
from .run import sync_study
from .session import Session, open_session
from .settings import Settings
from .spec import Spec
from .studies import (
    COMMON,
    accept_for_whole,
    changed,
    create,
    create_inside,
    mixed_of,
    recorded_of,
    reopen_inside,
    reopen_nested,
    sentence_of,
    update,
)
from .study import Study
from .terminal import progress, say

Accept = Callable[[str], bool]


def refuse(sentence: str) -> bool:
    """Accepts no change."""
    return False


def run_nested(
    spec: Spec,
    space: str,
    settings: Settings,
    *,
    name: str | None = None,
    engine: Mapping[str, Any] | None = None,
    examine: bool = True,
) -> Nested:
    """Begin a nested study and carry it to its end; see `run.run_study`. spec: of protocol `nested`.

    Raises `UsageError`, before anything is searched, where one of the folds cannot be held out, or a model is named.
    """
    _check_model(spec.model)
    outer = create(spec, space, settings, name)
    _check_mlflow(settings)
    asked = engine_of(engine or {})
    try:
        # deals folds where they are to be made: the same for every study inside
        outer.open_clips(settings, progress)
        outer.write(asdict(asked))
    finally:
        outer.release()
    with sole_driver(outer.folder):
        return _carry_on(outer, settings, engine, examine, refuse)


def resume_nested(
    name: str,
    settings: Settings,
    *,
    engine: Mapping[str, Any] | None = None,
    examine: bool = True,
    accept: Accept = refuse,
    **changes: Any,
) -> Nested:
    """Go on with a nested study where it stopped; see `run.resume_study`.

    A fold is left alone only if it is through with the limits that the study has now. Raises `Failure` where data or
    code have changed since it began and `accept` does not take that.
    """
    _check_model(changes.get("model"))
    outer = reopen_nested(name, settings, **changes)
    _check_mlflow(settings)
    with sole_driver(outer.folder):
        if any(_open(outer, result) for result in results(outer.folder)):
            _mix(outer, settings, accept)
        return _carry_on(outer, settings, engine, examine, accept)


def examine_nested(
    name: str, settings: Settings, *, engine: Mapping[str, Any] | None = None, **changes: Any
) -> Nested:
    """Hold the exams of all folds again or for the first time, and join them.

    Raises `UsageError` where the search of a fold is not through, or had other limits than the study has.
    """
    outer = reopen_nested(name, settings, **changes)
    with sole_driver(outer.folder):
        _check_searched(outer, settings)
        update(outer, asdict(continued(outer, engine)))
        for fold in folds_of(outer.folder):
            study = reopen_inside(outer, fold)
            with open_session(study, settings, continued(study, engine)) as session:
                session.examine()
        return conclude(outer, settings)


def _check_searched(outer: Study, settings: Settings) -> None:
    """Raises `UsageError` unless every fold was searched to the limits of the study."""
    again = f"run '{command(settings, 'resume', outer.name)}' first"
    recorded = recorded_of(outer.folder)
    for result in results(outer.folder):
        through = f"study {outer.name} is not through, {result.study}"
        if result.state == NOT_BEGUN:
            raise UsageError(f"{through} was not begun; {again}")
        if result.state not in ("searched", "done"):
            raise UsageError(f"{through} was cut off in its search; {again}")
        if unlike := [
            limit
            for limit in unequal(recorded, result.asked)
            if limit not in ("finalists", "exam_seeds")  # the exam brings these to the same
        ]:
            limit = unlike[0]
            raise UsageError(
                f"{through} was searched with {limit} {result.asked.get(limit)} and not {recorded.get(limit)}; {again}"
            )


def _check_model(model: str | None) -> None:
    if model is not None:
        raise UsageError(
            f"a nested study makes no model, so that --model {model} means nothing; leave it out"
        )


def _open(outer: Study, result: FoldResult) -> bool:
    """Whether the study of a fold is to be carried on: it is not through, or began with something else."""
    now = outer.recorded({})
    names = (*COMMON, "data", "accept_similar")
    other = any(result.asked.get(name) != now[name] for name in names)
    return result.state != "done" or other or result.asked["data_fingerprint"] != outer.data


def _mix(outer: Study, settings: Settings, accept: Accept) -> None:
    """Data or code that are not those of the folds before are accepted, and recorded, or end the command."""
    now = Study(outer.folder, outer.spec, outer.space, outer.dataset, outer.space_file)
    try:
        now.open_clips(settings, progress)
    finally:
        now.release()
    if not (changes := changed(now)):
        return
    sentence = "; ".join(sentence_of(now, change) for change in changes)
    if not accept(sentence):
        raise Failure(
            f"{sentence}; restore what it began with, begin a new study, "
            "or resume with --accept-changed, which is recorded"
        )
    outer.data, outer.code = now.data, now.code
    accept_for_whole(outer, changes)


def _carry_on(
    outer: Study,
    settings: Settings,
    engine: Mapping[str, Any] | None,
    examine: bool,
    accept: Accept,
) -> Nested:
    """Every study that is not done, in the order of the folds; then the figure, if all are examined."""
    wanted = continued(outer, engine)
    update(outer, asdict(wanted))
    keep_label_map(outer)
    taken = {change["now"] for change in mixed_of(outer.folder)}
    if {outer.data, outer.code} & taken:  # a person was asked once, for all folds
        accept = _take
    known = {result.fold: result for result in results(outer.folder)}
    for fold, before in known.items():
        if not _open(outer, before):
            continue
        say(f"fold {fold} of {', '.join(map(str, known))}: study {before.study} holds it out")
        new = before.state == NOT_BEGUN
        study = create_inside(outer, fold) if new else _again(outer, before)
        engine_now: Engine = wanted if new else continued(study, engine)
        with open_session(study, settings, engine_now, new=new, accept=accept) as session:
            _whole(session, examine)
    found = results(outer.folder)
    return conclude(outer, settings) if examine else Nested(outer, found, recalled(outer.folder))


def _take(sentence: str) -> bool:
    return True


def _again(outer: Study, before: FoldResult) -> Study:
    """The study of a fold, to be carried on; one that was done is not any more, from before its limits change."""
    study = reopen_inside(outer, before.fold)
    if before.state == "done":
        with sole_driver(study.folder):
            ledger = study.ledger()
            try:
                ledger.set_state("interrupted")
            finally:
                ledger.close()
    return study


def _whole(session: Session, examine: bool) -> None:
    session.search()
    if examine:
        session.examine()
        session.ledger.set_state("done")


def _check_mlflow(settings: Settings) -> None:
    if remark := check_tracking(settings.tracking_uri):
        say(remark)


def sync_nested(name: str, settings: Settings) -> int:
    """Send what the ledgers of the folds still hold for MLflow, and the figure; the number of changes sent.

    Raises `Failure` where MLflow does not take it, or while another process runs the study.
    """
    folder = settings.existing_study(name)
    with sole_driver(folder):  # there is one writer to MLflow
        begun = [result.study for result in results(folder) if result.state != NOT_BEGUN]
        sent = sum(sync_study(one, settings) for one in begun)
        return sent + _sync_figure(name, folder, settings)


def _sync_figure(name: str, folder: Path, settings: Settings) -> int:
    if recalled(folder) is None or settings.tracking_uri in sent_to(folder):
        return 0
    dataset = reopen_nested(name, settings).dataset
    if not send(folder, settings, data_name=dataset.name, synthetic=dataset.synthetic):
        raise Failure(f"the folds of study {name} are in MLflow, its joint figure is not")
    return 1
