"""Commands about studies: demo, run, resume, exam, sync."""

import re
from argparse import ArgumentParser, Namespace, _SubParsersAction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ..errors import FINISHED_WITH_FAILURES, Failure, UsageError
from ..settings import Settings
from ..terminal import emit_json, out, progress
from .data.layout import add_folds, add_layout, dataset_path, layout_options
from .flags import chosen, engine, engine_flags, exam_flags, search_flags, show
from .nested import show_nested
from .published import act_as_published

if TYPE_CHECKING:
    from ..session import Outcome

DEMO = "demo"


def add(commands: "_SubParsersAction[ArgumentParser]", common: ArgumentParser) -> None:
    """Describe the commands of this module."""
    engine, search, exam = engine_flags(), search_flags(), exam_flags()

    demo = commands.add_parser(
        "demo",
        parents=[common, engine],
        help="the whole path on the synthetic set, in minutes",
        epilog="example: escsearch demo",
    )
    demo.add_argument("--trials", type=int, default=8, metavar="N", help="recipes to try (default: 8)")
    demo.set_defaults(act=act_demo)

    run = commands.add_parser(
        "run",
        parents=[common, engine, search, exam],
        help="search, examine, promote",
        epilog="example: escsearch run spaces/esc10.yaml --data ESC-10 --trials 20",
    )
    run.add_argument(
        "space", metavar="SPACE", help="a space file, or the name of a shipped one (see 'space check')"
    )
    run.add_argument(
        "--data",
        required=True,
        metavar="D",
        help="folder or manifest of the data set, or its name if fetched",
    )
    add_layout(run)
    add_folds(run)
    run.add_argument("--skip-bad", action="store_true", help="leave undecodable files out, by name")
    run.add_argument(
        "--accept-similar",
        action="store_true",
        help="go on although clips of two folds hold the same audio; it is recorded (see 'data audit')",
    )
    run.add_argument("--study", metavar="NAME", help="name of the study (default: SPACE-DATA-N)")
    run.add_argument(
        "--set", dest="fixed", action="append", default=[], metavar="KNOB=VALUE", help="fix a knob"
    )
    run.add_argument("--epochs", type=int, metavar="N", help="epochs of a fold run (default: the space's)")
    run.add_argument("--seed", type=int, default=0, help="of proposals and trainings (default: 0)")
    run.add_argument(
        "--sampler",
        choices=("tpe", "random", "grid", "cmaes", "gp"),
        help="how recipes are proposed (default: tpe; grid: small spaces; cmaes, gp: spaces without branches)",
    )
    run.add_argument(
        "--objective",
        metavar="LIST",
        help="what to look for: accuracy first, then any of -loss, -params, -macs, -latency (default: accuracy)",
    )
    run.add_argument(
        "--try",
        dest="tries",
        action="append",
        default=[],
        metavar="VALUES",
        help="values to try first: KNOB=VALUE,KNOB=VALUE, or a YAML file with one mapping or a list of them",
    )
    protocol = run.add_mutually_exclusive_group()
    protocol.add_argument(
        "--held-out",
        type=int,
        metavar="K",
        help="the search never sees fold K; the exam scores that fold alone (default: the folds rotate)",
    )
    protocol.add_argument(
        "--nested",
        action="store_true",
        help="such a study for every fold, one after another: it judges the procedure and makes no model",
    )
    protocol.add_argument(
        "--as-published",
        action="store_true",
        help="train a preset (seeds/...) as its source did, leaks included: a figure to compare with, never a model",
    )
    run.add_argument("--warm-start", metavar="STUDY", help="an older study whose trials teach the sampler")
    run.add_argument("--trials", type=int, metavar="N", help="recipes to try (default: 20)")
    run.set_defaults(act=act_run)

    resume = commands.add_parser(
        "resume",
        parents=[common, engine, search, exam],
        help="go on with a study",
        epilog="example: escsearch resume esc10-esc10-1 --trials 40",
    )
    resume.add_argument("study", metavar="STUDY")
    resume.add_argument("--trials", type=int, metavar="N", help="recipes to try in all (default: as begun)")
    resume.add_argument("--data", metavar="D", help="where the data set lies now, if it was moved")
    resume.add_argument(
        "--accept-similar",
        action="store_true",
        default=None,
        help="go on although clips of two folds hold the same audio; it is recorded",
    )
    resume.add_argument(
        "--accept-changed",
        action="store_true",
        help="go on although the data or the code have changed since the study began; it is recorded",
    )
    resume.set_defaults(act=act_resume)

    examine = commands.add_parser(
        "exam",
        parents=[common, engine, exam],
        help="score the finalists on the test folds",
        epilog="example: escsearch exam esc10-esc10-1 --finalists 5 --seeds 2",
    )
    examine.add_argument("study", metavar="STUDY")
    examine.set_defaults(act=act_exam)

    sync = commands.add_parser(
        "sync", parents=[common], help="send MLflow what it has missed", epilog="example: escsearch sync demo"
    )
    sync.add_argument("study", metavar="STUDY")
    sync.set_defaults(act=act_sync)


LIMITS = (
    "trials",
    "hours",
    "pruner",
    "eta",
    "rungs",
    "competitors",
    "level",
    "queue",
    "model",
    "finalists",
    "exam_seeds",
)


