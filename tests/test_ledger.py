"""Laws of the ledger: nothing is lost, nothing is written twice."""

import multiprocessing
import os
import signal
import sqlite3
import time

import pytest

from search.errors import Failure, UsageError
from search.ledger import Ledger, fold_key, sole_driver

FACTS = {"trial": 0, "phase": "search", "split": 1, "seed": 0}
RESULT = {"score": 0.5, "loss": 1.0, "epochs": 2, "seconds": 1.0, "predictions": b"\0\0"}


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite", create=True)
    yield ledger
    ledger.close()


def finish(ledger, key, **changes):
    for epoch in (1, 2):
        ledger.log_epoch(key, epoch, {"valid_accuracy": epoch / 10}, **(FACTS | changes))
    ledger.finish_fold(key, **RESULT)


def test_what_was_written_is_there_after_reopening(ledger):
    ledger.open_trial(0, {"optim.lr": 1e-3, "architecture": "mel_cnn"})
    finish(ledger, "a")
    ledger.close_trial(0, "complete", 0.5)
    ledger.write_fact("state", {"done": [1, 2]})
    again = Ledger(ledger.path)
    (row,) = again.trials()
    assert (row.values, row.state, row.objective) == (
        {"optim.lr": 1e-3, "architecture": "mel_cnn"},
        "complete",
        0.5,
    )
    (fold,) = again.folds()
    assert (fold.state, fold.score, fold.predictions, fold.epochs) == ("finished", 0.5, b"\0\0", 2)
    assert [(epoch, metrics) for epoch, metrics, _ in again.epochs("a")] == [
        (1, {"valid_accuracy": 0.1}),
        (2, {"valid_accuracy": 0.2}),
    ]
    assert again.fact("state") == {"done": [1, 2]}
    again.close()


def test_a_finished_fold_run_is_never_written_again(ledger):
    ledger.open_trial(0, {})
    finish(ledger, "a")
    ledger.finish_fold("a", **(RESULT | {"score": 0.9}))
    assert ledger.fold("a").score == 0.5


def test_a_lost_worker_costs_only_the_unfinished_fold_run(ledger):
    ledger.open_trial(0, {})
    finish(ledger, "a")
    ledger.log_epoch("b", 1, {"valid_accuracy": 0.1}, **(FACTS | {"split": 2}))
    ledger.suspend_trial(0, lost=True)
    assert ledger.trial(0).state == "waiting"
    assert [fold.state for fold in ledger.folds(0)] == ["finished", "cut"]
    assert ledger.epochs("b") == []
    assert ledger.trial(0).losses == 1
    ledger.retry_trial(0)
    finish(ledger, "b", split=2)
    assert [(fold.state, fold.attempt) for fold in ledger.folds(0)] == [("finished", 1), ("finished", 2)]
    assert ledger.trial(0).losses == 0  # it came further


def test_a_pruned_trial_keeps_its_unfinished_fold_run_as_stopped(ledger):
    ledger.open_trial(0, {})
    ledger.log_epoch("a", 1, {"valid_accuracy": 0.1}, **FACTS)
    ledger.close_trial(0, "pruned", None, "behind")
    (fold,) = ledger.folds()
    assert (fold.state, fold.epochs) == ("stopped", 1)


def test_what_is_written_in_one_transaction_happens_together_or_not_at_all(ledger):
    ledger.open_trial(0, {})
    with pytest.raises(ZeroDivisionError), ledger.transaction():
        finish(ledger, "a")
        ledger.close_trial(0, "complete", 1 / 0)
    assert ledger.folds() == []
    assert ledger.trial(0).state == "running"
    assert [change.kind for change in ledger.changes("mlflow")] == ["trial"]


def test_two_ledgers_never_have_the_same_id(ledger, tmp_path):
    other = Ledger(tmp_path / "other.sqlite", create=True)
    assert len({ledger.id, other.id, Ledger(ledger.path).id}) == 2


def test_a_reader_gets_every_change_once_in_order_and_again_until_it_acknowledges(ledger):
    ledger.open_trial(0, {})
    finish(ledger, "a")
    first = ledger.changes("mlflow")
    assert [(change.kind, change.key) for change in first] == [
        ("trial", "0"),
        ("fold", "a"),
        ("epoch", "a:1"),
        ("epoch", "a:2"),
        ("fold", "a"),
    ]
    assert ledger.changes("mlflow") == first
    assert ledger.backlog("mlflow") == len(first)
    ledger.acknowledge("mlflow", first[-1].id)
    assert ledger.changes("mlflow") == []
    assert ledger.backlog("mlflow") == 0
    assert ledger.changes("another server") == first


