"""`escsearch predict`: use what was promoted."""

import argparse
import csv
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import FINISHED_WITH_FAILURES, Failure, UsageError
from ..settings import Settings
from ..terminal import emit_json, out, progress, say, table

SHOWN = ("file", "start", "end", "label", "probability")  # the first of `predict.COLUMNS`
MANY = 20  # files from which on progress is shown
STDIN = "-"
MODEL_HELP = "models:/NAME@ALIAS, models:/NAME/3, NAME or a folder"


def add(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", common: argparse.ArgumentParser
) -> None:
    """Add the commands to the grammar."""
    predict = commands.add_parser(
        "predict",
        parents=[common],
        help="label sound files with a model",
        description="Label sound files (WAV, FLAC, OGG, MP3; any rate and length) with a model. A file that cannot "
        "be read is listed and the rest is done (exit code 5).",
        epilog="example: escsearch predict models:/esc10@champion dog.ogg rain.wav --top 3; "
        "escsearch predict esc10 'recordings/**/*.flac' --windows --csv; "
        "ffmpeg -i clip.mp4 -f wav - | escsearch predict esc10 -",
    )
    predict.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    predict.add_argument(
        "audio",
        metavar="AUDIO",
        nargs="*",
        help="sound file, folder of them, pattern such as 'rain/**/*.wav', or - for a sound on standard input",
    )
    predict.add_argument(
        "--files-from",
        metavar="LIST",
        help="a file with one path a line, or - for such lines on standard input",
    )
    predict.add_argument("--top", metavar="N", type=positive, default=1, help="the N most probable labels")
    predict.add_argument("--windows", action="store_true", help="one row for each window of a long recording")
    predict.add_argument("--csv", action="store_true", help="print CSV")
    predict.set_defaults(act=_predict, late="audio")


def positive(text: str) -> int:
    """A count on the command line."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def _predict(args: argparse.Namespace, settings: Settings) -> int:
    from ..predict import COLUMNS, load_model

    if args.csv and args.json:
        raise UsageError("--csv and --json are two forms of the same rows: give one of them")
    names, sounds = _sounds(args)
    model = load_model(args.model, settings)
    rows: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    writer = csv.writer(sys.stdout, lineterminator="\n")
    if args.csv:
        writer.writerow(SHOWN)
    began, heard = time.perf_counter(), 0.0
    with progress("predict") as show:
        found = model.each(sounds, names=names, windows=args.windows, top_k=args.top)
        for number, (name, result, length) in enumerate(found, start=1):
            if isinstance(result, str):
                failed.append({"file": name, "reason": result})
            else:
                heard += length
                if args.csv:  # at once: what was done is there when the command is interrupted
                    writer.writerows(row[: len(SHOWN)] for row in result)
                rows += [dict(zip(COLUMNS, row, strict=True)) for row in result]
            if len(names) >= MANY:
                show(number, len(names))
    seconds = time.perf_counter() - began
    for failure in failed:
        say(f"skipped {failure['reason']}")
    if args.json:
        emit_json(
            {
                "model": model.name,
                "classes": model.classes,
                "predictions": rows,
                "failed": failed,
                "seconds": round(seconds, 3),
            }
        )
    elif rows and not args.csv:
        out(_readable(rows, args.windows))
    if not rows:
        raise Failure(f"no file could be read of {len(names)}")
    say(_throughput(len(names) - len(failed), heard, seconds))
    return FINISHED_WITH_FAILURES if failed else 0


def _sounds(args: argparse.Namespace) -> tuple[list[str], list[Any]]:
    """Names and contents of what is to be labelled. Files that were named must be there; those of a list need not."""
    from ..predict import collect, listed

    if args.files_from == STDIN and STDIN in args.audio:
        raise UsageError("standard input cannot be both a sound (-) and a list of files (--files-from -)")
    named: dict[Any, Any] = {}
    for path in collect([word for word in args.audio if word != STDIN]):
        named[str(path)] = path
    if args.files_from:
        lines = list(_lines(args.files_from))
        if any("\0" in line for line in lines):
            raise UsageError(f"--files-from {args.files_from} is no text: expected one path a line")
        named |= {str(path): path for path in listed(lines)}
    if STDIN in args.audio:
        named["standard input"] = sys.stdin.buffer.read()
    if not named:
        said = f"{args.files_from} names no file" if args.files_from else "no sound was named"
        raise UsageError(f"{said}: give a sound file, a folder, a pattern or - (a sound on standard input)")
    return list(named), list(named.values())


def _lines(source: str) -> Iterator[str]:
    if source == STDIN:
        yield from sys.stdin
        return
    try:
        with Path(source).expanduser().open(encoding="utf-8", errors="surrogateescape") as file:
            yield from file
    except OSError as error:
        raise UsageError(
            f"--files-from {source} cannot be read ({error.strerror}): expected one path a line"
        ) from error


def _throughput(files: int, heard: float, seconds: float) -> str:
    """How fast it went, decoding included, loading the model not.

    >>> _throughput(400, 2000.0, 2.0)
    '400 files, 2000.0 s of sound in 2.00 s: 200 files/s, 1000 times as fast as they play'
    """
    many = "1 file" if files == 1 else f"{files} files"
    return (
        f"{many}, {heard:.1f} s of sound in {seconds:.2f} s: {files / seconds:.3g} files/s, "
        f"{heard / seconds:.0f} times as fast as they play"
    )


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
