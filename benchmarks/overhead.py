"""What the engine costs: the same trainings through a bare loop over processes and through a whole search, printed
and written to docs/performance.md: `python benchmarks/overhead.py`.

The search runs as it does for a user: Ray Tune, Optuna, the ledger, MLflow on SQLite, Optuna's file. Both ways train
the same recipes in two workers of one thread; what comes before the first training is start-up and told apart.
"""

import contextlib
import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import psutil
import yaml
from common import PERFORMANCE, about, data, duration, esc10, prose, table, write_section

from escmodels.fit import fit
from escmodels.recipe import parse
from search.conductor import Conductor
from search.ledger import Ledger
from search.session import Session
from search.settings import resolve
from search.spec import Spec
from search.studies import create
from search.study import Study
from search.terminal import progress
from search.trial import Plan, Report, run_trial, use_threads
from search.worker import Shared, share

TRIALS, WORKERS, ROUNDS = 24, 2, 2
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


def bare(shared: Shared, plan: Plan) -> list[float]:
    """When each trial of the bare loop has ended, in seconds from the moment when its processes are ready."""
    context = multiprocessing.get_context("spawn")
    rates, done, ready = context.Queue(), context.Queue(), context.Barrier(WORKERS + 1)
    for rate in [*RATES, *[None] * WORKERS]:
        rates.put(rate)
    arguments = (shared, plan, rates, ready, done)
    processes: list[SpawnProcess] = [context.Process(target=work, args=arguments) for _ in range(WORKERS)]
    for process in processes:
        process.start()
    ready.wait()
    began = time.perf_counter()
    ends = []
    for _ in RATES:
        done.get()
        ends.append(time.perf_counter() - began)
    for process in processes:
        process.join()
    return ends


# the engine


def engine(home: Path, file: Path, source: str) -> None:
    """In a process of its own: a whole search, watched; what was seen as JSON on stdout."""
    marks: dict[str, float] = {"python": psutil.Process().create_time(), "imports": time.time()}
    costs: dict[str, list[float]] = {"report": [], "fold run": [], "trial": []}
    cpu: dict[str, dict[str, float]] = {}
    mark(marks, "data", Study, "open_clips")
    mark(marks, "search", Session, "search", before=True)
    watch(costs)
    from search.cluster import RayRunner

    mark(marks, "ray", RayRunner, "__init__")
    mark(marks, "handed out", Conductor, "next")
    ended: Callable[[Session], None] = Session.close

    def last_look(session: Session) -> None:
        cpu.update(driver=by_thread(), ray=by_process())
        ended(session)

    swap(Session, "close", last_look)
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
    print(json.dumps({"marks": marks, "costs": costs, "cpu": cpu}))


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


def watch(costs: dict[str, list[float]]) -> None:
    """Time what the driver does for a report, a fold run and a trial."""
    on_report: Callable[[Conductor, Report, bool], bool] = Conductor.on_report
    proposed: Callable[[Conductor], Any] = Conductor.next

    def timed(conductor: Conductor, report: Report, more: bool = False) -> bool:
        began = time.perf_counter()
        goes_on = on_report(conductor, report, more)
        costs["fold run" if report.result else "report"].append(time.perf_counter() - began)
        return goes_on

    def asked(conductor: Conductor) -> Any:
        began = time.perf_counter()
        assignment = proposed(conductor)
        if assignment is not None:
            costs["trial"].append(time.perf_counter() - began)
        return assignment

    swap(Conductor, "on_report", timed)
    swap(Conductor, "next", asked)


def by_thread() -> dict[str, float]:
    """CPU seconds of this process by thread."""
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    found: dict[str, float] = {}
    for thread in psutil.Process().threads():
        name = names.get(thread.id, "others")
        found[name] = found.get(name, 0.0) + thread.user_time + thread.system_time
    return found


def by_process() -> dict[str, float]:
    """CPU seconds of the processes that Ray has started, workers apart, by their names."""
    found: dict[str, float] = {}
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            words = " ".join(process.cmdline())
            known = [name for name in DAEMONS if name in words]
            if known:
                used = process.cpu_times()
                found[known[0]] = found.get(known[0], 0.0) + used.user + used.system
    return found


def searched(home: Path, file: Path, source: str) -> dict[str, Any]:
    """A whole search in a process of its own: what it saw, and what stands in its ledger."""
    words = [sys.executable, __file__, "engine", str(home), str(file), source]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    ledger = Ledger(home / "engine" / "ledger.sqlite")
    folds = ledger.folds(phase="search")
    first = min(
        moment - metrics["seconds"] for fold in folds for _, metrics, moment in ledger.epochs(fold.key)
    )
    seen["first"] = first
    seen["ends"] = sorted((row.ended or 0.0) - first for row in ledger.trials())
    seen["trained"] = sum(fold.seconds or 0.0 for fold in folds)
    ledger.close()
    return seen


