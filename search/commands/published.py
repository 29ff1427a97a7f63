"""`run --as-published`: one recipe, trained and scored as its source did it."""

import os
from argparse import Namespace
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..settings import Settings
from ..terminal import box, emit_json, out
from .flags import chosen

if TYPE_CHECKING:
    from ..spec import Spec

OPTIONS = {  # that mean nothing where one recipe is trained once, in this process, for a figure alone -> as written
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
    from ..published import boxed, run_published

    given = [OPTIONS[name] for name in chosen(args, *OPTIONS)]
    given += ["--try"] if args.tries else []
    given += ["--runner ray"] if args.runner == "ray" else []
    if given:
        raise UsageError(
            f"--as-published trains one recipe in this process and makes no model, so that {given[0]} means nothing: "
            "leave one out"
        )
    found = run_published(
        spec,
        args.space,
        settings,
        name=args.study,
        threads=args.cpus_per_trial or os.cpu_count() or 1,
        device="cuda" if args.gpus_per_trial else "cpu",
    )
    if args.json:
        emit_json(found.document())
    else:
        changes = [word for text in args.fixed for word in ("--set", text)]
        changes += ["--epochs", str(found.epochs)] if args.epochs else []
        again = [args.space, "--data", args.data, *changes, "--trials", "1"]
        out(box(*boxed(found, settings, again)))
    return 0
