"""The command that searches again what a nested study searched, for a model."""

import json
from pathlib import Path
from typing import Any

from spaces.load import find

from .files import write_atomically
from .paste import command, relative
from .sealing import layout_words
from .settings import Settings
from .spec import Spec
from .study import SPLITS, Study

LABEL_MAP = "label_map.json"
# fields of a Spec whose flag has another name than they
FLAGS = {"exam_seeds": "seeds"}
REPEATED = (
    "epochs",
    "seed",
    "sampler",
    "objective",
    "trials",
    "hours",
    "pruner",
    "eta",
    "competitors",
    "level",
)


def run_command(study: Study, settings: Settings) -> str:
    """`run` on the same space, data and folds under the rotating protocol, as it can be pasted. Writes nothing."""
    spec, plain = study.spec, Spec(study.spec.data)
    words = ["run", _space(study), "--data", relative(spec.data), *layout_words(spec)]
    if spec.classes:
        words += ["--classes", ",".join(spec.classes)]
    if spec.label_map:
        words += ["--label-map", relative(study.folder / LABEL_MAP)]
    if not study.dataset.official_folds and not spec.splits:
        words += ["--splits", relative(study.folder / SPLITS)]
    words += [f"--{name.replace('_', '-')}" for name in ("skip_bad", "accept_similar") if getattr(spec, name)]
    for knob, value in spec.fixed.items():
        words += ["--set", f"{knob}={_text(value)}"]
    for values in spec.tries:
        words += ["--try", ",".join(f"{knob}={_text(value)}" for knob, value in values.items())]
    for name in (*REPEATED, "queue", "exam_seeds"):
        if (value := getattr(spec, name)) != getattr(plain, name):
            words += [f"--{FLAGS.get(name, name)}", str(value)]
    if spec.rungs != plain.rungs:
        words += ["--rungs", ",".join(map(str, spec.rungs))]
    return command(settings, *words)


def _space(study: Study) -> str:
    """The name of a shipped space that is the same to the byte, else the copy in the study's folder."""
    copy = study.folder / "space.yaml"
    try:
        shipped = Path(find(study.space.name))
        if shipped.read_bytes() == copy.read_bytes():
            return study.space.name
    except (ValueError, OSError):
        pass  # no shipped one of that name
    return relative(copy)


def keep_label_map(study: Study) -> None:
    """Write the label map that `run_command` names, if the study has one and it is not there yet."""
    path = study.folder / LABEL_MAP
    if study.spec.label_map and not path.exists():
        write_atomically(path, json.dumps(dict(study.spec.label_map), indent=1) + "\n")


def _text(value: Any) -> str:
    """A value as YAML reads it back."""
    return json.dumps(value) if isinstance(value, bool) or value is None else str(value)
