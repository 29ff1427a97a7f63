"""A nested study: each fold held out of a study of its own, one after another; their exams make one figure.

runs/STUDY/  study.yaml  space.yaml  splits.json  lock  exam/nested.csv  exam/nested.json
runs/STUDY/fold-K/  the study that holds fold K out, like any other

Each fold is predicted by a recipe that was chosen without it. These recipes may differ, so the figure judges the
procedure (space, sampler, number of trials) and not one recipe: no model comes out of it.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from escmodels.exams import Exam, OutOfFold
from escmodels.exams import examine as examine_table
from escmodels.folds import NESTED
from escmodels.scores import confusion
from spaces.domains import Value

from . import predictions
from .engine import continued, engine_of
from .errors import Failure, UsageError
from .exam import finalists
from .files import write_atomically
from .glance import Glance
from .inside import folds_of, inside
from .ledger import ENDED, sole_driver
from .mlflow_tracker import check_tracking
from .nested_projection import RECORD, TABLE, send
from .paste import command
from .run import sync_study
from .session import Session, open_session
from .settings import Settings
from .spec import Spec
from .studies import create, create_inside, reopen, reopen_nested, update
from .study import Study
from .terminal import progress, say

NOT_BEGUN = "not begun"
Accept = Callable[[str], bool]


@dataclass(frozen=True)
class FoldResult:
    """How far the study of one fold has come."""

    fold: int
    study: str  # as commands call it
    state: str  # of its ledger, or NOT_BEGUN
    trials: Mapping[str, int] = field(default_factory=dict)  # state -> how many
    winner: int | None = None  # number of the trial with the best objective
    objective: float | None = None
    values: Mapping[str, Value] = field(default_factory=dict)  # of the winner
    exam: Exam | None = None  # of the winner
    mixed: tuple[Mapping[str, Any], ...] = ()  # changes of data or code that were accepted on the way


@dataclass(frozen=True)
class Nested:
    """What a nested study has come to."""

    study: Study
    folds: tuple[FoldResult, ...]
    exam: Exam | None  # of all folds together; None until each is examined

    def count(self, state: str) -> int:
        """Number of trials in a state, over all folds."""
        return sum(fold.trials.get(state, 0) for fold in self.folds)


def run_nested(
    spec: Spec,
    space: str,
    settings: Settings,
    *,
    name: str | None = None,
    engine: Mapping[str, Any] | None = None,
    examine: bool = True,
) -> Nested:
    """Begin a nested study and carry it to its end; see `run.run_study`. spec: of protocol `nested`."""
    outer = create(spec, space, settings, name)
    _check_mlflow(settings)
    asked = engine_of(engine or {})
    try:
        outer.open_clips(
            settings, progress
        )  # deals folds where they are to be made: the same for every study inside
        outer.write(asdict(asked))
    finally:
        outer.release()
    return _carry_on(outer, settings, engine, examine, lambda sentence: False, {})


def resume_nested(
    name: str,
    settings: Settings,
    *,
    engine: Mapping[str, Any] | None = None,
    examine: bool = True,
    accept: Accept = lambda sentence: False,
    **changes: Any,
) -> Nested:
    """Go on with a nested study where it stopped; see `run.resume_study`."""
    outer = reopen_nested(name, settings, **changes)
    _check_mlflow(settings)
    return _carry_on(outer, settings, engine, examine, accept, changes)


def examine_nested(
    name: str, settings: Settings, *, engine: Mapping[str, Any] | None = None, **changes: Any
) -> Nested:
    """Hold the exams of all folds again or for the first time, and join them.

    Raises `UsageError` where the study of a fold was not begun.
    """
    outer = reopen_nested(name, settings, **changes)
    missing = [result.study for result in results(outer.folder) if result.state == NOT_BEGUN]
    if missing:
        raise UsageError(
            f"study {name} is not through, {missing[0]} was not begun; run '{command(settings, 'resume', name)}' first"
        )
    with sole_driver(outer.folder):
        for fold in folds_of(outer.folder):
            study = reopen(inside(name, fold), settings, **changes)
            with open_session(study, settings, continued(study, engine)) as session:
                session.examine()
        return conclude(outer, settings)


def _carry_on(
    outer: Study,
    settings: Settings,
    engine: Mapping[str, Any] | None,
    examine: bool,
    accept: Accept,
    changes: Mapping[str, Any],
) -> Nested:
    """Every study that is not done, in the order of the folds; then the figure, if all are examined."""
    with sole_driver(outer.folder):
        wanted = continued(outer, engine)
        update(outer, asdict(wanted))
        known = {result.fold: result for result in results(outer.folder)}
        for fold, before in known.items():
            if before.state == "done" and not changes:
                continue
            say(f"fold {fold} of {', '.join(map(str, known))}: study {before.study} holds it out")
            new = before.state == NOT_BEGUN
            study = create_inside(outer, fold) if new else reopen(before.study, settings, **changes)
            engine_now = wanted if new else continued(study, engine)
            with open_session(study, settings, engine_now, new=new, accept=accept) as session:
                _whole(session, examine)
        return conclude(outer, settings) if examine else Nested(outer, results(outer.folder), None)


def _whole(session: Session, examine: bool) -> None:
    session.search()
    if examine:
        session.examine()
        session.ledger.set_state("done")


def _check_mlflow(settings: Settings) -> None:
    if remark := check_tracking(settings.tracking_uri):
        say(remark)


def results(folder: Path) -> tuple[FoldResult, ...]:
    """How far each fold has come, in order, from the ledgers alone. folder: of the nested study."""
    return tuple(_result(folder, fold) for fold in folds_of(folder))


def _result(folder: Path, fold: int) -> FoldResult:
    name = inside(folder.name, fold)
    place = folder.parent / name
    if not (place / "study.yaml").exists():
        return FoldResult(fold, name, NOT_BEGUN)
    if not (place / "ledger.sqlite").exists():  # cut off before its first trial
        return FoldResult(fold, name, "running")
    ledger = Glance(place / "ledger.sqlite")
    try:
        rows, mixed = ledger.trials(), tuple(ledger.fact("mixed") or ())
        states = Counter(row.state for row in rows)
        counts = {state: states[state] for state in (*ENDED, *states) if states[state]}
        state = ledger.state[0]
        if not any(row.state == "complete" and row.objective is not None for row in rows):
            return FoldResult(fold, name, state, counts, mixed=mixed)
        (row,) = finalists(ledger, 1)
        record = ledger.fact(f"exam/{row.number}")
    finally:
        ledger.close()
    changed = max((change["time"] for change in mixed), default=0.0)
    if record is None or record["time"] <= changed:  # an exam on other data, or by other code, counts no more
        return FoldResult(fold, name, state, counts, row.number, row.objective, row.values, mixed=mixed)
    exam = Exam.from_json(json.dumps(record["exam"]))
    return FoldResult(fold, name, state, counts, row.number, row.objective, record["values"], exam, mixed)


def conclude(outer: Study, settings: Settings) -> Nested:
    """Join the exams of all folds into one figure, and keep it in the folder of the nested study.

    Raises `Failure` where the winner of a fold is not examined, or exams were held on different data.
    """
    found = results(outer.folder)
    exams = []
    for result in found:
        if result.exam is None or result.winner is None:
            again = command(settings, "exam", outer.name)
            raise Failure(f"the winner of study {result.study} was not examined; run '{again}'")
        exams.append((result, result.exam))
    check_joinable(exams)
    tables = [
        predictions.read(predictions.place(outer.folder.parent / result.study, result.winner or 0))
        for result in found
    ]
    table = joined(tables)
    objectives = [exam.validation for _, exam in exams]
    exam = examine_table(
        table,
        protocol=NESTED,
        data=exams[0][1].data,
        validation=float(np.mean(objectives)),
        trials=sum(exam.trials for _, exam in exams),
    )
    predictions.write(outer.folder / TABLE, table)
    write_atomically(outer.folder / RECORD, json.dumps(_record(exam, found, table), indent=1) + "\n")
    send(outer.folder, settings, data_name=outer.dataset.name, synthetic=outer.dataset.synthetic)
    return Nested(outer, found, exam)


def sync_nested(name: str, settings: Settings) -> int:
    """Send what the ledgers of the folds still hold for MLflow, and the figure; the number of changes sent.

    Raises `Failure` where MLflow does not take it.
    """
    folder = settings.existing_study(name)
    begun = [result.study for result in results(folder) if result.state != NOT_BEGUN]
    sent = sum(sync_study(one, settings) for one in begun)
    if recalled(folder) is not None:
        dataset = reopen_nested(name, settings).dataset
        if not send(folder, settings, data_name=dataset.name, synthetic=dataset.synthetic):
            raise Failure(f"the folds of study {name} are in MLflow, its joint figure is not")
        sent += 1
    return sent


def check_joinable(exams: Sequence[tuple[FoldResult, Exam]]) -> None:
    """Raises `Failure` unless all exams are of the same data and seeds, each of its own fold."""
    first, one = exams[0]
    for result, exam in exams:
        if exam.protocol != f"held-out {result.fold}":
            raise Failure(
                f"study {result.study} was examined by the protocol {exam.protocol!r}; hold it again"
            )
        for what, here, there in (("data", one.data, exam.data), ("seeds", one.seeds, exam.seeds)):
            if here != there:
                raise Failure(
                    f"the exams of studies {first.study} and {result.study} are of different {what} "
                    f"({here} and {there}), so they make no common figure; begin a new study"
                    + (", or hold all exams again with 'exam'" if what == "seeds" else "")
                )


def joined(tables: Sequence[OutOfFold]) -> OutOfFold:
    """Tables of different clips as one. Raises `Failure` where they overlap, or differ in classes or seeds."""
    first = tables[0]
    names = [name for table in tables for name in table.names]
    if len(set(names)) < len(names):
        raise Failure(f"clip {Counter(names).most_common(1)[0][0]!r} is in the exams of two folds")
    if any((table.classes, table.seeds) != (first.classes, first.seeds) for table in tables):
        raise Failure(
            "the exams of the folds differ in their classes or seeds, so they make no common figure"
        )
    return OutOfFold(
        tuple(names),
        np.concatenate([table.folds for table in tables]),
        np.concatenate([table.labels for table in tables]),
        np.concatenate([table.sources for table in tables]),
        first.classes,
        first.seeds,
        np.concatenate([table.prob_SNK for table in tables], axis=1),
    )


def _record(exam: Exam, found: Sequence[FoldResult], table: OutOfFold) -> dict[str, Any]:
    predicted_SN = table.prob_SNK.argmax(axis=2)
    labels = np.tile(table.labels, len(table.seeds))
    return {
        "exam": json.loads(exam.to_json()),
        "confusion": confusion(predicted_SN.reshape(-1), labels, len(table.classes)).tolist(),
        "classes": list(table.classes),
        "folds": [
            {
                "fold": result.fold,
                "study": result.study,
                "trial": result.winner,
                "objective": result.objective,
                "accuracy": result.exam.mean if result.exam else None,
                "values": dict(result.values),
            }
            for result in found
        ],
        "time": time.time(),
    }


def recalled(folder: Path) -> Exam | None:
    """The figure of a nested study, if it was ever made. Raises `Failure` for a damaged record."""
    path = folder / RECORD
    if not path.exists():
        return None
    try:
        return Exam.from_json(json.dumps(json.loads(path.read_text(encoding="utf-8"))["exam"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Failure(f"{path} cannot be read: {error}; hold the exam of the study again") from error
