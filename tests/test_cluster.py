# ruff: noqa: F811  # fixtures of test_runners
"""Ray with several nodes, all on this machine: what is lost with a node, what each of them is given and asked."""

import os
import signal
import threading
import time

import pytest
from test_runners import (  # noqa: F401
    RATE,
    SMALL,
    clips,
    facts,
    loaded,
    recipes,
    states,
    study,
    undisturbed,
    watch_losses,
)

from escmodels.folds import rotating
from search.errors import Failure
from search.job import Job

pytestmark = pytest.mark.slow

OTHER_CODE = """
import importlib.metadata as metadata
version = metadata.version
metadata.version = lambda name: "0.1" if name == "torch" else version(name)
"""
NO_CODE = """
import sys
class Without:
    def find_spec(self, name, path=None, target=None):
        if name == "search":
            raise ModuleNotFoundError("No module named 'search'")
sys.meta_path.insert(0, Without())
"""


@pytest.fixture(scope="module")
def cluster():
    """A head on which nothing trains."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_health_check_period_ms", "1000")
        patch.setenv("RAY_health_check_failure_threshold", "10")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        yield cluster
        cluster.shutdown()


@pytest.fixture
def add(cluster):
    """Add a node with one CPU; all added ones are gone at the end."""

    def add(**options):
        return cluster.add_node(**({"num_cpus": 1} | options))

    yield add
    for node in list(cluster.worker_nodes):
        cluster.remove_node(node)


@pytest.fixture
def join(cluster, clips, add):
    """Make runners on the cluster."""
    from search.cluster import RayRunner

    runners = []

    def join(**options):
        cluster.wait_for_nodes(timeout=60)  # those that earlier tests killed are known to be gone
        runners.append(RayRunner(cluster.address, **options))
        runners[-1].load(loaded(clips))
        return runners[-1]

    yield join
    for runner in runners:
        runner.close()


def later(seconds, act):
    """Call in this thread after a while, whatever it is doing then: Ray's utility adds no nodes from others."""
    signal.signal(signal.SIGALRM, lambda *_: act())
    signal.setitimer(signal.ITIMER_REAL, seconds)


def node_with(add, tmp_path, code):
    """A node whose Pythons run `code` when they start."""
    (tmp_path / "sitecustomize.py").write_text(code)
    return add(env_vars={"PYTHONPATH": str(tmp_path)})


def test_a_lost_node_costs_only_what_was_running_on_it(
    cluster,
    add,
    join,
    clips,
    tmp_path,
    undisturbed,
):
    add()
    doomed = [add()]

    def kill_after_the_first_fold(conductor, trial):
        if doomed and any(fold.state == "finished" for fold in conductor.ledger.folds()):
            cluster.remove_node(doomed.pop(), allow_graceful=False)

    runner, lost = join(), []
    assert (runner.workers, runner.nodes) == (2, 3)
    conductor = study(tmp_path, clips, recipes(1e-3, 3e-3), listen=kill_after_the_first_fold)
    watch_losses(conductor, lost)
    runner.search(conductor)
    assert states(conductor) == ["complete"] * 2
    assert facts(conductor) == undisturbed
    assert len(lost) <= 1  # none, where the trial on it had just ended
    deadline = time.monotonic() + 30  # Ray takes a while to be sure
    while runner.nodes > 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert runner.nodes == 2


def test_jobs_of_a_lost_node_are_done_elsewhere(cluster, add, join, clips):
    add()
    doomed = add()
    split = rotating(clips.folds.tolist())[0]
    asked = {"values": SMALL, "train": split.train, "test": split.test, "stop_after": 60, "seed": 0}
    jobs = [Job(key=f"job {n}", trial=n, epochs=60, **asked) for n in range(2)]
    done = {}
    killer = threading.Thread(target=_remove_when_busy, args=(cluster, doomed))
    runner = join()
    killer.start()
    runner.run_jobs(jobs, lambda job, result: done.setdefault(job.key, result))
    killer.join()
    assert [len(result.train_losses) for result in done.values()] == [60, 60]
    assert done["job 0"].train_losses == done["job 1"].train_losses


def _remove_when_busy(cluster, node):
    """Kill a node as soon as a worker of it trains."""
    import psutil

    raylet = psutil.Process(next(iter(node.all_processes["raylet"])).process.pid)
    for _ in range(600):
        if any("do_job" in "".join(child.cmdline()) for child in raylet.children(recursive=True)):
            break
        time.sleep(0.1)
    cluster.remove_node(node, allow_graceful=False)