# what is said of it


def main() -> None:
    """Measure, print, write the section."""
    with tempfile.TemporaryDirectory(prefix="escsearch-overhead-") as scratch:
        folder = Path(scratch)
        dataset = data(folder)
        source = str(esc10() or folder / "synthetic")
        study = create(
            Spec(source), str(space(folder, 2)), resolve({"home": str(folder / "home")}, {}), "plan"
        )
        study.open_clips(resolve({"home": str(folder / "home")}, {}), progress)
        clips = study.labels
        epochs = settled(study)
        file = space(folder, epochs)
        plan = Plan(study.plan().splits, epochs, 0)
        shared = share(clips, by_file=True)
        loops: list[list[float]] = []
        seen: list[dict[str, Any]] = []
        for turn in range(ROUNDS):
            home = folder / f"home-{turn}"
            (home / "cache").parent.mkdir()
            (home / "cache").symlink_to(folder / "home" / "cache")  # the sounds are decoded already
            for way in ("bare", "engine")[
                :: 1 if turn % 2 == 0 else -1
            ]:  # a machine that slows down favours neither
                if way == "bare":
                    loops.append(bare(shared, plan))
                else:
                    seen.append(searched(home, file, source))
            print(f"bare {loops[-1][-1]:.1f} s, engine {seen[-1]['ends'][-1]:.1f} s", flush=True)
        lines = page(loops, seen, epochs, about(dataset, "torch", "ray", "optuna", "mlflow"))
    print("\n".join(lines))
    write_section(PERFORMANCE, "overhead", lines)


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
    loops: Sequence[Sequence[float]], seen: Sequence[Mapping[str, Any]], epochs: int, measured: str
) -> list[str]:
    """The section."""
    rows: list[tuple[Any, ...]] = []
    shares: list[tuple[float, float, float]] = []
    for turn, (loop, run) in enumerate(zip(loops, seen, strict=True), start=1):
        ends = run["ends"]
        whole, after = (ends[-1] / loop[-1], (ends[-1] - ends[WARM - 1]) / (loop[-1] - loop[WARM - 1]))
        idle = 1 - run["trained"] / (WORKERS * ends[-1])
        shares.append((whole - 1, after - 1, idle))
        rows.append((turn, duration(loop[-1]), duration(ends[-1]), *map(percent, shares[-1])))
    medians = [statistics.median(column) for column in zip(*shares, strict=True)]
    rows.append(("median", "", "", *map(percent, medians)))
    costs = [
        (
            kind,
            sum(len(run["costs"][kind]) for run in seen),
            *(duration(worth(run["costs"][kind] for run in seen)) for worth in (middle, nearly_all)),
        )
        for kind in ("report", "fold run", "trial")
    ]
    steps = ("imports", "ray", "data", "search", "handed out", "first")
    last = seen[-1]
    moments = [last["marks"]["python"], *(last["marks"][step] for step in steps[:-1]), last["first"]]
    threads, daemons = (
        ", ".join(f"{name} {value:.1f}" for name, value in ranked(last["cpu"][owner]) if value >= 0.05)
        for owner in ("driver", "ray")
    )
    return [
        "## What the engine costs",
        "",
        *prose(
            f"""
            {measured} {TRIALS} trials of 5 splits x {epochs} epochs, about {SECONDS:g} s of training each, in
            {WORKERS} workers: a bare loop over processes, and the same recipes as a search (Ray Tune, ledger,
            MLflow on SQLite, Optuna's file), in turns; who is first alternates. From the start of the first training
            to the end of the last one. After start-up is from the end of trial {WARM} on: until then MLflow is imported
            and its database made, beside the first trainings. The bar is {100 * BAR:g} % after start-up. Idle is the
            share of the workers' time in which they do not train.
            """
        ),
        *table(("round", "bare loop", "engine", "overhead in all", "after start-up", "workers idle"), rows),
        "",
        "What the driver does for each, ledger included:",
        "",
        *table(("for each", "number", "median", "95 % take less than"), costs),
        "",
        f"CPU seconds of the driver by thread, start-up included: {threads}. Of Ray's own processes: {daemons}. "
        f"Trained were {last['trained']:.0f} s.",
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
    else:
        main()
