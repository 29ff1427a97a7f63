"""Laws of the view of a search: its numbers are those of the ledger, it fits the terminal, it changes nothing."""

import io
import os
import sys
import time

import numpy as np
import pytest
from made_study import CLIPS, EPOCHS, Study, asked, mixed_study
from rich.console import Console

from escmodels.evidence import bootstrap_interval
from search.errors import Failure, UsageError
from search.glance import Glance
from search.ledger import Ledger, sole_driver
from search.progress import SearchView, drawing, front_lines, headline, packed, page, score_list
from search.settings import resolve
from search.standing import Follower, seconds_left


@pytest.fixture
def study(tmp_path):
    study = Study(tmp_path / "home" / "s")
    yield study
    study.ledger.close()


@pytest.fixture
def settings(tmp_path):
    return resolve({"home": str(tmp_path / "home")}, {}, tmp_path)


def shown(now, width, link="escsearch ui", trouble="", height=24):
    console = Console(record=True, width=width, file=open(os.devnull, "w"), force_terminal=True)
    with console.file:
        console.print(drawing(now, link, width, trouble, height))
    return console.export_text()


# numbers


def test_the_numbers_are_those_counted_by_hand(study):
    now = mixed_study(study).read()
    assert dict(now.counts) == {"complete": 1, "pruned": 1, "failed": 1, "infeasible": 1, "running": 2}
    assert now.ended == 4
    assert (now.spent, now.full) == (12 + 2, 2 * 3 * EPOCHS)  # complete and pruned alone
    assert now.saved == 1 - 14 / 24
    assert now.best.number == 0
    assert now.scores[4] == (1.0,)
    one, other = now.running
    assert (one.row.number, one.split, one.place, one.epoch, one.accuracy) == (4, 1, 2, 3, 0.75)
    assert (other.split, other.place, other.epoch, other.accuracy, other.scores) == (None, 1, 0, None, ())
    assert now.backlog == study.ledger.backlog("r")


def test_the_interval_is_that_of_whole_recordings_and_of_folds_that_count_the_same(study):
    shares = {1: [0, 1, 0, 1], 2: [1, 1], 3: [1, 1, 0]}
    study.begin(0)
    study.complete(0, shares)
    right, source = np.concatenate([shares[split] for split in (1, 2, 3)]), np.array(CLIPS["sources"])
    weight = np.repeat([1 / 4, 1 / 2, 1 / 3], [4, 2, 3])
    low, high = study.read().interval
    assert (low, high) == bootstrap_interval(right, source, weight_N=weight)
    assert (low, high) != bootstrap_interval(right, source)
    assert low < study.read().best.objective < high


def test_there_is_no_interval_for_what_was_judged_on_other_data(study):
    study.begin(0)
    study.complete(0)
    study.ledger.write_fact("clips", CLIPS | {"labels": [1 - label for label in CLIPS["labels"]]})
    assert study.read().interval is None
    study.ledger.write_fact("clips", CLIPS | {"valid": CLIPS["valid"] | {"1": [0, 1]}})
    assert study.read().interval is None


def test_runs_that_were_cut_off_or_became_stale_cost_nothing_and_score_nothing(study):
    study.begin(0)
    study.split(0, 3)
    study.epochs(0, 1, 3)
    study.ledger.suspend_trial(0)
    assert study.read().scores[0] == (1.0,)
    study.ledger.set_aside()
    assert study.read().scores[0] == ()
    study.ledger.close_trial(0, "pruned", None)
    assert study.read().spent == 0


def test_who_follows_step_by_step_sees_what_one_sees_who_comes_late(study):
    glance = Glance(study.ledger.path)
    follower, moment = Follower(glance, "r"), time.time() + 5
    steps = [
        lambda: study.begin(0),
        lambda: study.epochs(0, 3, 2),
        lambda: study.split(0, 3),
        lambda: study.ledger.suspend_trial(0, lost=True),
        lambda: study.ledger.retry_trial(0),
        lambda: study.complete(0),
        lambda: (study.begin(1), study.split(1, 3)),
        lambda: study.ledger.set_aside(),
        lambda: study.ledger.rescue_trial(1, {"optim.batch": 4}),
        lambda: study.ledger.write_fact("asked", asked(trials=7, splits=[1, 2, 3])),
        lambda: study.ledger.write_fact("stop", True),
        lambda: (study.ledger.retry_trial(1), study.epochs(1, 1, 1)),
        lambda: study.ledger.close_trial(1, "failed", None, "diverged"),
        lambda: study.ledger.set_state("searched"),
        lambda: study.ledger.record_exam_fold(
            "e", trial=0, split=1, seed=0, score=0.5, loss=1, epochs=1, seconds=1, predictions=b"", losses=[1]
        ),
    ]
    for step in steps:
        step()
        assert follower.read(moment) == study.read(moment)
    glance.close()


