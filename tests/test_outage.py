"""MLflow goes away and comes back: nothing is lost, nothing doubled, nobody waits for it."""

import os
import random
import sys
import threading
import time

import pytest
from unruly_server import UnrulyProxy, mlflow_server

from search.ledger import Ledger
from search.mlflow_tracker import MlflowTracker
from search.projection import Projector, StudyFacts, read_doubts
from search.sender import NICE, ProjectorThread
from search.settings import resolve
from search.tracker import MemoryTracker, TrackerDown

SPLITS, EPOCHS = (1, 2), 3


def facts(name):
    return StudyFacts(
        id="f00d",
        name=name,
        data_name="toy",
        data="beef",
        protocol="rotating",
        splits={n: {"train_folds": [3], "valid_fold": n, "test_fold": n} for n in SPLITS},
        order=SPLITS,
        synthetic=True,
        params={"seed": 4},
        limits={"trials": 4},
    )


STUDY = facts("s")


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite", create=True)
    yield ledger
    ledger.close()


@pytest.fixture(autouse=True)
def no_drawing(monkeypatch):
    monkeypatch.setattr("search.figures.curves_png", lambda curves, title: title.encode())


def metrics(trial, split, epoch):
    return {"train_loss": 2.0 / epoch, "valid_accuracy": (100 * trial + 10 * split + epoch) / 1000}


def epoch(ledger, trial, split, number):
    where = {"trial": trial, "phase": "search", "split": split, "seed": 0}
    ledger.log_epoch(f"k{trial}.{split}", number, metrics(trial, split, number), **where)


def fold(ledger, trial, split, then=lambda: None):
    for number in range(1, EPOCHS + 1):
        epoch(ledger, trial, split, number)
        then()
    ledger.finish_fold(
        f"k{trial}.{split}", score=split / 7, loss=1.0, epochs=EPOCHS, seconds=1.0, predictions=b"\0\0"
    )
    then()


def study(ledger, trials=2, then=lambda: None):
    """A search whose last trial loses a worker and one of whose trials is pruned."""
    ledger.set_state("running")
    then()
    for trial in range(trials):
        ledger.open_trial(trial, {"architecture": "mel_cnn", "optim.lr": trial / 10})
        then()
        if trial == trials - 1:
            epoch(ledger, trial, 1, 1)
            then()
            ledger.suspend_trial(trial, lost=True)
            then()
            ledger.retry_trial(trial)
            then()
        for split in SPLITS[: 1 if trial == 0 else None]:
            fold(ledger, trial, split, then)
        ledger.close_trial(trial, "complete" if trial else "pruned", trial / 10 if trial else None)
        then()
    ledger.write_fact("front", [trials - 1])
    ledger.set_state("searched")
    then()


def undisturbed(ledger):
    tracker = MemoryTracker()
    Projector(ledger, tracker, STUDY, "undisturbed").catch_up()
    return tracker.runs


class Failing(MemoryTracker):
    """Down at every call whose number `fails` says; it may be executed all the same."""

    def __init__(self, fails, executed):
        super().__init__()
        self.fails, self.executed, self.calls, self.settled = fails, executed, 0, []

    def __getattribute__(self, name):
        method = super().__getattribute__(name)
        if name not in ("open", "log", "attach", "mark", "drop", "settle"):
            return method

        def call(*args, **named):
            self.calls += 1
            failing = self.fails(self.calls)
            if self.executed or not failing:
                method(*args, **named)
            if failing:
                raise TrackerDown("this call")
            if name == "settle":
                self.settled.append(args[0])

        return call


@pytest.mark.parametrize("executed", [False, True], ids=["lost", "not answered"])
def test_whichever_call_fails_nothing_is_lost_or_doubled(ledger, executed):
    study(ledger)
    runs = undisturbed(ledger)
    k = 0
    while True:
        k += 1
        tracker = Failing(lambda call, k=k: call == k, executed)
        projector = Projector(ledger, tracker, STUDY, f"{k}")
        for _ in range(2):
            try:
                projector.catch_up()
                break
            except TrackerDown:
                assert projector.doubts
        if not projector.doubts:
            break  # there are not so many calls
        projector.settle()
        assert tracker.runs == runs
        assert tracker.settled
        assert ledger.backlog(f"{k}") == 0
        assert read_doubts(ledger, f"{k}") == []
    assert k > 15


