"""Options that several commands about studies share."""

import argparse
from argparse import ArgumentParser, Namespace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..settings import Settings
from ..terminal import box, emit_json, out

if TYPE_CHECKING:
    from ..session import Outcome


def engine_flags() -> ArgumentParser:
    """Who trains, and with what."""
    flags = argparse.ArgumentParser(add_help=False)
    group = flags.add_argument_group("workers")
    group.add_argument(
        "--address", metavar="A", help="Ray cluster to join, 'auto' for the one here (default: local)"
    )
    group.add_argument(
        "--workers",
        "--max-concurrent",
        type=int,
        metavar="N",
        help="trainings side by side (default: as many as there are cores, or shares of GPUs)",
    )
    group.add_argument("--gpus-per-trial", type=float, metavar="F", help="0, 1/n or n (default: 0)")
    group.add_argument("--cpus-per-trial", type=int, metavar="N", help="threads of a training (default: 1)")
    group.add_argument(
        "--hang",
        dest="hang_minutes",
        type=float,
        metavar="MINUTES",
        help="give up a worker that has not reported for so long (default: 30; ray only)",
    )
    group.add_argument(
        "--runner",
        choices=("ray", "local"),
        help="local: one training at a time in this process (default: ray, or as the study was begun)",
    )
    return flags


def search_flags() -> ArgumentParser:
    """How a search ends and prunes."""
    flags = argparse.ArgumentParser(add_help=False)
    group = flags.add_argument_group("search")
    group.add_argument(
        "--hours",
        type=float,
        metavar="H",
        help="begin no trial after so many hours of this session; what has been begun is carried on",
    )
    group.add_argument(
        "--pruner",
        choices=("both", "asha", "race", "none"),
        help="stop hopeless trials early: asha inside the first split, race over the splits (default: both)",
    )
    group.add_argument("--eta", type=float, help="asha: at a rung the best 1/ETA go on (default: 2)")
    group.add_argument(
        "--rungs",
        type=_shares,
        metavar="LIST",
        help="asha: shares of the first split's epochs at which trials are compared (default: 1/3,2/3,1)",
    )
    group.add_argument(
        "--competitors",
        type=int,
        metavar="N",
        help="asha: trials at a rung before one is stopped (default: 4)",
    )
    group.add_argument(
        "--level",
        type=float,
        metavar="P",
        help="race: p of McNemar's test below which a trial is behind the best (default: 0.3)",
    )
    group.add_argument(
        "--queue",
        type=int,
        metavar="N",
        help="race: trials held back at the end of the first split before the best goes on (default: 8; 0: none)",
    )
    group.add_argument(
        "--model", metavar="NAME", help="registered name of the winner (default: the data set's)"
    )
    group.add_argument("--no-exam", action="store_true", help="stop after the search: no exam, no promotion")
    return flags


def exam_flags() -> ArgumentParser:
    """Of an exam."""
    flags = argparse.ArgumentParser(add_help=False)
    group = flags.add_argument_group("exam")
    group.add_argument("--finalists", type=int, metavar="N", help="trials that are examined (default: 3)")
    group.add_argument(
        "--seeds", dest="exam_seeds", type=int, metavar="N", help="seeds of the exam (default: 1)"
    )
    return flags


def engine(args: Namespace) -> dict[str, Any]:
    """What was said of workers; a study goes on as it was begun unless a session says otherwise."""
    return chosen(args, "runner", "workers", "gpus_per_trial", "cpus_per_trial", "hang_minutes", "address")


def chosen(args: Namespace, *names: str) -> dict[str, Any]:
    """Those of the options that were given."""
    return {name: value for name in names if (value := getattr(args, name)) is not None}


def _shares(text: str) -> list[float]:
    """1/3,1 as numbers."""
    try:
        return [float(Fraction(part.strip())) for part in text.split(",")]
    except (ValueError, ZeroDivisionError) as error:
        raise argparse.ArgumentTypeError(f"expected shares such as 1/3,1, got {text!r}") from error


def show(outcome: "Outcome", args: Namespace, settings: Settings) -> int:
    """Print the summary of a study, and keep it in the study's folder."""
    from ..summary import as_json, boxed

    title, text = boxed(outcome, settings)
    present(
        title, text, outcome.study.folder / "predict.txt", as_json(outcome, settings) if args.json else None
    )
    return 0


def present(title: str, text: str, path: Path, document: Any) -> None:
    """Keep a summary in a file, and print it, or the document where there is one."""
    from ..paste import without_login

    path.write_text(without_login(f"{title}\n\n{text}\n"), encoding="utf-8")  # such files are shown to others
    if document is not None:
        emit_json(document)
    else:
        out(box(title, text))
