"""The runner on Ray: trials through Ray Tune's Tuner, jobs as Ray tasks, on this machine or a cluster.

Ray Tune carries trials to workers and back; what is proposed, kept and stopped is decided by the conductor,
which sits behind Tune's searcher and scheduler interfaces. Tune keeps no state of its own that matters: a
Tune trial is one attempt at one of ours, and its experiment folder is thrown away.
"""

import dataclasses
import logging
import os
import socket
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

# before Ray is imported: one line of output is ours, the rest of Tune's bookkeeping is not wanted
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # Ctrl-C is ours: save and leave with 130
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "1000000000")  # the ledger is the state, not Tune's files
os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray warns that its default will be this
os.environ.setdefault("RAY_task_oom_retries", "1")  # of a job killed for lack of memory; Ray's own: for ever
# glibc's allocator keeps freed memory: a training step takes and frees the same tensors again and again, and
# page faults cost a fifth of the first fits of a process, and nothing later (docs/performance.md)
os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", "4000000000")
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", "8000000000")
os.environ.setdefault("MALLOC_TOP_PAD_", "100000000")

import ray
from ray import tune
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from escmodels.clips import ClipSet

from . import deaths
from .conductor import Conductor
from .errors import Failure
from .fingerprint import code_fingerprint
from .job import Job, JobFailure, JobResult
from .runner import OnJob
from .terminal import say
from .trial import DeviceLost
from .tuning import ConductorScheduler, ConductorSearch, NobodyLeft, Silent
from .worker import Shared, Terms, do_job, other_code, share, train

# What workers of a cluster get from the environment of the driver, where it is set there, besides the threads of a
# training and all ESCSEARCH_*. Never MLFLOW_*: workers do not talk to MLflow, and its passwords stay here.
FORWARDED = (
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TRIM_THRESHOLD_",
    "MALLOC_TOP_PAD_",
    "CUBLAS_WORKSPACE_CONFIG",
    "HF_HUB_OFFLINE",
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_CUDA_ALLOC_CONF",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO",
)
CONNECT = 5.0  # seconds in which a cluster has to take up a connection
ANSWER = 120.0  # seconds in which a node has to start a worker and say what code it has


