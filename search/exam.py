"""The exam: finalists trained again on train + validation folds, each test fold scored once.

The winner is the recipe with the best objective of the search: it is known before any test fold is opened, so
that its exam is a measurement and not a choice. The exams of the runners-up say how far ahead it really is.

Shape letters: S seeds, N tested clips, K classes.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from escmodels.clips import ClipSet
from escmodels.exams import Exam, OutOfFold, examine
from escmodels.folds import Split
from escmodels.scores import accuracy, confusion, log_loss
from spaces.domains import Value

from . import looks, predictions
from .errors import Failure
from .job import Job, JobFailure, JobResult
from .ledger import Ledger, TrialRow, fold_key
from .runner import Runner
from .settle import settled
from .terminal import say


@dataclass(frozen=True)
class ExamPlan:
    """What an exam needs to know. `splits` have their test rows here and nowhere else."""

    splits: tuple[Split, ...]
    epochs: int  # length of a schedule
    seeds: tuple[int, ...]
    protocol: str
    data: str  # fingerprint
    code: str
    validated: int  # validation clips of a trial of the search, over all its splits


def finalists(ledger: Ledger, count: int) -> list[TrialRow]:
    """The complete trials with the best objectives, best first; the earlier trial among equals."""
    complete = [row for row in ledger.trials("complete") if row.objective is not None]
    if not complete:
        raise Failure(
            "no trial of this study is complete, so there is nothing to examine; resume it with more trials"
        )
    return sorted(complete, key=lambda row: (-(row.objective or 0.0), row.number))[:count]


def jobs(row: TrialRow, values: Mapping[str, Value], plan: ExamPlan, stop_after: int) -> list[Job]:
    """The fold runs of one finalist's exam, with the values and epochs that the search settled."""
    return [
        Job(
            key=fold_key(
                {**values, "stop_after": stop_after},
                phase="exam",
                split=split.number,
                seed=seed,
                epochs=plan.epochs,
                data=plan.data,
                code=plan.code,
            ),
            trial=row.number,
            values=dict(values),
            train=tuple(sorted((*split.train, *split.valid))),
            test=split.test,
            epochs=plan.epochs,
            stop_after=stop_after,
            seed=seed,
            split=split.number,
        )
        for seed in plan.seeds
        for split in plan.splits
    ]


def hold(
    ledger: Ledger,
    runner: Runner,
    clips: ClipSet,
    plan: ExamPlan,
    count: int,
    folder: Path,
    tick: Callable[[int, int], None] = lambda done, total: None,
) -> list[tuple[TrialRow, Exam]]:
    """Examine the best `count` trials and write everything into the ledger. Fold runs that stand are reused.

    clips: all clips of the study (labels and sources; the waveforms are the runner's). folder: of the study, for the
    tables of predictions. tick: (done, total) fold runs.
    A finalist that cannot be trained again is left out, with a remark. Raises `Failure` if it is the winner.
    """
    rows = finalists(ledger, count)
    agenda: list[Job] = []
    for row in rows:
        values, stop_after = settled(ledger, row, plan.validated, plan.epochs)
        if values != row.values:
            ledger.write_fact(f"settled/{row.number}", values)
        agenda += jobs(row, values, plan, stop_after)
    wanted = {
        job.key: job for job in reversed(agenda)
    }  # finalists that settled on the same values share trainings
    open_jobs = [
        job
        for key, job in reversed(wanted.items())
        if (fold := ledger.fold(key)) is None or fold.state != "finished"
    ]
    done = len(wanted) - len(open_jobs)
    tick(done, len(wanted))
    tried = ledger.count_trials()
    look = looks.note(ledger)

    broken: dict[str, str] = {}  # key -> reason

    def on_done(job: Job, result: JobResult | JobFailure) -> None:
        nonlocal done
        if isinstance(result, JobFailure):
            broken[job.key] = result.reason
        else:
            _record(ledger, clips, job, result)
        done += 1
        tick(done, len(wanted))

    runner.run_jobs(open_jobs, on_done)
    failed = {job.trial: broken[job.key] for job in agenda if job.key in broken}
    for trial, reason in failed.items():
        if trial == rows[0].number:
            raise Failure(f"the winner, trial {trial}, could not be trained again: {reason}")
        say(f"trial {trial} could not be trained again and is left out of the exam: {reason}")
    examined = [row for row in rows if row.number not in failed]
    exams = [_conclude(ledger, clips, plan, row, agenda, tried, look, folder) for row in examined]
    return [(trained(ledger, row), exam) for row, exam in zip(examined, exams, strict=True)]