@pytest.mark.parametrize("every", [3, 4, 5, 8])
def test_a_tracker_that_fails_again_and_again_while_the_study_runs(ledger, every):
    tracker = Failing(lambda call: call % (4 * every) >= 3 * every, executed=bool(every % 2))
    projector = Projector(ledger, tracker, STUDY, "often")

    def look(steps=range(1)):
        for _ in steps:
            try:
                projector.catch_up()
                projector.settle()
            except TrackerDown:
                pass

    study(ledger, trials=4, then=look)
    look(range(200))
    assert not projector.doubts
    assert ledger.backlog("often") == 0
    assert tracker.runs == undisturbed(ledger)


def test_what_is_in_doubt_is_settled_by_the_next_session(ledger):
    study(ledger)
    tracker = Failing(lambda call: call == 9, executed=True)
    with pytest.raises(TrackerDown):
        Projector(ledger, tracker, STUDY, "x").catch_up()
    assert read_doubts(ledger, "x")
    thread = ProjectorThread(ledger.path, lambda: tracker, STUDY, "x", say=lambda text: None, pause=0.01)
    assert thread.finish(30) == 0
    assert read_doubts(ledger, "x") == []
    assert tracker.settled
    assert tracker.runs == undisturbed(ledger)


class Hanging(MemoryTracker):
    """Takes its time to answer, for ever if `released` is not set."""

    def __init__(self):
        super().__init__()
        self.released = threading.Event()

    def open(self, *args, **named):
        if not self.released.wait(20):
            raise TrackerDown("no answer")
        super().open(*args, **named)


def test_nobody_waits_for_a_tracker_that_is_known_to_be_away(ledger, monkeypatch):
    monkeypatch.setattr("search.sender.GRACE", 0.3)
    study(ledger)
    tracker = Hanging()
    thread = ProjectorThread(ledger.path, lambda: tracker, STUDY, "x", say=lambda text: None, pause=0.01)
    thread.trouble = "it was away a moment ago"
    began = time.monotonic()
    waiting = ledger.backlog("x")
    assert thread.drain(60) == waiting
    assert thread.finish(60) == waiting
    assert time.monotonic() - began < 5
    assert read_doubts(ledger, "x")  # its last request is still on its way
    tracker.released.set()
    thread._thread.join(10)
    assert not thread._thread.is_alive()
    assert len(tracker.runs) == 1  # and nothing came after it
    second = ProjectorThread(ledger.path, lambda: tracker, STUDY, "x", say=lambda text: None, pause=0.01)
    assert second.finish(30) == 0
    assert tracker.runs == undisturbed(ledger)


def test_a_slow_tracker_is_waited_for(ledger, monkeypatch):
    monkeypatch.setattr("search.sender.GRACE", 0.1)
    study(ledger, trials=1)

    class Slow(MemoryTracker):
        def open(self, *args, **named):
            time.sleep(0.3)
            super().open(*args, **named)

    thread = ProjectorThread(ledger.path, Slow, STUDY, "x", say=lambda text: None, pause=0.01)
    assert thread.finish(30) == 0


def test_the_thread_lets_training_go_first(ledger):
    seen = []

    class Looks(MemoryTracker):
        def open(self, *args, **named):
            seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
            super().open(*args, **named)

    if sys.platform != "linux":
        pytest.skip("threads have no priority of their own here")
    study(ledger, trials=1)
    thread = ProjectorThread(ledger.path, Looks, STUDY, "x", say=lambda text: None, pause=0.01)
    assert thread.finish(30) == 0
    assert min(seen) == max(NICE, os.getpriority(os.PRIO_PROCESS, 0))  # under nice, too


# MLflow's own server


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with mlflow_server(tmp_path_factory.mktemp("server")) as port:
        yield port


@pytest.fixture
def proxy(server):
    proxy = UnrulyProxy(server)
    yield proxy
    proxy.close()


@pytest.fixture
def quick(monkeypatch):
    """An answer that takes longer than 2 s does not come."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")


def connect(url):
    return MlflowTracker(resolve({"tracking_uri": url}, environment={}), "outage")


def shown(url, ledger, study):
    """key -> (status, parent key, {(metric, step): values}), straight from the server; doubles are an error."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=url)
    experiment = client.get_experiment_by_name("outage").experiment_id
    runs = client.search_runs([experiment], f"tags.study = '{study.name}'", max_results=1000)
    keys = {run.info.run_id: run.data.tags["esc.key"] for run in runs}
    assert sorted(keys.values()) == sorted(set(keys.values()))
    found = {}
    for run in runs:
        points = {}
        for metric in run.data.metrics:
            for point in client.get_metric_history(run.info.run_id, metric):
                points.setdefault((metric, point.step), []).append(point.value)
        parent = run.data.tags.get("mlflow.parentRunId")
        found[keys[run.info.run_id]] = (
            run.info.status,
            keys[parent] if parent else None,
            run.data.tags["esc.state"],
            points,
        )
    return found


