"""The runner on Ray: trials through Ray Tune's Tuner, jobs as Ray tasks, on this machine or a cluster.

Ray Tune carries trials to workers and back; what is proposed, kept and stopped is decided by the conductor,
which sits behind Tune's searcher and scheduler interfaces. Tune keeps no state of its own that matters: a
Tune trial is one attempt at one of ours, and its experiment folder is thrown away.
"""

import dataclasses
import logging
import os
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# before Ray is imported: one line of output is ours, the rest of Tune's bookkeeping is not wanted
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # Ctrl-C is ours: save and leave with 130
os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray warns that its default will be this
# glibc's allocator keeps freed memory: a training step takes and frees the same tensors again and again, and
# page faults cost a fifth of the first fits of a process, and nothing later (docs/performance.md)
os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", "4000000000")
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", "8000000000")
os.environ.setdefault("MALLOC_TOP_PAD_", "100000000")

import numpy as np
import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from escmodels.clips import ClipSet

from .conductor import Conductor
from .errors import Failure
from .job import Job, JobFailure, JobResult, run_job
from .runner import OnJob
from .trial import Assignment, Plan, Report, run_trial, use_threads

REPORT = "report"  # the key of our report in Tune's result


@dataclasses.dataclass(frozen=True)
class Shared:
    """The clips at one sample rate as they travel: samples by file on one machine, by object on a cluster."""

    table: Mapping[str, Any]  # the fields of the ClipSet but its samples
    samples: "ray.ObjectRef[Any] | tuple[str, int, int]"  # or (path, offset in bytes, number of samples)

    def open(self) -> ClipSet:
        """The clips in this process, samples not copied."""
        if isinstance(self.samples, tuple):
            path, offset, count = self.samples
            samples: np.ndarray = np.memmap(path, np.int16, "r", offset, (count,))
        else:
            samples = ray.get(self.samples)
        return ClipSet(samples=samples, **self.table)


def share(clips: ClipSet, *, by_file: bool) -> Shared:
    """Make clips ready to travel; `by_file` where every worker sees this machine's files."""
    names = {item.name for item in dataclasses.fields(ClipSet)} - {"samples"}
    table = {name: getattr(clips, name) for name in names}
    if by_file and isinstance(clips.samples, np.memmap) and clips.samples.filename:
        return Shared(table, (str(clips.samples.filename), clips.samples.offset, clips.samples.size))
    return Shared(table, ray.put(np.asarray(clips.samples)))


class _Opened:
    """Clips opened once in a worker, however many trials it runs."""

    def __init__(self, shared: Mapping[int, Shared]) -> None:
        self._shared = shared
        self._open: dict[int, ClipSet] = {}

    def __call__(self, rate: int) -> ClipSet:
        if rate not in self._open:
            self._open[rate] = self._shared[rate].open()
        return self._open[rate]


def _device(gpus: float) -> str:
    return "cuda" if gpus > 0 else "cpu"


def _trainable(
    config: dict[str, Any], shared: Mapping[int, Shared], plan: Plan, threads: int, gpus: float
) -> None:
    """What Tune runs in a worker. When the scheduler says stop, `tune.report` raises SystemExit."""
    use_threads(threads)
    trial = config["trial"]
    assignment = Assignment(trial, config["values"], frozenset(config["finished"]))

    def report(news: Report) -> None:
        tune.report({REPORT: news})

    try:
        run_trial(assignment, plan, _Opened(shared), report, _device(gpus))
    except Exception as error:  # a bug is no lost worker: told as what it is, it is not tried again
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(where.filename).name}:{where.lineno}"
        report(Report(trial, failed=f"{type(error).__name__} at {place}: {' '.join(str(error).split())}"))


