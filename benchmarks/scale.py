"""What the driver can take: a study of 2,000 trials x 5 folds, its memory, and how long workers wait for it. Printed
and written to docs/scale.md: `python benchmarks/scale.py`, with `--mlflow` and `--ray` for the parts that take minutes.

Results are made up; ledger, conductor, sampler and MLflow are the real ones. Workers are simulated in virtual time.
"""

import argparse
import heapq
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import yaml
from common import LOAD, ROOT, duration, prose, table, write_section

from escmodels.folds import SearchSplit
from search.conductor import Conductor, Limits
from search.glance import Glance
from search.ledger import FoldRow, Ledger
from search.mlflow_tracker import MlflowTracker
from search.objectives import ACCURACY
from search.pages import EXPERIMENT
from search.progress import SearchView
from search.projection import Projector, StudyFacts
from search.record import Record
from search.sender import SHARE
from search.settings import Settings, resolve
from search.standing import Follower
from search.suggest import Proposer
from search.trial import FoldResult, Plan, Report
from spaces.load import load
from spaces.space import complete as filled
from spaces.space import sample

PAGE = ROOT / "docs" / "scale.md"
TRIALS, SPLITS, EPOCHS, CLIPS, CLASSES = 2000, 5, 24, 2000, 50
PLAN = Plan(tuple(SearchSplit(number, (0,), (1,)) for number in range(1, SPLITS + 1)), EPOCHS, seed=0)
ANSWERS = {split.number: np.arange(CLIPS // SPLITS) % CLASSES for split in PLAN.splits}
METRICS = {"train_loss": 1.234567, "lr": 0.001234567, "seconds": 1.234567, "valid_loss": 1.234567}
RECORD = {"labels": ANSWERS, "data": "data", "code": "code"}
LIMIT = 3.0  # seconds, for status, the data of a report, and the first proposal of a resumed search
CHEAP, LOOKS = 1000, (100, 400, 700, 1000)  # trials of the test of memory, and when it is looked at
WORKERS, LENGTHS = (8, 64, 256, 1000), (1.0, 10.0)  # simulated workers; seconds of an epoch
TUNE = 0.0009  # seconds that Ray Tune takes for a report, measured on its own (docs/performance.md)
SHOWN = 250  # trials that have ended before the costs of a report and a proposal are measured
PART = 40  # trials that go to MLflow without --mlflow


# made-up results


def facts(name: str) -> StudyFacts:
    """What the runs of a made-up study have in common."""
    folds = {"train_folds": [1, 2, 3], "valid_fold": 4, "test_fold": 5}
    numbers = tuple(split.number for split in PLAN.splits)
    return StudyFacts(
        name, name, "made up", "data", "rotating", dict.fromkeys(numbers, folds), numbers, True, {}, {}
    )


def introduce(ledger: Ledger, name: str, workers: int) -> None:
    """The facts that a session writes at its beginning."""
    rows = np.arange(CLIPS).reshape(SPLITS, -1)
    ledger.write_fact("study", facts(name).to_json())
    ledger.write_fact(
        "clips",
        {
            "labels": np.concatenate(list(ANSWERS.values())).tolist(),
            "sources": (np.arange(CLIPS) // 2).tolist(),
            "classes": [f"class {number}" for number in range(CLASSES)],
            "valid": {str(number): rows[number - 1].tolist() for number in ANSWERS},
        },
    )
    asked = {"trials": TRIALS, "hours": None, "workers": workers, "epochs": EPOCHS, "splits": list(ANSWERS)}
    asked |= {"objectives": ["accuracy"], "policy": {}, "began": time.time(), "host": "here", "pid": 1}
    ledger.write_fact("asked", asked)
    ledger.set_state("running")


class Made:
    """Reports of trainings that never were: each recipe has an accuracy of its own, reached bit by bit."""

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self._worth: dict[int, float] = {}

    def report(self, trial: int, split: int, epoch: int) -> Report:
        """One epoch; with the last one of a split its result."""
        worth = self._worth.setdefault(trial, float(self._rng.beta(8, 4)))
        if epoch < EPOCHS:
            reached = worth * (1 - 0.7 ** (epoch + 1)) + self._rng.normal(0, 0.01)
            return Report(trial, split, epoch, METRICS | {"valid_accuracy": float(reached)})
        right = self._rng.random(CLIPS // SPLITS) < worth
        result = FoldResult(float(right.mean()), 1 - worth, self._answers(split, right), 1.0)
        return Report(trial, split, epoch, METRICS | {"valid_accuracy": result.score}, result)

    def _answers(self, split: int, right: np.ndarray) -> bytes:
        wrong = (ANSWERS[split] + 1) % CLASSES
        return np.where(right, ANSWERS[split], wrong).astype(np.int16).tobytes()

    def reports(self, trial: int) -> Iterator[Report]:
        """A whole trial."""
        for split in PLAN.splits:
            for epoch in range(1, EPOCHS + 1):
                yield self.report(trial, split.number, epoch)


def fill(folder: Path, trials: int, space: str = "esc50") -> Path:
    """A study of so many complete trials, and three that were examined. Its ledger."""
    folder.mkdir(parents=True)
    (folder / "study.yaml").write_text(yaml.safe_dump({"data": "made up", "space": space}))
    ledger = Ledger(folder / "ledger.sqlite", create=True)
    record, made = Record(ledger, PLAN, ACCURACY, **RECORD), Made()
    introduce(ledger, folder.name, 64)
    chance, known = random.Random(0), load(space)
    points = [filled(known, default) for default in known.defaults]  # else they would be proposed first
    for number in range(trials):
        with ledger.transaction():
            ledger.open_trial(number, points[number] if number < len(points) else sample(known, chance))
            complete(ledger, record, number, made)
    for number in range(min(3, trials)):
        examine(ledger, number)
    ledger.set_state("searched")
    ledger.close()
    return ledger.path


def complete(ledger: Ledger, record: Record, number: int, made: Made) -> None:
    """Write all reports of a trial, and its end."""
    row, scores = ledger.trial(number), []
    for place, split in enumerate(PLAN.splits, start=1):
        key = record.key(row, split.number)
        for epoch in range(1, EPOCHS + 1):
            news = made.report(number, split.number, epoch)
            ledger.log_epoch(
                key, epoch, news.metrics, trial=number, phase="search", split=split.number, seed=0
            )
            if place == 1 and epoch == EPOCHS // 3:
                ledger.write_rung(number, 1, epoch, news.metrics["valid_accuracy"])
        assert news.result is not None
        ledger.finish_fold(
            key,
            score=news.result.score,
            loss=news.result.loss,
            epochs=EPOCHS,
            seconds=1.0,
            predictions=news.result.predictions,
        )
        scores.append(news.result.score)
        ledger.write_rung(number, place, EPOCHS, statistics.fmean(scores))
    ledger.close_trial(number, "complete", statistics.fmean(scores))


def examine(ledger: Ledger, number: int) -> None:
    """An exam of five folds, and its record."""
    for split in ANSWERS:
        ledger.record_exam_fold(
            f"exam-{number}-{split}",
            trial=number,
            split=split,
            seed=0,
            score=0.8,
            loss=0.7,
            epochs=EPOCHS,
            seconds=1.0,
            predictions=np.full((CLIPS // SPLITS, CLASSES), 1 / CLASSES, np.float32).tobytes(),
            losses=[1.0] * EPOCHS,
        )
    exam: dict[str, Any] = {
        "mean": 0.8,
        "low": 0.75,
        "high": 0.85,
        "macro_f1": 0.8,
        "validation": 0.82,
        "folds": [0.8] * 5,
    }
    exam |= {"protocol": "rotating", "seeds": [0], "trials": TRIALS}
    record = {"exam": exam, "time": time.time(), "classes": list(map(str, range(CLASSES)))}
    record["confusion"] = np.eye(CLASSES, dtype=int).tolist()
    ledger.write_fact(f"exam/{number}", record, change="exam")


def report_data(path: Path) -> tuple[int, int]:
    """Read once all that a report can show; the number of fold runs and of epochs."""
    ledger = Glance(path)
    with ledger.moment():
        ledger.facts("study", "asked", "clips", "front", "mixed", "state")
        ledger.trials(), ledger.rungs(), ledger.exams()
        folds: list[FoldRow] = ledger.folds()
        curves = {fold.key: ledger.epochs(fold.key) for fold in folds}
    ledger.close()
    return len(folds), sum(map(len, curves.values()))


def resumed(ledger: Ledger, proposer: Proposer, trials: int, listen: Any = None) -> Conductor:
    """The conductor of a session on a ledger."""
    listener = {} if listen is None else {"listen": listen}
    return Conductor(ledger, proposer, PLAN, Limits(trials), **RECORD, **listener)


# each in a process of its own, which prints what it measured as JSON


def act_read(path: Path) -> dict[str, float]:
    """Seconds of a look at a study, and of reading all that a report shows."""
    seconds: dict[str, float] = {}
    with timed(seconds, "look"):
        glance = Glance(path)
        Follower(glance, "reader").read()
        glance.close()
    with timed(seconds, "report"):
        folds, epochs = report_data(path)
    return seconds | {"folds": folds, "epochs": epochs, "rss": megabytes()}


def act_resume(path: Path) -> dict[str, float]:
    """Seconds to the first proposal of a search that goes on, by step. The ledger is left as it was."""
    seconds: dict[str, float] = {}
    with timed(seconds, "ledger"):
        ledger = Ledger(path)
        view = SearchView(ledger, settings(path.parents[1]))
    with timed(seconds, "sampler"):
        proposer = Proposer(load("esc50"), seed=0)
    with timed(seconds, "recall"):
        conductor = resumed(ledger, proposer, TRIALS + 1)
    with timed(seconds, "proposal"):
        proposer.ask()
    assert not conductor.exhausted
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
            for report in made.reports(assignment.trial):
                if not conductor.on_report(report):
                    break
            if ledger.count_trials() in LOOKS:
                found[ledger.count_trials()] = megabytes()
    epochs = [sum(fold.epochs for fold in ledger.folds(row.number)) for row in ledger.trials()]
    ledger.close()
    return {"rss": found, "epochs": epochs}


def act_costs(path: Path, workers: int, proposals: int) -> dict[str, list[float]]:
    """Seconds of the driver with so many trials under way: for a report, a verdict (the report that ends a split or
    the trial) and a proposal."""
    ledger = Ledger(path)
    chance, space, first = random.Random(1), load("esc50"), ledger.count_trials()
    with ledger.transaction():
        for number in range(first, first + workers):
            ledger.open_trial(number, sample(space, chance))
            ledger.suspend_trial(number)
    conductor, made = resumed(ledger, Proposer(space, seed=0), 10**6), Made(1)
    costs: dict[str, list[float]] = {"report": [], "verdict": [], "proposal": []}
    begun = [conductor.next() for _ in range(workers)]  # those that wait
    for assignment in begun[:proposals]:
        assert assignment is not None
        for report in made.reports(assignment.trial):
            began = time.perf_counter()
            goes_on = conductor.on_report(report)
            seconds = time.perf_counter() - began
            costs["report" if goes_on and report.result is None else "verdict"].append(seconds)
            if not goes_on:
                break
        began = time.perf_counter()
        conductor.next()
        costs["proposal"].append(time.perf_counter() - began)
    ledger.close()
    return costs


def act_mlflow(path: Path, trials: int) -> dict[str, float]:
    """Seconds, computing time and number of runs of sending a study to MLflow on SQLite."""
    place = settings(path.parents[1])
    ledger, tracker = Ledger(path), MlflowTracker(place, EXPERIMENT)
    projector = Projector(ledger, tracker, StudyFacts.from_json(ledger.fact("study")), "mlflow")
    seconds: dict[str, float] = {}
    cpu = time.process_time()
    with timed(seconds, "all"):
        changes = projector.catch_up()
    cpu = time.process_time() - cpu
    with timed(seconds, "found"):  # what a later session does first
        again = MlflowTracker(place, EXPERIMENT)
        assert again.run_id(f"{ledger.fact('study')['name']}@{ledger.fact('study')['id']}") is not None
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
            **(RECORD | {"labels": {1: clips.labels[16:]}}),
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


def noise() -> tuple[Any, dict[str, Any]]:
    """24 clips of half a second, and a recipe that is trained on them at once."""
    from escmodels.clips import ClipSet

    rng, length = np.random.default_rng(0), 4000
    rows = np.arange(24)
    samples = rng.integers(-5000, 5000, 24 * length).astype(np.int16)
    starts, lengths = rows * length, np.full(24, length)
    names = tuple(map(str, rows))
    clips = ClipSet(samples, starts, lengths, rows % 2, rows // 8, rows, names, ("one", "two"), 8000)
    recipe = {"architecture": "mel_cnn", "model.width": 4, "model.blocks": 2, "data.sample_rate": 8000}
    recipe |= {"data.crop": 0.5, "feature.n_fft": 256, "feature.hop": 128, "feature.n_mels": 16}
    return clips, recipe | {"optim.batch": 16}


def settings(home: Path) -> Settings:
    """Of a place of its own."""
    return resolve({"home": str(home)}, {})


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


# workers in virtual time


@dataclass
class Waited:
    """Seconds, of all workers together, after the first third of the time."""

    trained: float = 0.0
    waited: float = 0.0
    busy: float = 0.0  # the driver
    span: float = 0.0

    @property
    def idle(self) -> float:
        """Share of the workers' time in which they wait for the driver."""
        return self.waited / (self.trained + self.waited)


@dataclass
class Driver:
    """One queue: whoever comes is served when those before are, and takes as long as was measured."""

    costs: Mapping[str, Sequence[float]]
    chance: random.Random
    free: float = field(default=0.0)

    def serve(self, moment: float, *kinds: str) -> float:
        """When it is done with somebody who comes at a moment."""
        self.free = max(self.free, moment) + sum(self.chance.choice(self.costs[kind]) for kind in kinds)
        return self.free


def simulate(
    costs: Mapping[str, Sequence[float]],
    workers: int,
    length: float,
    epochs: Sequence[int],
    reports: int = 60_000,
) -> Waited:
    """Let workers train in virtual time; each waits until the driver has answered its report.

    costs: measured seconds of the driver by kind; length: mean seconds of an epoch, from 0.5 to 2 times as long from
    recipe to recipe, with 10 % of noise; epochs: lengths of trials, drawn from these.
    """
    chance = random.Random(0)
    driver = Driver(costs, chance)
    left = {worker: chance.randint(1, chance.choice(epochs)) for worker in range(workers)}
    pace = {worker: length * 2 ** chance.uniform(-1, 1) for worker in range(workers)}
    queue = [(chance.random() * pace[worker], worker) for worker in range(workers)]  # under way already
    heapq.heapify(queue)
    counted, began = Waited(), 0.0
    for turn in range(reports):
        moment, worker = heapq.heappop(queue)
        left[worker] -= 1
        before = driver.free
        if left[worker]:
            kinds = ["report" if left[worker] % EPOCHS else "verdict", "tune"]
        else:
            kinds = ["verdict", "proposal", "tune"]
            left[worker], pace[worker] = chance.choice(epochs), length * 2 ** chance.uniform(-1, 1)
        answered = driver.serve(moment, *kinds)
        trains = pace[worker] * chance.gauss(1, 0.1)
        heapq.heappush(queue, (answered + trains, worker))
        if turn == reports // 3:
            began = moment
        if turn >= reports // 3:
            counted.waited += answered - moment
            counted.trained += trains
            counted.busy += answered - max(before, moment)
            counted.span = moment - began
    return counted


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
        for workers in WORKERS:
            few = fill(home / f"costs-{workers}", SHOWN)
            costs[workers] = apart("costs", few, workers, 40 if workers < 500 else 20) | {"tune": [TUNE]}
        trials = TRIALS if args.mlflow else PART
        sent = apart("mlflow", path if args.mlflow else fill(home / "part", PART), trials)
        sections = {
            "large": large(read, again, command, path),
            "memory": flat(memory),
            "workers": idle(costs, memory["epochs"]),
            "limits": limits(costs, memory["epochs"], sent),
            "mlflow": mlflow(sent, trials) if args.mlflow else None,
            "ray": ray(apart("ray", home, CHEAP)) if args.ray else None,
        }
    for name, lines in sections.items():
        if lines is not None:
            print("\n".join(lines))
            write_section(PAGE, name, lines)


def status(home: Path) -> float:
    """Seconds of the whole command `status`, imports included."""
    began = time.perf_counter()
    words = [sys.executable, "-m", "search", "status", "large", "--home", str(home)]
    subprocess.run(words, capture_output=True, check=True, cwd=ROOT)
    return time.perf_counter() - began


def here() -> str:
    """On what it was measured."""
    return (
        f"Measured on {psutil.cpu_count()} cores (load {LOAD:.1f} before), Python {sys.version.split()[0]}."
    )


def large(read: Mapping[str, float], again: Mapping[str, float], command: float, path: Path) -> list[str]:
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
            runs with exams, {read["epochs"]:,.0f} epochs. Space esc50, sampler tpe.
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
            {here()} What the driver does for a report, a verdict (the report that ends a split or a trial) and a proposal
            (space esc50, tpe) was measured with so many trials under way, after {SHOWN} that had ended. Then workers in
            virtual time: each trains an epoch (half to twice the mean, by recipe), reports, and waits in one queue until
            the driver has answered;
            {1000 * TUNE:g} ms a report are Ray Tune's. Trials take {statistics.fmean(epochs):.0f} epochs on average, as
            they were pruned above. In brackets how busy the driver is; with 100 % workers wait for it.
            """
        ),
        *table(("workers", "report", "verdict", "proposal", *heads), rows),
    ]


def limits(
    costs: Mapping[int, Mapping[str, Sequence[float]]], epochs: Sequence[int], sent: Mapping[str, float]
) -> list[str]:
    """The section that says what breaks first, second, third: workers x epochs a second that each part can take."""
    most = costs[WORKERS[-1]]
    mean = statistics.fmean(epochs)
    splits = statistics.fmean(max(1.0, count / EPOCHS) for count in epochs)
    report = statistics.fmean([*most["report"]]) + TUNE
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
