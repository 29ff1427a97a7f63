"""From the winner of an exam to the model that is shipped, bundled: one training on all folds, or an ensemble.

A refit learns from every clip, and is scored on none: its recipe was. An ensemble is made of the exam's own models,
each trained without one fold: each was scored, but they judge together, which no clip is left to score.
"""

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from escmodels.classifier import Classifier
from escmodels.ensemble import Ensemble, unpack
from escmodels.exams import Exam

from . import bundle, predictions
from .errors import Failure, UsageError
from .exam import jobs
from .job import Job, JobFailure, JobResult
from .ledger import Ledger, TrialRow, fold_key
from .runner import Runner
from .study import Study
from .terminal import progress, say

WAYS = ("refit", "ensemble")
NEW, BEFORE = "model-new", "model-before"  # folders of a study while its model is replaced
PARTS = "model-parts"  # folder of a study: trained models that wait for the others of theirs
SAME = (
    "values",
    "epochs",
    "seed",
    "seeds",
    "code",
    "data_fingerprint",
    "shipped",
)  # of cards: the same training


def refit(
    study: Study, ledger: Ledger, runner: Runner, row: TrialRow, exam: Exam, how: str = "refit"
) -> Path:
    """The model folder of an examined trial. A model that is there and was trained so is not trained again.

    how: "refit" (one training on all folds) or "ensemble" (the models of the exam). Another `how` than before
    replaces the model. Raises `UsageError` for an unknown one, or an ensemble where the space has limits, `Failure`
    where a training fails.
    """
    if how not in WAYS:
        raise UsageError(f"ship is {how!r}, expected {' or '.join(WAYS)}")
    if how == "ensemble" and study.space.limits:
        raise UsageError(
            f"the space {study.space.name} limits what a net may cost, and an ensemble is several: use --ship refit"
        )
    folder = study.folder / "model"
    settled = ledger.fact(f"exam/{row.number}")
    agenda = _agenda(study, row, exam, settled, how)
    card = _card(study, row, exam, settled, how, len(agenda))
    temperature = 1.0 if exam.temperature is None else exam.temperature
    table = predictions.place(study.folder, row.number)
    _restore(study.folder)
    if bundle.is_bundle(folder) and _unchanged(folder, card | {"temperature": temperature}, table):
        return folder
    model: Classifier | Ensemble
    if bundle.is_bundle(folder) and _same_training(bundle.read_card(folder), card):
        model = unpack(folder)  # the exam may have been repeated since, and with it the temperature
    else:
        say(f"training t{row.number:03d}: {card['shipped']}")
        members = _trained(study, runner, agenda)
        model = members[0] if how == "refit" else Ensemble(members)
    model.temperature = temperature
    written = study.folder / NEW
    try:
        bundle.write(model, written, card=card, predictions=table if table.exists() else None)
        bundle.write_card(written, card | bundle.measured(model, written))
        if folder.exists():
            folder.rename(study.folder / BEFORE)
        written.rename(folder)
    finally:
        shutil.rmtree(written, ignore_errors=True)
    for rest in (BEFORE, PARTS):
        shutil.rmtree(study.folder / rest, ignore_errors=True)
    return folder


def _restore(study: Path) -> None:
    """Undo what a process left in a study's folder that was killed while it replaced the model."""
    shutil.rmtree(study / NEW, ignore_errors=True)
    if (study / BEFORE).exists():
        if (study / "model").exists():
            shutil.rmtree(study / BEFORE)
        else:
            (study / BEFORE).rename(study / "model")


def _unchanged(folder: Path, wanted: Mapping[str, Any], table: Path) -> bool:
    """Whether a bundle is, file for file, the one that would be written."""
    card, copy = bundle.read_card(folder), folder / bundle.PREDICTIONS
    if bundle.size(folder) != card.get("size_bytes"):
        return False
    if any(card.get(key) != value for key, value in json.loads(json.dumps(wanted, default=str)).items()):
        return False
    if not (table.exists() and copy.exists()):
        return table.exists() == copy.exists()
    return table.read_bytes() == copy.read_bytes()


def _agenda(study: Study, row: TrialRow, exam: Exam, settled: dict[str, Any], how: str) -> list[Job]:
    """The trainings of a model; none is scored, each hands over its weights."""
    if how == "ensemble":
        plan = replace(study.exam_plan(len(exam.seeds)), seeds=exam.seeds)
        trained = jobs(row, settled["values"], plan, settled["stop_after"])
        return [replace(job, test=()) for job in trained]
    rows, facts = tuple(range(len(study.labels))), {"epochs": study.epochs, "seed": study.spec.seed}
    values = {**settled["values"], "stop_after": settled["stop_after"]}
    key = fold_key(values, phase="refit", split=0, data=study.data, code=study.code, **facts)
    job = Job(key, row.number, settled["values"], rows, (), stop_after=settled["stop_after"], **facts)
    return [job]


def _trained(study: Study, runner: Runner, agenda: Sequence[Job]) -> list[Classifier]:
    """The classifiers of these jobs, in their order. Each is kept as it ends: a command cut short goes on."""
    parts = study.folder / PARTS
    parts.mkdir(exist_ok=True)
    done = sum((parts / job.key).is_dir() for job in agenda)
    failed: list[str] = []
    with progress("training") as tick:

        def on_done(job: Job, result: JobResult | JobFailure) -> None:
            nonlocal done
            if isinstance(result, JobFailure):
                failed.append(f"the model of trial {job.trial} could not be trained: {result.reason}")
                return
            _keep(parts / job.key, result.files)
            done += 1
            tick(done, len(agenda))

        runner.run_jobs([job for job in agenda if not (parts / job.key).is_dir()], on_done)
    if failed:
        raise Failure(failed[0])
    return [Classifier.unpack(parts / job.key) for job in agenda]


def _keep(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files of a packed model, all or none."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".writing-") as scratch:
        packed = Path(scratch) / "packed"
        packed.mkdir()
        for name, content in files.items():
            (packed / name).write_bytes(content)
        packed.rename(folder)


def _same_training(kept: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return all(kept.get(key) == wanted[key] for key in SAME)


def _card(
    study: Study, row: TrialRow, exam: Exam, settled: dict[str, Any], how: str, members: int
) -> dict[str, Any]:
    ensemble = how == "ensemble"
    return {
        "study": study.name,
        "trial": row.number,
        "values": settled["values"],
        "epochs": settled["stop_after"],
        "seed": study.spec.seed,
        "seeds": list(exam.seeds) if ensemble else [study.spec.seed],
        "code": study.code,
        "data": study.dataset.name,
        "data_fingerprint": study.data,
        "licence": study.dataset.licence,
        "non_commercial": study.dataset.non_commercial,
        "synthetic": study.dataset.synthetic,
        "clips": len(study.labels),
        "shipped": bundle.shipped(members if ensemble else 0),
        "expected": expected(exam, how, members),
        "exam": json.loads(exam.to_json()),
    }


def expected(exam: Exam, how: str, members: int) -> str:
    """One sentence about the score to expect of the shipped model on new recordings like those of the data set."""
    figure = f"{100 * exam.mean:.1f} % (95 % interval {100 * exam.low:.1f} to {100 * exam.high:.1f})"
    if how == "ensemble":
        return (
            f"its {members} models scored {figure} on average, each on clips that it had not seen; together they are "
            "usually better, by how much is not measured, and the temperature is that of single ones"
        )
    return (
        f"its recipe scored {figure} on clips it had not seen, trained on some of the folds; this model learned from "
        "all of them, usually scores the same or slightly better, and was not scored itself"
    )
