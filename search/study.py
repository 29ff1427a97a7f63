"""A study: many trials on one data set under one protocol, in one folder.

runs/STUDY/  study.yaml  space.yaml  splits.json  ledger.sqlite  model/  predict.txt
"""

import dataclasses
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

import escmodels
from escmodels.clips import ClipSet
from escmodels.folds import PROTOCOLS, Split, check
from spaces.load import find, load
from spaces.space import Space, fix, options

from .check import check as check_space
from .conductor import Limits
from .datasets.copies.similar import Pair
from .datasets.copies.together import sentence
from .datasets.dataset import Dataset, open_dataset
from .datasets.ready import Tasks, make_ready
from .datasets.splits import check_sources, document
from .datasets.waves import audio, shelf
from .datasets.waves.store import allowed_sources
from .errors import Failure, Leakage, UsageError
from .exam import ExamPlan
from .files import write_atomically
from .ledger import Ledger
from .paste import command, relative
from .projection import StudyFacts
from .settings import Settings
from .suggest import Proposer
from .terminal import say
from .trial import Plan

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,60}")
NAMED = "must be at most 61 letters (a to z), digits, dots, dashes and underscores"
RATE = "data.sample_rate"
NUMERIC = ("torch", "torchaudio", "timm", "soundfile", "soxr")
SPLITS = "splits.json"
SHOWN = 3  # pairs of clips named in one message
LIMITS = ("trials", "hours", "pruner", "eta", "finalists", "exam_seeds", "model")  # may change at a resume


@dataclass(frozen=True)
class Spec:
    """What was asked of a study; kept in its study.yaml. What may change between sessions is not here."""

    data: str  # path of the data set
    format: str | None = None
    subset: str | None = None
    source_regex: str | None = None
    label_map: Mapping[str, str | None] | None = None  # old label -> new one
    classes: Sequence[str] | None = None  # those that are kept; None: all
    drop_cross_fold_sources: bool = False
    accept_similar: bool = False  # clips with the same audio in two folds are no reason to stop
    skip_bad: bool = False
    folds: int | None = None  # to be made where there are no official ones; None: 5
    fold_seed: int | None = None  # of folds that are made; None: 0
    splits: str | None = None  # file with the folds, instead of making them
    fixed: Mapping[str, Any] = field(default_factory=dict)  # --set knob=value
    epochs: int | None = None  # instead of the space's own
    seed: int = 0
    sampler: str = "tpe"
    protocol: str = "rotating"
    trials: int = 20
    hours: float | None = None
    pruner: str = "asha"
    eta: float = 2.0
    finalists: int = 3
    exam_seeds: int = 1
    model: str | None = None  # registered name; None: the data set's

    def __post_init__(self) -> None:
        self.limits()  # refuses what cannot be
        if self.model is not None and not NAME.fullmatch(self.model):
            raise ValueError(f"model name {self.model!r} {NAMED}")
        if self.finalists < 1 or self.exam_seeds < 1:
            raise ValueError(
                f"finalists and seeds must be at least 1, got {self.finalists} and {self.exam_seeds}"
            )
        if self.folds is not None and self.folds < 3:
            raise ValueError(f"folds must be at least 3 (train, validation, test), got {self.folds}")
        if self.epochs is not None and self.epochs < 1:
            raise ValueError(f"epochs must be at least 1, got {self.epochs}")
        if self.protocol not in PROTOCOLS:
            raise ValueError(f"unknown protocol {self.protocol!r}, known: {sorted(PROTOCOLS)}")

    def limits(self) -> Limits:
        """The limits of the search."""
        return Limits(self.trials, self.hours, self.pruner, self.eta)


def code_fingerprint() -> str:
    """16 hex digits of all that decides what a training computes besides its recipe and data.

    The source of escmodels and of the decoder, and the versions of the libraries that touch samples or tensors.
    """
    digest = hashlib.sha256(json.dumps([version(name) for name in NUMERIC]).encode())
    sources = [*sorted(Path(escmodels.__path__[0]).glob("*.py")), Path(audio.__file__)]
    for path in sources:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


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
        return Plan(tuple(split.for_search() for split in self.splits), self.epochs, self.spec.seed)

    def exam_plan(self, seeds: int) -> ExamPlan:
        """What the exam shares."""
        numbers = tuple(range(self.spec.seed, self.spec.seed + seeds))
        return ExamPlan(self.splits, self.epochs, numbers, self.spec.protocol, self.data, self.code)

    def proposer(self) -> Proposer:
        """The sampler of this study."""
        return Proposer(self.space, seed=self.spec.seed, sampler=self.spec.sampler)

    def facts(self, id: str) -> StudyFacts:
        """What its runs in a tracker have in common. id: of the ledger."""
        asked = {
            name: value for name, value in dataclasses.asdict(self.spec).items() if value not in (None, {})
        }
        limits = {name: asked.pop(name) for name in LIMITS if name in asked}
        return StudyFacts(
            id,
            self.folder.name,
            self.dataset.name,
            self.data,
            self.spec.protocol,
            {split.number: _folds(split) for split in self.splits},
            tuple(split.number for split in self.splits),
            self.dataset.synthetic,
            asked | {"space": self.space.name, "epochs": self.epochs, "code": self.code},
            limits,
        )

    @property
    def model_name(self) -> str:
        """The name under which its winner is registered."""
        return self.spec.model or re.sub(r"[^A-Za-z0-9._-]+", "_", self.dataset.name)

    @property
    def ledger_path(self) -> Path:
        """The file of the ledger."""
        return self.folder / "ledger.sqlite"

    def ledger(self) -> Ledger:
        """A connection to the ledger, made where it is missing."""
        return Ledger(self.ledger_path, create=True)

    # folder

    def write(self, engine: Mapping[str, Any]) -> None:
        """Make the folder of a new study, whole or not at all. Needs the clips to be open.

        engine: who runs it, for sessions that do not say.
        """
        recorded = dataclasses.asdict(self.spec) | {
            "fixed": dict(self.spec.fixed),
            "space": self.space.name,
            "data_fingerprint": self.data,
            "skipped": {name: reason for name, reason in self.dataset.skipped},
            "code_fingerprint": self.code,
            "engine": dict(engine),
        }
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


