"""What every tracker must do, and what the projection makes of a ledger."""

import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from unruly_server import UnrulyProxy, mlflow_server

from escmodels.folds import rotating
from search.errors import Failure, UsageError
from search.ledger import Ledger
from search.mlflow_tracker import MlflowTracker, check_reachable, check_tracking
from search.pages import EXPERIMENT
from search.predictions import place
from search.projection import Projector, StudyFacts, write_doubts
from search.sender import ProjectorThread
from search.settings import resolve
from search.spec import Spec
from search.study import Study
from search.tracker import MemoryTracker, Point, TrackerDown, TrackerRefused


class Behaves:
    """What every tracker must do. Inherit, give `read`, `file` and the fixtures `tracker` and `later`, a new one on
    its store.
    """

    def read(self, tracker, key):
        """(name, parent key, tags, params, {(metric, step): value}, status) or None."""
        raise AssertionError("give a read method")

    def test_opening_twice_makes_one_run_with_all_tags(self, tracker):
        tracker.open("once", "n", None, {"a": "1"}, {"optim.lr": 0.1}, 1000)
        tracker.open("once", "n", None, {"b": "2"}, {"optim.lr": 0.1}, 1000)
        name, _, tags, params, _, status = self.read(tracker, "once")
        assert (name, params, status) == ("n", {"optim.lr": "0.1"}, "RUNNING")
        assert tags.items() >= {"a": "1", "b": "2"}.items()

    def test_a_run_can_get_another_name(self, tracker):
        tracker.open("named", "t000", None, {}, {}, 1000)
        tracker.open("named", "t000 0.887", None, {}, {}, 1000)
        assert self.read(tracker, "named")[0] == "t000 0.887"

    def test_points_come_back_by_step_and_repeated_ones_count_once(self, tracker):
        tracker.open("points", "n", None, {}, {}, 1000)
        points = [Point("valid_accuracy", 0.4, 1, 1000), Point("valid_accuracy", 0.6, 2, 2000)]
        tracker.log("points", points)
        tracker.log("points", points)
        assert self.read(tracker, "points")[4] == {("valid_accuracy", 1): [0.4], ("valid_accuracy", 2): [0.6]}

    def test_more_points_than_one_request_takes(self, tracker):
        tracker.open("many", "n", None, {}, {}, 1000)
        tracker.log("many", [Point("m", step / 4, step, 1000) for step in range(1203)])
        assert len(self.read(tracker, "many")[4]) == 1203

    def test_children_know_their_parent(self, tracker):
        tracker.open("parent", "p", None, {}, {}, 1000)
        tracker.open("child", "c", "parent", {}, {}, 1000)
        assert self.read(tracker, "child")[1] == "parent"

    def test_a_closed_run_has_its_status(self, tracker):
        tracker.open("closed", "n", None, {}, {}, 1000)
        tracker.mark("closed", "KILLED", 5000)
        assert self.read(tracker, "closed")[5] == "KILLED"

    def test_a_run_can_wait_and_go_on(self, tracker):
        tracker.open("waits", "n", None, {}, {}, 1000)
        for status in ("SCHEDULED", "RUNNING"):
            tracker.mark("waits", status, 5000)
            assert self.read(tracker, "waits")[5] == status

    def test_what_can_never_be_done_is_refused(self, tracker):
        tracker.open("fixed", "n", None, {}, {"optim.lr": 0.1}, 1000)
        with pytest.raises(TrackerRefused):
            tracker.open("fixed", "n", None, {}, {"optim.lr": 0.2}, 1000)
        with pytest.raises(TrackerRefused):
            tracker.open("orphan", "n", "no such parent", {}, {}, 1000)
        with pytest.raises(TrackerRefused):
            tracker.log("never opened", [Point("m", 1.0, 1, 1000)])

    def test_a_dropped_run_is_gone_and_dropping_again_is_harmless(self, tracker):
        tracker.open("dropped", "n", None, {}, {}, 1000)
        tracker.drop("dropped")
        tracker.drop("dropped")
        assert self.read(tracker, "dropped") is None

    def test_a_file_can_be_attached(self, tracker):
        tracker.open("file", "n", None, {}, {}, 1000)
        tracker.attach("file", "curve.txt", b"0 1 2")
        assert self.file(tracker, "file", "curve.txt") == b"0 1 2"

    def test_opening_can_bring_points(self, tracker):
        for value in (0.4, 0.6):
            tracker.open("both", "n", None, {}, {}, 1000, [Point("m", value, int(10 * value), 1000)])
        assert self.read(tracker, "both")[4] == {("m", 4): [0.4], ("m", 6): [0.6]}

    def test_a_tag_takes_its_last_value_and_an_end_its_last_status(self, tracker):
        tracker.open("moves", "n", None, {"state": "a"}, {}, 1000)
        for state, status in (("b", "KILLED"), ("a", "RUNNING"), ("c", "FINISHED"), ("a", "FAILED")):
            tracker.open("moves", "n", None, {"state": state}, {}, 1000)
            tracker.mark("moves", status, 5000)
            _, _, tags, _, _, shown = self.read(tracker, "moves")
            assert (tags["state"], shown) == (state, status)

    def story(self, tracker, root):
        """Calls that make a study of one trial and one fold run, with a second attempt."""
        trial, fold = f"{root}/t0", f"{root}/t0/s1"
        points = [Point("m", step / 4, step, 1000 + step) for step in range(5)]
        return [
            lambda: tracker.open(root, "study", None, {"level": "study"}, {"seed": 4}, 1000),
            lambda: tracker.open(trial, "trial", root, {"level": "trial"}, {"lr": 0.1}, 1000),
            lambda: tracker.open(f"{fold}/a1", "fold", trial, {"level": "fold"}, {}, 1000, points[:2]),
            lambda: tracker.drop(f"{fold}/a1"),
            lambda: tracker.open(f"{fold}/a2", "fold", trial, {"state": "running"}, {}, 1000, points[:2]),
            lambda: tracker.log(f"{fold}/a2", points[1:]),
            lambda: tracker.open(f"{fold}/a2", "fold", trial, {"state": "finished"}, {}, 1000),
            lambda: tracker.mark(f"{fold}/a2", "FINISHED", 5000),
            lambda: tracker.open(trial, "trial 0.5", root, {"level": "trial"}, {"lr": 0.1}, 1000),
            lambda: tracker.mark(trial, "FINISHED", 6000),
        ]

    def told(self, tracker, root):
        keys = (root, f"{root}/t0", f"{root}/t0/s1/a1", f"{root}/t0/s1/a2")
        found = [self.read(tracker, key) for key in keys]
        parents = [run and run[1] for run in found]
        assert parents == [None, root, None, f"{root}/t0"]
        ours = ("level", "state")
        return [run and (run[0], {tag: run[2].get(tag) for tag in ours}, *run[3:]) for run in found]

    def test_every_call_may_be_repeated(self, tracker):
        for call in self.story(tracker, "plain"):
            call()
        for call in self.story(tracker, "again"):
            call()
            call()
        assert self.told(tracker, "plain") == self.told(tracker, "again")
        assert tracker.settle("again") == tracker.settle("again/t0/s1/a2") == 0

    def test_a_later_tracker_on_the_same_store_goes_on_without_a_double(self, tracker, later):
        for call in self.story(tracker, "alone"):
            call()
        for call in self.story(tracker, "resumed")[:6]:
            call()
        for call in self.story(later, "resumed"):
            call()
        assert self.told(later, "resumed") == self.told(tracker, "alone")
        assert later.settle("resumed/t0") == later.settle("resumed/t0/s1/a2") == 0

    def test_a_store_keeps_its_identity(self, tracker, later):
        assert tracker.store == later.store


