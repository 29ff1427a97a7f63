"""What the engine costs: the same trainings through a bare loop over processes and through a whole search, printed
and written to docs/performance.md: `python benchmarks/overhead.py`.

The search runs as it does for a user: Ray Tune, Optuna, the ledger, MLflow on SQLite, Optuna's file. Both ways train
the same recipes in two workers of one thread, in turns of seconds; what comes before the first training is start-up
and told apart.
"""

import contextlib
import json
import multiprocessing
import pickle
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import psutil
import yaml
from common import PERFORMANCE, about, data, duration, esc10, prose, table, write_section
from turns import ran, send, take_turns

from escmodels.fit import fit
from escmodels.recipe import parse
from search.conductor import Conductor
from search.datasets.dataset import Dataset
from search.ledger import Ledger
from search.session import Session
from search.settings import resolve
from search.spec import Spec
from search.studies import create
from search.study import Study
from search.terminal import progress
from search.trial import Plan, Report, run_trial, use_threads
from search.worker import Shared, share

TRIALS, WORKERS, ROUNDS = 24, 2, 3
SECONDS = 10.0  # of training in each trial
BAR = 0.05
DAEMONS = (
    "ray::",
    "raylet/raylet",
    "gcs_server",
    "runtime_env",
    "dashboard/agent",
    "dashboard",
    "log_monitor",
    "monitor",
)
WARM = 4  # trials, two a worker, that start-up lasts
TURN = 5.0  # seconds
TASKS, BEGUN = "tasks.pickle", "begun"  # files: what the bare loop trains; the engine has begun to train
POINT: dict[str, Any] = {
    "architecture": "mel_cnn",
    "data.sample_rate": 16000,
    "feature": "logmel",
    "feature.n_mels": 40,
    "feature.hop": 1024,
    "model.width": 8,
    "optim.batch": 16,
    "augment.mixup": 0.2,
}
RATES = [round(1e-3 * 10 ** (step / TRIALS), 6) for step in range(TRIALS)]


def space(folder: Path, epochs: int) -> Path:
    """A space of so many recipes that cost the same."""
    knobs = POINT | {"optim.lr": {"type": "categorical", "choices": RATES}}
    path = folder / "overhead.yaml"
    path.write_text(yaml.safe_dump({"about": "Trials that cost the same", "epochs": epochs, "knobs": knobs}))
    return path


# the bare loop


def work(shared: Shared, plan: Plan, rates: Any, ready: Any, done: Any) -> None:
    """One process of the bare loop: recipes from a queue, trained on all splits."""
    use_threads(1)
    clips = shared.open()
    ready.wait()
    while (rate := rates.get()) is not None:
        recipe = parse(POINT | {"optim.lr": rate})
        scores: list[float] = []
        for split in plan.splits:
            train, valid = clips.subset(split.train), clips.subset(split.valid)
            fitted = fit(recipe, train, valid, epochs=plan.epochs, seed=0)
            scores.append(fitted.scores[-1].valid_accuracy or 0.0)
        done.put((rate, statistics.fmean(scores)))


def bare(tasks: Path) -> None:
    """In a process of its own: the loop; when it began and each trial ended, as JSON on stdout."""
    shared, plan = pickle.loads(tasks.read_bytes())
    context = multiprocessing.get_context("spawn")
    rates, done, ready = context.Queue(), context.Queue(), context.Barrier(WORKERS + 1)
    for rate in [*RATES, *[None] * WORKERS]:
        rates.put(rate)
    arguments = (shared, plan, rates, ready, done)
    processes: list[SpawnProcess] = [context.Process(target=work, args=arguments) for _ in range(WORKERS)]
    for process in processes:
        process.start()
    ready.wait()
    began, ends = time.time(), []
    for _ in RATES:
        done.get()
        ends.append(time.time())
    for process in processes:
        process.join()
    print(json.dumps({"first": began, "ends": ends}))


# the engine