def test_several_objectives_have_a_front(study):
    study.ledger.write_fact("asked", asked(objectives=["accuracy", "-loss", "-params"]))
    study.begin(0)
    study.ledger.write_costs(0, {"params": 12345.0})
    study.complete(0)
    assert front_lines(study.read()) == ["0 trials on the front"]
    study.ledger.write_fact("front", [0])
    now = study.read()
    assert now.front == {0: (now.best.objective, 1.0, 12345.0)}
    assert front_lines(now) == [
        "1 trial on the front",
        f"  t000 mel_cnn: accuracy {now.best.objective:.3f}, loss 1.000, params 12,345",
    ]


# how long


def test_nobody_says_how_long_before_two_trials_have_ended():
    assert seconds_left([12], [], 5, 12, 1.0, None) is None
    assert seconds_left([12, 12], [], 5, 12, 0.0, None) is None
    assert seconds_left([12, 12], [], 5, 12, 1.0, None) == 60


def test_the_time_left_grows_with_what_is_to_do_and_falls_with_the_pace():
    def left(unbegun=5, spent=3, pace=2.0, limit=None):
        return seconds_left([4, 12, 12], [spent, 0], unbegun, 12, pace, limit)

    assert [left(unbegun=n) for n in range(20)] == sorted(left(unbegun=n) for n in range(20))
    assert left(pace=4.0) == left() / 2
    behind = [left(spent=spent) for spent in range(4, 13)]  # beyond where some ended
    assert behind == sorted(behind, reverse=True)
    limited = [left(unbegun=1000, limit=limit) for limit in range(0, 100, 10)]
    assert limited == sorted(limited)
    assert left(limit=1e9) == left()
    assert left(unbegun=1000, limit=-5) == left(unbegun=0)


def test_a_trial_that_has_got_further_than_all_is_expected_to_end_as_a_whole():
    assert seconds_left([4, 4], [5], 0, 12, 1.0, None) == 12 - 5
    assert seconds_left([4, 4], [2], 0, 12, 1.0, None) == 4 - 2


def test_the_pace_is_that_of_this_session(study):
    for trial in range(2):
        study.begin(trial)
        study.complete(trial)
    study.ledger.write_fact("asked", asked(began=time.time() + 1))
    assert study.read().eta is None  # nothing was trained in it
    began = time.time() - 10
    study.ledger.write_fact("asked", asked(began=began, trials=4))
    assert study.read(began + 24).eta == pytest.approx(24)  # 24 epochs in 24 s, 24 to go
    study.ledger.set_state("searched")
    assert study.read(began + 24).eta is None


# how it looks


@pytest.mark.parametrize("width", [20, 40, 80, 120])
def test_nothing_is_wider_than_the_terminal(study, width):
    for trial in range(6, 70):
        study.begin(trial)
        study.epochs(trial, 3, trial % EPOCHS)
    now = mixed_study(study).read()
    for line in shown(now, width, trouble="MLflow is away (connection refused) since 12:00").splitlines():
        assert len(line) <= width
    assert max(map(len, packed(headline(now), width))) <= width


def test_with_many_workers_the_first_are_shown_and_the_others_counted(study):
    for trial in range(64):
        study.begin(trial)
    text = shown(study.read(), 80)
    for height in range(12, 40):
        assert len(shown(study.read(), 80, height=height).splitlines()) < height
    assert "t011 mel_cnn" in text
    assert "t012" not in text
    assert "and 52 more running trials" in text


@pytest.mark.parametrize("width", [80, 120])
def test_everything_is_there(study, width):
    now = mixed_study(study).read()
    text = " ".join(shown(now, width, trouble="away since 12:00").split())
    for part in (
        "4/10 trials (1 complete, 1 pruned, 1 failed, 1 infeasible)",
        f"best {now.best.objective:.3f} [{now.interval[0]:.3f}, {now.interval[1]:.3f}] (t000 mel_cnn)",
        "14 of 24 epochs, 42% saved",
        f"{now.backlog} changes wait for MLflow: away since 12:00",
        "t004 mel_cnn 2/3 3/4 0.750 1.000",
        "t005 mel_cnn 1/3 -/4 - -",
        "see escsearch ui",
    ):
        assert part in text


def test_many_scores_are_summed_up():
    assert score_list([0.5, 0.75]) == "0.500 0.750"
    assert score_list([0.5] * 5 + [1.0]) == "6 of mean 0.583, 0.500 to 1.000"