class TestMemory(Behaves):
    @pytest.fixture
    def tracker(self):
        return MemoryTracker()

    @pytest.fixture
    def later(self, tracker):
        return tracker

    def read(self, tracker, key):
        if (run := tracker.runs.get(key)) is None:
            return None
        points = {}
        for point in run.points:
            points.setdefault((point.metric, point.step), []).append(point.value)
        return run.name, run.parent, run.tags, run.params, points, run.status

    def file(self, tracker, key, name):
        return tracker.runs[key].files[name]


class BehavesOnMlflow(Behaves):
    """What holds on any store of MLflow."""

    @pytest.fixture
    def later(self, tracker):
        return MlflowTracker(resolve({"tracking_uri": tracker._uri}, environment={}), "test")

    def read(self, tracker, key):
        run_id = tracker.run_id(key)
        if run_id is None:
            return None
        run = tracker._client.get_run(run_id)
        points = {}
        for metric in run.data.metrics:
            for point in tracker._client.get_metric_history(run_id, metric):
                points.setdefault((metric, point.step), []).append(point.value)
        parent = run.data.tags.get("mlflow.parentRunId")
        parent_key = tracker._client.get_run(parent).data.tags["esc.key"] if parent else None
        return run.info.run_name, parent_key, run.data.tags, run.data.params, points, run.info.status

    def file(self, tracker, key, name):
        path = tracker._client.download_artifacts(tracker.run_id(key), name)
        with open(path, "rb") as file:
            return file.read()

    def test_a_new_tracker_finds_the_runs_of_an_old_one(self, tracker, later):
        tracker.open("found", "n", None, {}, {}, 1000)
        assert later.run_id("found") == tracker.run_id("found")

    def ghost(self, tracker, key):
        """A run whose creation was executed, but not answered."""
        return tracker._client.create_run(tracker.experiment, 1000, {"esc.key": key}, "n").info.run_id

    def test_a_double_is_settled_for_the_run_in_use(self, tracker):
        tracker.open("used", "n", None, {}, {}, 1000)
        used, ghost = tracker.run_id("used"), self.ghost(tracker, "used")
        assert tracker.settle("used") == 1
        assert tracker.run_id("used") == used
        assert tracker._client.get_run(ghost).info.lifecycle_stage == "deleted"
        assert tracker.settle("used") == 0

    def test_a_later_tracker_takes_the_double_with_children_or_with_more_in_it(self, tracker, later):
        for name in ("d1", "d2", "d3"):  # whichever of two is found first
            self.ghost(tracker, name)
            tracker._runs.pop(name, None)
            parent = tracker._client.create_run(tracker.experiment, 1000, {"esc.key": name}, "n").info.run_id
            below = {"esc.key": f"{name}/t0", "mlflow.parentRunId": parent}
            tracker._client.create_run(tracker.experiment, 1000, below, "n")
            assert later.run_id(name) == parent
            self.ghost(tracker, f"full {name}")
            full = self.ghost(tracker, f"full {name}")
            tracker._client.log_metric(full, "m", 1.0)
            assert later.run_id(f"full {name}") == full

    def test_what_has_not_changed_is_not_sent_again(self, tracker, monkeypatch):
        for call in self.story(tracker, "sent"):
            call()
        for call in self.story(tracker, "once")[:6]:
            call()
        asked = []
        for name in ("create_run", "log_batch", "update_run", "set_terminated", "search_runs"):
            real = getattr(tracker._client, name)

            def spy(*args, real=real, name=name, **named):
                if name != "log_batch" or any([*args[1:], *named.values()]):
                    asked.append(name)
                return real(*args, **named)

            monkeypatch.setattr(tracker._client, name, spy)
        open_again = self.story(tracker, "once")
        open_again[0]()
        open_again[1]()
        tracker.mark("once", "RUNNING", 9000)
        assert asked == []