def trained(ledger: Ledger, row: TrialRow) -> TrialRow:
    """An examined trial with the values that its exam trained with, which differ where a plateau was settled."""
    return replace(row, values=ledger.fact(f"exam/{row.number}")["values"])


def _record(ledger: Ledger, clips: ClipSet, job: Job, result: JobResult) -> None:
    assert result.probabilities is not None
    labels = clips.labels[list(job.test)]
    ledger.record_exam_fold(
        job.key,
        trial=job.trial,
        split=job.split,
        seed=job.seed,
        score=accuracy(result.probabilities.argmax(axis=1), labels),
        loss=log_loss(result.probabilities, labels),
        epochs=job.stop_after,
        seconds=result.seconds,
        predictions=result.probabilities.astype(np.float32).tobytes(),
        losses=list(result.train_losses),
    )


def _conclude(
    ledger: Ledger,
    clips: ClipSet,
    plan: ExamPlan,
    row: TrialRow,
    agenda: Sequence[Job],
    tried: int,
    look: int,
    folder: Path,
) -> Exam:
    """Put the out-of-fold probabilities of a finalist together, keep them as a table, and score them."""
    assert row.objective is not None
    own = [job for job in agenda if job.trial == row.number]
    found = _joined(ledger, clips, plan, own)
    exam = examine(
        found,
        protocol=plan.protocol,
        data=plan.data,
        validation=row.objective,
        trials=tried,
        looks=look,
    )
    predicted_SN = found.prob_SNK.argmax(axis=2)
    labels = np.tile(found.labels, len(found.seeds))
    record = {
        "exam": json.loads(exam.to_json()),
        "confusion": confusion(predicted_SN.reshape(-1), labels, len(clips.classes)).tolist(),
        "classes": list(clips.classes),
        "stop_after": own[0].stop_after,
        "values": own[0].values,
        "time": time.time(),
    }
    known = ledger.fact(f"exam/{row.number}")
    table = predictions.place(folder, row.number)
    missing = not table.exists()  # an exam of an older version has none
    # after an accepted change only an exam that was held since counts, also one that came to the same
    stale = known is not None and known["time"] <= max(
        (change["time"] for change in ledger.fact("mixed", [])), default=0.0
    )
    predictions.write(table, found)  # before the ledger says that there is something to send
    if (
        missing
        or stale
        or known is None
        or any(known.get(part) != record[part] for part in ("exam", "values"))
    ):
        ledger.write_fact(f"exam/{row.number}", record, change="exam")
    return exam


def _joined(ledger: Ledger, clips: ClipSet, plan: ExamPlan, agenda: Sequence[Job]) -> OutOfFold:
    """What the fold runs of one finalist said, of the clips that are tested."""
    tested = sorted({row for split in plan.splits for row in split.test})
    at = {row: place for place, row in enumerate(tested)}
    prob_SNK = np.full((len(plan.seeds), len(tested), len(clips.classes)), np.nan, np.float32)
    for job in agenda:
        fold = ledger.fold(job.key)
        assert fold is not None and fold.predictions is not None
        prob_NK = np.frombuffer(fold.predictions, np.float32).reshape(len(job.test), -1)
        prob_SNK[plan.seeds.index(job.seed), [at[row] for row in job.test]] = prob_NK
    return OutOfFold(
        tuple(clips.names[row] for row in tested),
        clips.folds[tested],
        clips.labels[tested],
        clips.sources[tested],
        clips.classes,
        plan.seeds,
        prob_SNK,
    )
