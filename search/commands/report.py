"""`escsearch report`."""

from argparse import ArgumentParser, Namespace, _SubParsersAction
from pathlib import Path

from ..errors import Failure
from ..settings import Settings
from ..terminal import emit_json, out, progress


def add(commands: "_SubParsersAction[ArgumentParser]", common: ArgumentParser) -> None:
    """Describe the commands of this module."""
    report = commands.add_parser(
        "report",
        parents=[common],
        help="write what came of a study as one HTML page",
        epilog="example: escsearch report esc10-esc10-1 --open",
    )
    report.add_argument("study", metavar="STUDY")
    report.add_argument("--open", action="store_true", help="show it in the browser")
    report.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="write it here (default: report.html in the folder of the study)",
    )
    report.set_defaults(act=act_report)


def act_report(args: Namespace, settings: Settings) -> int:
    """Write the report of a study."""
    from ..report.page import as_json, collect, shown_size, write

    folder = settings.existing_study(args.study)
    path = args.out or folder / "report.html"
    report = collect(folder, settings, progress)
    write(report, path, settings)
    if args.json:
        emit_json(as_json(report, path))
    else:
        out(f"{path} ({shown_size(path)})")
    if args.open:
        import webbrowser

        if not webbrowser.open(path.resolve().as_uri()):
            raise Failure(f"no browser could be started here; open {path} in one")
    return 0