@pytest.fixture(scope="module")
def sqlite_tracker(tmp_path_factory):
    """One store for the module: making the database takes seconds."""
    return MlflowTracker(resolve({"home": str(tmp_path_factory.mktemp("home"))}, environment={}), "test")


@pytest.fixture(scope="module")
def http_tracker(tmp_path_factory):
    with mlflow_server(tmp_path_factory.mktemp("server")) as port:
        yield MlflowTracker(resolve({"tracking_uri": f"http://127.0.0.1:{port}"}, environment={}), "test")


@pytest.mark.slow
class TestMlflowOnSqlite(BehavesOnMlflow):
    @pytest.fixture
    def tracker(self, sqlite_tracker):
        return sqlite_tracker


@pytest.mark.slow
class TestMlflowOverHttp(BehavesOnMlflow):
    @pytest.fixture
    def tracker(self, http_tracker):
        return http_tracker


# is anybody there?


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "https://localhost:9"])
def test_a_server_that_is_not_there_is_named_in_one_sentence(uri):
    with pytest.raises(Failure, match=f"does not answer at {uri}"):
        check_reachable(uri)
    assert f"does not answer at {uri}" in check_tracking(uri)
    assert "escsearch sync" in check_tracking(uri)


def test_a_folder_is_refused_as_a_tracking_uri(tmp_path):
    with pytest.raises(UsageError, match="use sqlite"):
        check_tracking(str(tmp_path))
    with pytest.raises(UsageError, match="use sqlite"):
        check_reachable(str(tmp_path))


@pytest.mark.parametrize("mode", ["hang", "500", "503", "429"])
def test_a_server_that_does_not_serve_is_a_remark_or_a_failure(mode):
    proxy = UnrulyProxy()
    proxy.mode = mode
    try:
        assert "the search goes on" in check_tracking(proxy.url, 0.3)
        with pytest.raises(Failure, match="does not answer"):
            check_reachable(proxy.url, 0.3)
    finally:
        proxy.close()


@pytest.mark.parametrize("mode", ["401", "404"])
def test_who_asks_for_credentials_or_knows_no_health_is_there(mode):
    proxy = UnrulyProxy()
    proxy.mode = mode
    try:
        assert check_tracking(proxy.url) is None
    finally:
        proxy.close()


def test_a_password_in_the_uri_is_not_shown():
    assert "secret" not in check_tracking("http://me:secret@127.0.0.1:9")


def test_a_scheme_that_nobody_knows_is_refused():
    with pytest.raises(UsageError, match="scheme 'ftp'"):
        check_tracking("ftp://server")
    assert check_tracking("postgresql+psycopg2://server/mlflow") is None


def test_a_sqlite_store_that_cannot_be_written_is_refused(tmp_path):
    assert check_tracking(f"sqlite:///{tmp_path / 'new' / 'mlflow.sqlite'}") is None
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "folder").mkdir()
    for name in ("file", "file/mlflow.sqlite", "folder"):
        with pytest.raises(Failure, match="cannot be written"):
            check_tracking(f"sqlite:///{tmp_path / name}")


# the projection