def create(spec: Spec, space_path: str, settings: Settings, name: str | None) -> Study:
    """Begin a study: checks the space and the data set's layout. Its folder is made by `Study.write`.

    name: None for the next free one. Raises `UsageError` for a taken name, a bad space, or missing data.
    """
    source = _space_file(space_path)
    space = _load_space(source, spec.fixed)
    dataset = _open_dataset(spec)
    if name is None:
        stem = f"{space.name}-{dataset.name}" if space.name != dataset.name else space.name
        stem = re.sub(r"[^A-Za-z0-9._-]+", "_", stem).strip("._-")[:50] or "study"
        name = next(
            free for number in range(1, 10**6) if not settings.study(free := f"{stem}-{number}").exists()
        )
    if not NAME.fullmatch(name):
        raise UsageError(f"study name {name!r} {NAMED}")
    folder = settings.study(name)
    if folder.exists():
        raise UsageError(
            f"study {name} exists at {folder}: go on with '{command(settings, 'resume', name)}' "
            "or choose another --study"
        )
    return Study(folder, dataclasses.replace(spec, data=str(dataset.root.resolve())), space, dataset, source)


def reopen(name: str, settings: Settings, **changes: Any) -> Study:
    """Open a study that was begun. `changes` replace what was asked (trials, hours ...).

    Raises `UsageError` where there is none, `Failure` where its folder is damaged.
    """
    folder = settings.existing_study(name)
    recorded = _recorded(folder)
    try:
        known = {item.name for item in dataclasses.fields(Spec)} & recorded.keys()
        spec = Spec(**{name: recorded[name] for name in known})
    except (KeyError, TypeError, ValueError) as error:
        raise Failure(f"{folder / 'study.yaml'} cannot be read: {type(error).__name__} {error}") from error
    try:
        spec = dataclasses.replace(
            spec, **{key: value for key, value in changes.items() if value is not None}
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    source = folder / "space.yaml"
    space = _load_space(source, spec.fixed, name=recorded["space"])
    return Study(folder, spec, space, _open_dataset(spec, folder / SPLITS), source)


def _recorded(folder: Path) -> dict[str, Any]:
    """What stands in the study.yaml of a folder."""
    path = folder / "study.yaml"
    try:
        recorded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise Failure(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if (
        not isinstance(recorded, dict)
        or not {"space", "data_fingerprint", "code_fingerprint"} <= recorded.keys()
    ):
        raise Failure(f"{path} cannot be read: it lacks space, data_fingerprint or code_fingerprint")
    return recorded


def check_unchanged(study: Study) -> None:
    """Raises `Failure` when data or numeric code are not what the study began with: results would not mix."""
    recorded = _recorded(study.folder)
    if recorded["data_fingerprint"] != study.data:
        raise Failure(
            f"the data at {study.dataset.root} have changed since study {study.folder.name} began "
            f"({recorded['data_fingerprint']} then, {study.data} now); restore them or begin a new study"
        )
    if recorded["code_fingerprint"] != study.code:
        raise Failure(
            f"escsearch or torch have changed since study {study.folder.name} began "
            f"({recorded['code_fingerprint']} then, {study.code} now); use that version or begin a new study"
        )


def recorded_engine(study: Study) -> dict[str, Any]:
    """Who ran the study in its last session."""
    return dict(_recorded(study.folder).get("engine") or {})


def update(study: Study, engine: Mapping[str, Any]) -> None:
    """Write changed limits and who runs it now into study.yaml."""
    recorded = _recorded(study.folder) | dataclasses.asdict(study.spec) | {"engine": dict(engine)}
    write_atomically(study.folder / "study.yaml", yaml.safe_dump(recorded, sort_keys=False))


def _space_file(path: str) -> Path:
    try:
        return Path(find(path))
    except (ValueError, OSError) as error:
        raise UsageError(str(error)) from error


def _load_space(path: Path, fixed: Mapping[str, Any], name: str | None = None) -> Space:
    try:
        space = load(path)
        for knob, value in fixed.items():
            space = fix(space, knob, value)
    except (ValueError, OSError) as error:
        raise UsageError(str(error)) from error
    check_space(space)
    return dataclasses.replace(space, name=name) if name else space


def _open_dataset(spec: Spec, splits: Path | None = None) -> Dataset:
    """The data set of a study; one that has begun reads its folds from its own `splits`, however they were made."""
    return open_dataset(
        spec.data,
        format=spec.format,
        subset=spec.subset,
        source_regex=spec.source_regex,
        label_map=spec.label_map,
        classes=spec.classes,
        folds=None if splits else spec.folds,
        seed=None if splits else spec.fold_seed,
        splits=splits or (Path(spec.splits) if spec.splits else None),
        skip_bad=spec.skip_bad,
        drop_cross_fold_sources=spec.drop_cross_fold_sources,
    )