def test_the_link_leads_to_the_trials_where_mlflow_is_a_server(study, tmp_path):
    def link(uri):
        flags = {"home": str(tmp_path / "home")} | ({"tracking_uri": uri} if uri else {})
        return page(study.read(), "s", resolve(flags, {}, tmp_path))

    assert " ui" in link(None)
    assert link("http://there:5000") == "http://there:5000"
    study.ledger.write_fact("page", {"uri": "http://there:5000", "experiment": "7"})
    assert link("http://there:5000").startswith("http://there:5000/#/experiments/7/runs?searchFilter=")
    assert "study%20%3D%20%27s%27" in link("http://there:5000")
    assert link("http://elsewhere") == "http://elsewhere"


def test_without_a_terminal_there_is_a_line_a_change_and_a_summary_now_and_then(
    study, settings, capsys, monkeypatch
):
    study.begin(0)
    with SearchView(study.ledger, settings, lambda: "MLflow is away") as view:
        study.complete(0)
        view.changed(0)
        told = capsys.readouterr().err.splitlines()
        assert [line.split("  ", 1)[1] for line in told] == [
            "t000 mel_cnn: split 1 (3 of 3) done, accuracy 0.750",
            "t000 mel_cnn: split 2 (3 of 3) done, accuracy 0.500",
            "t000 mel_cnn: split 3 (3 of 3) done, accuracy 1.000",
            "t000 mel_cnn: complete, objective 0.750",
        ]
        view.changed(0)
        assert capsys.readouterr().err == ""
        monkeypatch.setattr("search.progress.SUMMARY", 0.0)
        view.changed(0)
        (line,) = capsys.readouterr().err.splitlines()
        assert "1/10 trials (1 complete)  best 0.750 [" in line
        assert "MLflow is away since" in line


def test_on_a_terminal_a_table_is_drawn_by_itself_until_the_end(study, settings, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("search.progress.REDRAW", 20)
    study.begin(0)
    with SearchView(study.ledger, settings):
        study.epochs(0, 3, 2)  # nobody calls `changed`
        deadline = time.monotonic() + 10
        while "2/4" not in terminal.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
    assert "0/10 trials" in terminal.getvalue()
    assert "2/4" in terminal.getvalue()
    drawn = len(terminal.getvalue())
    study.epochs(0, 3, 3)
    time.sleep(0.2)
    assert len(terminal.getvalue()) == drawn


# costs


def test_a_look_takes_as_many_statements_as_there_are_changes(study):
    for trial in range(30):
        study.begin(trial)
        study.complete(trial)
    glance, statements = Glance(study.ledger.path), []
    glance._db.set_trace_callback(statements.append)
    follower = Follower(glance, "r")
    follower.read()
    whole = len(statements)
    assert whole < 25  # whatever the number of trials
    statements.clear()
    follower.read()
    assert len(statements) <= 4  # begin, newest change, backlog, end
    statements.clear()
    study.begin(30)
    study.epochs(30, 3, 4)
    follower.read()
    assert len(statements) <= 10
    glance.close()


def test_looking_writes_nothing_and_waits_for_nobody(study, settings):
    mixed_study(study)
    study.ledger._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = study.ledger.path.read_bytes(), os.stat(study.ledger.path).st_mtime_ns
    study.ledger._db.execute("BEGIN IMMEDIATE")  # somebody is writing
    study.read()
    study.ledger._db.execute("ROLLBACK")
    with sole_driver(study.folder):  # nor does it take the lock
        study.read()
    glance = Glance(study.ledger.path)
    with pytest.raises(Failure):
        glance.write_fact("a", 1)
    glance.close()
    assert before == (study.ledger.path.read_bytes(), os.stat(study.ledger.path).st_mtime_ns)


def test_a_ledger_of_the_first_version_can_be_looked_at_and_stays_one(tmp_path):
    study = Study(tmp_path / "s")
    study.begin(0)
    study.complete(0)
    for column in ("rescue", "costs"):
        study.ledger._db.execute(f"ALTER TABLE trials DROP COLUMN {column}")
    study.ledger._db.execute("PRAGMA user_version = 1")
    study.ledger.close()
    now = study.read()
    assert (now.best.number, now.best.rescue, now.best.costs) == (0, {}, {})
    again = Glance(study.ledger.path)
    assert again._version() == 1
    again.close()


def test_what_cannot_be_read_is_said(tmp_path):
    with pytest.raises(UsageError, match="no study at"):
        Glance(tmp_path / "ledger.sqlite")
    (tmp_path / "ledger.sqlite").write_bytes(b"no data base at all, " * 100)
    with pytest.raises(Failure, match="cannot be read as a ledger"):
        Glance(tmp_path / "ledger.sqlite")
    newer = Ledger(tmp_path / "newer.sqlite", create=True)
    newer._db.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(Failure, match="version 99"):
        Glance(tmp_path / "newer.sqlite")