STUDY = StudyFacts(
    id="f00d",
    name="s",
    data_name="toy",
    data="beef",
    protocol="rotating",
    splits={n: {"train_folds": [3], "valid_fold": n % 3 + 1, "test_fold": n} for n in (1, 2, 3)},
    order=(1, 2, 3),
    synthetic=True,
    params={"seed": 4},
    limits={"trials": 4},
)
FACTS = {"trial": 0, "phase": "search", "seed": 0}
METRICS = {"train_loss": 1.0, "valid_loss": 1.0, "valid_accuracy": 0.5, "lr": 0.1}
RESULT = {"score": 0.5, "loss": 1.0, "epochs": 2, "seconds": 1.0, "predictions": b"\0\0"}


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite", create=True)
    yield ledger
    ledger.close()


def work(ledger, splits=(1, 2, 3)):
    ledger.open_trial(0, {"architecture": "mel_cnn", "optim.lr": 0.1})
    for split in splits:
        for epoch in (1, 2):
            ledger.log_epoch(f"k{split}", epoch, METRICS, split=split, **FACTS)
        ledger.finish_fold(f"k{split}", **RESULT)


def project(ledger, tracker):
    return Projector(ledger, tracker, STUDY, "test").catch_up()


def test_the_tree_is_study_trial_fold(ledger):
    tracker = MemoryTracker()
    work(ledger)
    ledger.close_trial(0, "complete", 0.5)
    project(ledger, tracker)
    levels = {key: (run.tags["esc.level"], run.parent, run.status) for key, run in tracker.runs.items()}
    assert levels == {
        "s@f00d": ("study", None, "RUNNING"),
        "s@f00d/t000": ("trial", "s@f00d", "FINISHED"),
        **{f"s@f00d/t000/s{split}/k{split}/a1": ("fold", "s@f00d/t000", "FINISHED") for split in (1, 2, 3)},
    }
    trial = tracker.runs["s@f00d/t000"]
    assert trial.name == "t000 mel_cnn 0.500"
    assert trial.params == {"architecture": "mel_cnn", "optim.lr": "0.1"}
    assert trial.files == {}  # drawn when the search is over: training needs the cores
    assert {point.step for point in trial.points if point.metric == "mean_valid_accuracy"} == {1, 2, 3}
    assert [point.value for point in trial.points if point.metric == "objective"] == [0.5]
    fold = tracker.runs["s@f00d/t000/s2/k2/a1"]
    assert {(p.metric, p.step) for p in fold.points} == {
        (name, epoch) for name in METRICS for epoch in (1, 2)
    }


def test_projecting_everything_twice_changes_nothing(ledger):
    once, twice = MemoryTracker(), MemoryTracker()
    work(ledger)
    ledger.close_trial(0, "complete", 0.5)
    project(ledger, once)
    project(ledger, twice)
    ledger.acknowledge("test", 0)  # as if the cursor had not been written before a crash
    project(ledger, twice)
    assert once.runs == twice.runs


def test_bit_by_bit_is_the_same_as_all_at_once(ledger, tmp_path):
    steady, late = MemoryTracker(), MemoryTracker()
    projector = Projector(ledger, steady, STUDY, "steady")
    ledger.open_trial(0, {"architecture": "mel_cnn", "optim.lr": 0.1})
    for split in (1, 2, 3):
        for epoch in (1, 2):
            ledger.log_epoch(f"k{split}", epoch, METRICS, split=split, **FACTS)
            projector.catch_up()
        ledger.finish_fold(f"k{split}", **RESULT)
        projector.catch_up()
    ledger.close_trial(0, "complete", 0.5)
    projector.catch_up()
    Projector(ledger, late, STUDY, "late").catch_up()
    assert steady.runs == late.runs


def test_an_outage_loses_and_doubles_nothing(ledger):
    tracker, undisturbed = MemoryTracker(), MemoryTracker()
    projector = Projector(ledger, tracker, STUDY, "test")
    work(ledger, splits=(1,))
    projector.catch_up()
    tracker.down = True
    for split in (2, 3):
        for epoch in (1, 2):
            ledger.log_epoch(f"k{split}", epoch, METRICS, split=split, **FACTS)
        ledger.finish_fold(f"k{split}", **RESULT)
        with pytest.raises(TrackerDown):
            projector.catch_up()
    assert ledger.backlog("test") > 0
    tracker.down = False
    projector.catch_up()
    Projector(ledger, undisturbed, STUDY, "other").catch_up()
    assert ledger.backlog("test") == 0
    assert tracker.runs == undisturbed.runs