def test_every_node_holds_the_waveforms_once_also_one_that_came_later(add, join, clips):
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    add()
    shared = join(workers=3)._shared[RATE]
    add()
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]

    @ray.remote(num_cpus=0)
    def total(shared):
        return int(shared.open().samples.sum(dtype=int))

    pinned = [NodeAffinitySchedulingStrategy(node, soft=False) for node in nodes for _ in range(2)]
    totals = ray.get([total.options(scheduling_strategy=strategy).remote(shared) for strategy in pinned])
    assert set(totals) == {int(clips.samples.sum(dtype=int))}
    where = ray.experimental.get_object_locations([shared.samples])[shared.samples]["node_ids"]
    assert sorted(where) == sorted(nodes)


def test_a_search_waits_for_nodes_that_are_to_come(add, join, clips, tmp_path, capsys):
    with pytest.raises(
        Failure, match="--cpus-per-trial 1 is more than .* say with --max-concurrent how many"
    ):
        join()
    runner = join(workers=2)
    assert "waiting for one to come" in capsys.readouterr().err
    conductor = study(tmp_path, clips, recipes(1e-3))
    later(2, add)
    runner.search(conductor)
    assert states(conductor) == ["complete"]


def test_a_search_that_waits_for_nodes_can_be_stopped(add, join, clips, tmp_path):
    runner = join(workers=2)
    conductor = study(tmp_path, clips, recipes(1e-3, 2e-3, 3e-3))
    later(2, conductor.stop)
    began = time.monotonic()
    runner.search(conductor)
    assert time.monotonic() - began < 30
    assert set(states(conductor)) == {"waiting"}


def test_more_cpus_than_the_biggest_node_has_are_refused(add, join):
    add(num_cpus=2)
    add(num_cpus=3)
    with pytest.raises(Failure, match=r"--cpus-per-trial 4 is more than any machine here has \(3\)"):
        join(cpus_per_trial=4)
    assert join(cpus_per_trial=2).workers == 2  # not the five CPUs by two of both together


@pytest.mark.parametrize(
    ("code", "found"), [(OTHER_CODE, r"\w{16}"), (NO_CODE, ".*No module named 'search'")]
)
def test_a_node_with_other_code_is_refused_by_name(add, join, tmp_path, code, found):
    add()
    node = node_with(add, tmp_path, code)
    with pytest.raises(
        Failure, match=rf"{node.node_ip_address} has another .* \({found} there, .* same container"
    ):
        join()


def test_a_node_with_other_code_that_comes_later_ends_the_search_and_fails_nothing(
    cluster, add, join, clips, tmp_path
):
    runner = join(workers=1)
    node = node_with(add, tmp_path, OTHER_CODE)
    conductor = study(tmp_path / "study", clips, recipes(1e-3, 2e-3))
    runner.search(conductor)
    (row,) = conductor.ledger.trials()
    assert (row.state, row.losses) == ("waiting", 0)
    assert str(conductor.trouble).startswith(f"node {node.node_ip_address} has another escsearch or torch")
    cluster.remove_node(node)
    add()
    resumed = study(tmp_path / "study", clips, recipes(1e-3, 2e-3))
    runner.search(resumed)
    assert states(resumed) == ["complete"] * 2


def test_a_node_that_does_not_answer_is_told_as_that(add, join, monkeypatch):
    node = add()
    monkeypatch.setattr("search.cluster.ANSWER", 0.001)
    with pytest.raises(Failure, match=rf"node {node.node_ip_address} did not answer within 0.001 s"):
        join()


def test_workers_get_the_environment_that_is_forwarded_and_no_other(add, join, monkeypatch):
    import ray

    add()
    for name in ("ESCSEARCH_PROBE", "MLFLOW_TRACKING_PASSWORD", "CUBLAS_WORKSPACE_CONFIG"):
        monkeypatch.setenv(name, f"{name} of the driver")
    join(cpus_per_trial=1)
    seen = ray.get(ray.remote(lambda: dict(os.environ)).remote())
    assert seen["ESCSEARCH_PROBE"] == "ESCSEARCH_PROBE of the driver"
    assert seen["CUBLAS_WORKSPACE_CONFIG"] == "CUBLAS_WORKSPACE_CONFIG of the driver"
    assert seen["OMP_NUM_THREADS"] == "1"
    assert seen["MALLOC_TRIM_THRESHOLD_"] == os.environ["MALLOC_TRIM_THRESHOLD_"]
    assert "MLFLOW_TRACKING_PASSWORD" not in seen
