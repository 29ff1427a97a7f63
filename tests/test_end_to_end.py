"""The whole path from the command line, on Ray, with MLflow on SQLite: what a user types and gets."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from search.datasets.synthetic import write_esc50_folder
from search.ledger import Ledger

pytestmark = pytest.mark.slow
ENVIRONMENT = {
    key: value for key, value in os.environ.items() if not key.startswith(("ESCSEARCH", "MLFLOW", "RAY"))
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A working directory with short synthetic clips in it."""
    place = tmp_path_factory.mktemp("user")
    write_esc50_folder(place / "sounds", sample_rate=8000, seconds=1.0)
    return place


def command(*words):
    return [sys.executable, "-m", "search", *map(str, words)]


def escsearch(place, *words, code=0):
    done = subprocess.run(
        command(*words), cwd=place, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def killed(place):
    """A run whose driver is killed three times, then finished by `resume`: (outcome, snapshots of fold runs)."""
    words = (
        "run",
        "smoke",
        "--data",
        "sounds",
        "--trials",
        6,
        "--study",
        "drill",
        "--pruner",
        "asha",  # the first three trials, at least, run all five splits
        "--finalists",
        1,
        "--model",
        "m",
    )
    folder, snapshots = place / "runs" / "drill", []
    for moment, first in ((1, words), (5, None), (10, None)):
        driver = subprocess.Popen(
            command(*(first or ("resume", "drill"))),
            cwd=place,
            env=ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 120
        while len(_finished(folder)) < moment and driver.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        assert driver.poll() is None, "the driver ended before it could be killed"
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        snapshots.append(_finished(folder))
    done = escsearch(place, "resume", "drill", "--json")
    return json.loads(done.stdout), snapshots


def _finished(folder: Path):
    """Finished fold runs of the search by key, as they stand in the ledger at this moment."""
    if not (folder / "ledger.sqlite").is_file():
        return {}
    ledger = Ledger(folder / "ledger.sqlite", create=True)
    try:
        return {fold.key: fold for fold in ledger.folds(phase="search") if fold.state == "finished"}
    except sqlite3.OperationalError:  # killed or looked at before its tables were made
        return {}
    finally:
        ledger.close()


def _runs(place):
    """Active MLflow runs: (level, key, status)."""
    with sqlite3.connect(place / "runs" / "mlflow.sqlite") as database:
        rows = database.execute(
            "SELECT level.value, name.value, runs.status, runs.run_uuid FROM runs "
            "JOIN tags level ON level.run_uuid = runs.run_uuid AND level.key = 'esc.level' "
            "JOIN tags name ON name.run_uuid = runs.run_uuid AND name.key = 'esc.key' "
            "WHERE runs.lifecycle_stage = 'active'"
        ).fetchall()
    database.close()
    return rows


def test_three_kills_lose_no_finished_fold_run_and_change_none(killed, place):
    outcome, snapshots = killed
    final = _finished(place / "runs" / "drill")
    assert [len(snapshot) for snapshot in snapshots] == sorted(len(snapshot) for snapshot in snapshots)
    for snapshot in snapshots:
        assert snapshot  # something was finished before each kill
        assert {key: final[key] for key in snapshot} == snapshot  # scores, predictions and times, bit for bit
    assert sum(outcome["trials"].values()) == 6


def test_after_the_kills_ledger_and_mlflow_hold_every_fold_run_once(killed, place):
    ledger = Ledger(place / "runs" / "drill" / "ledger.sqlite")
    rows = _runs(place)
    keys = [key for _, key, _, _ in rows]
    assert len(keys) == len(set(keys))
    for row in ledger.trials():
        splits = [fold.split for fold in ledger.folds(row.number, "search")]
        assert len(splits) == len(set(splits))
        if row.state == "complete":
            assert splits == [1, 2, 3, 4, 5]
        shown = [
            key
            for level, key, _, _ in rows
            if level == "fold" and f"/t{row.number:03d}/s" in key and "exam" not in key
        ]
        assert len(shown) == len(splits)
    assert not [key for _, key, status, _ in rows if status == "RUNNING"]
    exams = [key for level, key, _, _ in rows if level == "fold" and "/exam/" in key]
    assert len(exams) == 5
    assert ledger.backlog(f"sqlite:///{place / 'runs' / 'mlflow.sqlite'}") == 0
    ledger.close()


def test_after_the_kills_every_epoch_stands_in_mlflow_once(killed, place):
    with sqlite3.connect(place / "runs" / "mlflow.sqlite") as database:
        doubled = database.execute(
            "SELECT run_uuid, key, step, count(*) FROM metrics GROUP BY run_uuid, key, step HAVING count(*) > 1"
        ).fetchall()
        points = database.execute("SELECT count(*) FROM metrics WHERE key = 'train_loss'").fetchone()[0]
    database.close()
    assert doubled == []
    assert points >= 2 * 5  # two epochs of five exam folds at least


def test_the_champion_answers_by_its_name(killed, place):
    outcome, _ = killed
    assert outcome["model"]["champion"], outcome["model"]
    clip = next((place / "sounds" / "audio").glob("*.wav"))
    done = escsearch(place, "predict", "models:/m@champion", clip, "--json")
    (row,) = json.loads(done.stdout)["predictions"]
    assert row["file"] == str(clip)
    assert 0 < row["probability"] <= 1


def test_the_printed_commands_work_as_they_are(killed, place):
    outcome, _ = killed
    for line in outcome["next"]:
        if " ui" not in line:
            done = subprocess.run(
                line,
                shell=True,
                cwd=place,
                env=ENVIRONMENT,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            assert done.returncode == 0, f"{line}\n{done.stderr}"
    assert all(line in (place / "runs" / "drill" / "predict.txt").read_text() for line in outcome["next"])


def test_resuming_a_finished_study_trains_nothing_and_says_so(killed, place):
    before = _finished(place / "runs" / "drill")
    done = escsearch(place, "resume", "drill", "--json")
    outcome = json.loads(done.stdout)
    assert outcome["model"]["reason"] == "it is the champion already"
    assert _finished(place / "runs" / "drill") == before


def test_a_study_can_be_asked_for_more_trials_in_process_and_the_gate_refuses_what_is_no_better(
    killed, place
):
    done = escsearch(
        place,
        "run",
        "smoke",
        "--data",
        "sounds",
        "--trials",
        1,
        "--study",
        "second",
        "--runner",
        "local",
        "--finalists",
        1,
        "--no-exam",
        "--pruner",
        "none",
    )
    assert "second" in done.stdout
    escsearch(place, "promote", "second", code=2)  # not examined yet
    escsearch(place, "exam", "second", "--runner", "local", "--finalists", 1)
    refused = escsearch(
        place, "promote", "second", "--runner", "local", "--model", "m", "--min-gain", "0.9", code=4
    )
    assert "gain" in refused.stderr
    more = escsearch(
        place, "resume", "second", "--trials", 3, "--no-exam", "--json"
    )  # locally, as it was begun
    assert sum(json.loads(more.stdout)["trials"].values()) == 3
    trials = json.loads(escsearch(place, "status", "second", "--json").stdout)["trials"]
    winner = max((trial for trial in trials if trial["objective"]), key=lambda trial: trial["objective"])
    if winner["trial"] != 0:  # then another than the examined one is the winner now
        refused = escsearch(place, "promote", "second", code=2)
        assert f"trial {winner['trial']}, was not examined" in refused.stderr
    escsearch(place, "exam", "second", "--seeds", 2, "--finalists", 2)
    first = json.loads(escsearch(place, "promote", "second", "--model", "own", "--json").stdout)
    again = json.loads(escsearch(place, "promote", "second", "--model", "own", "--json").stdout)
    assert (first["model"]["version"], again["model"]["version"]) == (1, 1)
    assert again["exams"][0]["seeds"] == [0, 1]
    escsearch(place, "sync", "second")


def test_the_pages_are_linked_for_the_newest_study(killed, place):
    links = json.loads(escsearch(place, "ui", "--dry-run", "--json").stdout)["links"]
    assert any(what.startswith("trials of ") for what in links)
    assert any(what.startswith("learning curves of t00") for what in links)
    assert all(link.startswith("http://127.0.0.1:5000/#/") for link in links.values())


def test_ctrl_c_saves_and_leaves_with_130(place):
    driver = subprocess.Popen(
        command("run", "smoke", "--data", "sounds", "--trials", 50, "--study", "stopped", "--no-exam"),
        cwd=place,
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not _finished(place / "runs" / "stopped") and driver.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    driver.send_signal(signal.SIGINT)
    _, stderr = driver.communicate(timeout=120)
    assert driver.returncode == 130, stderr
    assert "resume stopped" in stderr
    assert "Traceback" not in stderr
    status = json.loads(escsearch(place, "status", "stopped", "--json").stdout)
    assert status["state"] == "interrupted"
    assert status["backlog"] == 0
    assert {trial["state"] for trial in status["trials"]} <= {"complete", "pruned", "queued", "waiting"}


def test_gpus_that_are_not_there_are_a_sentence(place):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    done = escsearch(
        place, "run", "smoke", "--data", "sounds", "--study", "gpu", "--gpus-per-trial", 1, code=1
    )
    assert "--gpus-per-trial 1 was asked for and no machine here has a GPU" in done.stderr
    assert not (place / "runs" / "gpu").exists()
