"""The command line: parse once, call, print. Every command is described in `search/commands/`."""

import argparse
import sys
from collections.abc import Sequence

from .commands import data, export, model, promotion, report, serve, space, study, system, watch
from .errors import INTERRUPTED, Failure
from .settings import resolve
from .terminal import take_any_names

ABOUT = "Search, examine and ship models for environmental sound classification."
EXIT_CODES = """\
exit codes: 0 done, 1 failure, 2 usage or configuration, 3 leakage found, 4 promotion refused,
            5 finished with failed trials or files, 130 interrupted (state saved)"""


def parser() -> argparse.ArgumentParser:
    """The whole grammar of `escsearch`."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    common.add_argument(
        "--home", metavar="DIR", help="folder of studies, cache and MLflow store (default: runs)"
    )
    common.add_argument(
        "--tracking-uri", metavar="URI", help="MLflow tracking store (default: SQLite in --home)"
    )
    common.add_argument(
        "--registry-uri", metavar="URI", help="MLflow model registry (default: --tracking-uri)"
    )
    root = argparse.ArgumentParser(
        prog="escsearch",
        description=ABOUT,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = root.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in (study, watch, data, space, report, promotion, model, export, serve, system):
        module.add(commands, common)
    return root


def parsed(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The words of a command, as its module described them. Exits with 2 for words that mean nothing.

    argparse fills a list such as the files of `predict` from the words before the first option alone; `late` is the
    name of the one that also takes those between and after the options.
    """
    root = parser()
    args, left = root.parse_known_args(argv)
    late: str = getattr(args, "late", "")
    end = left.index("--") if late and "--" in left else len(left)  # behind it words are no options
    if left and (not late or any(word.startswith("-") and word != "-" for word in left[:end])):
        root.error(f"unrecognized arguments: {' '.join(left)}")
    if left:
        setattr(args, late, [*getattr(args, late), *left[:end], *left[end + 1 :]])
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code. A user's mistake ends in one sentence, not in a traceback."""
    take_any_names()
    args = parsed(argv)
    flags = {
        "home": args.home,
        "tracking_uri": args.tracking_uri,
        "registry_uri": args.registry_uri,
        "ray_address": getattr(args, "address", None),
    }
    try:
        return args.act(args, resolve(flags))
    except Failure as failure:
        print(f"escsearch: {failure}", file=sys.stderr)
        return failure.code
    except KeyboardInterrupt:
        print("escsearch: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output (head, less) has left
        sys.stderr.close()
        return 0
    except OSError as error:  # a full disk, a folder that cannot be written
        where = f"{error.filename}: " if error.filename else ""
        print(f"escsearch: {where}{error.strerror or error}", file=sys.stderr)
        return Failure.code
