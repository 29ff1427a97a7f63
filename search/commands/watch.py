"""Commands that look at a study which runs elsewhere, or stop it: status, stop."""

import fcntl
import time
from argparse import ArgumentParser, Namespace, _SubParsersAction
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Failure, UsageError
from ..settings import Settings
from ..terminal import emit_json, out, say, table

if TYPE_CHECKING:
    from ..glance import Glance
    from ..ledger import Ledger, TrialRow
    from ..standing import Standing

LISTED = 20  # ended trials in the table, best first
PAUSE = 2.0  # seconds between two looks
RANK = {"complete": 0, "pruned": 1, "infeasible": 2, "failed": 3}
WHEN = "%Y-%m-%d %H:%M:%S"


def add(commands: "_SubParsersAction[ArgumentParser]", common: ArgumentParser) -> None:
    """Describe the commands of this module."""
    status = commands.add_parser(
        "status",
        parents=[common],
        help="where a study stands",
        epilog="example: escsearch status esc10-esc10-1 --watch",
    )
    status.add_argument("study", metavar="STUDY")
    status.add_argument("--watch", action="store_true", help="look again every 2 seconds until it ends")
    status.add_argument(
        "--all", action="store_true", help=f"list every trial (default: the best {LISTED} and those that run)"
    )
    status.set_defaults(act=act_status)

    stop = commands.add_parser(
        "stop",
        parents=[common],
        help="stop a study that runs elsewhere, so that it can be resumed",
        epilog="example: escsearch stop esc10-esc10-1",
    )
    stop.add_argument("study", metavar="STUDY")
    stop.add_argument("--no-wait", action="store_true", help="ask it to stop and return at once")
    stop.set_defaults(act=act_stop)


def driven(folder: Path) -> bool:
    """Whether somebody runs the study in this folder; a lock dies with its owner."""
    try:
        with open(folder / "lock") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def act_status(args: Namespace, settings: Settings) -> int:
    """Where a study stands, from its ledger alone."""
    from ..inside import is_nested
    from ..standing import Follower

    if args.watch and args.json:
        raise UsageError("--watch shows a live table and --json prints one document; leave one of them out")
    folder = settings.existing_study(args.study)
    if is_nested(folder):
        from .nested import act_status as act_status_nested

        return act_status_nested(args, folder, settings)
    with glanced(folder) as glance:
        follower = Follower(glance, settings.tracking_uri)
        if args.watch:
            try:
                watch(follower, folder, settings)
            except KeyboardInterrupt:
                return 0
        now, runs = follower.read(), driven(folder)
        if args.json:
            emit_json(_document(now, runs, glance, args.study))
        else:
            _print(now, runs, glance, args.study, settings, whole=args.all)
    return 0


@contextmanager
def glanced(folder: Path) -> Iterator["Glance"]:
    from ..glance import Glance

    glance = Glance(folder / "ledger.sqlite")
    try:
        yield glance
    finally:
        glance.close()


def watch(follower: Any, folder: Path, settings: Settings) -> None:
    """Show the live table until nobody runs the study any more; lines where there is no terminal."""
    import sys

    from rich.console import Console
    from rich.live import Live

    from ..progress import drawing, headline, page

    if not sys.stdout.isatty():
        told = ""
        while driven(folder):
            pieces = headline(follower.read())
            if told != (told := "  ".join(pieces[1:])):  # without the time, which always changes
                out("  ".join(pieces))
            time.sleep(PAUSE)
        return
    console = Console(highlight=False)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while driven(folder):
            now = follower.read()
            link, size = page(now, folder.name, settings), console.size
            live.update(drawing(now, link, size.width, height=size.height), refresh=True)
            time.sleep(PAUSE)


def _sentence(now: "Standing", runs: bool, study: str, settings: Settings) -> str:
    """The state of a study in words."""
    from ..paste import command

    where = f", on {now.asked['host']}, process {now.asked['pid']}" if now.asked else ""
    since = time.strftime(WHEN, time.localtime(now.since))
    again = f"go on with: {command(settings, 'resume', study)}"
    if runs:
        doing = {"running": "running", "searched": "searched, its exam or promotion is under way"}
        stopping = ", stopping" if now.stopping else ""
        return f"study {study}: {doing.get(now.state, now.state)}{stopping} since {since}{where}"
    if now.state == "running":
        return f"study {study}: cut off: its driver is gone; {again}"
    if now.state == "interrupted":
        return f"study {study}: interrupted at {since}; {again}"
    return f"study {study}: {now.state} at {since}"


def _print(
    now: "Standing", runs: bool, glance: "Glance", study: str, settings: Settings, *, whole: bool
) -> None:
    import shutil
    import sys

    from ..paste import command
    from ..progress import backlog_line, front_lines, headline, label, packed, page, score_list, under_way

    width = shutil.get_terminal_size((100, 24)).columns if sys.stdout.isatty() else 160
    out(_sentence(now, runs, study, settings))
    for line in packed(headline(now, runs), width):
        out(line)
    for line in front_lines(now):
        out(line)
    running = {trial.row.number: trial for trial in now.running}
    ended, rows = _listed(now, whole)
    cells = [
        (
            label(row),
            row.state,
            "-" if row.objective is None else f"{row.objective:.3f}",
            score_list(now.scores[row.number]),
            row.reason or (under_way(running[row.number], now) if row.number in running else ""),
        )
        for row in rows
    ]
    if cells:
        out(table(("trial", "state", "objective", "splits", ""), cells))
    if ended < now.ended:
        every = command(settings, "status", study, "--all")
        out(f"the best {ended} of {now.ended} trials that have ended; all of them: {every}")
    changed = _changed_last(glance)
    for number, record in glance.exams().items():
        exam = record["exam"]
        figures = f"{exam['mean']:.3f} [{exam['low']:.3f}, {exam['high']:.3f}]"
        other = "" if record["time"] > changed else "; on other data or code than now: not to be compared"
        out(f"exam {label(now.rows[number])}: {figures}, {exam['protocol']}{other}")
    if line := backlog_line(now):
        out(f"{line} at {settings.tracking_uri}")
    for change in glance.fact("mixed") or ():
        moment = time.strftime(WHEN, time.localtime(change["time"]))
        out(f"caution: since {moment} its {change['what']} are others than it began with; that was accepted")
    out(f"see {page(now, study, settings)}")


