"""From a path to a `Dataset`: the table of formats, and which of them lies there."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError
from . import esc10, esc50, folders
from .clip import Clip, Dataset

__all__ = ["FORMATS", "Clip", "Dataset", "Format", "open_dataset"]


@dataclass(frozen=True)
class Format:
    """How a layout is recognised and read; `options` are the arguments its reader understands."""

    recognise: Callable[[Path], bool]
    read: Callable[..., Dataset]
    looks_like: str
    options: tuple[str, ...] = ()


FOLDS = 5  # made where a set has none

# In the order of recognition: the most particular layout first.
FORMATS = {
    "esc50": Format(esc50.recognise, esc50.read, esc50.LOOKS_LIKE, ("subset",)),
    "esc10": Format(esc10.recognise, esc10.read, esc10.LOOKS_LIKE),
    "folders": Format(folders.recognise, folders.read, folders.LOOKS_LIKE, ("source_regex", "folds", "seed")),
}


def open_dataset(
    path: str | Path,
    *,
    format: str | None = None,
    subset: str | None = None,
    source_regex: str | None = None,
    folds: int | None = None,
    seed: int = 0,
    skip_bad: bool = False,
) -> Dataset:
    """List the data set at `path`; no sound is decoded.

    `folds` (default 5; 0: none) and `seed` make the folds of a set without; official folds stand as they are.
    With `skip_bad`, files that are missing here or turn out undecodable in the store are left out by name.

    Raises:
        UsageError: nothing there, an unknown layout, format or subset, or an option the format does not have.
        Failure: files are missing, or folds cannot be made.
    """
    root = Path(path).expanduser()
    if not root.exists():
        raise UsageError(
            f"{path}: no such folder; give that of a data set, or make one: escsearch data synth {path}"
        )
    if not root.is_dir():
        raise UsageError(f"{path} is a file, expected the folder of a data set")
    chosen = FORMATS[_recognise(root, format)]
    options: dict[str, str | int | None] = {"folds": FOLDS if folds is None else folds, "seed": seed}
    for option, value in (("subset", subset), ("source_regex", source_regex), ("folds", folds)):
        if value and option not in chosen.options:
            others = [name for name, known in FORMATS.items() if option in known.options]
            raise UsageError(
                f"--{option.replace('_', '-')} {value!r} belongs to format {' or '.join(others)};"
                f" {path} is {_recognise(root, format)}"
                + (" with official folds" if option == "folds" else "")
            )
        if option not in options:
            options[option] = value
    return chosen.read(root, skip_bad=skip_bad, **{option: options[option] for option in chosen.options})


def _recognise(root: Path, format: str | None) -> str:
    if format is not None:
        if format not in FORMATS:
            raise UsageError(f"unknown format {format!r}, known: {', '.join(FORMATS)}")
        return format
    for name, known in FORMATS.items():
        if known.recognise(root):
            return name
    looked = "; ".join(f"{known.looks_like} ({name})" for name, known in FORMATS.items())
    state = "is an empty folder" if not any(root.iterdir()) else "is no data set of a known layout"
    raise UsageError(f"{root} {state}: looked for {looked}")
