"""ESC-10, the release of 2015: `NNN - Class name/FOLD-CLIPID-TAKE.ogg`.

The clip id is that of the Freesound recording, so it is the source.
Facts: README of github.com/karoldvl/ESC-10.
"""

import re
from pathlib import Path

from ..errors import UsageError
from .clip import Clip, Dataset, slug

LICENCE = "CC BY 3.0"
FOLDER = re.compile(r"\d{3} - (?P<label>.+)")
FILE = re.compile(r"(?P<fold>\d+)-(?P<source>\d+)-[A-Z]\.ogg")
LOOKS_LIKE = "folders such as '001 - Dog bark' with FOLD-CLIPID-TAKE.ogg"


def recognise(root: Path) -> bool:
    """Whether a class folder with a clip in it lies under `root`."""
    return any(FILE.fullmatch(file.name) for folder in _folders(root) for file in folder.iterdir())


def read(root: Path, skip_bad: bool = False) -> Dataset:
    """List the clips. Raises `UsageError` for a missing layout or a clip whose name cannot be parsed."""
    clips = []
    folders = _folders(root)
    for folder in folders:
        label = slug(FOLDER.fullmatch(folder.name)["label"])  # type: ignore[index]
        for path in sorted(folder.glob("*.ogg")):
            parts = FILE.fullmatch(path.name)
            if not parts or int(parts["fold"]) < 1:
                raise UsageError(
                    f"{folder.name}/{path.name}: expected a name like 1-100032-A.ogg (fold, clip id, take)"
                )
            clips.append(Clip(path.stem, path, label, int(parts["fold"]), parts["source"]))
    if not clips:
        raise UsageError(f"{root} is not ESC-10: looked for {LOOKS_LIKE}")
    classes = tuple(dict.fromkeys(clip.label for clip in clips))
    return Dataset("esc10", root, "esc10", tuple(clips), classes, True, LICENCE, False, skip_bad=skip_bad)


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if FOLDER.fullmatch(path.name) and path.is_dir())
