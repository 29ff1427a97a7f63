"""A shipped model through the gate into the registry."""

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from escmodels.exams import Exam, OutOfFold

from . import bundle, model_log, predictions, registry, reigns
from .bundle import REFIT
from .errors import Failure
from .ledger import TrialRow
from .mlflow_tracker import MlflowTracker
from .progress import label
from .projection import StudyFacts, study_key
from .promote import Candidate, Gate, Verdict, decide
from .registry import Card
from .settings import Settings
from .study import Study
from .terminal import say

FROM_CARD = (
    "shipped",
    "temperature",
    "params",
    "size_bytes",
    "latency_ms",
    "git_commit",
    "versions",
)


@dataclass(frozen=True)
class Shipped:
    """What became of the winner."""

    name: str
    version: int | None  # None: not registered
    champion: bool
    reason: str
    challenger: bool = False  # refused, and to be had under that alias


def register(
    study: Study,
    facts: StudyFacts,
    settings: Settings,
    connect: Callable[[], MlflowTracker],
    row: TrialRow,
    exam: Exam,
    folder: Path,
    gate: Gate,
    *,
    name: str | None = None,
) -> Shipped:
    """Judge the winner against the champion of its name, and make it champion if the gate lets it.

    One that is refused, but can be compared with the champion, is registered as its `challenger`. facts: the study's
    in the tracker; name: the model's, None for the study's own. Raises `TrackerDown`, `TrackerRefused` or `Failure`
    when MLflow does not take it; calling again is safe, also after a kill.
    """
    name, card = name or study.model_name, bundle.read_card(folder)
    source = origin(facts.name, facts.id, row.number)
    own = same(settings, name, source, card.get("shipped", REFIT), model_log.identity(folder))
    challenger = candidate(exam, predictions.place(study.folder, row.number), card)
    verdict = judge(settings, name, challenger, gate, own)
    if own and registry.CHAMPION in own.aliases:
        known = {model_log.IDENTITY_TAG: model_log.identity(folder)}
        registry.tag(
            settings, name, own.version, known | _figures(exam, card)
        )  # it may have been examined again
        reigns.promote(settings, name, own.version, verdict.reason)  # may have been cut off
        return Shipped(name, own.version, True, verdict.reason)
    was = own is not None and registry.SINCE_TAG in own.tags  # then its tags say why it was promoted
    if not verdict.comparable or (was and not verdict.promote):
        return Shipped(name, own.version if own else None, False, verdict.reason)
    tags = source | _figures(exam, card) | _description(study, folder, card, exam, verdict)
    if own is None or own.tags.get(model_log.WEIGHTS_TAG) != model_log.weights(
        folder
    ):  # of another temperature
        model = model_log.log_model(settings, _model_run(study, facts, connect(), row, folder), folder)
        version = registry.register(settings, model, name, tags)
    else:  # of a session that was cut off before it could promote, or was refused
        version = own.version
        registry.tag(settings, name, version, tags)
    if verdict.promote:
        reigns.promote(settings, name, version, verdict.reason)
    else:
        reigns.challenge(settings, name, version)
    return Shipped(name, version, verdict.promote, verdict.reason, challenger=not verdict.promote)


def judge(
    settings: Settings, name: str, challenger: Candidate, gate: Gate, own: Card | None = None
) -> Verdict:
    """What the gate says about a challenger for a name. Changes nothing.

    own: the version that the challenger is, if it is registered already.
    """
    champion = registry.champion(settings, name)
    if own and champion and own.version == champion.version:
        return Verdict(True, "it is the champion already")
    if own and (ended := reigns.line(reigns.log(settings, name))[1].get(own.version)):
        return Verdict(
            False,
            f"version {own.version} was champion and was taken back ({ended.reason}); "
            f"bring it back with 'rollback {name} --to {own.version}'",
            comparable=False,
        )
    if champion is None:
        return decide(challenger, None, gate)
    if champion.exam is None:
        return Verdict(
            False,
            f"version {champion.version}, the champion, was registered without an exam to compare with; promote this "
            "one under another --model NAME",
            comparable=False,
        )
    return decide(challenger, _holder(settings, champion, champion.exam), gate)


