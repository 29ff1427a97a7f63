"""Laws of `status` and `stop`: they say what is so, and leave a study as they found it."""

import json
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest
from made_study import Study, asked, mixed_study

from search.cli import main
from search.commands import watch
from search.commands.watch import driven
from search.datasets.synthetic import write_esc50_folder
from search.ledger import Ledger, sole_driver

HEAVY = ("torch", "ray", "mlflow", "optuna", "pandas", "matplotlib", "sklearn")


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    """Call the command line with its home in `tmp_path`: (exit code, stdout, stderr)."""
    for name in ("ESCSEARCH_HOME", "MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(watch, "PAUSE", 0.05)

    def call(*words):
        code = main([*map(str, words), "--home", str(tmp_path / "home")])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def study(tmp_path):
    study = Study(tmp_path / "home" / "s")
    yield study
    study.ledger.close()


@contextmanager
def driver(study, work):
    """Somebody who holds the lock while `work(ledger)` lasts, in a thread."""
    holds = threading.Event()

    def drive():
        with sole_driver(study.folder):
            holds.set()
            ledger = Ledger(study.ledger.path)
            work(ledger)
            ledger.close()

    thread = threading.Thread(target=drive)
    thread.start()
    assert holds.wait(10)
    yield
    thread.join(10)
    assert not thread.is_alive()


def until(condition):
    """Wait for something, 10 seconds at most."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_driven_is_true_while_somebody_holds_the_lock(study):
    assert not driven(study.folder)  # never begun
    with sole_driver(study.folder):
        assert driven(study.folder)
    assert not driven(study.folder)
    with sole_driver(study.folder):  # looking has left nothing behind
        pass


def test_status_says_who_runs_it_and_since_when(run, study):
    mixed_study(study)
    with sole_driver(study.folder):
        code, stdout, stderr = run("status", "s")
    assert (code, stderr) == (0, "")
    first = stdout.splitlines()[0]
    assert first.startswith("study s: running since 2")
    assert first.endswith(", on here, process 1234")
    assert "split 2 of 3, epoch 3/4, 0.750, " in stdout
    assert "ETA" in stdout
    assert "diverged" in stdout


def test_a_study_whose_driver_is_gone_is_said_to_be_cut_off(run, study):
    _, stdout, _ = run("status", "s")
    assert "cut off: its driver is gone; go on with: " in stdout.splitlines()[0]
    assert "resume s" in stdout.splitlines()[0]
    assert "ETA" not in stdout


@pytest.mark.parametrize(
    ("state", "says"),
    [("interrupted", "study s: interrupted at 2"), ("searched", "searched at"), ("done", "done at")],
)
def test_a_study_at_rest_says_how_it_ended(run, study, state, says):
    study.ledger.set_state(state)
    _, stdout, _ = run("status", "s")
    assert says in stdout.splitlines()[0]
    assert ("resume s" in stdout) == (state == "interrupted")


def test_an_exam_from_before_a_change_says_so(run, study):
    mixed_study(study)
    study.ledger.write_fact("mixed", [{"what": "data", "before": "a", "now": "b", "time": 5.0}])
    exam = {"mean": 0.7, "low": 0.6, "high": 0.8, "protocol": "rotating"}
    for trial, moment in ((0, 6.0), (1, 4.0)):
        study.ledger.write_fact(f"exam/{trial}", {"exam": exam, "time": moment})
    _, stdout, _ = run("status", "s")
    said = [line for line in stdout.splitlines() if line.startswith("exam t")]
    assert said[0].endswith("[0.600, 0.800], rotating")
    assert said[1].endswith("rotating; on other data or code than now: not to be compared")


def test_the_document_holds_what_the_table_shows(run, study):
    mixed_study(study)
    study.ledger.write_fact("warm", {"study": "older", "tries": [{}], "history": [1, 2]})
    study.ledger.write_fact("mixed", [{"what": "code", "before": "a", "now": "b", "time": 5.0}])
    exam = {"mean": 0.7, "low": 0.6, "high": 0.8, "protocol": "rotating"}
    for trial, moment in ((0, 6.0), (1, 4.0)):
        study.ledger.write_fact(f"exam/{trial}", {"exam": exam, "time": moment})
    with sole_driver(study.folder):
        _, stdout, _ = run("status", "s", "--json")
    found, now = json.loads(stdout), study.read()
    assert found["counts"] == {"complete": 1, "pruned": 1, "failed": 1, "infeasible": 1, "running": 2}
    assert found["best"] == {
        "trial": 0, "objective": now.best.objective, "low": now.interval[0], "high": now.interval[1],
    }  # fmt: skip
    assert found["epochs"] == {"spent": 14, "full": 24}
    assert found["saved"] == 1 - 14 / 24
    assert found["eta_seconds"] > 0
    assert (found["objectives"], found["front"]) == (["accuracy"], [])
    assert found["warm"] == {"study": "older", "tries": 1, "history": 2}
    assert found["mixed"][0]["what"] == "code"
    assert found["exams"] == [
        {"trial": 0, "current": True, **exam},
        {"trial": 1, "current": False, **exam},
    ]
    assert (found["state"], found["driven"], found["asked"]["pid"]) == ("running", True, 1234)
    assert found["backlog"] == study.ledger.backlog("nobody")
    assert [trial["now"] for trial in found["trials"]] == [None] * 4 + [[1, 3, 0.75], None]
    text = run("status", "s")[1]
    assert "exam t000 mel_cnn: 0.700 [0.600, 0.800], rotating" in text
    assert "caution: since 1970-01-0" in text
    assert json.loads(run("status", "s", "--json")[1])["eta_seconds"] is None  # nobody runs it


def test_the_front_is_in_the_document(run, study):
    study.ledger.write_fact("asked", asked(objectives=["accuracy", "-params"]))
    study.begin(0)
    study.ledger.write_costs(0, {"params": 10.0})
    study.complete(0)
    study.ledger.write_fact("front", [0])
    found = json.loads(run("status", "s", "--json")[1])
    assert found["front"] == [{"trial": 0, "accuracy": 0.75, "params": 10.0}]
    assert "  t000 mel_cnn: accuracy 0.750, params 10\n" in run("status", "s")[1]


def test_the_best_trials_and_those_that_run_are_listed_and_all_on_demand(run, study):
    for trial in range(30):
        study.begin(trial)
        study.split(trial, 3, [trial % 3 == 0, 1, 1])
        if trial < 28:
            state = "complete" if trial < 2 else "pruned" if trial < 26 else "failed"
            study.ledger.close_trial(trial, state, 0.1 * (trial + 1) if trial < 2 else None, "why")
    code, short, _ = run("status", "s")
    rows = [line.split()[0] for line in short.splitlines() if line.strip().startswith("t0")]
    assert rows[:4] == ["t001", "t000", "t003", "t006"]  # complete, then the best of the pruned
    assert len(rows) == 22
    assert rows[-2:] == ["t028", "t029"]  # those that run
    assert "the best 20 of 28 trials that have ended; all of them: " in short
    _, whole, _ = run("status", "s", "--all")
    assert [line.split()[0] for line in whole.splitlines() if line.strip().startswith("t0")] == [
        f"t{trial:03d}" for trial in range(30)
    ]
    assert len(json.loads(run("status", "s", "--json")[1])["trials"]) == 30


def test_a_study_that_was_cut_off_before_its_first_trial_has_a_status(run, tmp_path):
    folder = tmp_path / "home" / "s"
    folder.mkdir(parents=True)
    (folder / "study.yaml").write_text("data: here\n")
    Ledger(folder / "ledger.sqlite", create=True).close()
    code, stdout, _ = run("status", "s")
    assert (code, "0/0 trials" in stdout) == (0, True)
    assert json.loads(run("status", "s", "--json")[1])["epochs"] == {"spent": 0, "full": None}


def test_watching_ends_when_nobody_runs_it_any_more(run, study):
    def work(ledger):
        time.sleep(0.3)
        study_of(ledger).complete(0)
        time.sleep(0.3)
        ledger.set_state("done")

    def study_of(ledger):
        other = Study.__new__(Study)
        other.ledger = ledger
        return other

    study.begin(0)
    with driver(study, work):
        code, stdout, _ = run("status", "s", "--watch")
    assert code == 0
    lines = stdout.splitlines()
    assert "0/10 trials  no complete trial yet" in lines[0]
    assert any("1/10 trials (1 complete)  best 0.750" in line for line in lines[1:])
    assert any(line.startswith("study s: done at ") for line in lines)


def test_ctrl_c_ends_watching_and_not_the_study(run, study, monkeypatch):
    def interrupt(seconds):
        raise KeyboardInterrupt

    with sole_driver(study.folder):
        monkeypatch.setattr(watch.time, "sleep", interrupt)
        assert run("status", "s", "--watch")[0] == 0
    assert study.ledger.state[0] == "running"
    assert not study.ledger.fact("stop")


def test_a_live_table_is_no_document(run, study):
    code, stdout, stderr = run("status", "s", "--watch", "--json")
    assert (code, stdout) == (2, "")
    assert "leave one of them out" in stderr


def test_status_imports_nothing_heavy(study):
    mixed_study(study)
    code = (
        "import sys\n"
        "from search.cli import main\n"
        f"main(['status', 's', '--home', {str(study.folder.parent)!r}])\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


# stop


def test_what_nobody_runs_cannot_be_stopped(run, study):
    code, stdout, stderr = run("stop", "s")
    assert (code, stdout) == (1, "")
    assert "nobody runs study s; go on with it: " in stderr
    assert not study.ledger.fact("stop")


def test_an_exam_is_not_stopped_from_here(run, study):
    study.ledger.set_state("searched")
    with sole_driver(study.folder):
        code, _, stderr = run("stop", "s")
    assert code == 1
    assert "press Ctrl-C where it runs" in stderr
    assert not study.ledger.fact("stop")


def stops(ledger):
    """A driver that does as it is asked."""
    until(lambda: ledger.fact("stop"))
    ledger.suspend_trial(0)
    ledger.set_state("interrupted")


def test_stop_waits_for_the_end_and_says_how_to_go_on(run, study):
    study.begin(0)
    with driver(study, stops):
        code, stdout, stderr = run("stop", "s")
    assert code == 0
    assert stdout.startswith("study s: interrupted; go on with: ")
    assert "resume s" in stdout
    assert "waiting for 1 running trial to report" in stderr


def test_what_was_asked_before_the_session_had_begun_is_asked_again(run, study):
    def work(ledger):
        until(lambda: ledger.fact("stop"))
        ledger.write_fact("stop", False)  # what every session begins with
        stops(ledger)

    study.begin(0)
    with driver(study, work):
        assert run("stop", "s", "--json")[0] == 0


def test_stop_need_not_wait(run, study):
    with sole_driver(study.folder):
        code, stdout, _ = run("stop", "s", "--no-wait", "--json")
    assert code == 0
    found = json.loads(stdout)
    assert (found["stopped"], found["state"]) == (False, "running")
    assert "resume s" in found["resume"]
    assert study.ledger.fact("stop") is True
    assert ", stopping since" not in run("status", "s")[1]  # nobody is there to do so
    with sole_driver(study.folder):
        assert ", stopping since" in run("status", "s")[1]


def test_a_search_that_ends_before_it_could_be_stopped_is_said(run, study):
    def work(ledger):
        until(lambda: ledger.fact("stop"))
        ledger.set_state("searched")
        time.sleep(1)

    with driver(study, work):
        code, _, stderr = run("stop", "s")
    assert code == 1
    assert "ended before it could be stopped" in stderr


@pytest.mark.slow
def test_a_search_is_watched_stopped_and_resumed_from_elsewhere(tmp_path):
    write_esc50_folder(tmp_path / "sounds", sample_rate=8000, seconds=0.5)
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("ESCSEARCH", "MLFLOW", "RAY"))
    }

    def command(*words):
        return [sys.executable, "-m", "search", *words]

    def call(*words):
        return subprocess.run(
            command(*words), cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
        )

    words = ("run", "smoke", "--data", "sounds", "--runner", "local", "--trials", "50", "--study", "s")
    process = subprocess.Popen(
        command(*words, "--no-exam"), cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    folder, deadline = tmp_path / "runs" / "s", time.monotonic() + 200
    while process.poll() is None and time.monotonic() < deadline:
        if (folder / "ledger.sqlite").is_file() and Ledger(folder / "ledger.sqlite").any_epoch():
            break
        time.sleep(0.2)
    watched = subprocess.Popen(
        command("status", "s", "--watch"), cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    )
    found = json.loads(call("status", "s", "--json").stdout)
    assert (found["state"], found["driven"], found["asked"]["pid"]) == ("running", True, process.pid)
    stopped = call("stop", "s")
    assert stopped.returncode == 0, stopped.stderr
    assert "resume s" in stopped.stdout
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    lines = watched.communicate(timeout=60)[0].splitlines()
    assert watched.returncode == 0
    assert any(line.startswith("study s: interrupted at ") for line in lines)
    found = json.loads(call("status", "s", "--json").stdout)
    assert found["state"] == "interrupted"
    assert "running" not in found["counts"]
    again = call("resume", "s", "--trials", str(len(found["trials"])), "--no-exam")
    assert again.returncode == 0, again.stderr
    assert json.loads(call("status", "s", "--json").stdout)["state"] == "searched"
