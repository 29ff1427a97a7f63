"""Laws of the projection into Optuna's own file: what the ledger says, once each, whatever happens in between."""

import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from search.ledger import Ledger
from search.objectives import ACCURACY, parse
from search.optuna_store import READER, OptunaStore, OptunaThread, open_command
from spaces.domains import Categorical, Float, Int
from spaces.space import Level, Space, sample

SPACE = Space(
    "toy",
    "",
    3,
    Level(
        {"x": Float(0.0, 1.0), "fixed": "always"},
        {
            "family": {
                "a": Level({"lr": Float(1e-5, 1e-3, log=True)}),
                "b": Level({"lr": Float(1e-2, 1e-1, log=True), "n": Int(1, 9, step=2)}),
                "c": Level({"pad": Categorical(("zero", "tile"))}),
            }
        },
    ),
)
ENDS = ("complete", "complete", "pruned", "complete", "failed", "infeasible")


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite", create=True)
    ledger.write_fact("asked", {"epochs": 10})
    yield ledger
    ledger.close()


@pytest.fixture
def store(tmp_path):
    store = OptunaStore(tmp_path / "optuna.sqlite", SPACE, "s", ACCURACY)
    yield store
    store.close()


def run(ledger, count=6, seed=0):
    """So many more trials, ended each in its own way."""
    rng, first = random.Random(seed), ledger.count_trials()
    for number in range(first, first + count):
        state = ENDS[number % len(ENDS)]
        values = sample(SPACE, rng)
        ledger.open_trial(number, values)
        ledger.write_rung(number, 1, 4, 0.25)
        ledger.write_rung(number, 2, 10, values["x"])
        accuracy = values["x"] if state == "complete" else None
        ledger.close_trial(number, state, accuracy, "" if state == "complete" else f"{state} it was")


def loaded(store):
    return optuna.load_study(study_name="s", storage=f"sqlite:///{store.path}")


def numbers(store):
    return [trial.user_attrs["trial"] for trial in loaded(store).get_trials()]


def test_what_optuna_reads_is_what_the_ledger_says(ledger, store):
    run(ledger, 12)
    assert store.catch_up(ledger) == 12
    study = loaded(store)
    assert study.directions == [optuna.study.StudyDirection.MAXIMIZE] and study.metric_names == ["accuracy"]
    states = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED}
    for row, trial in zip(ledger.trials(), study.get_trials(), strict=True):
        assert trial.state == states.get(row.state, TrialState.FAIL)
        assert trial.values == (None if row.objective is None else [row.objective])
        assert trial.intermediate_values == {4: 0.25, 20: row.values["x"]}
        assert trial.datetime_start.timestamp() == pytest.approx(row.started, abs=1e-5)
        assert trial.datetime_complete.timestamp() == pytest.approx(row.ended, abs=1e-5)
        assert trial.user_attrs["trial"] == row.number and trial.user_attrs["state"] == row.state
        assert trial.user_attrs.get("reason", "") == row.reason
        read = {name.rpartition(", ")[2]: value for name, value in trial.params.items()}
        assert read | {"fixed": "always"} == row.values
    best = max((row for row in ledger.trials() if row.objective is not None), key=lambda row: row.objective)
    assert study.best_trial.user_attrs["trial"] == best.number and study.best_value == best.objective


def test_a_knob_with_two_ranges_is_two_parameters(ledger, store):
    run(ledger, 12)
    store.catch_up(ledger)
    found = {name for trial in loaded(store).get_trials() for name in trial.params}
    assert found == {"x", "family", "family=a, lr", "family=b, lr", "n", "pad"}


def test_importances_can_be_computed(ledger, store):
    run(ledger, 24)
    store.catch_up(ledger)
    found = optuna.importance.get_param_importances(loaded(store), params=["x", "family"])
    assert sum(found.values()) == pytest.approx(1) and next(iter(found)) == "x"


