"""What stopping trials early saves, and what it costs, on recorded curves; printed and written to docs/pruning.md:
`python benchmarks/pruning.py`. The curves are made by `python benchmarks/pruning.py record STUDY_FOLDER`.
"""

import argparse
import statistics
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from common import ROOT, prose, table, write_section
from curves import TABLE, record
from jobs import Job, Summary, percent, recorded, run

from search.pruning import Policy

PRUNING = ROOT / "docs" / "pruning.md"
PICTURE = ROOT / "docs" / "pruning.svg"
COST, REGRET = 0.2, 0.3  # the bar: share of the epochs, points
PARTITIONS = 10  # of the recipes into two halves

RUNGS = ((1 / 3, 1.0), (1 / 3, 2 / 3, 1.0), (1 / 6, 1 / 3, 1.0), (1 / 6, 1 / 2, 1.0))
HEAD = ("epochs", "regret, points", "within one point", "epochs until then")


OURS = Job(Policy(), parks=True)


def described(job: Job) -> str:
    """The settings of a row in words.

    >>> described(Job(Policy(eta=2, rungs=(1 / 3, 1), level=0.3), parks=True))
    'eta 2, rungs 1/3 1, level 0.3, waiting'
    """
    policy = job.policy
    rungs = " ".join(str(Fraction(rung).limit_denominator(12)) for rung in policy.rungs)
    return f"eta {policy.eta:g}, rungs {rungs}, level {policy.level:g}{', waiting' if job.parks else ''}"


def policies(replays: int, learned: int) -> list[str]:
    """The table of all policies, in both orders and with 1, 4 and 16 workers."""
    names = {
        "none": replace(OURS, policy=replace(OURS.policy, pruner="none"), parks=False),
        "ASHA alone": replace(OURS, policy=replace(OURS.policy, pruner="asha"), parks=False),
        "race alone": replace(OURS, policy=replace(OURS.policy, pruner="race"), parks=False),
        "both, nobody waits": replace(OURS, parks=False),
        "both, waiting": replace(OURS, parks=True),
        "oracle": replace(OURS, oracle=True, parks=False),
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
    return table(("order", "workers", "policy", *HEAD), rows)


def settings() -> list[Job]:
    """What is chosen from."""
    return [
        Job(Policy(eta=eta, rungs=rungs, level=level), parks=parks)
        for parks in (False, True)
        for eta in (2, 3, 4)
        for rungs in RUNGS
        for level in (0.1, 0.2, 0.3, 0.5)
    ]


def sensitivity(replays: int) -> tuple[list[str], dict[Job, Summary]]:
    """The table of settings around ours, on all recipes and on halves of them; and the halves of all settings."""
    policy = OURS.policy
    variants = {
        "ours": OURS,
        **{f"eta {eta:g}": replace(OURS, policy=replace(policy, eta=eta)) for eta in (2, 3, 4)},
        **{
            f"level {level:g}": replace(OURS, policy=replace(policy, level=level))
            for level in (0.1, 0.2, 0.3, 0.5)
        },
        **{
            described(replace(OURS, policy=replace(policy, rungs=rungs), parks=False)).split(", ")[
                1
            ]: replace(OURS, policy=replace(policy, rungs=rungs))
            for rungs in RUNGS
        },
        **{f"competitors {k}": replace(OURS, policy=replace(policy, competitors=k)) for k in (2, 4, 8)},
        "nobody waits" if OURS.parks else "waiting": replace(OURS, parks=not OURS.parks),
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
    for parks in (False, True):
        chosen = []
        for partition in range(PARTITIONS):
            ways = [job for job in settings() if job.parks is parks]
            here = {job: found[replace(job, half=(partition, 0))] for job in ways}
            fit = [job for job, one in here.items() if one.regret < REGRET] or ways
            chosen.append((min(fit, key=lambda job: here[job].cost), partition))
        there = [found[replace(job, half=(partition, 1))] for job, partition in chosen]
        own = [found[replace(OURS, parks=parks, half=(partition, 1))] for _, partition in chosen]
        often, times = Counter(described(job) for job, _ in chosen).most_common(1)[0]
        for what, ones in (("chosen on the other half", there), ("ours", own)):
            lines.append(
                (
                    "waiting" if parks else "nobody waits",
                    what,
                    percent(statistics.fmean(one.cost for one in ones)),
                    f"{statistics.fmean(one.regret for one in ones):.2f}",
                    f"{often}: {times} of {PARTITIONS}"
                    if what != "ours"
                    else described(replace(OURS, parks=parks)),
                )
            )
    return table(("", "settings", "epochs", "regret, points", "most often"), lines)


def draw(halves: dict[Job, Summary]) -> None:
    """The picture: cost against regret of all settings, on halves of the recipes."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for parks, colour, name in ((False, "#c44e52", "nobody waits"), (True, "#4c72b0", "waiting")):
        known = [one for job, one in halves.items() if job in settings() and job.parks is parks]
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
    with rc_context(
        {"svg.hashsalt": "pruning", "svg.fonttype": "none"}
    ):  # the same file from the same numbers
        figure.savefig(PICTURE, format="svg", metadata={"Date": None})


def page(replays: int, learned: int) -> list[str]:
    """The section."""
    recipes, splits, epochs = recorded().shape
    best = np.sort(recorded().objective_R)[::-1]
    first = OURS.policy.rungs[0]
    floor = (first + (splits - first) / recipes) / splits
    rows = policies(replays, learned)
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
        *rows,
        "",
        *prose(
            f"""
            The oracle knows how good a recipe will be in the end as soon as it comes to its first rung, and stops
            whatever is not the best of those seen so far: without waiting, nobody who wants to be sure of the best
            can do with less. Whoever waits can: the floor is {percent(floor)}, all recipes to their first rung and
            one to its end.
            """
        ),
        "### Around ours",
        "",
        *prose(
            f"""
            One setting changed at a time, random order, one worker. All recipes have two very good ones among them,
            which are hard to lose; with half of the recipes, drawn anew in each of {replays} replays, the
            best is another one each time, and there are fewer to learn from. This is the harder test, and the one to
            choose settings by.
            """
        ),
        *around,
        "",
        *prose(
            """
            All settings on halves of the recipes: eta 2, 3, 4, four sets of rungs, levels 0.1 to 0.5. Dashed:
            20 % and 0.3 points.
            """
        ),
        f"![cost against regret]({PICTURE.name})",
        "",
        *prose(
            f"""
            Whether a choice holds: the cheapest setting with less than {REGRET:g} points of regret on one half of the
            recipes, tried on the other half, for {PARTITIONS} partitions.
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
