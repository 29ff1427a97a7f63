"""`run --as-published`: one recipe, trained and scored as its source did it."""

from argparse import Namespace
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..settings import Settings
from ..terminal import box, emit_json, out
from .data.layout import repeated
from .flags import chosen

if TYPE_CHECKING:
    from ..spec import Spec

AGAIN = ("folds", "fold_seed", "splits")  # options with a value that the honest run is given too
OPTIONS = {  # that mean nothing where one recipe is trained once, in this process, for a figure alone -> as written
    "trials": "--trials",
    "sampler": "--sampler",
    "objective": "--objective",
    "hours": "--hours",
    "pruner": "--pruner",
    "eta": "--eta",
    "rungs": "--rungs",
    "competitors": "--competitors",
    "level": "--level",
    "queue": "--queue",
    "model": "--model",
    "finalists": "--finalists",
    "exam_seeds": "--seeds",
    "warm_start": "--warm-start",
    "workers": "--workers",
    "address": "--address",
    "hang_minutes": "--hang",
}


def act_as_published(spec: "Spec", args: Namespace, settings: Settings) -> int:
    """Train, print, keep. Raises `UsageError` for an option that would change nothing."""
    from ..datasets.waves.beside import cores
    from ..engine import engine_of
    from ..published import boxed, run_published

    given = [OPTIONS[name] for name in chosen(args, *OPTIONS)]
    given += ["--try"] if args.tries else []
    given += ["--no-exam"] if args.no_exam else []
    given += ["--runner ray"] if args.runner == "ray" else []
    if given:
        raise UsageError(
            f"--as-published trains one recipe in this process and makes no model, so that {given[0]} means nothing: "
            "leave one out"
        )
    how = engine_of({"runner": "local", **chosen(args, "gpus_per_trial", "cpus_per_trial")})
    found = run_published(
        spec,
        args.space,
        settings,
        name=args.study,
        threads=cores() if args.cpus_per_trial is None else how.cpus_per_trial,
        device="cuda" if how.gpus_per_trial else "cpu",
    )
    if args.json:
        emit_json(found.document())
    else:
        changes = [word for text in args.fixed for word in ("--set", text)]
        changes += ["--epochs", str(found.epochs)] if args.epochs else []
        changes += ["--seed", str(found.seed)] if found.seed else []
        same = repeated(args)
        for name, value in chosen(args, *AGAIN).items():
            same += [f"--{name.replace('_', '-')}", str(value)]
        same += ["--accept-similar"] if args.accept_similar else []
        again = [args.space, "--data", args.data, *same, *changes, "--trials", "1"]
        out(box(*boxed(found, settings, again)))
    return 0
