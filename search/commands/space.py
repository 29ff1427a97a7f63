"""`escsearch space check|show|sample`: look at a space before it costs anything."""

import argparse
import os
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from spaces import limits
from spaces.domains import Categorical, Value, show, text
from spaces.load import load, shipped
from spaces.space import Level, Space, complete, dimensions, fix, names, options, sample, size

from ..errors import UsageError
from ..settings import Settings
from ..terminal import emit_json, out, say, table

TRIALS, SPLITS = 20, 5  # of the search that is estimated
CLIPS, SECONDS = 240, 5.0  # training clips of a split (ESC-10: three folds of 80), and their length
DRAWN = 50  # recipes that are held against the limits of a space
TIMED = 8  # clips in the batch that is timed


def add(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", common: argparse.ArgumentParser
) -> None:
    """Add the commands to the grammar."""
    group = commands.add_parser("space", help="check, show and sample search spaces")
    actions = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    known = f"a space file, or a shipped one: {', '.join(shipped())}"

    check = actions.add_parser(
        "check",
        parents=[common],
        help="validate a space, print its size and an estimate of cost",
        description="Validate a space: every knob, default and corner must be a recipe. Then time one training "
        "step of each family on this machine and estimate what a search costs.",
        epilog="example: escsearch space check esc10 --no-timing",
    )
    check.add_argument("space", metavar="SPACE", help=known)
    check.add_argument("--no-timing", action="store_true", help="only validate")
    check.set_defaults(act=act_check)

    display = actions.add_parser(
        "show",
        parents=[common],
        help="print the tree of knobs",
        description="Print the knobs of a space, their ranges, and what opens them.",
        epilog="example: escsearch space show spaces/esc10.yaml",
    )
    display.add_argument("space", metavar="SPACE", help=known)
    display.set_defaults(act=act_show)

    draw = actions.add_parser(
        "sample",
        parents=[common],
        help="draw examples",
        description="Draw random points of a space.",
        epilog="example: escsearch space sample esc10 -n 5 --seed 1",
    )
    draw.add_argument("space", metavar="SPACE", help=known)
    draw.add_argument("-n", type=int, default=3, metavar="N", help="how many (default: 3)")
    draw.add_argument("--seed", type=int, default=0, help="of the draws (default: 0)")
    draw.set_defaults(act=act_sample)


def act_check(args: argparse.Namespace, settings: Settings) -> int:
    """Validate a space and say what it costs."""
    from ..check import check

    space = _open(args.space)
    check(space)
    least, most = dimensions(space)
    points = size(space)
    document: dict[str, Any] = {
        "space": space.path,
        "about": space.about,
        "ok": True,
        "size": points,
        "dimensions": [least, most],
        "families": families(space),
        "defaults": len(space.defaults),
        "epochs": space.epochs,
        "fold_epochs": TRIALS * SPLITS * space.epochs,
    }
    if not args.json:
        out(f"ok: {space.path} ({space.about})" if space.about else f"ok: {space.path}")
        out(f"size          {'continuous' if points is None else f'{points:,} points'}")
        out(
            f"dimensions    {least} to {most} open knobs"
            if least != most
            else f"dimensions    {least} open knobs"
        )
        out(f"families      {', '.join(document['families'])}")
        out(f"first trials  {len(space.defaults)} written in the file")
        out(
            f"full search   {TRIALS} trials x {SPLITS} splits x {space.epochs} epochs = "
            f"{document['fold_epochs']:,} fold-epochs"
        )
    if space.limits:
        kept = {cost: most for cost, most in space.limits.items() if cost != "latency" or not args.no_timing}
        say(f"measuring {DRAWN} random recipes ...")
        document["limits"] = dict(space.limits)
        document["within"] = _within(space, kept)
        if not args.json:
            what = "them" if kept == space.limits else "them, the time not looked at"
            share = f"{document['within']} of {DRAWN} random recipes keep {what}, for a clip of {SECONDS:g} s"
            out(f"limits        {limits.text(space.limits)}; {share}")
    if not args.no_timing:
        costs = []
        for family in document["families"]:
            say(f"timing {family} ...")
            costs.append(_cost(space, family))
        document["cost"] = _estimate(costs, space.epochs)
        if not args.json:
            _print_cost(costs, document["cost"])
    if args.json:
        emit_json(document)
    return 0


def act_show(args: argparse.Namespace, settings: Settings) -> int:
    """Print the tree of knobs."""
    space = _open(args.space)
    if args.json:
        emit_json(
            {
                "space": space.path,
                "about": space.about,
                "epochs": space.epochs,
                "limits": dict(space.limits),
                "knobs": _tree(space.root),
                "defaults": [complete(space, default) for default in space.defaults],
            }
        )
        return 0
    out(f"{space.name}: {space.about} ({space.epochs} epochs)" if space.about else space.name)
    if space.limits:
        out(f"limits: {limits.text(space.limits)}")
    rows = list(_rows(space.root, 0))
    width = max(len(name) for name, _ in rows)
    for name, what in rows:
        out(f"{name:<{width}}  {what}".rstrip())
    for number, default in enumerate(space.defaults, start=1):
        out(f"default {number}: " + ", ".join(f"{name}={show(value)}" for name, value in default.items()))
    return 0


def act_sample(args: argparse.Namespace, settings: Settings) -> int:
    """Draw points."""
    if args.n < 1:
        raise UsageError(f"-n is {args.n}, expected at least 1")
    space, rng = _open(args.space), random.Random(args.seed)
    points = [sample(space, rng) for _ in range(args.n)]
    if args.json:
        emit_json(points)
        return 0
    for number, point in enumerate(points, start=1):
        out(f"{number}:")
        width = max(len(name) for name in point)
        for name, value in point.items():
            out(f"  {name:<{width}}  {f'{value:.4g}' if isinstance(value, float) else show(value)}")
    return 0