def act_demo(args: Namespace, settings: Settings) -> int:
    """The whole path on the synthetic set."""
    from ..datasets.synthetic import write_esc50_folder
    from ..run import run_study

    folder = settings.home / "synthetic"
    if not (folder / "meta" / "esc50.csv").is_file():
        with progress("writing synthetic sounds") as tick:
            write_esc50_folder(folder, progress=tick)
    number = next(n for n in range(1, 10**6) if not settings.study(_demo_name(n)).exists())
    spec = _spec(data=str(folder), trials=args.trials, finalists=1, model=DEMO)
    return _ended(
        run_study(spec, DEMO, settings, name=_demo_name(number), engine=engine(args)), args, settings
    )


def _demo_name(number: int) -> str:
    return DEMO if number == 1 else f"{DEMO}-{number}"


def act_run(args: Namespace, settings: Settings) -> int:
    """A whole search."""
    from ..run import run_study

    options = layout_options(args)
    if "splits" in options:
        options["splits"] = str(options["splits"].resolve())
    if "seed" in options:
        options["fold_seed"] = options.pop("seed")
    protocol = _protocol(args)
    spec = _spec(
        data=str(dataset_path(args, settings)),
        **options,
        fixed=dict(_assignment(text) for text in args.fixed),
        seed=args.seed,
        tries=[values for text in args.tries for values in _tries(text)],
        warm_start=args.warm_start,
        skip_bad=args.skip_bad,
        accept_similar=args.accept_similar,
        protocol=protocol,
        **chosen(args, "epochs", "sampler", "objective", *LIMITS),
    )
    if args.as_published:
        return act_as_published(spec, args, settings)
    begun: dict[str, Any] = {"name": args.study, "engine": engine(args), "examine": not args.no_exam}
    if args.nested:
        from ..nested_run import run_nested

        return show_nested(run_nested(spec, args.space, settings, **begun), args, settings)
    return _ended(run_study(spec, args.space, settings, **begun), args, settings)


def _protocol(args: Namespace) -> str:
    from escmodels.folds import NESTED, ROTATING

    if args.nested:
        if args.model is not None:
            raise UsageError(
                f"--nested makes no model, so that --model {args.model} means nothing; leave one out"
            )
        if args.finalists is None:
            args.finalists = 1  # the runners-up of a fold are in no figure
        return NESTED
    if args.held_out is None:
        return ROTATING
    if args.held_out < 1:
        raise UsageError(f"--held-out {args.held_out}: folds are numbered from 1; name one of the data")
    return f"held-out {args.held_out}"


def _spec(**asked: Any) -> Any:
    from ..spec import Spec

    try:
        return Spec(**asked)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _assignment(text: str, flag: str = "--set") -> tuple[str, Any]:
    from spaces.scalars import parse_value

    knob, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not knob:
        file = " or a .yaml file" if flag == "--try" else ""
        raise UsageError(f"{flag} {text!r} must be KNOB=VALUE, such as optim.lr=0.001{file}")
    return knob, parse_value(value)


def _tries(text: str) -> list[dict[str, Any]]:
    """Values to try, from the command line or a file."""
    path = Path(text)
    if path.suffix not in (".yaml", ".yml"):
        return [dict(_assignment(part, "--try") for part in re.split(r",(?=[\w.]+=)", text))]
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = (
            "there is no such file" if isinstance(error, FileNotFoundError) else " ".join(str(error).split())
        )
        raise UsageError(f"--try {text} cannot be read: {reason}") from error
    tries = content if isinstance(content, list) else [content]
    if not tries or not all(isinstance(values, dict) and values for values in tries):
        raise UsageError(f"--try {text} must hold a mapping of knobs to values, or a list of such mappings")
    return tries


def act_resume(args: Namespace, settings: Settings) -> int:
    """Go on with a study."""
    from ..inside import is_nested
    from ..run import resume_study

    changes = chosen(args, "accept_similar", *LIMITS)
    if args.data is not None:
        changes["data"] = str(dataset_path(args, settings).resolve())
    if is_nested(settings.existing_study(args.study)):
        from ..nested_run import resume_nested
        from ..run import asked

        accept = (lambda sentence: True) if args.accept_changed else asked
        going_on: dict[str, Any] = {"engine": engine(args), "examine": not args.no_exam, "accept": accept}
        return show_nested(resume_nested(args.study, settings, **going_on, **changes), args, settings)
    outcome = resume_study(
        args.study,
        settings,
        engine=engine(args),
        examine=not args.no_exam,
        accept_changed=args.accept_changed,
        **changes,
    )
    return _ended(outcome, args, settings)


def act_exam(args: Namespace, settings: Settings) -> int:
    """Hold the exam."""
    from ..inside import is_nested
    from ..run import examine_study

    changes = chosen(args, "finalists", "exam_seeds")
    if is_nested(settings.existing_study(args.study)):
        from ..nested_run import examine_nested

        show_nested(examine_nested(args.study, settings, engine=engine(args), **changes), args, settings)
        return 0
    outcome = examine_study(args.study, settings, engine=engine(args), **changes)
    return show(outcome, args, settings)


def act_sync(args: Namespace, settings: Settings) -> int:
    """Send MLflow what it has missed."""
    from ..inside import is_nested

    if is_nested(settings.existing_study(args.study)):
        from ..nested_run import sync_nested as sync
    else:
        from ..run import sync_study as sync
    sent = sync(args.study, settings)
    if args.json:
        emit_json({"study": args.study, "sent": sent})
    else:
        out(f"{sent} changes sent to {settings.tracking_uri}")
    return 0


def _ended(outcome: "Outcome", args: Namespace, settings: Settings) -> int:
    """Show how a search ended; its exit code says whether every trial could be trained."""
    show(outcome, args, settings)
    if outcome.trouble:
        raise Failure(outcome.trouble)
    return FINISHED_WITH_FAILURES if outcome.count("failed") else 0
