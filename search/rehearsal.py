"""`promote --dry-run`: what the gate would say of the winner of a study. Trains nothing, writes nothing."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from escmodels.exams import Exam

from . import bundle, exam, model_log, predictions
from .errors import UsageError
from .glance import Glance
from .ledger import Ledger, TrialRow
from .paste import command
from .promote import Candidate, Gate, Verdict
from .registration import candidate, judge, origin, same
from .settings import Settings
from .studies import reopen


def rehearse(
    name: str, settings: Settings, gate: Gate, *, model: str | None, how: str
) -> tuple[str, Verdict]:
    """(the model's name, what would be decided). model, how: as for `run.promote_study`.

    What the model would cost is read from its bundle, or measured on the untrained net where there is none yet and
    the gate asks. Raises `UsageError` where the winner was not examined.
    """
    study = reopen(name, settings, model=model)
    ledger = Glance(study.ledger_path)
    try:
        (row, found), *_ = recalled(ledger, study.name, settings)
        source = origin(study.name, ledger.id, row.number)
        classes = tuple(ledger.fact(f"exam/{row.number}")["classes"])
    finally:
        ledger.close()
    members = len(found.folds) * len(found.seeds) if how == "ensemble" else 0
    shipped = bundle.shipped(members)
    card, identity = _bundled(study.folder / "model", row, shipped) or ({}, None)
    challenger = candidate(found, predictions.place(study.folder, row.number), card)
    if not card and (gate.max_params, gate.max_latency_ms) != (None, None):
        challenger = _measured(challenger, row.values, classes, members)
    own = same(settings, study.model_name, source, shipped, identity)
    return study.model_name, judge(settings, study.model_name, challenger, gate, own)


def recalled(ledger: Ledger, name: str, settings: Settings) -> list[tuple[TrialRow, Exam]]:
    """The exams in the ledger of a study that count, the winner's first. Raises `UsageError` if that has none."""
    rows = exam.finalists(ledger, ledger.count_trials())
    changed_last = max((change["time"] for change in ledger.fact("mixed", [])), default=0.0)
    exams = [
        (exam.trained(ledger, row), Exam.from_json(json.dumps(record["exam"])))
        for row in rows
        if (record := ledger.fact(f"exam/{row.number}")) and record["time"] > changed_last
    ]
    if not exams or exams[0][0].number != rows[0].number:
        raise UsageError(
            f"the winner of study {name}, trial {rows[0].number}, was not examined; "
            f"run '{command(settings, 'exam', name)}' first"
        )
    return exams


def _bundled(folder: Path, row: TrialRow, shipped: str) -> tuple[Mapping[str, Any], str] | None:
    """Card and identity of the model in a study's folder, if it is of this trial and made in this way."""
    if not bundle.is_bundle(folder) or not (folder / bundle.WEIGHTS).is_file():
        return None
    card = bundle.read_card(folder)
    alike = card["trial"] == row.number and card["values"] == row.values
    return (card, model_log.identity(folder)) if alike and card["shipped"] == shipped else None


def _measured(
    challenger: Candidate, values: Mapping[str, Any], classes: tuple[str, ...], members: int
) -> Candidate:
    """With the costs of a model that is not trained yet. members: nets of an ensemble; 0: no ensemble."""
    from escmodels.classifier import Classifier
    from escmodels.ensemble import Ensemble
    from escmodels.recipe import parse

    fresh = [Classifier.fresh(parse(values), classes, pretrained=False) for _ in range(max(1, members))]
    nets = [model.ready("cpu") for model in fresh]  # as a shipped one is: folded, which is faster
    with tempfile.TemporaryDirectory() as nothing:  # no files, of which the size would be told too
        found = bundle.measured(Ensemble(nets) if members else nets[0], Path(nothing))
    return Candidate(challenger.exam, challenger.found, found["params"], found["latency_ms"])