def wanted(ledger, study):
    tracker = MemoryTracker()
    Projector(ledger, tracker, study, f"wanted {random.random()}").catch_up()
    found = {}
    for key, run in tracker.runs.items():
        points = {}
        for point in run.points:
            points.setdefault((point.metric, point.step), []).append(point.value)
        found[key] = (run.status, run.parent, run.tags["esc.state"], points)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_a_server_that_misbehaves_at_random(server, proxy, ledger, quick, seed):
    rng, named = random.Random(seed), facts(f"random{seed}")
    thread = ProjectorThread(
        ledger.path, lambda: connect(proxy.url), named, "x", say=lambda text: None, pause=0.05
    )
    thread.start()
    assert thread.drain(60) == 0
    modes = ("pass", "pass", "refuse", "hang", "500", "503", "404", "cut", "cut", "late", "late", "slow")
    proxy.delay = 0.3

    def disturb():
        proxy.mode = rng.choice(modes)
        time.sleep(rng.uniform(0, 0.7))

    study(ledger, trials=4, then=disturb)
    proxy.mode = "pass"
    assert thread.drain(120) == 0 or thread.drain(120) == 0
    time.sleep(0.5)  # what was late is executed now
    assert thread.finish(120) == 0
    sync = ProjectorThread(ledger.path, lambda: connect(proxy.url), named, "x", say=print, pause=0.05)
    assert sync.finish(60) == 0
    assert read_doubts(ledger, "x") == []
    assert shown(f"http://127.0.0.1:{server}", ledger, named) == wanted(ledger, named)


@pytest.mark.slow
def test_a_creation_that_is_executed_late_leaves_no_double(server, proxy, ledger, quick):
    named = facts("ghost")
    tracker = connect(proxy.url)
    projector = Projector(ledger, tracker, named, "x")
    study(ledger)
    proxy.mode, proxy.draw = "late", lambda path: "late" if path.endswith("runs/create") else "pass"
    with pytest.raises(TrackerDown):
        projector.catch_up()
    direct = UnrulyProxy(server)  # the server is back, but has not come to the old request yet
    tracker._client = connect(direct.url)._client
    projector.catch_up()
    proxy.mode = "pass"
    time.sleep(1)
    with pytest.raises(AssertionError):
        shown(direct.url, ledger, named)
    projector.settle()
    assert shown(direct.url, ledger, named) == wanted(ledger, named)
    direct.close()


@pytest.mark.slow
def test_a_server_whose_answers_take_long_is_only_slow(proxy, ledger):
    study(ledger, trials=1)
    proxy.mode, proxy.delay = "slow", 2.0
    thread = ProjectorThread(
        ledger.path, lambda: connect(proxy.url), facts("slow"), "x", say=print, pause=0.05
    )
    assert thread.finish(200) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "says"), [("401", "MLFLOW_TRACKING_USERNAME"), ("403", "--allowed-hosts"), ("429", "429")]
)
def test_who_is_not_let_in_is_told_the_remedy_and_loses_nothing(ledger, mode, says):
    proxy, said = UnrulyProxy(), []
    proxy.mode = mode
    study(ledger, trials=1)
    thread = ProjectorThread(ledger.path, lambda: connect(proxy.url), STUDY, "x", say=said.append)
    began = time.monotonic()
    assert thread.finish(60) == ledger.backlog("x") > 0
    assert time.monotonic() - began < 30
    assert says in said[0]
    proxy.close()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["refuse", "hang"])
def test_a_server_that_is_never_there_holds_up_nothing(ledger, mode, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    proxy, said = UnrulyProxy(), []
    proxy.mode = mode
    thread = ProjectorThread(ledger.path, lambda: connect(proxy.url), STUDY, "x", say=said.append)
    thread.start()
    study(ledger)
    began = time.monotonic()
    thread.drain(300)
    thread.drain(300)
    assert thread.finish(300) == ledger.backlog("x") > 0
    assert time.monotonic() - began < 60
    assert len(said) == 1
    proxy.close()