def _changed_last(glance: "Glance") -> float:
    """When data or code changed last, in seconds since 1970: figures from before are none of what came after."""
    return max((change["time"] for change in glance.fact("mixed") or ()), default=0.0)


def _listed(now: "Standing", whole: bool) -> tuple[int, list["TrialRow"]]:
    """How many ended trials are listed, and the rows: best first and then those not ended, or all by number."""
    rows = list(now.rows.values())
    if whole:
        return now.ended, rows

    def merit(row: "TrialRow") -> tuple[float, ...]:
        scores = now.scores[row.number]
        mean = sum(scores) / max(1, len(scores))
        return RANK[row.state], -(row.objective or 0.0), -len(scores), -mean, row.number

    best = sorted((row for row in rows if row.state in RANK), key=merit)[:LISTED]
    return len(best), [*best, *(row for row in rows if row.state not in RANK)]


def _document(now: "Standing", runs: bool, glance: "Glance", study: str) -> dict[str, Any]:
    """The same for a script."""
    progress = {
        trial.row.number: (trial.split, trial.epoch, trial.accuracy) for trial in now.running if trial.epoch
    }
    heard = {trial.row.number: trial.heard for trial in now.running}  # seconds since 1970
    warm, changed = glance.fact("warm"), _changed_last(glance)
    best = None
    if now.best is not None:
        low, high = now.interval or (None, None)
        best = {"trial": now.best.number, "objective": now.best.objective, "low": low, "high": high}
    return {
        "study": study,
        "state": now.state,
        "since": now.since,
        "driven": runs,
        "stopping": runs and now.stopping,
        "asked": dict(now.asked),
        "counts": dict(now.counts),
        "best": best,
        "objectives": list(now.objectives),
        "front": [
            {"trial": number, **dict(zip((name.lstrip("-") for name in now.objectives), worth, strict=True))}
            for number, worth in now.front.items()
        ],
        "epochs": {"spent": now.spent, "full": now.full},
        "saved": now.saved,
        "eta_seconds": now.eta if runs else None,
        "backlog": now.backlog,
        "warm": None
        if warm is None
        else {"study": warm["study"], "tries": len(warm["tries"]), "history": len(warm["history"])},
        "mixed": glance.fact("mixed") or [],
        "exams": [
            {"trial": number, "current": record["time"] > changed, **record["exam"]}
            for number, record in glance.exams().items()
        ],
        "trials": [
            {
                "trial": row.number,
                "state": row.state,
                "objective": row.objective,
                "splits": list(now.scores[row.number]),
                "now": progress.get(row.number),
                "heard": heard.get(row.number),
                "reason": row.reason,
                "losses": row.losses,
                "values": row.values,
                "rescue": row.rescue,
                "costs": row.costs,
            }
            for row in now.rows.values()
        ],
    }


def act_stop(args: Namespace, settings: Settings) -> int:
    """Ask whoever runs a study to stop, and wait until it has."""
    from ..inside import is_nested
    from ..ledger import Ledger
    from ..paste import command

    folder, study = settings.existing_study(args.study), args.study
    resume = command(settings, "resume", study)
    if not driven(folder):
        raise Failure(f"nobody runs study {study}; go on with it: {resume}")
    if is_nested(folder):
        from .nested import at_work

        if (one := at_work(folder)) is None:
            raise Failure(f"nested study {study} is between two folds; ask again in a few seconds")
        folder, study = one, f"{study}/{one.name}"
    ledger = Ledger(folder / "ledger.sqlite")
    try:
        if (state := ledger.state[0]) != "running":
            raise Failure(
                f"study {study} is {state}: its search has ended, and an exam or a promotion cannot be stopped "
                "from here; wait for it, or press Ctrl-C where it runs"
            )
        ledger.write_fact("stop", True)
        if not args.no_wait:
            _wait(ledger, folder)
        stopped, state = not driven(folder), ledger.state[0]
    finally:
        ledger.close()
    if args.json:
        emit_json({"study": study, "stopped": stopped, "state": state, "resume": resume})
    elif not stopped:
        out(f"study {study} was asked to stop; later go on with: {resume}")
    else:
        out(f"study {study}: {state}; go on with: {resume}")
    return 0


def _wait(ledger: "Ledger", folder: Path) -> None:
    """Until the driver has let go of the study; say for how many trials it waits."""
    told = None
    while driven(folder):
        if (state := ledger.state[0]) == "searched":
            raise Failure(
                f"the search of study {folder.name} ended before it could be stopped; its exam or promotion goes on"
            )
        if state == "running" and not ledger.fact("stop"):
            ledger.write_fact("stop", True)  # its session began just now and had cleared what was asked
        if (running := len(ledger.trials("running"))) != told:
            told = running
            if running:
                say(f"waiting for {running} running trial{'' if running == 1 else 's'} to report")
        time.sleep(PAUSE / 4)