def candidate(exam: Exam, table: Path, card: Mapping[str, Any]) -> Candidate:
    """A model before the gate. table: of its predictions, which older exams do not have; card: of its bundle."""
    return Candidate(
        exam, _read(table) if table.exists() else None, card.get("params"), card.get("latency_ms")
    )


def same(
    settings: Settings, name: str, origin: Mapping[str, str], shipped: str, identity: str | None = None
) -> Card | None:
    """The version that a model of a trial was registered as, if it was: the champion if that is one, or the newest.

    origin: see there; shipped: as its card says it; identity: see `model_log`, None before it is trained: then a
    training again is taken to give the same.
    """
    if registry.nothing(settings) or name not in registry.names(settings):
        return None
    alike = [
        known
        for known in registry.history(settings, name)
        if known.tags.get("shipped", REFIT) == shipped
        and origin.items() <= known.tags.items()
        and (identity is None or model_log.identity_of(settings, known) == identity)
    ]
    return min(alike, key=lambda known: registry.CHAMPION not in known.aliases, default=None)


def origin(study: str, id: str, trial: int) -> dict[str, str]:
    """The tags that say which trial of which study a version is the model of. id: of its ledger."""
    return {"study": study, "study.id": id, "trial": str(trial)}


def _holder(settings: Settings, card: Card, exam: Exam) -> Candidate:
    """The champion, with the table that belongs to its exam if MLflow has it."""
    tags, found = card.tags, None
    exam_key = f"{tags.get('study')}@{tags.get('study.id')}/exam/t{int(tags.get('trial', 0)):03d}"
    with tempfile.TemporaryDirectory() as scratch:
        for path in model_log.tables(settings, card, exam_key, Path(scratch)):
            found = _read(path) or found
            if Candidate(exam, found).table is not None:
                break
    return Candidate(exam, found)


def _read(table: Path) -> OutOfFold | None:
    try:
        return predictions.read(table)
    except Failure as error:  # the means can be compared all the same
        say(str(error))
        return None


def _figures(exam: Exam, card: Mapping[str, Any]) -> dict[str, str]:
    """What a repeated exam changes."""
    told = {key: card[key] for key in ("expected",) if key in card}
    return {registry.EXAM_TAG: exam.to_json(), "test_accuracy": f"{exam.mean:.4f}", **told}


def _description(
    study: Study, folder: Path, card: Mapping[str, Any], exam: Exam, verdict: Verdict
) -> dict[str, str]:
    """What stands at a version beside its origin and its figures."""
    return {
        registry.REASON_TAG: verdict.reason,
        "gate": "promoted" if verdict.promote else "refused",
        "architecture": str(card["values"].get("architecture", "")),
        "data": study.dataset.name,
        "data.fingerprint": exam.data,
        "data.synthetic": str(study.dataset.synthetic).lower(),
        "licence": study.dataset.licence,
        "non_commercial": str(study.dataset.non_commercial).lower(),
        "recipe": _cut(yaml.safe_dump(card["values"], sort_keys=True)),
        model_log.WEIGHTS_TAG: model_log.weights(folder),
        model_log.IDENTITY_TAG: model_log.identity(folder),
        **{key: _text(card[key]) for key in FROM_CARD if key in card},
    }


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _cut(text: str) -> str:
    """As much as every server takes as a tag."""
    end = f"\n# ... cut here: all of it is in {bundle.CARD} of the model's bundle, under 'values'"
    return text if len(text) <= registry.LONGEST else text[: registry.LONGEST - len(end)] + end


def _model_run(study: Study, facts: StudyFacts, tracker: MlflowTracker, row: TrialRow, folder: Path) -> str:
    """The id of the run that carries the model, below the study's run."""
    root, now = study_key(facts), int(time.time() * 1000)
    key = f"{root}/model/t{row.number:03d}"
    tags = {"esc.level": "model", "study": study.name, "trial": str(row.number), "phase": "refit"}
    tracker.open(key, f"model {label(row)}", root, tags, bundle.read_card(folder)["values"], now)
    tracker.mark(key, "FINISHED", now)
    run_id = tracker.run_id(key)
    assert run_id is not None
    return run_id
