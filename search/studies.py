"""Studies on disk: begun, opened again, compared with what they began with, brought up to date."""

import dataclasses
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from escmodels.folds import NESTED
from spaces.load import find, load
from spaces.space import Space, fix

from .check import check as check_space
from .datasets.dataset import Dataset, open_dataset
from .errors import Failure, Refused, UsageError
from .files import write_atomically
from .inside import folds_of, inside, is_nested
from .paste import command
from .rerun import run_command
from .sealing import check_protocol
from .settings import FIGURE, Settings
from .spec import LIMITS, NAME, NAMED, Spec
from .study import SPLITS, Study, sampled

COMMON = tuple(name for name in LIMITS if name != "model")  # limits that all folds of a nested study share


def create(spec: Spec, space_path: str, settings: Settings, name: str | None) -> Study:
    """Begin a study: checks the space and the data set's layout. Its folder is made by `Study.write`.

    name: None for the next free one. Raises `UsageError` for a taken name, a bad space, or missing data.
    """
    source = _space_file(space_path)
    space = _load_space(source, spec.fixed)
    sampled(space, spec, ())
    if spec.warm_start and is_nested(settings.existing_study(spec.warm_start)):
        raise UsageError(
            f"--warm-start {spec.warm_start} is a nested study, which is several: name the study of one of its folds, "
            f"such as {inside(spec.warm_start, folds_of(settings.study(spec.warm_start))[0])}"
        )
    dataset = _open_dataset(spec)
    check_protocol(dataset, spec.protocol)
    if name is None:
        stem = f"{space.name}-{dataset.name}" if space.name != dataset.name else space.name
        stem = re.sub(r"[^A-Za-z0-9._-]+", "_", stem).strip("._-")[:50] or "study"
        name = next(
            free for number in range(1, 10**6) if not settings.study(free := f"{stem}-{number}").exists()
        )
    if not NAME.fullmatch(name):
        raise UsageError(f"study name {name!r} {NAMED}")
    folder = settings.study(name)
    if (folder / FIGURE).is_file():
        raise UsageError(
            f"{name} is a figure as published, kept at {folder / FIGURE}: choose another --study"
        )
    if folder.exists():
        raise UsageError(
            f"study {name} exists at {folder}: go on with '{command(settings, 'resume', name)}' "
            "or choose another --study"
        )
    return Study(folder, dataclasses.replace(spec, data=str(dataset.root.resolve())), space, dataset, source)


def reopen(name: str, settings: Settings, **changes: Any) -> Study:
    """Open a study that was begun. `changes` replace what was asked (trials, hours ...).

    Raises `UsageError` where there is none, `Failure` where its folder is damaged, `Refused` for a nested one, and
    for a fold of one by the name that it has there (NAME/fold-K): only the whole goes on, and no model comes out.
    """
    folder = settings.existing_study(name)
    if "/" in name and is_nested(folder.parent):
        whole = name.rpartition("/")[0]
        raise Refused(
            f"study {name} is one fold of the nested study {whole}, whose folds all go on together and make no model: "
            f"run '{command(settings, 'resume', whole)}'"
        )
    study = _reopened(folder, _given(changes))
    if study.spec.protocol == NESTED:
        first = inside(name, folds_of(folder)[0])
        raise Refused(
            f"study {name} is nested: it judges the procedure, each of its folds has a winner of its own ({first} and "
            f"so on), and no model comes out of it; for a model run: {run_command(study, settings)}"
        )
    return study


def reopen_nested(name: str, settings: Settings, **changes: Any) -> Study:
    """Open a nested study that was begun; its data stay closed, and its fingerprints are those it began with."""
    folder = settings.existing_study(name)
    study, recorded = _reopened(folder, _given(changes)), recorded_of(folder)
    study.data, study.code = recorded["data_fingerprint"], recorded["code_fingerprint"]
    return study


def create_inside(outer: Study, fold: int) -> Study:
    """Begin the study that holds a fold out for a nested one, on the same folds."""
    spec = dataclasses.replace(outer.spec, protocol=f"held-out {fold}")
    dataset = _open_dataset(spec, outer.folder / SPLITS)
    folder = outer.folder.parent / inside(outer.folder.name, fold)
    return Study(folder, spec, outer.space, dataset, outer.folder / "space.yaml")


def reopen_inside(outer: Study, fold: int) -> Study:
    """Open the study that holds a fold out for a nested one, with the limits and the place of the data of that."""
    names = (*COMMON, "data", "accept_similar")
    changes = {name: getattr(outer.spec, name) for name in names}
    return _reopened(outer.folder.parent / inside(outer.folder.name, fold), changes)


def _given(changes: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in changes.items() if value is not None}


def _reopened(folder: Path, changes: Mapping[str, Any]) -> Study:
    recorded = recorded_of(folder)
    try:
        known = {item.name for item in dataclasses.fields(Spec)} & recorded.keys()
        spec = Spec(**{name: recorded[name] for name in known})
    except (KeyError, TypeError, ValueError) as error:
        raise Failure(f"{folder / 'study.yaml'} cannot be read: {type(error).__name__} {error}") from error
    try:
        spec = dataclasses.replace(spec, **changes)
    except ValueError as error:
        raise UsageError(str(error)) from error
    source = folder / "space.yaml"
    space = _load_space(source, spec.fixed, name=recorded["space"])
    return Study(folder, spec, space, _open_dataset(spec, folder / SPLITS), source)


def recorded_of(folder: Path) -> dict[str, Any]:
    """What stands in the study.yaml of a folder. Raises `Failure` for one that cannot be read."""
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


def changed(study: Study) -> list[dict[str, str]]:
    """What is not as it was when the study began: data or numeric code, with both fingerprints."""
    recorded = recorded_of(study.folder)
    pairs = {
        "data": (recorded["data_fingerprint"], study.data),
        "code": (recorded["code_fingerprint"], study.code),
    }
    return [{"what": what, "before": old, "now": new} for what, (old, new) in pairs.items() if old != new]


def sentence_of(study: Study, change: Mapping[str, str]) -> str:
    """One change in words."""
    what = f"the data at {study.dataset.root}" if change["what"] == "data" else "escsearch or torch"
    return (
        f"{what} have changed since study {study.name} began ({change['before']} then, {change['now']} now)"
    )


def recorded_engine(study: Study) -> dict[str, Any]:
    """Who ran the study in its last session."""
    return dict(recorded_of(study.folder).get("engine") or {})


def update(study: Study, engine: Mapping[str, Any]) -> None:
    """Write changed limits, who runs it now, and on what, into study.yaml."""
    _write(study, recorded_of(study.folder) | study.recorded(engine))


def mixed_of(folder: Path) -> tuple[dict[str, Any], ...]:
    """Changes of data or code that were accepted for a nested study: what, before, now, time (s since 1970)."""
    return tuple(recorded_of(folder).get("mixed") or ())


def accept_for_whole(study: Study, changes: Sequence[Mapping[str, str]]) -> None:
    """Record changes of data or code that were accepted for a nested study, and what they made of it."""
    fresh = [{**change, "time": time.time()} for change in changes]
    recorded = recorded_of(study.folder) | {"mixed": [*mixed_of(study.folder), *fresh]}
    _write(study, recorded | {"data_fingerprint": study.data, "code_fingerprint": study.code})


def _write(study: Study, recorded: Mapping[str, Any]) -> None:
    write_atomically(study.folder / "study.yaml", yaml.safe_dump(dict(recorded), sort_keys=False))


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