def engine(home: Path, file: Path, source: str) -> None:
    """In a process of its own: a whole search, watched; what was seen as JSON on stdout."""
    marks: dict[str, float] = {"python": psutil.Process().create_time(), "imports": time.time()}
    costs: dict[str, list[float]] = {"report": [], "fold run": [], "trial": []}
    looks: list[dict[str, dict[str, float]]] = []
    mark(marks, "data", Study, "open_clips")
    mark(marks, "search", Session, "search", before=True)
    watch(home, costs, looks)
    from search.cluster import RayRunner

    mark(marks, "ray", RayRunner, "__init__")
    mark(marks, "handed out", Conductor, "next")
    from search.run import run_study

    spec = Spec(source, format=None, sampler="grid", trials=TRIALS, pruner="none")
    run_study(
        spec,
        str(file),
        resolve({"home": str(home)}, {}),
        name="engine",
        engine={"workers": WORKERS},
        examine=False,
    )
    print(json.dumps({"marks": marks, "costs": costs, "cpu": looks}))


def mark(marks: dict[str, float], name: str, owner: type[Any], method: str, *, before: bool = False) -> None:
    """Write down when a method is first done, or begun."""
    original = getattr(owner, method)

    @wraps(original)
    def marked(*args: Any, **kwargs: Any) -> Any:
        if before:
            marks.setdefault(name, time.time())
        result = original(*args, **kwargs)
        marks.setdefault(name, time.time())
        return result

    swap(owner, method, marked)


def swap(owner: type[Any], name: str, function: Callable[..., Any]) -> None:
    """Put another function in the place of a method."""
    setattr(owner, name, function)


def watch(home: Path, costs: dict[str, list[float]], looks: list[dict[str, dict[str, float]]]) -> None:
    """Time what the driver does for a report, a fold run and a trial; look at the CPU times after start-up and last."""
    on_report: Callable[[Conductor, Report, bool], bool] = Conductor.on_report
    proposed: Callable[[Conductor], Any] = Conductor.next
    ended: list[int] = []

    def timed(conductor: Conductor, report: Report, more: bool = False) -> bool:
        began = time.perf_counter()
        goes_on = on_report(conductor, report, more)
        costs["fold run" if report.result else "report"].append(time.perf_counter() - began)
        (home / BEGUN).touch()
        if report.result and conductor.ledger.trial(report.trial).state == "complete":
            ended.append(report.trial)
            if len(ended) in (WARM, TRIALS - WORKERS):  # all workers are busy
                looks.append(cpu())
        return goes_on

    def asked(conductor: Conductor) -> Any:
        began = time.perf_counter()
        assignment = proposed(conductor)
        if assignment is not None:
            costs["trial"].append(time.perf_counter() - began)
        return assignment

    swap(Conductor, "on_report", timed)
    swap(Conductor, "next", asked)


def cpu() -> dict[str, dict[str, float]]:
    """CPU seconds so far of this process by thread, of what Ray has started by name, of workers by their threads."""
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    driver: dict[str, float] = defaultdict(float)
    for thread in psutil.Process().threads():
        driver[names.get(thread.id, "threads of libraries")] += thread.user_time + thread.system_time
    ray: dict[str, float] = defaultdict(float)
    workers: dict[str, float] = defaultdict(float)
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            words = " ".join(process.cmdline())
            known = next((name for name in DAEMONS if name in words), "others")
            threads = sorted(thread.user_time + thread.system_time for thread in process.threads())
            times = process.cpu_times()
            if known == "ray::" and times.user > SECONDS:  # a training is far more than all else
                workers["training"] += (
                    times.user + times.system - sum(threads[:-1])
                )  # each had its own thread
                workers["other threads"] += sum(threads[:-1])
            else:
                ray[known] += times.user + times.system
    return {"driver": driver, "ray": ray, "workers": workers}


# both in turns