def test_a_fold_run_that_was_cut_off_is_replaced_by_its_next_attempt(ledger):
    tracker = MemoryTracker()
    projector = Projector(ledger, tracker, STUDY, "test")
    ledger.open_trial(0, {"architecture": "mel_cnn"})
    ledger.log_epoch("k1", 1, METRICS, split=1, **FACTS)
    projector.catch_up()
    assert "s@f00d/t000/s1/k1/a1" in tracker.runs
    ledger.suspend_trial(0)
    projector.catch_up()
    assert "s@f00d/t000/s1/k1/a1" not in tracker.runs
    ledger.retry_trial(0)
    time.sleep(0.01)
    ledger.log_epoch("k1", 1, METRICS, split=1, **FACTS)
    projector.catch_up()
    folds = [key for key, run in tracker.runs.items() if run.tags["esc.level"] == "fold"]
    assert folds == ["s@f00d/t000/s1/k1/a2"]
    steps = [point.step for point in tracker.runs[folds[0]].points if point.metric == "train_loss"]
    assert steps == [1]


@pytest.mark.parametrize(
    ("state", "status"), [("pruned", "KILLED"), ("failed", "FAILED"), ("complete", "FINISHED")]
)
def test_a_trial_that_ended_leaves_no_run_open(ledger, state, status):
    tracker = MemoryTracker()
    work(ledger, splits=(1,))
    ledger.log_epoch("k2", 1, METRICS, split=2, **FACTS)
    ledger.close_trial(0, state, None, "because")
    project(ledger, tracker)
    assert tracker.runs["s@f00d/t000"].status == status
    assert tracker.runs["s@f00d/t000"].tags["esc.reason"] == "because"
    assert tracker.runs["s@f00d/t000"].name == "t000 mel_cnn" + ("" if state == "complete" else f" {state}")
    below = {key: run.status for key, run in tracker.runs.items() if run.tags["esc.level"] == "fold"}
    assert below == {"s@f00d/t000/s1/k1/a1": "FINISHED", "s@f00d/t000/s2/k2/a1": "KILLED"}


def examine(ledger, name, score):
    result = {"loss": 1.0, "epochs": 2, "seconds": 1.0, "predictions": b"", "losses": [2.0, 1.0]}
    for split in (1, 2, 3):
        ledger.record_exam_fold(f"{name}{split}", trial=0, split=split, seed=0, score=score, **result)


def test_a_second_exam_on_changed_code_has_its_own_fold_runs(ledger):
    tracker = MemoryTracker()
    work(ledger)
    examine(ledger, "x", 0.7)
    examine(ledger, "y", 0.8)
    project(ledger, tracker)
    runs = {key: run for key, run in tracker.runs.items() if run.parent == "s@f00d/exam/t000"}
    shown = {
        key[-8:]: {p.value for p in run.points if p.metric == "test_accuracy"} for key, run in runs.items()
    }
    assert shown == {
        f"s{split}/r0/{name}{split}": {score}
        for split in (1, 2, 3)
        for name, score in (("x", 0.7), ("y", 0.8))
    }


def test_an_exam_has_its_own_runs_with_figures_and_a_picture(ledger):
    tracker = MemoryTracker()
    work(ledger)
    examine(ledger, "x", 0.7)
    exam = {
        "mean": 0.7,
        "low": 0.6,
        "high": 0.8,
        "macro_f1": 0.69,
        "validation": 0.75,
        "seeds": [0],
        "log_loss": 0.9,
    }
    record = {
        "exam": exam,
        "confusion": [[3, 1], [0, 4]],
        "classes": ["a", "b"],
        "stop_after": 2,
        "time": 1.0,
    }
    table = place(ledger.path.parent, 0)
    table.parent.mkdir()
    table.write_bytes(b"clip,fold\n")
    ledger.write_fact("exam/0", record, change="exam")
    project(ledger, tracker)
    run = tracker.runs["s@f00d/exam/t000"]
    values = {point.metric: point.value for point in run.points}
    assert values["test_accuracy"] == 0.7
    assert values["optimism_gap"] == pytest.approx(0.05)
    assert values["test_log_loss"] == 0.9 and "test_top3" not in values  # an older exam has none
    assert run.name == "exam t000 mel_cnn 0.700 [0.600, 0.800]"
    assert run.files["confusion.png"].startswith(b"\x89PNG")
    assert run.files["predictions.csv"] == b"clip,fold\n"
    fold = tracker.runs["s@f00d/exam/t000/s2/r0/x2"]
    assert (fold.parent, fold.tags["phase"], fold.tags["fold.test"]) == ("s@f00d/exam/t000", "exam", "2")
    assert {point.value for point in fold.points if point.metric == "test_accuracy"} == {0.7}


def test_an_exam_of_an_older_version_has_no_table_to_attach(ledger):
    tracker = MemoryTracker()
    work(ledger)
    examine(ledger, "x", 0.7)
    exam = {"mean": 0.7, "low": 0.6, "high": 0.8, "macro_f1": 0.69, "validation": 0.75, "seeds": [0]}
    record = {"exam": exam, "confusion": [[1]], "classes": ["a"], "stop_after": 2, "time": 1.0}
    ledger.write_fact("exam/0", record, change="exam")
    project(ledger, tracker)
    assert list(tracker.runs["s@f00d/exam/t000"].files) == ["confusion.png"]