def test_an_exam_fold_run_is_recorded_once(ledger):
    for score in (0.7, 0.9):
        ledger.record_exam_fold(
            "x",
            trial=0,
            split=1,
            seed=0,
            score=score,
            loss=1.0,
            epochs=2,
            seconds=2.0,
            predictions=b"",
            losses=[2, 1],
        )
    (fold,) = ledger.folds(phase="exam")
    assert fold.score == 0.7
    assert len(ledger.epochs("x")) == 2


def test_the_key_of_a_fold_run_depends_on_all_that_decides_its_result():
    facts = {"phase": "search", "split": 1, "seed": 0, "epochs": 3, "data": "d", "code": "c"}
    values = {"a": 1, "b": 0.5}
    base = fold_key(values, **facts)
    assert base == fold_key({"b": 0.5, "a": 1}, **facts)
    changed = [fold_key(values | {"a": 2}, **facts)]
    changed += [
        fold_key(values, **(facts | change))
        for change in (
            {"phase": "exam"},
            {"split": 2},
            {"seed": 1},
            {"epochs": 4},
            {"data": "e"},
            {"code": "d"},
        )
    ]
    assert len({base, *changed}) == 8


def test_a_missing_or_foreign_ledger_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no study at"):
        Ledger(tmp_path / "ledger.sqlite")
    (tmp_path / "text.sqlite").write_text("not a database, but long enough to be read as a header" * 30)
    with pytest.raises(Failure, match="cannot be used as a ledger"):
        Ledger(tmp_path / "text.sqlite")
    with sqlite3.connect(tmp_path / "new.sqlite") as database:
        database.execute("PRAGMA user_version = 9")
    database.close()
    with pytest.raises(Failure, match="version 9"):
        Ledger(tmp_path / "new.sqlite")


def _hold(folder, ready):
    with sole_driver(folder):
        ready.set()
        time.sleep(60)


def test_two_drivers_are_refused_and_the_lock_dies_with_its_owner(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    owner = context.Process(target=_hold, args=(tmp_path, ready))
    owner.start()
    try:
        assert ready.wait(60)
        with pytest.raises(Failure, match="running in another process"), sole_driver(tmp_path):
            pass
    finally:
        os.kill(owner.pid, signal.SIGKILL)
        owner.join()
    with sole_driver(tmp_path):
        pass


# versions


def test_a_ledger_of_the_first_version_is_brought_up_to_date(tmp_path):
    path = tmp_path / "ledger.sqlite"
    old = Ledger(path, create=True)
    old.open_trial(0, {"x": 1})
    old.close()
    with sqlite3.connect(path) as database:
        for column in ("rescue", "costs"):
            database.execute(f"ALTER TABLE trials DROP COLUMN {column}")
        database.execute("PRAGMA user_version = 1")
    database.close()
    ledger = Ledger(path)
    ledger.write_costs(0, {"params": 7.0})
    assert (ledger.trial(0).trained, ledger.trial(0).costs) == ({"x": 1}, {"params": 7.0})
    ledger.close()


def test_a_rescued_trial_trains_with_other_values_from_its_first_split(ledger):
    ledger.open_trial(0, {"a": 1, "b": 2})
    ledger.log_epoch("k", 1, {}, trial=0, phase="search", split=1, seed=0)
    ledger.finish_fold("k", score=0.5, loss=1.0, epochs=1, seconds=1.0, predictions=b"")
    ledger.write_rung(0, 1, 1, 0.5)
    ledger.rescue_trial(0, {"b": 4})
    row = ledger.trial(0)
    assert (row.state, row.values, row.trained) == ("waiting", {"a": 1, "b": 2}, {"a": 1, "b": 4})
    assert ledger.rungs() == []
    assert ledger.scores(0) == {}
    ledger.log_epoch("k", 1, {}, trial=0, phase="search", split=1, seed=0)  # the same key counts again
    assert (ledger.fold("k").state, ledger.fold("k").attempt) == ("running", 2)
