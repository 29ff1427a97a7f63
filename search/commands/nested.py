"""What `run`, `resume`, `exam` and `status` print of a nested study."""

import time
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import FINISHED_WITH_FAILURES
from ..settings import Settings
from ..terminal import emit_json, out
from .flags import present
from .watch import PAUSE, driven, glanced, watch

if TYPE_CHECKING:
    from ..nested import Nested


def show_nested(nested: "Nested", args: Namespace, settings: Settings) -> int:
    """Show what a nested study came to, and keep it in its folder; the exit code of `run`."""
    from ..nested_summary import as_json, boxed

    title, text = boxed(nested, settings)
    document = as_json(nested, settings) if args.json else None
    present(title, text, nested.study.folder / "summary.txt", document)
    return FINISHED_WITH_FAILURES if nested.count("failed") else 0


def act_status(args: Namespace, folder: Path, settings: Settings) -> int:
    """Where a nested study stands: a line a fold, and the joint figure when there is one."""
    from ..nested import recalled, results, stale
    from ..nested_summary import exam_lines, fold_lines, stale_line, status_json
    from ..paste import command
    from ..standing import Follower

    try:
        while args.watch and driven(folder):
            if (one := at_work(folder)) is None:
                time.sleep(PAUSE)  # between two folds
                continue
            with glanced(one) as glance:
                watch(Follower(glance, settings.tracking_uri), one, settings)
    except KeyboardInterrupt:
        return 0
    runs, found, exam = driven(folder), results(folder), recalled(folder)
    done = sum(fold.state == "done" for fold in found)
    state = "running" if runs else "done" if done == len(found) and exam else "interrupted"
    if args.json:
        document = {"study": args.study, "protocol": "nested", "state": state, "driven": runs}
        emit_json(document | status_json(found, exam, stale(folder)))
        return 0
    again = "" if state != "interrupted" else f"; go on with: {command(settings, 'resume', args.study)}"
    out(f"nested study {args.study}: {state}, {done} of {len(found)} folds done{again}")
    for line in (*fold_lines(found), *exam_lines(exam)):
        out(line)
    if outdated := stale_line(args.study, folder, settings):
        out(outdated)
    return 0


def at_work(folder: Path) -> Path | None:
    """The folder of the study that a nested one works at now."""
    from ..inside import folds_of, inside

    places = [folder.parent / inside(folder.name, fold) for fold in folds_of(folder)]
    return next((one for one in places if driven(one) and (one / "ledger.sqlite").exists()), None)
