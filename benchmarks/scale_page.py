"""What docs/scale.md says of what was measured."""

import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import psutil
from common import LOAD, duration, prose, table
from made import EPOCHS, SPLITS, TRIALS
from queueing import simulate

from search.sender import SHARE

LIMIT = 3.0  # seconds, for status, the data of a report, and the first proposal of a resumed search
LENGTHS = (1.0, 10.0)  # seconds of an epoch
CHEAP, LOOKS = 1000, (100, 400, 700, 1000)  # trials of the test of memory, and when it is looked at
SHOWN = 250  # trials that have ended before the costs of a report and a proposal are measured
TUNE = 0.0009  # seconds that Ray Tune takes for a report: measured apart, once, not by this program


def here() -> str:
    """On what it was measured."""
    return (
        f"Measured on {psutil.cpu_count()} cores (load {LOAD:.1f} before), Python {sys.version.split()[0]}."
    )


def large(read: Mapping[str, float], again: Mapping[str, float], command: float) -> list[str]:
    """The section about a large study."""
    steps = ("ledger", "sampler", "recall", "proposal")
    rows = [
        ("`status`, the whole command", command),
        ("`status`, the look alone", read["look"]),
        ("the data of a report", read["report"]),
        ("`resume`, to the first proposal", sum(again[step] for step in steps)),
    ]
    cells = [(what, duration(value), "yes" if value < LIMIT else "NO") for what, value in rows]
    parts = zip(
        steps,
        ("open the ledger and the view", "import Optuna", "take up the history", "propose"),
        strict=True,
    )
    return [
        *prose(
            f"""
            {here()} {TRIALS:,} trials of {SPLITS} splits x {EPOCHS} epochs, none pruned: {read["folds"]:,.0f} fold
            runs, {read["epochs"]:,.0f} epochs, and exams. Space esc50, sampler tpe.
            """
        ),
        *table(("what", "takes", f"under {LIMIT:g} s"), cells),
        "",
        *prose(
            "Of `resume`: "
            + ", ".join(f"{words} {duration(again[step])}" for step, words in parts)
            + f"; the process then has {again['rss']:.0f} MB. Reading the data of a report takes {read['rss']:.0f} MB."
        ),
    ]


def flat(memory: Mapping[str, Any]) -> list[str]:
    """The section about memory."""
    rss = {int(count): float(value) for count, value in memory["rss"].items()}
    first, last = LOOKS[0], LOOKS[-1]
    each = 1024 * (rss[last] - rss[first]) / (last - first)
    return [
        *prose(
            f"""
            {here()} {CHEAP:,} trials that are over at once, one after the other: ledger, conductor, pruner, sampler
            (tpe) and view are the real ones, trainings are made up.
            """
        ),
        *table(("trials", "resident memory"), [(count, f"{value:.1f} MB") for count, value in rss.items()]),
        "",
        f"From trial {first} to {last}: {each:+.1f} kB a trial.",
    ]


def idle(costs: Mapping[int, Mapping[str, Sequence[float]]], epochs: Sequence[int]) -> list[str]:
    """The section about workers that wait."""
    rows = []
    for workers, measured in costs.items():
        found = [simulate(measured, workers, length, epochs) for length in LENGTHS]
        rows.append(
            (
                f"{workers:,}",
                *(duration(statistics.fmean(measured[kind])) for kind in ("report", "verdict", "proposal")),
                *(
                    f"{100 * waited.idle:.1f} % (driver {100 * waited.busy / waited.span:.0f} %)"
                    for waited in found
                ),
            )
        )
    heads = [f"idle, epochs of {length:g} s" for length in LENGTHS]
    return [
        *prose(
            f"""
            {here()} What the driver does for a report, a verdict (the report that ends a split or a trial) and
            a proposal (space esc50, tpe) was measured with so many trials under way, after {SHOWN} that had ended.
            Then workers in virtual time: each trains an epoch (half to twice the mean, by recipe), reports, and
            waits in one queue until the driver has answered; a real one waits for verdicts only. Added for Ray Tune
            are {1000 * TUNE:g} ms a report, which were measured apart and not here. Trials take
            {statistics.fmean(epochs):.0f} epochs on average, as the made-up ones above did. In brackets how busy the
            driver is; with 100 % workers wait for it.
            """
        ),
        *table(("workers", "report", "verdict", "proposal", *heads), rows),
    ]


def limits(
    costs: Mapping[int, Mapping[str, Sequence[float]]], epochs: Sequence[int], sent: Mapping[str, float]
) -> list[str]:
    """The section that says what breaks first, second, third: workers x epochs a second that each part can take."""
    most = costs[max(costs)]
    mean = statistics.fmean(epochs)
    splits = statistics.fmean(max(1.0, count / EPOCHS) for count in epochs)
    report = statistics.fmean(most["report"]) + TUNE
    sending = sent["cpu"] / sent["folds"] / (EPOCHS * SHARE)
    rows = []
    for count in (64, 1000):
        asked = statistics.fmean(costs[count]["proposal"])
        rows.append(
            (f"proposals with {count:,} trials under way", f"{1 / asked:.1f} proposals/s", mean / asked)
        )
    rows.append(
        (
            f"MLflow at {100 * SHARE:g} % of a core",
            f"{SHARE * sent['folds'] / sent['cpu']:.2f} fold runs/s",
            1 / sending,
        )
    )
    rows.append(("reports, Ray Tune included", f"{1 / report:.0f} reports/s", 1 / report))
    rows.sort(key=lambda row: row[2])
    return [
        *prose(
            f"""
            {here()} The limit of each part by itself, the lowest first. A trial takes {mean:.0f} epochs in {splits:.1f}
            splits here. MLflow lags behind when its limit is passed and holds up nothing; what is left is sent at the
            end. With the others, workers wait.
            """
        ),
        *table(
            ("part", "limit", *(f"workers, epochs of {length:g} s" for length in (*LENGTHS, 60.0))),
            [
                (what, limit, *(f"{rate * length:,.0f}" for length in (*LENGTHS, 60.0)))
                for what, limit, rate in rows
            ],
        ),
    ]


def mlflow(sent: Mapping[str, float], trials: int) -> list[str]:
    """The section about MLflow."""
    return prose(
        f"""
        {here()} {trials:,} trials x {SPLITS} splits x {EPOCHS} epochs sent to MLflow on SQLite in one go:
        {sent["changes"]:,.0f} changes in {duration(sent["all"])} ({sent["folds"] / sent["all"]:.1f} fold runs/s,
        {sent["cpu"]:.0f} s of computing), {sent["rss"]:.0f} MB. A later session finds the run of the study in
        {duration(sent["found"])}.
        """
    )


def ray(found: Mapping[str, Any]) -> list[str]:
    """The section about Ray Tune."""
    rss = {int(count): float(value) for count, value in found["rss"].items()}
    return [
        *prose(
            f"""
            {here()} {found["trials"]:,} trials of one epoch through Ray Tune, two workers:
            {duration(found["seconds"])}, {1000 * found["cpu"] / found["trials"]:.0f} ms of computing in the driver for
            each.
            """
        ),
        *table(
            ("trials", "resident memory of the driver"),
            [(count, f"{value:.1f} MB") for count, value in rss.items()],
        ),
    ]
