"""What stopping trials early saves, and what it costs, on recorded curves; printed and written to docs/pruning.md:
`python benchmarks/pruning.py`. The curves are made by `python benchmarks/pruning.py record STUDY_FOLDER`.
"""

import argparse
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from common import PRUNING, prose, table, write_section
from curves import TABLE, record
from jobs import Job, Summary, percent, recorded, run

from search.pruning import Policy

PICTURE = PRUNING.with_suffix(".svg")
COST, REGRET = 0.2, 0.3  # the bar: share of the epochs, points
PARTITIONS = 10  # of the recipes into two halves

QUEUES = (0, Policy.queue)
RUNGS = ((1 / 3, 1.0), (1 / 3, 2 / 3, 1.0), (1 / 6, 1 / 3, 1.0), (1 / 6, 1 / 2, 1.0))
HEAD = ("epochs", "regret, points", "within one point", "epochs until then")


OURS = Job(Policy())


def described(job: Job) -> str:
    """The settings of a row in words.

    >>> described(Job(Policy(eta=2, rungs=(1 / 3, 1), level=0.3, queue=8)))
    'eta 2, rungs 1/3 1, level 0.3, queue 8'
    """
    policy = job.policy
    return f"eta {policy.eta:g}, rungs {places(policy.rungs)}, level {policy.level:g}, queue {policy.queue}"


def places(rungs: Sequence[float]) -> str:
    """Rungs as fractions.

    >>> places((1 / 3, 1.0))
    '1/3 1'
    """
    return " ".join(str(Fraction(rung).limit_denominator(12)) for rung in rungs)


def other(**changes: Any) -> Job:
    """Ours with other settings."""
    return replace(OURS, policy=replace(OURS.policy, **changes))


def policies(replays: int, learned: int) -> tuple[list[str], str]:
    """The table of all policies, in both orders and with 1, 4 and 16 workers; and what it comes to."""
    names = {
        "none": other(pruner="none"),
        "ASHA alone": other(pruner="asha"),
        "race alone": other(pruner="race"),
        "both, no queue": other(queue=0),
        "both (ours)": OURS,
        "oracle": replace(OURS, oracle=True),
    }
    jobs = {
        (name, order, workers): replace(job, order=order, workers=workers)
        for order in ("random", "TPE")
        for workers in (1, 4, 16)
        for name, job in names.items()
    }
    found = run([job for job in jobs.values() if job.order == "random"], replays)
    found |= run([job for job in jobs.values() if job.order == "TPE"], learned)
    rows = [(order, workers, name, *found[job].cells()) for (name, order, workers), job in jobs.items()]
    ours = [found[job] for job in jobs.values() if job.policy == OURS.policy and not job.oracle]
    best = [found[job] for (policy, _, _), job in jobs.items() if policy == "oracle"]
    cost, regret = max(one.cost for one in ours), max(one.regret for one in ours)
    verdict = "is held" if cost <= COST and regret < REGRET else "is missed"
    apart = [100 * (mine.cost - least.cost) for mine, least in zip(ours, best, strict=True)]
    said = (
        f"Ours takes {percent(min(one.cost for one in ours))} to {percent(cost)} of the epochs, at a mean "
        f"regret of at most {regret:.2f} points: the bar ({COST:.0%} at less than {REGRET:g} points) {verdict}. It is "
        f"{min(apart):.1f} to {max(apart):.1f} percent of the full search above the oracle."
    )
    return table(("order", "workers", "policy", *HEAD), rows), said


def settings() -> list[Job]:
    """What is chosen from."""
    return [
        other(eta=eta, rungs=rungs, level=level, queue=queue)
        for queue in QUEUES
        for eta in (2.0, 3.0, 4.0)
        for rungs in RUNGS
        for level in (0.15, 0.3, 0.5)
    ]


def sensitivity(replays: int) -> tuple[list[str], dict[Job, Summary]]:
    """The table of settings around ours, on all recipes and on halves of them; and the halves of all settings."""
    variants = {
        "ours": OURS,
        **{f"eta {eta:g}": other(eta=eta) for eta in (2.0, 3.0, 4.0)},
        **{f"level {level:g}": other(level=level) for level in (0.15, 0.3, 0.5)},
        **{f"rungs {places(rungs)}": other(rungs=rungs) for rungs in RUNGS},
        **{f"competitors {number}": other(competitors=number) for number in (2, 4, 8)},
        **{f"queue {number}": other(queue=number) for number in (0, 4, 8, 16, 66)},
        "no race at the end of the first split": replace(OURS, first=False),
        "another order of splits in every replay": replace(OURS, shuffled=True),
    }
    shown = {name: job for name, job in variants.items() if job != OURS or name == "ours"}
    halved = {job: replace(job, recipes=0.5) for job in (*shown.values(), *settings())}
    found = run([*dict.fromkeys([*shown.values(), *halved.values()])], replays)
    rows = []
    for name, job in shown.items():
        whole, half = found[job], found[halved[job]]
        rows.append(
            (
                name,
                percent(whole.cost),
                f"{whole.regret:.2f}",
                percent(half.cost),
                f"{half.regret:.2f}",
                f"{half.near:.0%}",
            )
        )
    head = ("", "epochs, all recipes", "regret", "epochs, half of the recipes", "regret", "within one point")
    return table(head, rows), {job: found[half] for job, half in halved.items()}