def measured(
    home: Path, file: Path, source: str, other: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """One round: the engine and another program in turns. Moments are seconds that a program has run.

    other: words of its command; it says as JSON when its first training began and each trial ended. `ends` are told
    from the first training on, `start` is what came before.
    """
    ways = {"engine": [__file__, "engine", str(home), str(file), source], "other": other}
    out = {name: home / f"{name}.json" for name in ways}
    programs: dict[str, subprocess.Popen[str]] = {}

    def begin(name: str) -> float:
        with out[name].open("w") as target, (home / f"{name}.err").open("w") as errors:
            programs[name] = subprocess.Popen(
                [sys.executable, *ways[name]], stdout=target, stderr=errors, text=True
            )
        return time.time()

    began = begin("engine")  # its start-up is measured too, so nothing else runs beside it
    while not (home / BEGUN).exists() and programs["engine"].poll() is None:
        time.sleep(0.05)
    send(programs["engine"], signal.SIGSTOP)
    alone = (began, time.time())
    begin("other")
    turns = take_turns(programs, TURN)
    turns["engine"].insert(0, alone)
    for name, program in programs.items():
        if program.returncode:
            sys.exit((home / f"{name}.err").read_text())
    loop, seen = (json.loads(out[name].read_text().splitlines()[-1]) for name in ("other", "engine"))
    ledger = Ledger(home / "engine" / "ledger.sqlite")
    folds = ledger.folds(phase="search")
    seen["first"] = min(
        moment - metrics["seconds"] for fold in folds for _, metrics, moment in ledger.epochs(fold.key)
    )
    seen["ends"] = [row.ended or 0.0 for row in ledger.trials()]
    ledger.close()
    for name, found in (("other", loop), ("engine", seen)):
        found["start"] = first = ran(turns[name], found["first"])
        found["turns"] = turns[name]
        found["ends"] = sorted(ran(turns[name], end) - first for end in found["ends"])
    return loop, seen


# what is said of it


def main() -> None:
    """Measure, print, write the section."""
    with tempfile.TemporaryDirectory(prefix="escsearch-overhead-") as scratch:
        folder = Path(scratch)
        dataset, source, file, epochs = prepared(folder)
        rounds: list[tuple[dict[str, Any], dict[str, Any]]] = []
        for turn in range(ROUNDS):
            home = place(folder, turn)
            rounds.append(measured(home, file, source, [__file__, "bare", str(folder / TASKS)]))
            loop, seen = rounds[-1]
            print(f"bare {loop['ends'][-1]:.1f} s, engine {seen['ends'][-1]:.1f} s", spent(seen), flush=True)
        lines = page(rounds, epochs, about(dataset, "torch", "ray", "optuna", "mlflow"))
    print("\n".join(lines))
    write_section(PERFORMANCE, "overhead", lines)


def prepared(folder: Path) -> tuple[Dataset, str, Path, int]:
    """The data and where they lie, the space, epochs of a split. Leaves behind what other programs train."""
    dataset = data(folder)
    source = str(esc10() or folder / "synthetic")
    settings = resolve({"home": str(folder / "home")}, {})
    study = create(Spec(source), str(space(folder, 2)), settings, "plan")
    study.open_clips(settings, progress)
    epochs = settled(study)
    plan = Plan(study.plan().splits, epochs, 0)
    (folder / TASKS).write_bytes(pickle.dumps((share(study.labels, by_file=True), plan)))
    return dataset, source, space(folder, epochs), epochs


def place(folder: Path, turn: int) -> Path:
    """A home for a round, in which the sounds are decoded already."""
    home = folder / f"home-{turn}"
    home.mkdir()
    (home / "cache").symlink_to(folder / "home" / "cache")
    return home


def settled(study: Study) -> int:
    """Epochs of a split, so that a trial trains for about as long as it should."""
    use_threads(1)
    short = Plan(study.plan().splits[:1], 6, 0)
    seconds: list[float] = []

    def note(report: Report) -> None:
        seconds.append(report.metrics["seconds"])

    from search.trial import Assignment

    run_trial(Assignment(0, POINT | {"optim.lr": 1e-3}), short, lambda rate: study.clips[rate], note)
    return max(2, round(SECONDS / len(study.splits) / statistics.median(seconds)))


def page(
    rounds: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]], epochs: int, measured: str
) -> list[str]:
    """The section."""
    rows: list[tuple[Any, ...]] = []
    shares: list[tuple[float, float]] = []
    for turn, (loop, run) in enumerate(rounds, start=1):
        slow, ends = loop["ends"], run["ends"]
        shares.append(
            (ends[-1] / slow[-1] - 1, (ends[-1] - ends[WARM - 1]) / (slow[-1] - slow[WARM - 1]) - 1)
        )
        rows.append((turn, duration(slow[-1]), duration(ends[-1]), *map(percent, shares[-1])))
    medians = [statistics.median(column) for column in zip(*shares, strict=True)]
    rows.append(("median", "", "", *map(percent, medians)))
    every = [run for _, run in rounds]
    costs = [
        (
            kind,
            sum(len(run["costs"][kind]) for run in every),
            *(duration(worth(run["costs"][kind] for run in every)) for worth in (middle, nearly_all)),
        )
        for kind in ("report", "fold run", "trial")
    ]
    steps = ("imports", "ray", "data", "search", "handed out", "first")
    last = every[-1]
    moments = [last["marks"]["python"], *(last["marks"][step] for step in steps[:-1]), last["first"]]
    return [
        "## What the engine costs",
        "",
        *prose(
            f"""
            {measured} {TRIALS} trials of 5 splits x {epochs} epochs, about {SECONDS:g} s of training each, in
            {WORKERS} workers: a bare loop over processes, and the same recipes as a search (Ray Tune, ledger,
            MLflow on SQLite, Optuna's file), in turns of {TURN:g} s: while one runs, all processes of the other
            stand, and a moment counts as the time that a program had run by then. From the start of the first
            training to the end of the last one. After start-up is from the end of trial {WARM} on: until then MLflow
            is imported and its database made, beside the first trainings. The bar is {100 * BAR:g} % after start-up.
            The bare loop is as one would write it; the engine also sets the allocator of its workers, which the loop
            does not, and which makes up for a part of what it costs (see what follows this section).
            """
        ),
        *table(("round", "bare loop", "engine", "overhead in all", "after start-up"), rows),
        "",
        "What the driver does for each, ledger included:",
        "",
        *table(("for each", "number", "median", "95 % take less than"), costs),
        "",
        f"After start-up, {spent(last)}.",
        "",
        *prose(
            """
            From the start of the program to the first step of a training, the sounds decoded before (Ray starts
            while the data are opened; workers start when the first trial is handed out, and importing torch takes
            them most of the rest):
            """
        ),
        *table(
            ("until", "seconds since the program began"),
            [
                (name, f"{moment - moments[0]:.1f}")
                for name, moment in zip(
                    (
                        "everything is imported",
                        "Ray has started",
                        "the data are open and compared",
                        "the search begins",
                        "the first trial is handed out",
                        "the first training begins",
                    ),
                    moments[1:],
                    strict=True,
                )
            ],
        ),
    ]


