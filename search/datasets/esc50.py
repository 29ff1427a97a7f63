"""ESC-50: `meta/esc50.csv` beside `audio/`; its ESC-10 column is the subset `esc10`.

Facts: github.com/karolpiczak/ESC-50, README (licences) and metadata (sources in two folds). A folder of this
shape with the generator's marker in it is a synthetic set.
"""

import csv
from dataclasses import replace
from pathlib import Path

from ..errors import UsageError
from .clip import Clip, Dataset

LICENCE = "CC BY-NC 3.0"
SUBSETS = {"esc10": "CC BY 3.0"}
SYNTHETIC_LICENCE = "CC0 1.0 (made by a generator)"
TABLE = "meta/esc50.csv"
MARKER = "meta/synthetic.json"
COLUMNS = ("filename", "fold", "target", "category", "esc10", "src_file", "take")
USED = ("filename", "fold", "target", "category", "src_file")
# Freesound recordings that the official folds hold twice (9 clips, different classes).
SHARED_SOURCES = frozenset({"209698", "234879", "134049", "131943"})
LOOKS_LIKE = f"{TABLE} beside audio/"


def recognise(root: Path) -> bool:
    """Whether the table and the folder of sounds lie under `root`."""
    return (root / TABLE).is_file() and (root / "audio").is_dir()


def read(root: Path, subset: str | None = None, skip_bad: bool = False) -> Dataset:
    """List the clips of the table.

    Raises:
        UsageError: no such layout, an unknown subset, or a mistake in the table (line and column named).
        Failure: sounds of the table are missing on disk, unless `skip_bad` leaves them out.
    """
    if subset is not None and subset not in SUBSETS:
        raise UsageError(f"unknown subset {subset!r} of ESC-50, known: {', '.join(SUBSETS)}")
    if not recognise(root):
        raise UsageError(f"{root} is not ESC-50: looked for {LOOKS_LIKE}")
    clips: list[Clip] = []
    names: dict[int, str] = {}  # target -> category
    for line, row in _rows(root / TABLE, USED + (("esc10",) if subset else ())):
        target = _whole(row, "target", line, least=0)
        label = names.setdefault(target, row["category"])
        if label != row["category"]:
            raise UsageError(f"{TABLE}:{line}: target {target} is both {label!r} and {row['category']!r}")
        fold = _whole(row, "fold", line, least=1)
        if subset and row["esc10"].strip().lower() != "true":
            continue
        path = root / "audio" / row["filename"]
        clips.append(Clip(Path(row["filename"]).stem, path, label, fold, row["src_file"]))
    if len(set(names.values())) < len(names):
        raise UsageError(f"{TABLE}: one category stands under two targets")
    if not clips:
        raise UsageError(f"{TABLE}: no clip{f' of subset {subset}' if subset else ''} in the table")
    if len({clip.name for clip in clips}) < len(clips):
        raise UsageError(f"{TABLE}: a file stands in the table twice")
    present = {clip.label for clip in clips}
    dataset = Dataset(
        name=subset or "esc50",
        root=root,
        format="esc50",
        clips=tuple(clips),
        classes=tuple(names[target] for target in sorted(names) if names[target] in present),
        official_folds=True,
        licence=SUBSETS.get(subset or "", LICENCE),
        non_commercial=subset is None,
        skip_bad=skip_bad,
        shared_sources=SHARED_SOURCES,
    )
    if (root / MARKER).is_file():
        dataset = replace(
            dataset,
            name="synthetic",
            licence=SYNTHETIC_LICENCE,
            non_commercial=False,
            synthetic=True,
            shared_sources=frozenset(),
        )
    missing = {clip.name: f"{clip.path.name}: listed in {TABLE}, but not in audio/" for clip in clips}
    return dataset.without({clip.name: missing[clip.name] for clip in clips if not clip.path.exists()})


def _rows(table: Path, needed: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            found = tuple(reader.fieldnames or ())
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{table} cannot be read as a CSV table: {error}") from error
    lacking = [column for column in needed if column not in found]
    if lacking:
        raise UsageError(
            f"{table} has no column {', '.join(map(repr, lacking))}: found {','.join(found) or 'nothing'},"
            f" expected {','.join(COLUMNS)}"
        )
    for line, row in rows:
        empty = [column for column in needed if not row[column]]
        if empty or None in row:
            what = f"column {empty[0]!r} is empty" if empty else "more values than columns"
            raise UsageError(f"{TABLE}:{line}: {what}")
    return rows


def _whole(row: dict[str, str], column: str, line: int, least: int) -> int:
    try:
        value = int(row[column])
    except ValueError:
        value = least - 1
    if value < least:
        raise UsageError(f"{TABLE}:{line}: {column} is {row[column]!r}, expected a whole number >= {least}")
    return value