class _NotKept:
    """Tune pickles its parts to disk for a restore that we never ask for; nothing of ours goes there."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _Search(_NotKept, Searcher):
    """Tune's searcher: what the conductor hands out."""

    def __init__(self, conductor: Conductor, concurrent: int) -> None:
        super().__init__()
        self._conductor, self._concurrent = conductor, concurrent
        self.running: dict[str, int] = {}  # Tune's trial id -> our trial

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]  # FINISHED is a str
        if len(self.running) >= self._concurrent:
            return None
        assignment = self._conductor.next()
        if assignment is None:
            # a running trial may lose its worker and have to be taken up again
            return None if self.running else Searcher.FINISHED
        self.running[trial_id] = assignment.trial
        return {
            "trial": assignment.trial,
            "values": dict(assignment.values),
            "finished": sorted(assignment.finished),
        }

    def set_search_properties(self, metric: str | None, mode: str | None, config: Any, **spec: Any) -> bool:
        return True  # nothing to set: the conductor knows the objective and the space

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        trial = self.running.pop(trial_id, None)
        if trial is not None:
            self._conductor.on_lost(trial, "the worker died")  # no effect on a trial that has ended

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a resumed study builds a new searcher on its ledger."""


class _Scheduler(_NotKept, FIFOScheduler):
    """Tune's scheduler: what the conductor says to a report."""

    def __init__(self, conductor: Conductor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._conductor = conductor

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        go_on = self._conductor.on_report(result[REPORT])
        return TrialScheduler.CONTINUE if go_on else TrialScheduler.STOP


class RayRunner:
    """See `runner.Runner`.

    address: "local" starts Ray on this machine for the life of the runner, anything else joins that cluster.
    workers: trials side by side, None for as many as the machine or cluster has CPUs (or shares of its GPUs);
    on one machine its cores are shared out among them.
    """

    def __init__(self, address: str, workers: int | None = None, gpus_per_trial: float = 0.0) -> None:
        self._local = address == "local"
        self._gpus = gpus_per_trial
        cores = os.cpu_count() or 1
        self._shared: Mapping[int, Shared] = {}
        options: dict[str, Any] = {}
        if self._local:
            options = {"num_cpus": workers or cores, "include_dashboard": False}
        try:
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
        have: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        if gpus_per_trial > have.get("GPU", 0.0):
            ray.shutdown()
            raise Failure(
                f"{gpus_per_trial:g} GPUs a trial were asked for, the cluster has {have.get('GPU', 0.0):g}"
            )
        fit = have["GPU"] / gpus_per_trial if gpus_per_trial else have.get("CPU", 1.0)
        self._workers = workers or max(1, int(fit))
        self._threads = max(1, cores // self._workers) if self._local else 1

    def load(self, clips: Mapping[int, ClipSet]) -> None:
        """Share the clips with the workers."""
        self._shared = {rate: share(clip_set, by_file=self._local) for rate, clip_set in clips.items()}

    def search(self, conductor: Conductor) -> None:
        """Run trials side by side until the conductor has no more."""
        searcher = _Search(conductor, self._workers)
        trainable = tune.with_parameters(
            _trainable, shared=self._shared, plan=conductor.plan, threads=self._threads, gpus=self._gpus
        )
        resources = {"cpu": 1.0} | ({"gpu": self._gpus} if self._gpus else {})
        with tempfile.TemporaryDirectory(prefix="escsearch-tune-", ignore_cleanup_errors=True) as folder:
            tuner = tune.Tuner(
                tune.with_resources(trainable, resources),
                tune_config=tune.TuneConfig(
                    search_alg=searcher,
                    scheduler=_Scheduler(conductor),
                    num_samples=-1,  # until the conductor has no more
                    reuse_actors=True,
                    trial_dirname_creator=_short_name,
                ),
                run_config=tune.RunConfig(storage_path=folder, name="study", verbose=0),
            )
            tuner.fit()

    def run_jobs(self, jobs: Sequence[Job], on_done: OnJob) -> None:
        """Run jobs as Ray tasks; Ray repeats those whose worker is lost."""
        remote = ray.remote(max_retries=3, num_cpus=1, num_gpus=self._gpus)(_job)
        shared = ray.put(self._shared)
        waiting: dict[ray.ObjectRef[Any], Job] = {
            remote.remote(job, shared, self._threads, self._gpus): job for job in jobs
        }
        try:
            while waiting:
                (done, *_), _ = ray.wait(list(waiting), num_returns=1)
                job = waiting.pop(done)
                on_done(job, _result(done))
        finally:
            for task in waiting:
                ray.cancel(task)

    def close(self) -> None:
        """Leave the cluster; the one of this machine ends with that."""
        ray.shutdown()


def _short_name(trial: Any) -> str:
    """Tune's own folder names are longer than some file systems allow."""
    return str(trial.trial_id)


def _job(job: Job, shared: Mapping[int, Shared], threads: int, gpus: float) -> JobResult:
    use_threads(threads)
    return run_job(job, _Opened(shared), _device(gpus))


def _result(task: "ray.ObjectRef[Any]") -> JobResult | JobFailure:
    try:
        return ray.get(task)
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None) or error
        return JobFailure(" ".join(str(cause).split())[:300])