def test_what_is_refused_for_good_does_not_hold_up_the_rest(ledger):
    tracker = MemoryTracker()
    projector = Projector(ledger, tracker, STUDY, "test")
    work(ledger)
    projector.catch_up()
    del tracker.runs["s@f00d/t000/s2/k2/a1"]  # somebody deleted it in the pages
    ledger.log_epoch("k2", 3, METRICS, split=2, **FACTS)
    ledger.log_epoch("k3", 3, METRICS, split=3, **FACTS)
    projector.catch_up()
    assert list(projector.refused) == ["k2"]
    assert 3 in {point.step for point in tracker.runs["s@f00d/t000/s3/k3/a1"].points}
    assert ledger.backlog("test") == 0


@pytest.mark.parametrize(
    ("state", "status"),
    [("running", "RUNNING"), ("searched", "FINISHED"), ("interrupted", "KILLED"), ("done", "FINISHED")],
)
def test_the_study_s_run_follows_its_state(ledger, state, status):
    tracker = MemoryTracker()
    ledger.set_state("interrupted")
    ledger.set_state(state)
    project(ledger, tracker)
    assert tracker.runs["s@f00d"].status == status


def test_a_trial_that_waits_is_shown_as_waiting(ledger):
    tracker = MemoryTracker()
    work(ledger, splits=(1,))
    ledger.suspend_trial(0)
    project(ledger, tracker)
    assert tracker.runs["s@f00d/t000"].status == "SCHEDULED"


def test_limits_may_change_and_other_settings_may_not(ledger):
    tracker = MemoryTracker()
    ledger.set_state("running")
    project(ledger, tracker)
    later = dataclasses.replace(STUDY, limits={"trials": 9})
    ledger.set_state("running")
    Projector(ledger, tracker, later, "test").catch_up()
    assert tracker.runs["s@f00d"].tags["limit.trials"] == "9"


def test_facts_come_back_from_the_ledger(ledger):
    for study in (STUDY, dataclasses.replace(STUDY, changing={"code": "c1"})):
        ledger.write_fact("study", study.to_json())
        assert StudyFacts.from_json(ledger.fact("study")) == study
    older = STUDY.to_json()
    del older["changing"]  # not in ledgers of older versions
    assert StudyFacts.from_json(older) == STUDY


def facts_of(code="c1", fingerprint="d1", **asked):
    """The facts of a session of a study."""
    spec = Spec(**{"data": "/a/toy", "tries": [{"optim.lr": 0.1}], "classes": ("a", "b")} | asked)
    dataset = SimpleNamespace(name="toy", synthetic=True)
    study = Study(Path("home/s"), spec, SimpleNamespace(name="space", epochs=4), dataset, Path("space.yaml"))
    study.code, study.data = code, fingerprint
    study.splits = study.exam_splits = rotating([1, 2, 3])
    return study.facts("f00d")


LATER = [
    {"code": "c2"},
    {"fingerprint": "d2"},
    {"data": "/b/toy"},
    {"accept_similar": True},
    {"trials": 99, "hours": 2.0, "pruner": "race", "rungs": (1.0,), "model": "m", "exam_seeds": 2},
]


@pytest.mark.parametrize("change", LATER)
def test_nothing_that_a_resume_may_change_is_a_param(change):
    assert facts_of(**change).params == facts_of().params
    assert facts_of(**change) != facts_of()


def test_what_a_resume_changes_reaches_the_tracker(ledger):
    tracker = MemoryTracker()
    ledger.set_state("running")
    Projector(ledger, tracker, facts_of(), "test").catch_up()
    before = tracker.runs["s@f00d"].tags
    assert (before["data.path"], before["code"], before["accept_similar"]) == ("/a/toy", "c1", "false")
    later = facts_of(code="c2", fingerprint="d2", data="/b/toy", accept_similar=True, trials=9)
    ledger.write_fact("mixed", [{"what": "code", "before": "c1", "now": "c2", "time": 1.0}])
    ledger.set_state("done")
    projector = Projector(ledger, tracker, later, "test")
    projector.catch_up()
    run = tracker.runs["s@f00d"]
    shown = {name: run.tags[name] for name in ("data.path", "code", "accept_similar", "data.fingerprint")}
    assert shown == {
        "data.path": "/b/toy",
        "code": "c2",
        "accept_similar": "true",
        "data.fingerprint": "d2",
    }
    assert (run.tags["mixed"], run.tags["esc.state"], run.status) == ("code c1 -> c2", "done", "FINISHED")
    assert run.tags["limit.trials"] == "9"
    assert projector.refused == {}


def test_facts_are_the_same_after_a_way_through_the_ledger(ledger):
    kept = json.loads(json.dumps(facts_of().to_json()))
    assert {name: str(value) for name, value in StudyFacts.from_json(kept).params.items()} == {
        name: str(value) for name, value in facts_of().params.items()
    }


