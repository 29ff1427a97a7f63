"""A study: many trials on one data set under one protocol, in one folder.

runs/STUDY/  study.yaml  space.yaml  splits.json  ledger.sqlite  optuna.sqlite  exam/  model/  report.html  report/
             predict.txt
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
from escmodels.folds import NESTED, Split, check, held_out, inner, outer, rotating
from spaces.space import Space, options

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
from .projection import StudyFacts
from .sealing import check_copies, seal
from .settings import Settings
from .spec import LIMITS, Spec
from .suggest import Proposer
from .terminal import say
from .trial import Plan
from .warm import WarmStart
from .warm import read as warm_start

RATE = "data.sample_rate"
SPLITS = "splits.json"


class Study:
    """An opened study. Build it with `create` or `reopen`."""

    def __init__(self, folder: Path, spec: Spec, space: Space, dataset: Dataset, space_file: Path) -> None:
        self.folder, self.spec, self.space, self.dataset = folder, spec, space, dataset
        self.space_file = space_file
        self.epochs = spec.epochs or space.epochs
        self.code = code_fingerprint()
        self.clips: dict[int, ClipSet] = {}  # what may be seen now, by sample rate in Hz
        self._whole: dict[int, ClipSet] = {}  # all of it
        self.unsealed = False
        self.data = ""  # fingerprint of the data set, once its clips are open
        self._held: list[int] = []  # stores that nobody may clear meanwhile
        self.similar = 0  # pairs of clips with the same audio in two folds, accepted as they are

    @property
    def name(self) -> str:
        """As commands call it: NAME, or NAME/fold-K for a fold of a nested study."""
        outer = self.folder.parent
        return f"{outer.name}/{self.folder.name}" if (outer / "study.yaml").exists() else self.folder.name

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

        Folds that are made here keep clips with the same audio together. A fold that is held out is looked at for
        leaks, and not opened: `clips` do not have it until `unseal`. Raises `Failure` naming undecodable files,
        `UsageError` for a fold that cannot be held out, `Leakage` for a source, or the same audio under two
        sources, on both sides of a split.
        """
        ready = make_ready(
            self.dataset, self.rates, settings.cache, tasks, say, join=not self.spec.accept_similar
        )
        self._held = [shelf.hold(folder) for folder in ready.folders]
        self._whole, self.dataset, self.data = ready.clips, ready.dataset, ready.fingerprint
        self.clips, seen = self._whole, self.dataset
        if (fold := held_out(self.spec.protocol)) is not None:
            sealed = seal(self.dataset, fold, self.rates, settings, tasks)
            self._held += [shelf.hold(folder) for folder in sealed.folders]
            self.clips, seen = sealed.clips, sealed.dataset
        check_sources(self.dataset.clips, self.dataset.name, self.dataset.shared_sources)
        self._check(self.splits, seen, self.labels)
        self._check(self.exam_splits, self.dataset, _any(self._whole))
        self.similar = len(ready.leaks)
        check_copies(self.dataset, ready.leaks, self.spec, settings)

    def _check(self, splits: Sequence[Split], dataset: Dataset, clips: ClipSet) -> None:
        allowed = allowed_sources(dataset, clips)
        for split in splits:
            try:
                check(split, clips, allowed)
            except ValueError as error:
                raise Leakage(f"{dataset.name}: {error}") from error

    def unseal(self) -> bool:
        """Open the fold that was held out, for the exam: from here on `clips` are all clips, and nothing is searched.

        Returns whether there are more clips now.
        """
        more = self.clips is not self._whole
        self.clips, self.unsealed = self._whole, True
        return more

    def release(self) -> None:
        """Let the waveforms be cleared, if anybody wants to."""
        for descriptor in self._held:
            os.close(descriptor)
        self._held = []

    @property
    def labels(self) -> ClipSet:
        """The clips at any rate: for labels, folds and sources."""
        return _any(self.clips)

    @property
    def folds(self) -> tuple[int, ...]:
        """The numbers of all folds, also of one that is held out."""
        return tuple(sorted({clip.fold for clip in self.dataset.clips}))

    @cached_property
    def splits(self) -> tuple[Split, ...]:
        """The splits of the search, in the order in which trials run them; none of a nested study.

        Rows are those of the clips that the search sees: not of all clips where a fold is held out.
        """
        protocol, seen = self.spec.protocol, self.labels.folds.tolist()
        try:
            if protocol == NESTED:
                return ()
            return rotating(seen) if held_out(protocol) is None else inner(seen)
        except ValueError as error:
            raise Failure(f"{self.dataset.name}: {error}") from error

    @cached_property
    def exam_splits(self) -> tuple[Split, ...]:
        """The splits of the exam: together they test each clip of the exam once. Rows of all clips."""
        folds, protocol = _any(self._whole).folds.tolist(), self.spec.protocol
        try:
            if protocol == NESTED:
                return tuple(outer(folds, fold) for fold in sorted(set(folds)))
            return rotating(folds) if (fold := held_out(protocol)) is None else (outer(folds, fold),)
        except ValueError as error:
            raise Failure(f"{self.dataset.name}: {error}") from error

    # plans

    def plan(self) -> Plan:
        """What trials share; without test rows."""
        assert not (self.unsealed and held_out(self.spec.protocol)), "a fold that was held out is open"
        wanted = {objective.name for objective in self.objectives} | self.space.limits.keys()
        costs = tuple(name for name in COSTS if name in wanted)
        splits = tuple(split.for_search() for split in self.splits)
        return Plan(splits, self.epochs, self.spec.seed, costs, self.space.limits)

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
        validated = sum(len(split.valid) for split in self.splits)
        return ExamPlan(
            self.exam_splits, self.epochs, numbers, self.spec.protocol, self.data, self.code, validated
        )

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
            self.name,
            self.dataset.name,
            self.data,
            self.spec.protocol,
            {split.number: _folds(split) for split in (*self.splits, *self.exam_splits)},
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
            "exam": [{"split": split.number, **_folds(split)} for split in self.exam_splits],
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
                    f"study {self.name} was begun by another process meanwhile; run the command again"
                ) from error


def _any(clips: Mapping[int, ClipSet]) -> ClipSet:
    return next(iter(clips.values()))


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
