"""What the driver can take: a study of 2,000 trials x 5 folds, its memory, and how long workers wait for it. Printed
and written to docs/scale.md: `python benchmarks/scale.py`, with `--mlflow` and `--ray` for the parts that take minutes.

Results are made up; ledger, conductor, sampler and MLflow are the real ones. Workers are simulated in virtual time.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from common import ROOT, SCALE, write_section
from made import CODE, DATA, SPLITS, TRIALS, Made, fill, introduce, noise, resumed, settings
from scale_page import CHEAP, LOOKS, SHOWN, TUNE, flat, idle, large, limits, mlflow, ray

from escmodels.folds import SearchSplit
from search.conductor import Conductor, Limits
from search.glance import Glance
from search.ledger import Ledger
from search.mlflow_tracker import MlflowTracker
from search.pages import EXPERIMENT
from search.progress import SearchView
from search.projection import Projector, StudyFacts, study_key
from search.report.facts import read
from search.standing import Follower
from search.suggest import Proposer
from search.trial import Plan
from spaces.load import load
from spaces.space import sample

WORKERS = {8: 40, 64: 120, 256: 120, 1000: 60}  # simulated workers -> proposals that are looked at
PART = 40  # trials that go to MLflow without --mlflow


# each in a process of its own, which prints what it measured as JSON


def act_read(path: Path) -> dict[str, float]:
    """Seconds of a look at a study, and of reading all that a report shows."""
    seconds: dict[str, float] = {}
    with timed(seconds, "look"):
        glance = Glance(path)
        Follower(glance, "reader").read()
        glance.close()
    with timed(seconds, "report"):
        facts = read(path.parent)
    runs = [run for row in facts.rows for run in facts.scores.get(row.number, ())]
    return seconds | {"folds": len(runs), "epochs": facts.full, "rss": megabytes()}


def act_resume(path: Path) -> dict[str, float]:
    """Seconds to the first proposal of a search that goes on, by step. The ledger is left as it was."""
    seconds: dict[str, float] = {}
    with timed(seconds, "ledger"):
        ledger = Ledger(path)
        view = SearchView(ledger, settings(path.parents[1]))
    with timed(seconds, "sampler"):
        proposer = Proposer(load("esc50"), seed=0)
    with timed(seconds, "recall"):
        resumed(ledger, proposer, TRIALS + 1)
    with timed(seconds, "proposal"):
        proposer.ask()
    view.__exit__()
    ledger.close()
    return seconds | {"rss": megabytes()}


def act_memory(path: Path) -> dict[str, Any]:
    """Megabytes of a driver after so many trials that are over at once, and how long the trials were."""
    ledger = Ledger(path, create=True)
    introduce(ledger, "memory", 1)
    made, found = Made(), {0: megabytes()}
    with SearchView(ledger, settings(path.parent)) as view:
        view._lines = lambda trial: None  # type: ignore[method-assign]  # a thousand lines are of no use here
        conductor = resumed(ledger, Proposer(load("smoke"), seed=0), CHEAP, view.changed)
        while (assignment := conductor.next()) is not None:
            for report in made.reports(assignment):
                if not conductor.on_report(report):
                    break
            if ledger.count_trials() in LOOKS:
                found[ledger.count_trials()] = megabytes()
    epochs = [sum(fold.epochs for fold in ledger.folds(row.number)) for row in ledger.trials()]
    ledger.close()
    return {"rss": found, "epochs": epochs}


def act_costs(path: Path, workers: int, proposals: int) -> dict[str, list[float]]:
    """Seconds of the driver for a report, a verdict and a proposal, with so many trials under way.

    A verdict is a report that ends a split or a trial. Of the proposals only the second half counts: by then more
    of those under way were proposed by this sampler, as in a real search.
    """
    ledger = Ledger(path)
    chance, space, first = random.Random(1), load("esc50"), ledger.count_trials()
    with ledger.transaction():
        for number in range(first, first + workers):
            ledger.open_trial(number, sample(space, chance))
            ledger.suspend_trial(number)
    conductor, made = resumed(ledger, Proposer(space, seed=0), 10**6), Made(1)
    costs: dict[str, list[float]] = {"report": [], "verdict": [], "proposal": []}
    begun = [conductor.next() for _ in range(workers)]  # those that wait
    for turn in range(proposals):
        assignment = begun.pop(0)
        assert assignment is not None
        for report in made.reports(assignment):
            began = time.perf_counter()
            goes_on = conductor.on_report(report)
            seconds = time.perf_counter() - began
            costs["report" if goes_on and report.result is None else "verdict"].append(seconds)
            if not goes_on:
                break
        began = time.perf_counter()
        fresh = conductor.next()
        assert fresh is not None
        if turn >= proposals // 2 and not fresh.finished:
            costs["proposal"].append(time.perf_counter() - began)
        begun.append(fresh)
    ledger.close()
    return costs


def act_mlflow(path: Path, trials: int) -> dict[str, float]:
    """Seconds, computing time and number of runs of sending a study to MLflow on SQLite."""
    place = settings(path.parents[1])
    ledger, tracker = Ledger(path), MlflowTracker(place, EXPERIMENT)
    study = StudyFacts.from_json(ledger.fact("study"))
    projector = Projector(ledger, tracker, study, "mlflow")
    tracker.open("first", "makes the tables, imports the rest of MLflow", None, {}, {}, 0)
    seconds: dict[str, float] = {}
    cpu = time.process_time()
    with timed(seconds, "all"):
        changes = projector.catch_up()
    cpu = time.process_time() - cpu
    with timed(seconds, "found"):  # what a later session does first
        again = MlflowTracker(place, EXPERIMENT)
        assert again.run_id(study_key(study)) is not None
    ledger.close()
    folds = trials * SPLITS
    return seconds | {"cpu": cpu, "changes": changes, "folds": folds, "rss": megabytes()}


def act_ray(folder: Path, trials: int) -> dict[str, Any]:
    """A driver on Ray Tune with trials that are over at once: its memory, and what each trial takes of it."""
    from search.cluster import RayRunner

    clips, recipe = noise()
    ledger = Ledger(folder / "ray.sqlite", create=True)
    plan = Plan((SearchSplit(1, tuple(range(16)), tuple(range(16, 24))),), 1, seed=0)

    class Rates:
        """Proposes the same recipe at ever other rates."""

        asked = 0

        def ask(self) -> tuple[int, dict[str, Any]]:
            self.asked += 1
            return self.asked, recipe | {"optim.lr": 1e-3 + 1e-7 * self.asked}

        def tell(self, *_: Any) -> None:
            """Learns nothing."""

    found: dict[int, float] = {}

    def listen(trial: int) -> None:
        count = ledger.count_trials()
        if count not in found and count in (20, *LOOKS):
            found[count] = megabytes()

    proposer: Any = Rates()
    runner = RayRunner("local", 2)
    try:
        runner.load({8000: clips})
        conductor = Conductor(
            ledger,
            proposer,
            plan,
            Limits(trials),
            labels={1: clips.labels[16:]},
            data=DATA,
            code=CODE,
            listen=listen,
        )
        began, cpu = time.perf_counter(), time.process_time()
        runner.search(conductor)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    finally:
        runner.close()
    states = {row.state for row in ledger.trials()}
    ledger.close()
    return {"rss": found, "seconds": seconds, "cpu": cpu, "trials": trials, "states": sorted(states)}


def megabytes() -> float:
    """Resident memory of this process."""
    return float(psutil.Process().memory_info().rss) / 2**20


class timed:
    """Puts the seconds of its block under a name."""

    def __init__(self, seconds: dict[str, float], name: str) -> None:
        self._seconds, self._name = seconds, name

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._seconds[self._name] = time.perf_counter() - self._began


def apart(act: str, *words: object) -> dict[str, Any]:
    """What a process of its own measured."""
    done = subprocess.run(
        [sys.executable, __file__, "act", act, *map(str, words)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(act, *words[1:], {key: value for key, value in found.items() if np.ndim(value) == 0}, flush=True)
    return found


# what is said of it


def main() -> None:
    """Measure, print, write the sections."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--mlflow", action="store_true", help="send all 2,000 trials to MLflow (ten minutes and more)"
    )
    parser.add_argument("--ray", action="store_true", help="1,000 trials through Ray Tune (minutes)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="escsearch-scale-") as scratch:
        home = Path(scratch)
        began = time.perf_counter()
        path = fill(home / "large", TRIALS)
        print(f"{TRIALS} trials written in {time.perf_counter() - began:.0f} s", flush=True)
        read, again = apart("read", path), apart("resume", path)
        command = status(home)
        memory = apart("memory", home / "memory.sqlite")
        costs = {}
        for workers, proposals in WORKERS.items():
            few = fill(home / f"costs-{workers}", SHOWN)
            costs[workers] = apart("costs", few, workers, proposals) | {"tune": [TUNE]}
        trials = TRIALS if args.mlflow else PART
        sent = apart("mlflow", path if args.mlflow else fill(home / "part", PART), trials)
        write_section(SCALE, "large", told(large(read, again, command)))
        write_section(SCALE, "memory", told(flat(memory)))
        write_section(SCALE, "workers", told(idle(costs, memory["epochs"])))
        write_section(SCALE, "limits", told(limits(costs, memory["epochs"], sent)))
        if args.mlflow:
            write_section(SCALE, "mlflow", told(mlflow(sent, trials)))
        if args.ray:
            write_section(SCALE, "ray", told(ray(apart("ray", home, CHEAP))))


def told(lines: list[str]) -> list[str]:
    """The same lines, shown to whoever waits for them."""
    print("\n".join(lines), flush=True)
    return lines


def status(home: Path) -> float:
    """Seconds of the whole command `status`, imports included."""
    began = time.perf_counter()
    words = [sys.executable, "-m", "search", "status", "large", "--home", str(home)]
    subprocess.run(words, capture_output=True, check=True, cwd=ROOT)
    return time.perf_counter() - began


ACTS: dict[str, Callable[..., dict[str, Any]]] = {
    "read": act_read,
    "resume": act_resume,
    "memory": act_memory,
    "costs": lambda path, workers, proposals: act_costs(path, int(workers), int(proposals)),
    "mlflow": lambda path, trials: act_mlflow(path, int(trials)),
    "ray": lambda folder, trials: act_ray(folder, int(trials)),
}


if __name__ == "__main__":
    if sys.argv[1:2] == ["act"]:
        print(json.dumps(ACTS[sys.argv[2]](Path(sys.argv[3]), *sys.argv[4:])))
    else:
        main()
