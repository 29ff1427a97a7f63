"""A study: many trials on one data set under one protocol, in one folder.

runs/STUDY/  study.yaml  space.yaml  splits.json  ledger.sqlite  optuna.sqlite  model/  predict.txt
"""

import dataclasses
import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from escmodels.clips import ClipSet
from escmodels.folds import PROTOCOLS, Split, check
from spaces.space import Space, options

from .datasets.copies.similar import Pair
from .datasets.copies.together import sentence
from .datasets.dataset import Dataset
from .datasets.ready import Tasks, make_ready
from .datasets.splits import check_sources, document
from .datasets.waves import shelf
from .datasets.waves.store import allowed_sources
from .errors import Failure, Leakage, UsageError
from .exam import ExamPlan
from .fingerprint import code_fingerprint
from .ledger import Ledger
from .objectives import COSTS, Objective
from .objectives import parse as parse_objectives
from .paste import command, relative
from .projection import StudyFacts
from .settings import Settings
from .spec import LIMITS, Spec
from .suggest import Proposer
from .terminal import say
from .trial import Plan
from .warm import WarmStart
from .warm import read as warm_start

RATE = "data.sample_rate"
SPLITS = "splits.json"
SHOWN = 3  # pairs of clips named in one message


class Study:
    """An opened study. Build it with `create` or `reopen`."""

    def __init__(self, folder: Path, spec: Spec, space: Space, dataset: Dataset, space_file: Path) -> None:
        self.folder, self.spec, self.space, self.dataset = folder, spec, space, dataset
        self.space_file = space_file
        self.epochs = spec.epochs or space.epochs
        self.code = code_fingerprint()
        self.clips: dict[int, ClipSet] = {}
        self.data = ""  # fingerprint of the data set, once its clips are open
        self._held: list[int] = []  # stores that nobody may clear meanwhile
        self.similar = 0  # pairs of clips with the same audio in two folds, accepted as they are

    # data

    @property
    def rates(self) -> list[int]:
        """The sample rates that recipes of the space use, in Hz."""
        from escmodels.recipe import DataConfig

        return sorted(
            {DataConfig().sample_rate if rate is None else int(rate) for rate in options(self.space, RATE)}
        )

    def open_clips(self, settings: Settings, tasks: Tasks) -> None:
        """Decode what is not decoded yet, open the waveforms, check every split for leaks.

        Folds that are made here keep clips with the same audio together. Raises `Failure` naming undecodable
        files, `Leakage` for a source, or the same audio under two sources, on both sides of a split.
        """
        ready = make_ready(
            self.dataset, self.rates, settings.cache, tasks, say, join=not self.spec.accept_similar
        )
        self._held = [shelf.hold(folder) for folder in ready.folders]
        self.clips, self.dataset, self.data = ready.clips, ready.dataset, ready.fingerprint
        check_sources(self.dataset.clips, self.dataset.name, self.dataset.shared_sources)
        clips, allowed = self.labels, allowed_sources(self.dataset, self.labels)
        for split in self.splits:
            try:
                check(split, clips, allowed)
            except ValueError as error:
                raise Leakage(f"{self.dataset.name}: {error}") from error
        self._check_audio(ready.leaks, settings)

    def release(self) -> None:
        """Let the waveforms be cleared, if anybody wants to."""
        for descriptor in self._held:
            os.close(descriptor)
        self._held = []

    def _check_audio(self, leaks: Sequence[Pair], settings: Settings) -> None:
        self.similar = len(leaks)
        if not leaks or self.spec.accept_similar:
            return
        clips = self.dataset.clips
        shown = "; ".join(sentence(pair, clips) for pair in leaks[:SHOWN])
        more = f"; and {len(leaks) - SHOWN} more pairs" if len(leaks) > SHOWN else ""
        listen = command(settings, *_audit(self.spec), "--html", "audit.html")
        raise Leakage(
            f"{self.dataset.name}: {shown}{more}; listen to them ({listen}), then take one of each pair out,"
            " or go on as it is with --accept-similar, which is recorded"
        )

    @property
    def labels(self) -> ClipSet:
        """The clips at any rate: for labels, folds and sources."""
        return next(iter(self.clips.values()))

    @cached_property
    def splits(self) -> tuple[Split, ...]:
        """The splits of the protocol, in the order in which trials run them."""
        try:
            return PROTOCOLS[self.spec.protocol](self.labels.folds.tolist())
        except ValueError as error:
            raise Failure(f"{self.dataset.name}: {error}") from error

    # plans

    def plan(self) -> Plan:
        """What trials share; without test rows."""
        costs = tuple(objective.name for objective in self.objectives if objective.name in COSTS)
        return Plan(tuple(split.for_search() for split in self.splits), self.epochs, self.spec.seed, costs)

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """What the search looks for."""
        return parse_objectives(self.spec.objective)

    @property
    def answers(self) -> dict[int, np.ndarray]:
        """Split -> class of each of its validation clips, int64."""
        return {split.number: self.labels.labels[list(split.valid)] for split in self.splits}

    def exam_plan(self, seeds: int) -> ExamPlan:
        """What the exam shares."""
        numbers = tuple(range(self.spec.seed, self.spec.seed + seeds))
        return ExamPlan(self.splits, self.epochs, numbers, self.spec.protocol, self.data, self.code)

    def proposer(self, ledger: Ledger, settings: Settings) -> Proposer:
        """The sampler of this study. What an older study taught it is read once and kept in the ledger.

        Raises `UsageError` for a space that the sampler cannot search, values to try that are none of it, and an
        older study that teaches nothing.
        """
        warm = ledger.fact("warm")
        if warm is None and (read := self.read_warm(settings)):
            if read.remark:
                say(read.remark)
            warm = {"study": self.spec.warm_start, "tries": list(read.tries), "history": list(read.history)}
            ledger.write_fact("warm", warm)
        warm = warm or {"tries": [], "history": []}
        proposer = sampled(self.space, self.spec, warm["tries"])
        for values, outcome, worth, steps in warm["history"]:
            intermediate = {int(step): score for step, score in steps.items()}
            proposer.learn(values, outcome, worth and tuple(worth), intermediate)
        return proposer

    def read_warm(self, settings: Settings) -> WarmStart | None:
        """What the older study teaches, if there is one. Raises `UsageError` where that is nothing."""
        if not self.spec.warm_start:
            return None
        return warm_start(
            settings,
            self.spec.warm_start,
            self.space,
            data=self.data,
            epochs=self.epochs,
            protocol=self.spec.protocol,
            order=[split.number for split in self.splits],
            objectives=self.objectives,
        )

    def facts(self, id: str) -> StudyFacts:
        """What its runs in a tracker have in common. id: of the ledger."""
        asked = {
            name: value
            for name, value in dataclasses.asdict(self.spec).items()
            if value not in (None, {}, (), [])
        }
        asked = json.loads(
            json.dumps(asked)
        )  # as it comes back from the ledger: a tuple is written otherwise
        limits = {name: asked.pop(name) for name in LIMITS if name in asked}
        changing = {"data.path": asked.pop("data"), "code": self.code}
        changing["accept_similar"] = str(asked.pop("accept_similar", False)).lower()
        return StudyFacts(
            id,
            self.folder.name,
            self.dataset.name,
            self.data,
            self.spec.protocol,
            {split.number: _folds(split) for split in self.splits},
            tuple(split.number for split in self.splits),
            self.dataset.synthetic,
            asked | {"space": self.space.name, "epochs": self.epochs},
            limits,
            changing,
        )

    @property
    def model_name(self) -> str:
        """The name under which its winner is registered."""
        return self.spec.model or re.sub(r"[^A-Za-z0-9._-]+", "_", self.dataset.name)

    @property
    def ledger_path(self) -> Path:
        """The file of the ledger."""
        return self.folder / "ledger.sqlite"

    @property
    def optuna_path(self) -> Path:
        """The search as Optuna's own tools read it."""
        return self.folder / "optuna.sqlite"

    def ledger(self) -> Ledger:
        """A connection to the ledger, made where it is missing."""
        return Ledger(self.ledger_path, create=True)

    # folder

    def recorded(self, engine: Mapping[str, Any]) -> dict[str, Any]:
        """What stands in study.yaml and may change between sessions."""
        return dataclasses.asdict(self.spec) | {
            "fixed": dict(self.spec.fixed),
            "tries": [dict(values) for values in self.spec.tries],
            "rungs": list(self.spec.rungs),
            "space": self.space.name,
            "data_fingerprint": self.data,
            "code_fingerprint": self.code,
            "engine": dict(engine),
        }

    def write(self, engine: Mapping[str, Any]) -> None:
        """Make the folder of a new study, whole or not at all. Needs the clips to be open.

        engine: who runs it, for sessions that do not say.
        """
        recorded = self.recorded(engine) | {"skipped": dict(self.dataset.skipped)}
        splits = {
            "protocol": self.spec.protocol,
            "splits": [{"split": split.number, **_folds(split)} for split in self.splits],
            **document(self.dataset),
        }
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".study-", dir=self.folder.parent) as scratch:
            made = Path(scratch) / "study"
            made.mkdir()
            (made / "space.yaml").write_bytes(self.space_file.read_bytes())
            (made / SPLITS).write_text(json.dumps(splits, indent=1), encoding="utf-8")
            (made / "study.yaml").write_text(yaml.safe_dump(recorded, sort_keys=False), encoding="utf-8")
            try:
                made.rename(self.folder)
            except OSError as error:
                raise UsageError(
                    f"study {self.folder.name} was begun by another process meanwhile; run the command again"
                ) from error


def _audit(spec: Spec) -> list[str]:
    """The words of the command that finds the copies of a study's data; but for its label map."""
    words = ["data", "audit", relative(spec.data)]
    for name in ("format", "subset", "source_regex", "splits"):
        if value := getattr(spec, name):
            words += [f"--{name.replace('_', '-')}", str(value)]
    if spec.drop_cross_fold_sources:
        words.append("--drop-cross-fold-sources")
    return words


def _folds(split: Split) -> dict[str, Any]:
    return {
        "train_folds": list(split.train_folds),
        "valid_fold": split.valid_fold,
        "test_fold": split.test_fold,
    }


def sampled(space: Space, spec: Spec, tries: Sequence[Mapping[str, Any]]) -> Proposer:
    """The sampler of a space, which begins with what was asked for and these."""
    try:
        return Proposer(
            space,
            seed=spec.seed,
            sampler=spec.sampler,
            objectives=parse_objectives(spec.objective),
            tries=[*spec.tries, *tries],
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
