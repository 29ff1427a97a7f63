"""A shipped model through the gate into the registry."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from escmodels.exams import Exam

from . import bundle, registry
from .ledger import TrialRow
from .mlflow_tracker import MlflowTracker
from .progress import label
from .projection import StudyFacts, study_key
from .promote import decide
from .settings import Settings
from .study import Study


@dataclass(frozen=True)
class Shipped:
    """What became of the winner."""

    name: str
    version: int | None  # None: not registered
    champion: bool
    reason: str


def register(
    study: Study,
    facts: StudyFacts,
    settings: Settings,
    connect: Callable[[], MlflowTracker],
    row: TrialRow,
    exam: Exam,
    folder: Path,
    min_gain: float,
) -> Shipped:
    """Judge the winner against the champion of its name, and make it champion if it is better.

    facts: the study's in the tracker. Raises `TrackerDown`, `TrackerRefused` or `Failure` when MLflow does not
    take it; calling again is safe.
    """
    name = study.model_name
    champion = registry.champion(settings, name)
    origin = {"study": study.folder.name, "study.id": facts.id, "trial": str(row.number)}
    figures = {registry.EXAM_TAG: exam.to_json(), "test_accuracy": f"{exam.mean:.4f}"}
    if champion is not None:
        if origin.items() <= dict(champion.tags).items():
            registry.tag(settings, name, champion.version, figures)  # the exam may have been repeated since
            return Shipped(name, champion.version, True, "it is the champion already")
        if champion.exam is None:
            reason = (
                f"version {champion.version}, the champion, was registered without an exam to compare with"
            )
            return Shipped(name, None, False, f"{reason}; promote this one under another --model NAME")
    verdict = decide(exam, champion.exam if champion else None, min_gain)
    if not verdict.promote:
        return Shipped(name, None, False, verdict.reason)
    tags = (
        origin
        | figures
        | {
            registry.REASON_TAG: verdict.reason,
            "architecture": str(row.values.get("architecture", "")),
            "data": study.dataset.name,
            "data.fingerprint": study.data,
            "data.synthetic": str(study.dataset.synthetic).lower(),
            "licence": study.dataset.licence,
            "non_commercial": str(study.dataset.non_commercial).lower(),
        }
    )
    version = _registered(settings, name, origin)  # by a session that was cut off before it could promote
    if version is None:
        model = registry.log_model(settings, _model_run(study, facts, connect(), row, folder), folder)
        version = registry.register(settings, model, name, tags)
    else:
        registry.tag(settings, name, version, tags)
    registry.promote(settings, name, version)
    return Shipped(name, version, True, verdict.reason)


def _registered(settings: Settings, name: str, origin: dict[str, str]) -> int | None:
    if name not in registry.names(settings):
        return None
    cards = registry.history(settings, name)
    return next((card.version for card in cards if origin.items() <= dict(card.tags).items()), None)


def _model_run(study: Study, facts: StudyFacts, tracker: MlflowTracker, row: TrialRow, folder: Path) -> str:
    """The id of the run that carries the model, below the study's run."""
    root, now = study_key(facts), int(time.time() * 1000)
    key = f"{root}/model/t{row.number:03d}"
    tags = {"esc.level": "model", "study": study.folder.name, "trial": str(row.number), "phase": "refit"}
    tracker.open(key, f"model {label(row)}", root, tags, bundle.read_card(folder)["values"], now)
    tracker.mark(key, "FINISHED", now)
    run_id = tracker.run_id(key)
    assert run_id is not None
    return run_id
