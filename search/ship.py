"""From the winner of an exam to the model that is shipped: trained on all folds, bundled."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from escmodels.classifier import Classifier
from escmodels.exams import Exam

from . import bundle
from .errors import Failure
from .job import Job, JobFailure, JobResult
from .ledger import Ledger, TrialRow
from .runner import Runner
from .study import Study
from .terminal import say


def refit(study: Study, ledger: Ledger, runner: Runner, row: TrialRow, exam: Exam) -> Path:
    """The model folder of a trial: its recipe trained on all folds. Kept from an earlier session if the same."""
    folder = study.folder / "model"
    card = _card(study, row, exam, ledger.fact(f"exam/{row.number}"))
    if bundle.is_bundle(folder) and _same_training(bundle.read_card(folder), card):
        bundle.write_card(folder, card)  # the exam may have been repeated since
        return folder
    say(f"training t{row.number:03d} on all {len(study.labels)} clips")
    job = Job(
        key="refit",
        trial=row.number,
        values=card["values"],
        train=tuple(range(len(study.labels))),
        test=(),
        epochs=study.epochs,
        stop_after=card["epochs"],
        seed=study.spec.seed,
    )
    results: list[JobResult | JobFailure] = []
    runner.run_jobs([job], lambda _, done: results.append(done))
    (result,) = results
    if isinstance(result, JobFailure):
        raise Failure(f"trial {row.number} could not be trained on all folds: {result.reason}")
    with tempfile.TemporaryDirectory(dir=study.folder, prefix="model-") as scratch:
        packed, written = Path(scratch) / "packed", Path(scratch) / "model"
        packed.mkdir()
        for name, content in result.files.items():
            (packed / name).write_bytes(content)
        bundle.write(Classifier.unpack(packed), written, card=card)
        if folder.exists():
            shutil.rmtree(folder)
        written.rename(folder)
    return folder


def _same_training(kept: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return all(
        kept.get(key) == wanted[key] for key in ("values", "epochs", "seed", "code", "data_fingerprint")
    )


def _card(study: Study, row: TrialRow, exam: Exam, settled: dict[str, Any]) -> dict[str, Any]:
    return {
        "study": study.folder.name,
        "trial": row.number,
        "values": settled["values"],
        "epochs": settled["stop_after"],
        "seed": study.spec.seed,
        "code": study.code,
        "data": study.dataset.name,
        "data_fingerprint": study.data,
        "licence": study.dataset.licence,
        "non_commercial": study.dataset.non_commercial,
        "synthetic": study.dataset.synthetic,
        "clips": len(study.labels),
        "shipped": "refit on all folds",
        "exam": json.loads(exam.to_json()),
    }