def spent(run: Mapping[str, Any]) -> str:
    """Where the CPU time of a round went from start-up to the last trials, when every worker still has one."""
    before, after = run["cpu"]
    parts = {
        f"{name} ({owner})": seconds - before[owner].get(name, 0.0)
        for owner in after
        for name, seconds in after[owner].items()
    }
    trained = parts.pop("training (workers)")
    told = ", ".join(f"{name} {seconds:.1f}" for name, seconds in ranked(parts) if seconds >= 0.05)
    return (
        f"CPU seconds: {trained:.1f} in trainings, {sum(parts.values()):.1f} "
        f"({100 * sum(parts.values()) / trained:.1f} %) elsewhere: {told}"
    )


def ranked(seconds: Mapping[str, float]) -> list[tuple[str, float]]:
    """The largest first."""
    return sorted(seconds.items(), key=lambda item: -item[1])


def percent(share: float) -> str:
    """As it stands in a table."""
    return f"{100 * share:+.1f} %"


def middle(lists: Any) -> float:
    """The median of all."""
    return statistics.median([value for values in lists for value in values])


def nearly_all(lists: Any) -> float:
    """What 95 of 100 stay below."""
    every = sorted(value for values in lists for value in values)
    return every[int(0.95 * (len(every) - 1))]


if __name__ == "__main__":
    if sys.argv[1:2] == ["engine"]:
        engine(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
    elif sys.argv[1:2] == ["bare"]:
        bare(Path(sys.argv[2]))
    else:
        main()
