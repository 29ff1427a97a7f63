"""What happens in a worker of Ray: clips are opened, threads set, the code compared, the watch for silence kept.

Nothing here talks to MLflow or to files of the driver: a worker needs escsearch, Ray and its share of a machine.
"""

import dataclasses
import faulthandler
import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import ray
from ray import tune

from escmodels.clips import ClipSet

from .job import Job, JobFailure, JobResult, run_job
from .letters import Letters
from .trial import Assignment, Plan, Report, check_device, run_trial, told, use_threads

REPORT = "report"  # the key of our reports in Tune's result


@dataclasses.dataclass(frozen=True)
class Terms:
    """How every training is to be run, wherever it lands."""

    threads: int
    gpus: float
    silence: float  # seconds without a word after which a training counts as hanging; inf: never
    code: str = (
        ""  # fingerprint of the driver's code, which the worker's must equal; "": they are the same files
    )
    points: frozenset[tuple[int, int]] = frozenset()  # (split, epoch) after which the driver decides

    @property
    def device(self) -> str:
        """Where torch puts the training; Ray shows a worker its own GPUs only."""
        return "cuda" if self.gpus > 0 else "cpu"


class OtherCode(Exception):
    """This node must not train: its code computes not what the driver's does. The text is the sentence about it."""


@dataclasses.dataclass(frozen=True)
class Shared:
    """The clips at one sample rate as they travel: samples by file on one machine, by object on a cluster."""

    table: Mapping[str, Any]  # the fields of the ClipSet but its samples
    samples: "ray.ObjectRef[Any] | tuple[str, int, int]"  # or (path, offset in bytes, number of samples)

    def open(self) -> ClipSet:
        """The clips in this process, samples not copied: a node holds them once, however many workers it has."""
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


class _Unread(BaseException):
    """Carries an error of Ray past the handlers of a training: that waveforms are gone says nothing of a recipe."""


class _Opened:
    """Clips opened once in a worker, however many trials it runs."""

    def __init__(self, shared: Mapping[int, Shared]) -> None:
        self._shared = shared
        self._open: dict[int, ClipSet] = {}

    def __call__(self, rate: int) -> ClipSet:
        if rate not in self._open:
            try:
                self._open[rate] = self._shared[rate].open()
            except ray.exceptions.RayError as error:
                raise _Unread from error
        return self._open[rate]


@contextmanager
def _told() -> Iterator[None]:
    """Lets an error of Ray under an `_Unread` out as what it is."""
    try:
        yield
    except _Unread as passed:
        assert passed.__cause__ is not None
        raise passed.__cause__ from None


def train(config: dict[str, Any], shared: Mapping[int, Shared], plan: Plan, terms: Terms) -> None:
    """Run one trial, as Tune asks for it. When the scheduler says stop, `report` raises SystemExit.

    Raises `DeviceLost`, `OtherCode` and, where waveforms cannot be had, an error of Ray; Tune uses no process again
    out of which anything was raised.
    """
    trial = config["trial"]
    assignment = Assignment(trial, config["values"], frozenset(config["finished"]), config["costs"])

    with _prepared(terms), _told():
        if other := _other_code(terms.code):
            raise OtherCode(other)
        letters = Letters(lambda ready: tune.report({REPORT: ready}), terms.points)

        def report(news: Report) -> None:
            faulthandler.cancel_dump_traceback_later()  # the driver may take its time
            letters.put(news)
            _watch(terms.silence)

        try:
            run_trial(assignment, plan, _Opened(shared), report, terms.device)
        finally:
            faulthandler.cancel_dump_traceback_later()
            letters.close()


def do_job(job: Job, shared: Mapping[int, Shared], terms: Terms) -> JobResult | JobFailure:
    """Run one job. Raises `DeviceLost`, or an error of Ray where waveforms cannot be had: Ray repeats it elsewhere."""
    with _prepared(terms), _told():
        if other := _other_code(terms.code):
            return JobFailure(other)
        try:
            return run_job(job, _Opened(shared), terms.device, lambda: _watch(terms.silence))
        except Exception as error:
            check_device(error)
            return JobFailure(told(error))


@contextmanager
def _prepared(terms: Terms) -> Iterator[None]:
    """This process made ready for one training, whatever it did before."""
    use_threads(terms.threads)
    _watch(terms.silence)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def _watch(silence: float) -> None:
    """End this process in `silence` seconds, its stacks written to the worker's log, unless told otherwise.

    The watch is a thread of C: it also ends a process in which a library holds the interpreter's lock for ever.
    """
    if silence < float("inf"):
        faulthandler.dump_traceback_later(silence, exit=True)


@functools.cache
def _other_code(expected: str) -> str:
    """Why this node must not train, "" if its code computes what the driver's does."""
    if not expected:
        return ""
    from .fingerprint import code_fingerprint

    found = code_fingerprint()
    node: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    return "" if found == expected else other_code(node, found, expected)


def other_code(node: str, found: str, expected: str) -> str:
    """The sentence about a node with another escsearch. found: its fingerprint, or why it has none."""
    return (
        f"node {node} has another escsearch or torch than this machine ({found} there, {expected} here); "
        "install the same versions there, or use the same container image for all nodes"
    )
