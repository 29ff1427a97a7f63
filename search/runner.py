"""What the study needs from whoever runs its trainings. Twins: `local.LocalRunner`, `cluster.RayRunner`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from escmodels.clips import ClipSet

from .conductor import Conductor
from .job import Job, JobFailure, JobResult

OnJob = Callable[[Job, JobResult | JobFailure], None]


class Runner(Protocol):
    """Runs trials and jobs. Closing it frees everything it holds, whatever has happened before."""

    @property
    def workers(self) -> int:
        """Trainings side by side, at most."""

    @property
    def nodes(self) -> int:
        """Machines that run trainings now; more than one see neither this one's files nor its local servers."""

    def load(self, clips: Mapping[int, ClipSet]) -> None:
        """The clips of the study by sample rate in Hz: before anything is run, and again, with more of them, when a
        fold that was held out is opened for the exam; nothing runs meanwhile."""

    def search(self, conductor: Conductor) -> None:
        """Run trials until the conductor has no more."""

    def run_jobs(self, jobs: Sequence[Job], on_done: OnJob) -> None:
        """Run jobs in any order; `on_done` is called in this thread as each ends, well or not."""

    def close(self) -> None:
        """Free workers and memory."""