def test_catching_up_adds_what_is_new_and_nothing_twice(ledger, store):
    run(ledger, 3)
    ledger.open_trial(3, sample(SPACE, random.Random(3)))  # still running
    assert (store.catch_up(ledger), store.catch_up(ledger)) == (3, 0)
    ledger.close_trial(3, "complete", 0.5)
    run(ledger, 2)
    assert store.catch_up(ledger) == 3
    assert numbers(store) == [0, 1, 2, 3, 4, 5]


def test_what_was_added_but_not_acknowledged_is_not_added_again(ledger, store, monkeypatch):
    run(ledger, 3)
    monkeypatch.setattr(ledger, "acknowledge", lambda *facts: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        store.catch_up(ledger)
    monkeypatch.undo()
    run(ledger, 1)
    again = OptunaStore(store.path, SPACE, "s", ACCURACY)
    assert again.catch_up(ledger) == 1
    again.close()
    assert numbers(store) == [0, 1, 2, 3]


def test_a_file_that_was_thrown_away_is_written_anew(ledger, store):
    run(ledger, 3)
    store.catch_up(ledger)
    store.path.unlink()
    assert store.catch_up(ledger) == 3
    assert numbers(store) == [0, 1, 2]


def test_nothing_new_costs_nothing(ledger, store, monkeypatch):
    run(ledger, 2)
    store.catch_up(ledger)
    again = OptunaStore(store.path, SPACE, "s", ACCURACY)
    ledger.log_epoch("k", 1, {}, trial=0, phase="search", split=1, seed=0)
    monkeypatch.setattr(again, "_open", None)  # the file is not even opened
    assert again.catch_up(ledger) == 0 and ledger.backlog(READER) == 0


def test_with_several_objectives_optuna_finds_the_same_front(ledger, tmp_path):
    objectives = parse("accuracy,-loss,-params")
    store = OptunaStore(tmp_path / "optuna.sqlite", SPACE, "s", objectives)
    facts = [(0.9, 50.0, 0.5), (0.8, 10.0, 0.5), (0.7, 20.0, 0.5), (0.6, 60.0, 0.1), (0.5, None, 0.4)]
    for number, (accuracy, params, loss) in enumerate(facts):
        ledger.open_trial(number, sample(SPACE, random.Random(number)))
        ledger.write_rung(number, 1, 4, 0.25)
        if params is not None:
            ledger.write_costs(number, {"params": params})
        for split, part in ((1, loss - 0.1), (2, loss + 0.1)):
            key = f"{number}/{split}"
            ledger.log_epoch(key, 1, {}, trial=number, phase="search", split=split, seed=0)
            ledger.finish_fold(key, score=accuracy, loss=part, epochs=1, seconds=1.0, predictions=b"")
        ledger.close_trial(number, "complete", accuracy)
    ledger.open_trial(5, sample(SPACE, random.Random(5)))
    ledger.write_rung(5, 1, 4, 0.25)
    ledger.close_trial(5, "pruned", None, "behind")
    assert store.catch_up(ledger) == 6
    store.close()
    study = loaded(store)
    assert study.metric_names == ["accuracy", "loss", "params"]
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE", "MINIMIZE"]
    trials = study.get_trials()
    assert trials[0].values == pytest.approx([0.9, 0.5, 50.0]) and trials[0].user_attrs["costs"] == {
        "params": 50.0
    }
    assert trials[4].state == TrialState.FAIL, "a cost that was not measured has no value"
    assert trials[5].state == TrialState.PRUNED and trials[5].intermediate_values == {4: 0.25}
    assert sorted(trial.user_attrs["trial"] for trial in study.best_trials) == [0, 1, 3]


def test_a_trial_that_is_worth_no_number_has_failed(ledger, store):
    ledger.open_trial(0, sample(SPACE, random.Random(0)))
    ledger.write_rung(0, 1, 4, math.inf)
    ledger.close_trial(0, "complete", math.inf)
    assert store.catch_up(ledger) == 1
    (trial,) = loaded(store).get_trials()
    assert trial.state == TrialState.FAIL and trial.intermediate_values == {}


def test_values_of_a_space_that_has_changed_are_left_out(ledger, store):
    ledger.open_trial(0, {"x": 7.0, "fixed": "always", "family": "c", "pad": "zero"})
    ledger.close_trial(0, "complete", 0.5)
    run(ledger, 1)
    assert store.catch_up(ledger) == 1
    assert numbers(store) == [1]


def test_the_command_opens_the_file_wherever_it_lies(ledger, tmp_path):
    folder = tmp_path / "a {b} 50% c?d"
    folder.mkdir()
    store = OptunaStore(folder / "optuna.sqlite", SPACE, "s", ACCURACY)
    run(ledger, 1)
    store.catch_up(ledger)
    store.close()
    assert store.path.stat().st_size > 0
    plain = open_command(tmp_path / "optuna.sqlite")
    assert plain == f"optuna-dashboard sqlite:////{str(tmp_path).lstrip('/')}/optuna.sqlite"
    url = open_command(store.path).removeprefix("optuna-dashboard ").strip("'")
    assert len(optuna.load_study(study_name="s", storage=url).get_trials()) == 1


def watched(ledger, path, objectives=ACCURACY):
    """A thread on a file, and what it says."""
    said = []
    thread = OptunaThread(ledger.path, path, SPACE, "s", objectives, say=said.append, pause=0.01)
    return thread, said


def test_the_thread_keeps_up_and_ends_when_asked(ledger, tmp_path):
    thread, said = watched(ledger, tmp_path / "optuna.sqlite")
    run(ledger, 2)
    thread.start()
    thread.start()
    run(ledger, 2)
    thread.finish(60)
    assert numbers(thread.store) == [0, 1, 2, 3] and said == []


def test_what_an_earlier_session_left_is_added_even_if_nothing_happens_in_this_one(ledger, tmp_path):
    run(ledger, 1)
    thread, _ = watched(ledger, tmp_path / "optuna.sqlite")
    thread.finish(60)
    assert numbers(thread.store) == [0]


def until(true, seconds=60):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_trouble_is_said_once_and_is_over_when_it_is_mended(ledger, tmp_path):
    path = tmp_path / "optuna.sqlite"
    path.write_text("this is no database, but long enough to be taken for the header of one" * 30)
    thread, said = watched(ledger, path)
    run(ledger, 1)
    thread.start()
    until(lambda: thread.trouble)
    time.sleep(0.3)  # several more tries
    assert len(said) == 1 and "is not kept up to date (DatabaseError: file is not a database)" in said[0]
    path.rename(tmp_path / "aside.sqlite")
    until(lambda: thread.trouble is None)
    thread.finish(60)
    assert said[1:] == [f"{path} is up to date again"]
    assert numbers(thread.store) == [0]


def test_other_objectives_want_another_file(ledger, store):
    run(ledger, 1)
    store.catch_up(ledger)
    run(ledger, 1)
    thread, said = watched(ledger, store.path, parse("accuracy,-loss"))
    thread.finish(60)
    assert len(said) == 1 and "holds study s with other objectives" in said[0]


CHILD = """
import sys
from pathlib import Path
sys.path[:0] = [{tests!r}, {root!r}]
from test_optuna_store import ACCURACY, SPACE, Ledger, OptunaStore
store = OptunaStore(Path({path!r}), SPACE, "s", ACCURACY)
print("begun", flush=True)
store.catch_up(Ledger(Path({ledger!r})))
"""


@pytest.mark.slow
def test_killed_at_any_moment_nothing_is_lost_or_doubled(ledger, store):
    run(ledger, 40)
    tests = Path(__file__).parent
    names = {"tests": str(tests), "root": str(tests.parent)}
    script = CHILD.format(**names, path=str(store.path), ledger=str(ledger.path))
    rng = random.Random(0)
    for _ in range(6):
        child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None and child.stdout.readline() == "begun\n"
        time.sleep(rng.uniform(0, 2))
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
    store.catch_up(ledger)
    assert sorted(numbers(store)) == list(range(40))
    assert all(trial.state.is_finished() for trial in loaded(store).get_trials())
