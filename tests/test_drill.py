"""The fault drill: a study on three Ray nodes, with an MLflow server, under somebody who breaks whatever can break.

The driver is killed five times, workers five times, one node once, and the server is away for a minute in the
middle. At the end every fold run stands once in the ledger and once in MLflow, with equal values, and the best recipe
is that of the same search left in peace with one worker.
"""

import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter

import psutil
import pytest

from search.commands.system import server_command
from search.datasets.synthetic import write_esc50_folder
from search.errors import Failure
from search.ledger import Ledger
from search.settings import resolve

pytestmark = pytest.mark.slow
TRIALS, EPOCHS, SPLITS = 6, 8, 5
DRIVERS = WORKERS = 5  # how often each is killed
AWAY = 60.0  # seconds without the MLflow server
SPACE = f"""
about: Small nets that take a few seconds
epochs: {EPOCHS}
knobs:
  architecture: mel_cnn
  data.sample_rate: 8000
  feature: logmel
  feature.n_mels: 24
  feature.n_fft: 512
  feature.hop: 256
  model.width: {{type: categorical, choices: [4, 6, 8]}}
  model.blocks: 2
  optim.lr: {{type: float, low: 1e-4, high: 3e-2, log: true}}
  optim.batch: 8
"""
THREE_NODES = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
node, _ = cluster.add_node(num_cpus=1), cluster.add_node(num_cpus=1)
print(cluster.address, flush=True)
for line in sys.stdin:
    cluster.remove_node(node, allow_graceful=False)
    print("removed", flush=True)
cluster.shutdown()
"""
QUIET = {
    key: value for key, value in os.environ.items() if not key.startswith(("ESCSEARCH", "MLFLOW", "RAY"))
}
ENVIRONMENT = QUIET | {
    "RAY_AUTH_MODE": "disabled",  # a cluster of this test alone, gone after it
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "10",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "OMP_NUM_THREADS": "1",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A working directory with short synthetic clips and a space in it."""
    place = tmp_path_factory.mktemp("drill")
    write_esc50_folder(place / "sounds", sample_rate=8000, seconds=2.0)
    (place / "small.yaml").write_text(SPACE)
    return place


class Server:
    """An MLflow server on SQLite that comes and goes."""

    def __init__(self, place):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self._settings = resolve({"home": str(place / "served")}, {})
        self._settings.home.mkdir(exist_ok=True)
        self._log = place / "server.log"
        self._process = None

    def start(self):
        with open(self._log, "a") as log:
            self._process = subprocess.Popen(
                server_command(self._settings, self.port), env=ENVIRONMENT, stdout=log, stderr=log
            )

    def wait(self):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.2)
            else:
                return
        raise AssertionError("the MLflow server did not come up")

    def kill(self):
        if self._process is not None:
            _kill_tree(self._process.pid)
            self._process.wait()
            self._process = None

    @property
    def database(self):
        return self._settings.home / "mlflow.sqlite"


def _kill_tree(pid):
    process = psutil.Process(pid)
    for one in [*process.children(recursive=True), process]:
        one.kill()


def escsearch(place, *words):
    """Begin a command; what it prints goes into driver.out, what it says into driver.log."""
    with open(place / "driver.out", "w") as out, open(place / "driver.log", "a") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "search", *map(str, words)],
            cwd=place,
            env=ENVIRONMENT,
            stdout=out,
            stderr=log,
        )


def ended(place, process):
    """Wait for a command that must end well."""
    assert process.wait() == 0, (place / "driver.log").read_text()[-3000:]


def ledger_of(place):
    return Ledger(place / "runs" / "broken" / "ledger.sqlite")


def finished(place):
    """Number of fold runs that are finished at this moment, and the most losses of a trial that runs."""
    try:
        ledger = ledger_of(place)
    except Failure:  # it is just being made
        return 0, 0
    done = sum(fold.state == "finished" for fold in ledger.folds(phase="search"))
    losses = max((row.losses for row in ledger.trials("running")), default=0)
    ledger.close()
    return done, losses


def training(cluster):
    """The processes below that of the cluster that train."""
    found = []
    for process in psutil.Process(cluster).children(recursive=True):
        try:
            name = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if name.startswith("ray::") and "train" in name:
            found.append(process)
    return found


@pytest.fixture(scope="module")
def cluster(place):
    """A head and two nodes of one CPU each, in a process of their own: the driver can be killed without them."""
    with open(place / "cluster.log", "w") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", THREE_NODES],
            env=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    with process:
        try:
            yield process, process.stdout.readline().strip()
        finally:
            _kill_tree(process.pid)


