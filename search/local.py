"""The runner without a cluster: one training at a time, in this process. For tests, debugging, one core."""

from collections.abc import Mapping, Sequence

import torch

from escmodels.clips import ClipSet

from .conductor import Conductor
from .errors import Failure
from .job import Job, JobFailure, JobResult, run_job
from .runner import OnJob
from .trial import DeviceLost, Report, check_device, run_trial, told, use_threads


class _Stopped(BaseException):
    """Raised from `report` to leave a training in the middle; no `except Exception` may catch it."""


class LocalRunner:
    """See `runner.Runner`. Raises `Failure` where CUDA is asked for and is not there.

    threads: as the CPUs of a trial on the cluster: with as many, both compute the same to the last bit. A training
    that hangs cannot be ended from inside its own process; here Ctrl-C does that.
    """

    def __init__(self, threads: int = 1, device: str = "cpu") -> None:
        check_device_there(device)
        self._threads, self._device = threads, device
        self._clips: Mapping[int, ClipSet] = {}

    @property
    def workers(self) -> int:
        """One training at a time."""
        return 1

    @property
    def nodes(self) -> int:
        """This machine."""
        return 1

    def load(self, clips: Mapping[int, ClipSet]) -> None:
        """Keep the clips by sample rate."""
        self._clips = clips

    def search(self, conductor: Conductor) -> None:
        """Run trials one after the other."""
        use_threads(self._threads)

        def report(news: Report) -> None:
            if not conductor.on_report(news):
                raise _Stopped

        while (assignment := conductor.next()) is not None:
            try:
                run_trial(assignment, conductor.plan, self._clips.__getitem__, report, self._device)
            except _Stopped:
                continue
            except DeviceLost as lost:
                conductor.on_lost(assignment.trial, lost.reason, memory=lost.memory)
                if not lost.memory:  # no other process can take the place of this one
                    conductor.give_up(_no_device(lost))

    def run_jobs(self, jobs: Sequence[Job], on_done: OnJob) -> None:
        """Run jobs one after the other. Raises `Failure` where the GPU is lost."""
        use_threads(self._threads)
        for job in jobs:
            result: JobResult | JobFailure
            try:
                result = run_job(job, self._clips.__getitem__, self._device)
            except Exception as error:
                try:
                    check_device(error)
                except DeviceLost as lost:
                    if not lost.memory:
                        raise _no_device(lost) from error
                result = JobFailure(told(error))
            on_done(job, result)

    def close(self) -> None:
        """Nothing is held."""


def _no_device(lost: DeviceLost) -> Failure:
    return Failure(
        f"this process has lost its GPU ({lost}); nothing finished is lost: check the GPU (nvidia-smi), then resume"
    )


def check_device_there(device: str) -> None:
    """Raises `Failure` where CUDA is asked for and is not there."""
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise Failure("a GPU was asked for, and torch finds none on this machine")
