"""`escsearch predict`: use what was promoted."""

import argparse
import csv
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import FINISHED_WITH_FAILURES, Failure
from ..settings import Settings
from ..terminal import emit_json, out, progress, say, table

if TYPE_CHECKING:
    pass

COLUMNS = ("file", "start", "end", "label", "probability")
MANY = 20  # files from which on progress is shown


def add(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", common: argparse.ArgumentParser
) -> None:
    """Add the commands to the grammar."""
    predict = commands.add_parser(
        "predict",
        parents=[common],
        help="label sound files with a model",
        description="Label sound files (WAV, FLAC, OGG, MP3; any rate and length) with a model.",
        epilog="example: escsearch predict models:/esc10@champion dog.ogg rain.wav --top 3",
    )
    predict.add_argument(
        "model", metavar="MODEL", help="models:/NAME@ALIAS, models:/NAME/3, NAME or a folder"
    )
    predict.add_argument("audio", metavar="AUDIO", nargs="+", help="sound file, or folder of them")
    predict.add_argument("--top", metavar="N", type=_positive, default=1, help="the N most probable labels")
    predict.add_argument("--windows", action="store_true", help="one row for each window of a long recording")
    predict.add_argument("--csv", action="store_true", help="print CSV")
    predict.set_defaults(act=_predict)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def _predict(args: argparse.Namespace, settings: Settings) -> int:
    from ..predict import collect, load_model

    files = collect(args.audio)
    model = load_model(args.model, settings)
    rows: list[dict[str, Any]] = []
    failed: list[tuple[str, str]] = []
    with progress("predict") as show:
        for number, (path, result) in enumerate(
            model.each(files, windows=args.windows, top_k=args.top), start=1
        ):
            if isinstance(result, str):
                failed.append((str(path), result))
            else:
                rows += [{**row, "file": str(path)} for row in result.to_dict("records")]
            if len(files) >= MANY:
                show(number, len(files))
    for _, reason in failed:
        say(f"skipped {reason}")
    if args.json:
        emit_json(
            {
                "model": model.name,
                "classes": model.classes,
                "predictions": rows,
                "failed": [{"file": file, "reason": reason} for file, reason in failed],
            }
        )
    elif args.csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([row[column] for column in COLUMNS] for row in rows)
    elif rows:
        out(_readable(rows, args.windows))
    if failed and not rows:
        raise Failure(f"no file could be read of {len(files)}")
    return FINISHED_WITH_FAILURES if failed else 0


def _readable(rows: Sequence[Mapping[str, Any]], windows: bool) -> str:
    times = ["start", "end"] if windows else []
    return table(
        ["file", *times, "label", "probability"],
        [
            [
                row["file"],
                *(f"{row[time]:.2f} s" for time in times),
                row["label"],
                f"{row['probability']:.1%}",
            ]
            for row in rows
        ],
    )