@pytest.fixture(scope="module")
def broken(place, cluster):
    """The study after the drill: (the server, what was broken how often)."""
    server, chance, broken = Server(place), random.Random(0), Counter()
    nodes, address = cluster
    common = ("--address", address, "--tracking-uri", server.uri, "--no-exam", "--pruner", "none")
    first = ("run", "small.yaml", "--data", "sounds", "--study", "broken", "--sampler", "random")
    server.start()
    server.wait()
    driver, back, known = escsearch(place, *first, "--trials", TRIALS, *common), None, 0
    try:
        while (code := driver.poll()) != 0:
            time.sleep(0.1)
            if back is not None and time.monotonic() > back:
                server.start()
                back = None
            if code is not None:
                assert code == -signal.SIGKILL, (place / "driver.log").read_text()[-3000:]
                driver = escsearch(place, "resume", "broken", *common)
            done, losses = finished(place)
            if done <= known:
                continue
            known = done  # something was finished since the last blow: strike again
            workers = training(nodes.pid) if losses <= 1 else []  # the third loss would end a trial
            if broken["driver"] < min(DRIVERS, broken["worker"]):
                driver.kill()
                driver.wait()
                broken["driver"] += 1
            elif workers and broken["worker"] < WORKERS:
                chance.choice(workers).kill()
                broken["worker"] += 1
            elif workers and not broken["node"]:
                nodes.stdin.write("now\n")
                nodes.stdin.flush()
                assert nodes.stdout.readline() == "removed\n"
                broken["node"] += 1
            if broken["worker"] == 2 and not broken["server"]:
                server.kill()
                broken["server"] += 1
                back = time.monotonic() + AWAY
        if back is not None:  # the search was faster than the minute
            time.sleep(max(0.0, back - time.monotonic()))
            server.start()
        server.wait()
        ended(place, escsearch(place, "sync", "broken", "--tracking-uri", server.uri))
        yield server, broken
    finally:
        if driver.poll() is None:
            _kill_tree(driver.pid)
            driver.wait()
        server.kill()


@pytest.fixture(scope="module")
def peaceful(place, broken):
    """The same search with one worker, left in peace: its trials."""
    words = ("run", "small.yaml", "--data", "sounds", "--study", "peaceful", "--sampler", "random")
    alone = ("--runner", "local", "--pruner", "none", "--no-exam")
    ended(place, escsearch(place, *words, "--trials", TRIALS, *alone))
    ledger = Ledger(place / "runs" / "peaceful" / "ledger.sqlite")
    rows = {row.number: (row.values, row.objective) for row in ledger.trials()}
    ledger.close()
    return rows


def mlflow_runs(server, level):
    """Active runs of a level: key -> (status, {metric: last value}); a key that stands twice fails here."""
    with sqlite3.connect(server.database) as database:
        rows = database.execute(
            "SELECT name.value, runs.status, runs.run_uuid FROM runs "
            "JOIN tags level ON level.run_uuid = runs.run_uuid AND level.key = 'esc.level' AND level.value = ? "
            "JOIN tags name ON name.run_uuid = runs.run_uuid AND name.key = 'esc.key' "
            "WHERE runs.lifecycle_stage = 'active'",
            (level,),
        ).fetchall()
        points = database.execute("SELECT run_uuid, key, step, value FROM metrics").fetchall()
    database.close()
    assert len({key for key, _, _ in rows}) == len(rows), "a run stands twice in MLflow"
    found = {run: (key, status, []) for key, status, run in rows}
    for run, metric, step, value in points:
        if run in found:
            found[run][2].append((metric, step, value))
    return {key: (status, sorted(values)) for key, status, values in found.values()}


def test_all_was_broken_that_was_to_be_broken(broken):
    assert broken[1] == {"driver": DRIVERS, "worker": WORKERS, "node": 1, "server": 1}


def test_every_fold_run_stands_once_in_the_ledger_and_once_in_mlflow_with_equal_values(broken, place):
    ledger = ledger_of(place)
    folds = ledger.folds(phase="search")
    assert [(fold.trial, fold.split, fold.state) for fold in folds] == [
        (trial, split, "finished") for trial in range(TRIALS) for split in range(1, SPLITS + 1)
    ]
    shown = mlflow_runs(broken[0], "fold")
    assert len(shown) == len(folds)
    for fold in folds:
        status, points = next(
            run for key, run in shown.items() if f"/t{fold.trial:03d}/s{fold.split}/{fold.key}/" in key
        )
        kept = [
            (metric, epoch, value)
            for epoch, metrics, _ in ledger.epochs(fold.key)
            for metric, value in metrics.items()
        ]
        assert status == "FINISHED"
        assert points == sorted(kept)
    assert all(status == "FINISHED" for status, _ in mlflow_runs(broken[0], "trial").values())
    assert ledger.backlog(broken[0].uri) == 0
    ledger.close()


def test_recipes_and_scores_are_those_of_the_same_search_left_in_peace(broken, place, peaceful):
    ledger = ledger_of(place)
    rows = {row.number: (row.values, row.objective) for row in ledger.trials()}
    ledger.close()
    assert rows == peaceful
    assert max(rows, key=lambda number: rows[number][1]) == max(peaceful, key=lambda n: peaceful[n][1])