class RayRunner:
    """See `runner.Runner`. Raises `Failure` where there is no such cluster, or it has not what a trial needs.

    address: "local" starts Ray on this machine for the life of the runner, anything else joins that cluster.
    workers: trials side by side; None for as many as the machine or the cluster has room for now. With a number,
    resources may be missing yet: trials wait for them, and the nodes of an autoscaled cluster come for them.
    gpus_per_trial: 0, 1/n or a whole number. cpus_per_trial: threads of a training.
    hang_minutes: a training that reports nothing for so long is ended, and the trial taken up again.
    """

    def __init__(
        self,
        address: str,
        workers: int | None = None,
        gpus_per_trial: float = 0.0,
        cpus_per_trial: int = 1,
        hang_minutes: float = 30.0,
    ) -> None:
        self._local = address == "local"
        self._needs = {"CPU": float(cpus_per_trial)} | ({"GPU": gpus_per_trial} if gpus_per_trial else {})
        self._shared: Mapping[int, Shared] = {}
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        if self._local and cpus_per_trial > cores:
            raise Failure(_too_much("CPU", cpus_per_trial, cores))
        options: dict[str, Any] = {"runtime_env": {"env_vars": _environment(cpus_per_trial)}}
        if self._local:  # workers inherit the environment; more of them than cores are the user's business
            cpus = (workers or max(1, cores // cpus_per_trial)) * cpus_per_trial
            options = {"num_cpus": cpus, "include_dashboard": False}
        _connect(address, options)
        try:
            self._workers = workers or self._room()
            code = "" if self._local else code_fingerprint()
            self._terms = Terms(cpus_per_trial, gpus_per_trial, hang_minutes * 60, code)
            if not self._local:
                self._compare_code()
                if workers and not self._fitting(0):
                    say(f"no node has {_words(self._needs)} for a trial now; waiting for one to come")
        except BaseException:
            ray.shutdown()
            raise

    @property
    def workers(self) -> int:
        """Trainings side by side, at most."""
        return self._workers

    @property
    def nodes(self) -> int:
        """Nodes of the cluster that are there now, and one to come where none has room for a trial."""
        return len(_alive()) + (not self._fitting())

    def _fitting(self, least: int = 1) -> int:
        """How many trials the nodes that are there could hold side by side."""
        return sum(
            min(int(node["Resources"].get(kind, 0.0) / need + 1e-6) for kind, need in self._needs.items())
            for node in _alive()
        )

    def _room(self) -> int:
        """Trials that fit on the machine or cluster. Raises `Failure` where there is room for none."""
        if room := self._fitting():
            return room
        for kind, need in self._needs.items():
            most = max((node["Resources"].get(kind, 0.0) for node in _alive()), default=0.0)
            if most < need:
                grows = (
                    ""
                    if self._local
                    else "; if nodes will come, say with --max-concurrent how many trials to run"
                )
                raise Failure(_too_much(kind, need, most) + grows)
        raise Failure(f"no node of the cluster has {_words(self._needs)} for a trial")

    def _compare_code(self) -> None:
        """Ask every node that could hold a trial for the code it has.

        Raises `Failure` naming one that has another, or does not answer.
        """
        nodes = [node for node in _alive() if node["Resources"].get("CPU", 0.0) >= self._needs["CPU"]]
        asked = [(node["NodeManagerAddress"], _fingerprint_of(node["NodeID"])) for node in nodes]
        for address, answer in asked:  # one machine may hold several nodes
            try:
                found = ray.get(answer, timeout=ANSWER)
            except ray.exceptions.RayTaskError as error:  # it has none that can be read
                found = deaths.told(error).reason
            except ray.exceptions.GetTimeoutError as error:
                raise Failure(
                    f"node {address} did not answer within {ANSWER:g} s; "
                    "see whether it is overloaded, or take it out of the cluster, then try again"
                ) from error
            except ray.exceptions.RayError as error:
                raise Failure(
                    f"node {address} could not say what code it has: {deaths.told(error).reason}; "
                    "mend it or take it out of the cluster, then try again"
                ) from error
            if found != self._terms.code:
                raise Failure(other_code(address, found, self._terms.code))

    def load(self, clips: Mapping[int, ClipSet]) -> None:
        """Share the clips with the workers."""
        self._shared = {rate: share(clip_set, by_file=self._local) for rate, clip_set in clips.items()}

    def search(self, conductor: Conductor) -> None:
        """Run trials side by side until the conductor has no more."""
        searcher = ConductorSearch(conductor, self._workers)
        scheduler = ConductorScheduler(conductor, self._terms.silence)
        terms = dataclasses.replace(self._terms, points=conductor.points)
        trainable = tune.with_parameters(train, shared=self._shared, plan=conductor.plan, terms=terms)
        resources = {kind.lower(): need for kind, need in self._needs.items()}
        # all workers start side by side, and an autoscaler sees at once how many are wanted; Tune's own: one by one
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(self._workers)
        with (
            deaths.survived(),
            tempfile.TemporaryDirectory(prefix="escsearch-tune-", ignore_cleanup_errors=True) as folder,
        ):
            tuner = tune.Tuner(
                tune.with_resources(trainable, resources),
                tune_config=tune.TuneConfig(
                    search_alg=searcher,
                    scheduler=scheduler,
                    num_samples=-1,  # until the conductor has no more
                    reuse_actors=True,
                    trial_dirname_creator=_short_name,
                ),
                run_config=tune.RunConfig(
                    storage_path=folder,
                    name="study",
                    verbose=0,
                    stop=NobodyLeft(scheduler),
                    callbacks=[Silent()],
                ),
            )
            tuner.fit()
        for trial in searcher.running.values():  # a search that ended while their workers were still to start
            conductor.put_back(trial)

    def run_jobs(self, jobs: Sequence[Job], on_done: OnJob) -> None:
        """Run jobs as Ray tasks; Ray repeats those whose worker, node or GPU is lost."""
        remote = ray.remote(  # type: ignore[call-overload]  # Ray's types know no list of exceptions
            max_retries=3,
            retry_exceptions=[DeviceLost, ray.exceptions.RayError],
            num_cpus=self._needs["CPU"],
            num_gpus=self._needs.get("GPU", 0.0),
        )(do_job)
        shared, rest = ray.put(self._shared), list(reversed(jobs))
        running: dict[ray.ObjectRef[Any], Job] = {}
        try:
            while rest or running:
                while rest and len(running) < self._workers:
                    job = rest.pop()
                    running[remote.remote(job, shared, self._terms)] = job
                (done, *_), _ = ray.wait(list(running), num_returns=1)
                job = running.pop(done)
                on_done(job, _result(done))
        finally:
            for task in running:
                ray.cancel(task)

    def close(self) -> None:
        """Leave the cluster; the one of this machine ends with that."""
        ray.shutdown()


def _connect(address: str, options: Mapping[str, Any]) -> None:
    """Start or join Ray, and keep it quiet."""
    host, _, port = address.rpartition(":")
    try:
        if host and port.isdecimal() and "://" not in address:  # else Ray tries for a minute
            socket.create_connection((host, int(port)), CONNECT).close()
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=True,
            **options,
        )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise Failure(
            f"no Ray cluster at {address!r} ({' '.join(str(error).split())[:200]}); "
            "check --address or RAY_ADDRESS, or use --address local"
        ) from error
    for name in ("ray", "ray.tune", "ray.air", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what happened to a trial is in the ledger
    # Ray prints the death of a worker on stdout, where results belong; our own progress line says it
    ray._private.worker._worker_logs_enabled = False


def _environment(threads: int) -> dict[str, str]:
    """What the workers of a cluster get from this process's environment."""
    names = [*FORWARDED, *(name for name in os.environ if name.startswith("ESCSEARCH_"))]
    return {name: os.environ[name] for name in names if name in os.environ} | {
        "OMP_NUM_THREADS": str(threads)
    }


def _alive() -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [node for node in nodes if node["Alive"]]


def _fingerprint_of(node: str) -> "ray.ObjectRef[Any]":
    def look() -> (
        str
    ):  # inside a function, so that it travels whole: the node may have no escsearch to take it from
        from search.fingerprint import code_fingerprint

        return code_fingerprint()

    pinned = NodeAffinitySchedulingStrategy(node, soft=False)
    return ray.remote(look).options(num_cpus=0, scheduling_strategy=pinned, max_retries=0).remote()


def _words(needs: Mapping[str, float]) -> str:
    return " and ".join(f"{need:g} {kind}{'' if need == 1 else 's'}" for kind, need in needs.items())


def _too_much(kind: str, need: float, most: float) -> str:
    option = f"--{kind.lower()}s-per-trial"
    if not most and kind == "GPU":
        return f"{option} {need:g} was asked for and no machine here has a {kind}; leave it out"
    return f"{option} {need:g} is more than any machine here has ({most:g}); ask for at most {most:g}"


def _short_name(trial: Any) -> str:
    """Tune's own folder names are longer than some file systems allow."""
    return str(trial.trial_id)


def _result(task: "ray.ObjectRef[Any]") -> JobResult | JobFailure:
    try:
        return ray.get(task)
    except ray.exceptions.RayError as error:
        return JobFailure(deaths.told(error).reason)
