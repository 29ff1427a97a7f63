"""`escsearch data`: make a synthetic set, look at a data set."""

import argparse
from pathlib import Path

from ..settings import Settings
from ..terminal import emit_json, out, progress, say, table


def add(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", common: argparse.ArgumentParser
) -> None:
    """Describe the commands."""
    group = commands.add_parser("data", help="make a synthetic data set, look at one")
    verbs = group.add_subparsers(title="commands", metavar="COMMAND", required=True)

    synth = verbs.add_parser(
        "synth",
        parents=[common],
        help="write the synthetic set as a folder of the shape of ESC-50",
        epilog="example: escsearch data synth demo-sounds --seed 3",
    )
    synth.add_argument("directory", metavar="DIR", type=Path, help="new folder to write")
    synth.add_argument(
        "--seed", type=_seed, default=0, help="the same seed gives the same sounds (default: 0)"
    )
    synth.add_argument("--force", action="store_true", help="replace a synthetic set that stands there")
    synth.set_defaults(act=_synth)

    show = verbs.add_parser(
        "show",
        parents=[common],
        help="draw waveform and log-mel of a typical clip of each class",
        epilog="example: escsearch data show ESC-50 --subset esc10 --out pictures",
    )
    show.add_argument("data", metavar="DATA", help="folder of the data set")
    show.add_argument(
        "--out", metavar="DIR", type=Path, help="where the PNGs go (default: HOME/pictures/NAME)"
    )
    add_layout(show)
    show.set_defaults(act=_show)


def add_layout(parser: argparse.ArgumentParser) -> None:
    """The options that say how a data set folder is to be read."""
    parser.add_argument("--format", metavar="NAME", help="esc50, esc10 or folders (default: recognised)")
    parser.add_argument("--subset", metavar="NAME", help="a named part of the set: esc10 of ESC-50")
    parser.add_argument(
        "--source-regex", metavar="REGEX", help="first group = the recording a file was cut from (folders)"
    )


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number >= 0")
    return int(text)


def _synth(args: argparse.Namespace, settings: Settings) -> int:
    from ..datasets.dataset import open_dataset
    from ..datasets.synthetic import write_esc50_folder

    with progress("writing synthetic sounds") as step:
        folder = write_esc50_folder(args.directory, args.seed, force=args.force, progress=step)
    dataset = open_dataset(folder)
    if args.json:
        emit_json({"path": str(folder), "seed": args.seed, "clips": len(dataset.clips), "synthetic": True})
        return 0
    out(str(folder))
    say(f"{len(dataset.clips)} synthetic clips of {len(dataset.classes)} classes; look at them with:")
    say(f"  escsearch data show {folder}")
    return 0


def _show(args: argparse.Namespace, settings: Settings) -> int:
    from ..datasets.dataset import open_dataset
    from ..datasets.pictures import class_sheet

    dataset = open_dataset(
        args.data,
        format=args.format,
        subset=args.subset,
        source_regex=args.source_regex,
        folds=0,
        skip_bad=True,
    )
    for _, reason in dataset.skipped:
        say(f"left out: {reason}")
    with progress("drawing") as step:
        paths = class_sheet(dataset, args.out or settings.home / "pictures" / dataset.name, step)
    counts = [sum(clip.label == label for clip in dataset.clips) for label in dataset.classes]
    if args.json:
        emit_json(
            {
                "name": dataset.name,
                "format": dataset.format,
                "licence": dataset.licence,
                "non_commercial": dataset.non_commercial,
                "synthetic": dataset.synthetic,
                "official_folds": dataset.official_folds,
                "clips": dict(zip(dataset.classes, counts, strict=True)),
                "pictures": [str(path) for path in paths],
            }
        )
        return 0
    folds = len({clip.fold for clip in dataset.clips})
    say(
        f"{dataset.name}{' (synthetic sounds)' if dataset.synthetic else ''}: {len(dataset.clips)} clips,"
        f" {f'{folds} official folds' if dataset.official_folds else 'no folds of its own'},"
        f" licence {dataset.licence}"
    )
    out(table(["class", "clips", "picture"], list(zip(dataset.classes, counts, paths, strict=True))))
    return 0