def families(space: Space) -> list[str]:
    """The architectures of a space."""
    from escmodels.recipe import DEFAULT_ARCHITECTURE

    return [
        DEFAULT_ARCHITECTURE if family is None else str(family) for family in _ordered(space, "architecture")
    ]


@dataclass(frozen=True)
class Cost:
    """What a family costs: measured on its first default, in one thread."""

    family: str
    parameters: int
    epoch: float  # seconds of one core for CLIPS clips, validation not counted


def _cost(space: Space, family: str) -> Cost:
    import torch

    from escmodels.costs import noise
    from escmodels.fit import fit
    from escmodels.recipe import parse

    point = {name: value for name, value in _first(space, family).items() if not name.startswith("schedule")}
    values = {
        **point,
        "optim.batch": TIMED,
        "optim.accumulate": 1,
    }  # a schedule costs nothing, and may want clips
    if family == "resnet":
        values["model.weights"] = "none"  # the same work, and nothing to fetch
    recipe = parse(values)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        ends: list[float] = []
        fitted = fit(
            recipe,
            noise(round(SECONDS * recipe.data.sample_rate), recipe.data.sample_rate, count=TIMED),
            None,
            epochs=4,  # the first one warms up
            seed=0,
            on_epoch=lambda score: ends.append(time.process_time()),  # others use this machine too
        )
    finally:
        torch.set_num_threads(threads)
    step = min(end - begin for begin, end in zip(ends, ends[1:], strict=False))
    weights = sum(weight.numel() for weight in fitted.classifier.net.parameters())
    return Cost(family, weights, step * CLIPS / TIMED)


def _within(space: Space, kept: Mapping[str, float]) -> int:
    """How many of some random recipes keep these limits for a clip of `SECONDS`; times as on this machine."""
    from escmodels.costs import costs, noise
    from escmodels.recipe import parse

    rng, count = random.Random(0), 0
    for _ in range(DRAWN):
        recipe = parse(sample(space, rng))
        rate = recipe.data.sample_rate
        count += not limits.exceeded(
            kept, costs(recipe, noise(round(SECONDS * rate), rate), "cpu", kept.keys())
        )
    return count


def _first(space: Space, family: str) -> Mapping[str, Value]:
    """The first default of a family, or the middle of its arm."""
    for default in space.defaults:
        if (point := complete(space, default)).get("architecture", family) == family:
            return point
    return complete(fix(space, "architecture", family) if "architecture" in names(space) else space, {})


def _estimate(costs: list[Cost], epochs: int) -> dict[str, Any]:
    """Hours of a whole search on this machine, if the trials spread evenly over the families."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    mean = sum(cost.epoch for cost in costs) / len(costs)
    return {
        "seconds_per_epoch": {cost.family: round(cost.epoch, 2) for cost in costs},
        "parameters": {cost.family: cost.parameters for cost in costs},
        "clips": CLIPS,
        "cores": cores,
        "hours": round(mean * TRIALS * SPLITS * epochs / cores / 3600, 3),
    }


def _print_cost(costs: list[Cost], estimate: Mapping[str, Any]) -> None:
    rows = [(cost.family, f"{cost.parameters:,}", f"{cost.epoch:.1f}") for cost in costs]
    out(table(("family", "parameters", f"seconds per epoch of {CLIPS} clips (one thread)"), rows))
    out(
        f"estimate: {_duration(estimate['hours'])} for --trials {TRIALS} on {SPLITS} splits, {estimate['cores']} "
        "trials side by side, without validation and exam; pruning leaves about 20 to 60 % of it"
    )


def _duration(hours: float) -> str:
    """A rough time in words, from half a minute to weeks."""
    if hours >= 2:
        return f"{hours:.3g} hours"
    return f"{hours * 60:.2g} minutes" if hours < 1 / 6 else f"{hours * 60:.0f} minutes"


def _open(name: str) -> Space:
    try:
        return load(name)
    except (ValueError, OSError) as error:
        raise UsageError(str(error)) from error


def _ordered(space: Space, knob: str) -> list[Value | None]:
    """The options of a knob: defaults first, in the order of the file."""
    found = options(space, knob)
    named = [default[knob] for default in space.defaults if knob in default]
    first: list[Value | None] = list(dict.fromkeys(named))
    return first + sorted(found - set(first), key=str)


def _rows(level: Level, depth: int) -> Iterator[tuple[str, str]]:
    indent = "  " * depth
    for name, knob in level.knobs.items():
        yield indent + name, show(knob) if isinstance(knob, str | int | float | bool) else text(knob)
    for name, arms in level.branches.items():
        if any(arm.knobs or arm.branches for arm in arms.values()):
            yield indent + name, "one of"
            for choice, arm in arms.items():
                yield f"{indent}  {show(choice)}:", ""
                yield from _rows(arm, depth + 2)
        else:
            yield indent + name, text(Categorical(tuple(arms)))


def _tree(level: Level) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, knob in level.knobs.items():
        if isinstance(knob, str | int | float | bool):
            tree[name] = knob
        else:
            tree[name] = {"type": type(knob).__name__.lower(), **vars(knob)}
    for name, arms in level.branches.items():
        tree[name] = {
            "type": "categorical",
            "choices": {show(choice): _tree(arm) for choice, arm in arms.items()},
        }
    return tree