def test_a_param_that_is_refused_holds_back_neither_tags_nor_status(ledger):
    tracker = MemoryTracker()
    ledger.set_state("running")
    older = dataclasses.replace(STUDY, params={"seed": 4, "code": "c1"})  # as older versions sent it
    Projector(ledger, tracker, older, "test").catch_up()
    ledger.write_fact("mixed", [{"what": "code", "before": "c1", "now": "c2", "time": 1.0}])
    ledger.set_state("searched")
    projector = Projector(
        ledger, tracker, dataclasses.replace(older, params={"seed": 4, "code": "c2"}), "test"
    )
    projector.catch_up()
    run = tracker.runs["s@f00d"]
    assert list(projector.refused) == ["s@f00d"]
    assert (run.status, run.tags["esc.state"], run.tags["mixed"]) == (
        "FINISHED",
        "searched",
        "code c1 -> c2",
    )


def test_curves_of_the_best_trials_are_drawn_when_the_search_is_over(ledger):
    tracker = MemoryTracker()
    projector = Projector(ledger, tracker, STUDY, "test")
    for number in range(7):
        ledger.open_trial(number, {})
        ledger.log_epoch(f"k{number}", 1, METRICS, split=1, **FACTS | {"trial": number})
        ledger.finish_fold(f"k{number}", **RESULT)
        ledger.close_trial(number, "complete", number / 10)
    projector.catch_up()
    ledger.set_state("searched")
    projector.catch_up()
    drawn = {key[-4:] for key, run in tracker.runs.items() if "curves.png" in run.files}
    assert drawn == {"t002", "t003", "t004", "t005", "t006"}


def test_what_memory_took_from_a_trial_and_what_it_costs_is_shown(ledger):
    tracker = MemoryTracker()
    work(ledger, splits=(1,))
    ledger.write_costs(0, {"params": 1000.0, "latency": 2.5})
    ledger.rescue_trial(0, {"optim.batch": 16, "optim.accumulate": 2})
    ledger.retry_trial(0)
    ledger.log_epoch("r1", 1, METRICS, split=1, **FACTS)
    project(ledger, tracker)
    trial = tracker.runs["s@f00d/t000"]
    assert json.loads(trial.tags["esc.rescue"]) == {"optim.batch": 16, "optim.accumulate": 2}
    assert trial.params["optim.lr"] == "0.1"
    assert {(p.metric, p.value, p.step) for p in trial.points} == {("params", 1000.0, 0), ("latency", 2.5, 0)}
    folds = {key: (run.status, run.tags["esc.state"]) for key, run in tracker.runs.items() if "/s1/" in key}
    assert folds == {
        "s@f00d/t000/s1/k1/a1": ("KILLED", "stale"),
        "s@f00d/t000/s1/r1/a1": ("RUNNING", "running"),
    }


def test_the_mean_shown_last_is_that_of_fold_runs_that_count(ledger):
    tracker = MemoryTracker()
    projector = Projector(ledger, tracker, STUDY, "test")
    work(ledger, splits=(1, 2))
    projector.catch_up()
    ledger.rescue_trial(0, {"optim.batch": 16})
    ledger.retry_trial(0)
    ledger.log_epoch("r1", 1, METRICS, split=1, **FACTS)
    ledger.finish_fold("r1", **RESULT | {"score": 0.25})
    projector.catch_up()
    shown = {}
    for point in sorted(tracker.runs["s@f00d/t000"].points, key=lambda point: (point.step, point.time)):
        shown[point.metric] = point.value
    assert shown == {"mean_valid_accuracy": 0.25, "splits_done": 1}


