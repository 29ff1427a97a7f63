"""A nested study: what the studies of its folds have come to, and the figure that their exams make together.

runs/STUDY/  study.yaml  space.yaml  splits.json  label_map.json  lock  exam/nested.csv  exam/nested.json
runs/STUDY/fold-K/  the study that holds fold K out, like any other

Each fold is predicted by a recipe that was chosen without it. These recipes may differ, so the figure judges the
procedure (space, sampler, number of trials) and not one recipe: no model comes out of it. It is one procedure only
where every fold had the same limits and the same code. `nested_run` carries such a study on.
"""

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from escmodels.exams import Exam, OutOfFold
from escmodels.exams import examine as examine_table
from escmodels.folds import NESTED
from escmodels.scores import confusion
from spaces.domains import Value

from . import predictions
from .errors import Failure
from .exam import finalists
from .files import write_atomically
from .glance import Glance
from .inside import folds_of, inside
from .ledger import ENDED
from .nested_projection import RECORD, TABLE, send
from .paste import command
from .settings import Settings
from .studies import COMMON, mixed_of, recorded_of
from .study import Study

NOT_BEGUN = "not begun"


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
    examined: float | None = None  # when that exam was written down, in s since 1970
    asked: Mapping[str, Any] = field(default_factory=dict)  # what stands in its study.yaml; empty: not begun


@dataclass(frozen=True)
class Nested:
    """What a nested study has come to."""

    study: Study
    folds: tuple[FoldResult, ...]
    exam: Exam | None  # of all folds together; None until each is examined, or where it is out of date

    def count(self, state: str) -> int:
        """Number of trials in a state, over all folds."""
        return sum(fold.trials.get(state, 0) for fold in self.folds)


def results(folder: Path) -> tuple[FoldResult, ...]:
    """How far each fold has come, in order, from the ledgers alone. folder: of the nested study."""
    return tuple(_result(folder, fold) for fold in folds_of(folder))


def _result(folder: Path, fold: int) -> FoldResult:
    name = inside(folder.name, fold)
    place = folder.parent / name
    if not (place / "study.yaml").exists():
        return FoldResult(fold, name, NOT_BEGUN)
    result = FoldResult(fold, name, "running", asked=recorded_of(place))
    if not (place / "ledger.sqlite").exists():  # cut off before its first trial
        return result
    ledger = Glance(place / "ledger.sqlite")
    try:
        rows, mixed = ledger.trials(), tuple(ledger.fact("mixed") or ())
        states = Counter(row.state for row in rows)
        counts = {state: states[state] for state in (*ENDED, *states) if states[state]}
        result = replace(result, state=ledger.state[0], trials=counts, mixed=mixed)
        if not any(row.state == "complete" and row.objective is not None for row in rows):
            return result
        (row,) = finalists(ledger, 1)
        record = ledger.fact(f"exam/{row.number}")
    finally:
        ledger.close()
    result = replace(result, winner=row.number, objective=row.objective, values=row.values)
    changed = max((change["time"] for change in mixed), default=0.0)
    if record is None or record["time"] <= changed:  # an exam on other data, or by other code, counts no more
        return result
    exam = Exam.from_json(json.dumps(record["exam"]))
    return replace(result, values=record["values"], exam=exam, examined=record["time"])


def conclude(outer: Study, settings: Settings) -> Nested:
    """Join the exams of all folds into one figure, and keep it in the folder of the nested study.

    Raises `Failure` where the winner of a fold is not examined, or exams were held on different data, after searches
    with different limits, or by different code that nobody accepted.
    """
    found = results(outer.folder)
    exams = []
    for result in found:
        if result.exam is None or result.winner is None:
            again = command(settings, "exam", outer.name)
            raise Failure(f"the winner of study {result.study} was not examined; run '{again}'")
        exams.append((result, result.exam))
    check_joinable(exams, mixed_of(outer.folder))
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
        looks=max(exam.looks or 1 for _, exam in exams),
    )
    predictions.write(outer.folder / TABLE, table)
    write_atomically(outer.folder / RECORD, json.dumps(_record(exam, found, table), indent=1) + "\n")
    send(outer.folder, settings, data_name=outer.dataset.name, synthetic=outer.dataset.synthetic)
    return Nested(outer, found, exam)


def check_joinable(exams: Sequence[tuple[FoldResult, Exam]], mixed: Sequence[Mapping[str, Any]] = ()) -> None:
    """Raises `Failure` unless all exams are of the same data, seeds, limits and code, each of its own fold.

    mixed: changes of the code that were accepted for the nested study.
    """
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
        if unlike := unequal(result.asked, first.asked):
            here, there = (
                ", ".join(f"{name} {of.asked.get(name)}" for name in unlike) for of in (first, result)
            )
            raise Failure(
                f"studies {first.study} and {result.study} had different limits ({here}; and {there}), so they make "
                "no common figure; bring all folds to the same with 'resume'"
            )
        codes = [of.asked.get("code_fingerprint") for of in (first, result)]
        accepted = {
            change[side] for change in mixed if change["what"] == "code" for side in ("before", "now")
        }
        if codes[0] != codes[1] and not accepted.issuperset(codes):
            raise Failure(
                f"studies {first.study} and {result.study} were run by different code ({codes[0]} and {codes[1]}), so "
                "they make no common figure; begin a new study, or resume this one with --accept-changed"
            )


def unequal(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Names of the limits in which two studies differ, as their study.yaml have them."""
    return [name for name in COMMON if one.get(name) != other.get(name)]


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
                **_origin(result),
                "objective": result.objective,
                "accuracy": result.exam.mean if result.exam else None,
            }
            for result in found
        ],
        "time": time.time(),
    }


def _origin(result: FoldResult) -> dict[str, Any]:
    """What of a fold the joint figure is made of: once one of these is another, the figure is out of date."""
    return {
        "fold": result.fold,
        "study": result.study,
        "trials": sum(result.trials.values()),
        "trial": result.winner,
        "values": dict(result.values),
        "examined": result.examined,
    }


def recalled(folder: Path) -> Exam | None:
    """The figure of a nested study, if it was made of what its folds are now. Raises `Failure` for a damaged record."""
    record = _read_record(folder)
    return None if record is None or _outdated(folder, record) else Exam.from_json(json.dumps(record["exam"]))


def stale(folder: Path) -> bool:
    """Whether the figure of a nested study was made, and its folds have changed since: `recalled` has none then."""
    record = _read_record(folder)
    return record is not None and _outdated(folder, record)


def _outdated(folder: Path, record: Mapping[str, Any]) -> bool:
    now = json.loads(
        json.dumps([_origin(result) for result in results(folder)])
    )  # as it comes back from a file
    kept = [{name: fold.get(name) for name in now[0]} for fold in record["folds"]]
    return bool(kept != now)


def _read_record(folder: Path) -> dict[str, Any] | None:
    path = folder / RECORD
    if not path.exists():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        Exam.from_json(json.dumps(record["exam"]))
        assert isinstance(record["folds"], list)
    except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
        raise Failure(f"{path} cannot be read: {error}; hold the exam of the study again") from error
    return dict(record)
