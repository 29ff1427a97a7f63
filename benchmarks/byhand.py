"""The same trials through a search wired by hand, as the documentation of its parts shows it, and through this engine:
`python benchmarks/byhand.py`.

By hand: Ray Tune, its OptunaSearch and its callback for MLflow on SQLite; a function that trains the splits of a recipe
one after the other and reports after every epoch. Recipes that cost the same (each way proposes its own learning
rates), two workers of one thread, in turns of seconds; written to docs/benchmarks.md.
"""

import json
import pickle
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common import BENCHMARKS, about, duration, prose, table, times, write_section
from overhead import POINT, RATES, SECONDS, TASKS, TRIALS, TURN, WORKERS, measured, place, prepared
from turns import ran

from escmodels.fit import EpochScore, fit
from escmodels.recipe import parse
from search.trial import Plan, use_threads
from search.worker import Shared

ROUNDS = 1
MARKS = "marks.jsonl"  # file: when each trial began and ended


def train(config: Mapping[str, float], shared: Shared, plan: Plan, marks: str) -> None:
    """A trial as one writes it for Tune: the mean accuracy so far after every epoch."""
    from ray import tune

    use_threads(1)
    clips = shared.open()
    began, done = time.time(), list[float]()

    def on_epoch(score: EpochScore) -> None:
        accuracy = statistics.fmean([*done, score.valid_accuracy or 0.0])
        tune.report({"accuracy": accuracy, "train_loss": score.train_loss, "epoch": score.epoch})

    for split in plan.splits:
        sides = clips.subset(split.train), clips.subset(split.valid)
        fitted = fit(
            parse(POINT | {"optim.lr": config["optim.lr"]}),
            *sides,
            epochs=plan.epochs,
            seed=0,
            on_epoch=on_epoch,
        )
        done.append(fitted.scores[-1].valid_accuracy or 0.0)
    with open(marks, "a") as file:
        file.write(json.dumps([began, time.time()]) + "\n")


def wired(tasks: Path, home: Path) -> None:
    """In a process of its own: the search by hand; when its trials began and ended, as JSON on stdout."""
    import optuna
    import ray
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.search.optuna import OptunaSearch

    shared, plan = pickle.loads(tasks.read_bytes())
    ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, runtime_env=PATHS)
    marks = home / MARKS
    function = tune.with_parameters(train, shared=shared, plan=plan, marks=str(marks))
    tuner = tune.Tuner(
        tune.with_resources(function, {"cpu": 1}),
        param_space={"optim.lr": tune.choice(RATES)},
        tune_config=tune.TuneConfig(
            num_samples=TRIALS,
            search_alg=OptunaSearch(
                metric="accuracy", mode="max", sampler=optuna.samplers.TPESampler(seed=0, multivariate=True)
            ),
        ),
        run_config=tune.RunConfig(
            storage_path=str(home / "tune"),
            callbacks=[
                MLflowLoggerCallback(
                    tracking_uri=f"sqlite:///{home / 'byhand.sqlite'}",
                    experiment_name="esc",
                    save_artifact=False,
                )
            ],
        ),
    )
    found = tuner.fit()
    assert len(found) == TRIALS and not found.errors
    spans = [json.loads(line) for line in marks.read_text().splitlines()]
    first = min(began for began, _ in spans)
    print(json.dumps({"first": first, "ends": [end for _, end in spans], "spans": spans}))


PATHS = {
    "env_vars": {"PYTHONPATH": f"{Path(__file__).parent}:{Path(__file__).parents[1]}"}
}  # of Ray's workers


def main() -> None:
    """Measure, print, write the section."""
    with tempfile.TemporaryDirectory(prefix="escsearch-byhand-") as scratch:
        folder = Path(scratch)
        dataset, source, file, epochs = prepared(folder)
        rounds: list[tuple[dict[str, Any], dict[str, Any]]] = []
        for turn in range(ROUNDS):
            home = place(folder, turn)
            rounds.append(measured(home, file, source, [__file__, "wired", str(folder / TASKS), str(home)]))
            print([found["ends"][-1] for found in rounds[-1]], flush=True)
        lines = page(rounds, epochs, about(dataset, "torch", "ray", "optuna", "mlflow"))
    print("\n".join(lines))
    write_section(BENCHMARKS, "byhand", lines)


def page(
    rounds: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]], epochs: int, measured: str
) -> list[str]:
    """The section."""
    rows = []
    for turn, (hand, ours) in enumerate(rounds, start=1):
        slow, fast = hand["ends"][-1], ours["ends"][-1]
        inside = sum(ran(hand["turns"], end) - ran(hand["turns"], began) for began, end in hand["spans"])
        times_taken = (duration(seconds) for seconds in (slow, inside / WORKERS, fast))
        rows.append(
            (turn, *times_taken, times(slow / fast), duration(hand["start"]), duration(ours["start"]))
        )
    return [
        "## A search wired by hand",
        "",
        *prose(
            f"""
            {measured} {TRIALS} trials of 5 splits x {epochs} epochs, about {SECONDS:g} s of training each, in
            {WORKERS} workers and turns of {TURN:g} s. By hand: Ray Tune with OptunaSearch and MLflowLoggerCallback
            on SQLite, one report an epoch, no pruning. The engine: the same trainings with its pruning switched off,
            so that both train as much; it also keeps each fold run, its clip results and everything `resume` needs.
            Time is from the first training to the end of the last one; start-up is what comes before. Inside trials
            is what of the time by hand a worker spent in trials; the rest is processes that start, because Tune
            begins one for each trial of a function, and it imports torch anew.
            """
        ),
        *table(
            (
                "round",
                "by hand",
                "inside trials",
                "engine",
                "ratio",
                "start-up by hand",
                "start-up of the engine",
            ),
            rows,
        ),
    ]


if __name__ == "__main__":
    if sys.argv[1:2] == ["wired"]:
        wired(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        main()