class Counting(MemoryTracker):
    """Knows which runs were opened."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def open(self, key, *args, **named):
        self.asked.append(key)
        super().open(key, *args, **named)


def test_a_later_session_sends_only_trials_that_came_to_the_front_or_left_it(ledger):
    tracker = Counting()
    for number in range(5):
        ledger.open_trial(number, {})
        ledger.close_trial(number, "complete", number / 10)
    ledger.write_fact("front", [3, 4])
    project(ledger, tracker)
    for front, sent in (([3, 4], set()), ([2, 4], {"s@f00d/t002", "s@f00d/t003"})):
        tracker.asked.clear()
        ledger.write_fact("front", front)
        ledger.set_state("running")
        project(ledger, tracker)
        assert set(tracker.asked) == {"s@f00d", *sent}
    assert tracker.runs["s@f00d/t003"].tags["esc.front"] == "false"


def test_what_a_reader_notes_about_itself_does_not_wait_to_be_sent(ledger):
    project(ledger, MemoryTracker())
    write_doubts(ledger, "test", [("study", "s@f00d")])
    ledger.keep("note", 1)
    assert ledger.fact("note") == 1
    assert ledger.backlog("test") == 0


def test_another_store_at_the_same_place_gets_everything(ledger):
    lost, found = MemoryTracker(), MemoryTracker()
    work(ledger)
    ledger.write_fact("front", [0])
    ledger.close_trial(0, "complete", 0.5)
    for tracker in (lost, lost, found, found):
        project(ledger, tracker)
    assert lost.runs == found.runs
    assert len(found.runs) == 5


def test_the_cursor_of_an_older_version_is_believed(ledger):
    tracker = MemoryTracker()
    work(ledger)
    ledger.acknowledge("test", ledger.changes("test")[-1].id)
    project(ledger, tracker)
    assert tracker.runs == {}


@pytest.mark.slow
def test_a_store_that_was_deleted_is_filled_again(tmp_path):
    folder = tmp_path / "s"
    folder.mkdir()
    (folder / "study.yaml").write_text("space: toy\n")
    ledger = Ledger(folder / "ledger.sqlite", create=True)
    ledger.write_fact("study", STUDY.to_json())
    work(ledger)
    ledger.close_trial(0, "complete", 0.5)
    ledger.set_state("done")
    ledger.close()

    def sync():  # in a process of its own: this one would remember the store
        sent = subprocess.run(
            [sys.executable, "-m", "search", "sync", "s", "--home", tmp_path], capture_output=True, text=True
        )
        assert sent.returncode == 0, sent.stderr
        return sent.stderr

    for expected in (False, False, True):
        if expected:
            for file in tmp_path.glob("mlflow.sqlite*"):
                file.unlink()
        assert ("all of it is sent again" in sync()) == expected
    tracker = MlflowTracker(resolve({"home": str(tmp_path)}, environment={}), EXPERIMENT)
    keys = {f"s@f00d/t000/s{split}/k{split}/a1" for split in (1, 2, 3)} | {"s@f00d", "s@f00d/t000"}
    assert {key for key in keys if tracker.run_id(key)} == keys


@pytest.mark.parametrize("steady", [True, False])
def test_every_trial_knows_whether_it_is_on_the_front(ledger, steady):
    tracker = MemoryTracker()
    projector = Projector(ledger, tracker, STUDY, "test")
    for number, front in enumerate(([0], [0, 1], [1])):
        ledger.open_trial(number, {})
        ledger.write_fact("front", front)
        if steady:
            projector.catch_up()
    projector.catch_up()
    assert tracker.runs["s@f00d"].tags["front"] == "1"
    shown = {key[-4:]: run.tags["esc.front"] for key, run in tracker.runs.items() if run.parent}
    assert shown == {"t000": "false", "t001": "true", "t002": "false"}


def test_the_study_says_what_it_was_mixed_from_and_where_it_began_warm(ledger):
    tracker = MemoryTracker()
    ledger.write_fact("mixed", [{"what": "data", "before": "aa", "now": "bb", "time": 1.0}])
    ledger.write_fact("warm", {"study": "older", "tries": [], "history": []})
    project(ledger, tracker)
    tags = tracker.runs["s@f00d"].tags
    assert (tags["mixed"], tags["warm.start"]) == ("data aa -> bb", "older")


class TestProjectorThread:
    @pytest.fixture
    def said(self):
        return []

    def thread(self, ledger, connect, said):
        return ProjectorThread(ledger.path, connect, STUDY, "test", say=said.append, pause=0.01)

    def test_it_sends_everything_and_ends(self, ledger, said):
        tracker = MemoryTracker()
        work(ledger)
        assert self.thread(ledger, lambda: tracker, said).finish(20) == 0
        assert len(tracker.runs) == 5
        assert said == []

    def test_it_can_be_drained_again_and_again(self, ledger, said):
        tracker = MemoryTracker()
        thread = self.thread(ledger, lambda: tracker, said)
        assert thread.drain(20) == 0
        work(ledger)
        assert thread.drain(20) == 0
        assert len(tracker.runs) == 5
        thread.finish(20)

    def test_it_says_that_a_store_is_another_one_than_before(self, ledger, said):
        work(ledger)
        for _ in range(2):
            assert self.thread(ledger, MemoryTracker, said).finish(20) == 0
        assert len(said) == 1
        assert "all of it is sent again" in said[0]

    def test_an_outage_is_said_once_and_its_end_once(self, ledger, said):
        tracker = MemoryTracker()
        tracker.down = True
        thread = self.thread(ledger, lambda: tracker, said)
        work(ledger)
        for _ in range(3):
            assert thread.drain(20) > 0
        assert thread.trouble
        tracker.down = False
        assert thread.finish(20) == 0
        assert [text.split(" (")[0] for text in said] == [
            "MLflow is away",
            "MLflow is back, the backlog was sent",
        ]

    def test_a_tracker_that_never_comes_leaves_the_backlog(self, ledger, said):
        def connect():
            raise TrackerDown("nobody there")

        work(ledger)
        assert self.thread(ledger, connect, said).finish(20) == ledger.backlog("test") > 0

    def test_a_bug_in_it_is_said_and_ends_nothing(self, ledger, said):
        def connect():
            raise KeyError("bug")

        thread = self.thread(ledger, connect, said)
        work(ledger)
        assert thread.finish(20) > 0
        assert len(said) == 1
        assert "KeyError" in said[0]