def confirmed(replays: int) -> list[str]:
    """Settings are chosen on one half of the recipes and tried on the other, for many partitions."""
    jobs = [
        replace(job, half=(partition, side))
        for job in settings()
        for partition in range(PARTITIONS)
        for side in (0, 1)
    ]
    found = run(jobs, replays)
    lines = []
    for queue in QUEUES:
        chosen = []
        for partition in range(PARTITIONS):
            ways = [job for job in settings() if job.policy.queue == queue]
            here = {job: found[replace(job, half=(partition, 0))] for job in ways}
            fit = [job for job, one in here.items() if one.regret < REGRET] or ways
            chosen.append((min(fit, key=lambda job: here[job].cost), partition))
        there = [found[replace(job, half=(partition, 1))] for job, partition in chosen]
        own = [found[replace(other(queue=queue), half=(partition, 1))] for _, partition in chosen]
        often, times = Counter(described(job) for job, _ in chosen).most_common(1)[0]
        for what, ones in (("chosen on the other half", there), ("ours", own)):
            lines.append(
                (
                    f"queue {queue}",
                    what,
                    percent(statistics.fmean(one.cost for one in ones)),
                    f"{statistics.fmean(one.regret for one in ones):.2f}",
                    f"{often}: {times} of {PARTITIONS}" if what != "ours" else described(other(queue=queue)),
                )
            )
    return table(("", "settings", "epochs", "regret, points", "most often"), lines)


def draw(halves: dict[Job, Summary]) -> None:
    """The picture: cost against regret of all settings, on halves of the recipes."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for queue, colour, name in zip(QUEUES, ("#c44e52", "#4c72b0"), ("no queue", "queue"), strict=True):
        known = [halves[job] for job in settings() if job.policy.queue == queue]
        axes.scatter(
            [100 * one.cost for one in known], [one.regret for one in known], s=22, c=colour, label=name
        )
    ours = halves[OURS]
    axes.scatter([100 * ours.cost], [ours.regret], s=110, facecolors="none", edgecolors="black", label="ours")
    axes.axhline(REGRET, color="grey", linewidth=0.8, linestyle="--")
    axes.axvline(100 * COST, color="grey", linewidth=0.8, linestyle="--")
    axes.set_xlabel("epochs, % of the full search")
    axes.set_ylabel("mean regret, points")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    with rc_context({"svg.hashsalt": "pruning", "svg.fonttype": "none"}):  # equal numbers, equal file
        figure.savefig(PICTURE, format="svg", metadata={"Date": None})


def page(replays: int, learned: int) -> list[str]:
    """The section."""
    recipes, splits, epochs = recorded().shape
    best = np.sort(recorded().objective_R)[::-1]
    first = OURS.policy.rungs[0]
    floor = (first + (splits - first) / recipes) / splits
    rows, said = policies(replays, learned)
    around, halves = sensitivity(replays)
    draw(halves)
    return [
        "## Replayed",
        "",
        *prose(
            f"""
            Made by `python benchmarks/pruning.py` from `benchmarks/curves.csv`: {recipes} recipes x {splits} splits x
            {epochs} epochs, the best with {100 * best[0]:.1f} % of the validation clips right, the second with
            {100 * best[1]:.1f} %, the median with {100 * float(np.median(best)):.1f} %. Means of {replays} replays in
            random order and {learned} in the order of TPE. Epochs are a share of those of the full search; regret
            is how far the winner is behind the best recipe; the last column is the share of epochs
            when the search first held a complete trial within one point of the best, where it came to that.
            """
        ),
        *prose(f"The settings are ours ({described(OURS)}) in all rows, as far as a policy has them."),
        *prose(said),
        *rows,
        "",
        *prose(
            f"""
            The oracle knows how good a recipe will be in the end as soon as it comes to its first rung, and stops
            whatever is not the best of those seen so far: without a queue, nobody who wants to be sure of the best
            can do with less. With a queue it can be less, and several workers know of each other's trials before
            these end. The floor for all is {percent(floor)}: every recipe to its first rung, and one to its end.
            """
        ),
        "### Around ours",
        "",
        *prose(
            f"""
            One setting changed at a time, random order, one worker. All recipes have two very good ones among them,
            which are hard to lose; with half of the recipes, drawn anew in each of {replays} replays, the
            best is another one each time, and there are fewer to learn from. This is the harder test, and the one that
            ours was chosen by: what is cheaper there loses more.
            """
        ),
        *around,
        "",
        *prose(
            """
            All settings on halves of the recipes: eta 2, 3, 4, four sets of rungs, levels 0.15 to 0.5. Dashed:
            20 % and 0.3 points.
            """
        ),
        f"![cost against regret]({PICTURE.name})",
        "",
        *prose(
            f"""
            Whether a choice holds: the cheapest setting with less than {REGRET:g} points of regret on one half of the
            recipes, tried on the other half, for {PARTITIONS} partitions. It does not: what
            looks cheap enough on one half loses about half a point on others, so ours is not the cheapest.
            """
        ),
        *confirmed(max(1, replays // 20)),
    ]


def main() -> None:
    """Record a table, or replay and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replays", type=int, default=200)
    parser.add_argument("--learned", type=int, default=200, help="replays in the order of TPE: slow")
    parser.add_argument("record", nargs="*", metavar="record STUDY_FOLDER")
    asked = parser.parse_args()
    match asked.record:
        case []:
            write_section(PRUNING, "pruning", page(asked.replays, asked.learned))
        case ["record", folder]:
            print(f"{record(Path(folder))} recipes written to {TABLE}")
        case _:
            parser.error("expected nothing, or: record STUDY_FOLDER")


if __name__ == "__main__":
    main()
