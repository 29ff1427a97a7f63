"""Why a worker died, in one sentence; and Ray Tune taught to survive every kind of death."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray.cloudpickle as cloudpickle
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import OutOfMemoryError, RayActorError, RayError, RayTaskError

from .trial import DeviceLost
from .worker import OtherCode

LONGEST = 300  # characters of a reason


class WorkerLost(RayActorError):
    """The worker of a trial is gone in a way that Tune does not know as such."""

    def __init__(self, text: str, memory: bool) -> None:
        super().__init__()
        self.error_msg, self.memory = text, memory

    def __reduce__(self) -> tuple[Any, ...]:
        return WorkerLost, (self.error_msg, self.memory)


@dataclass(frozen=True)
class Death:
    """What became of a worker."""

    reason: str
    memory: bool = False  # of a lack of memory
    refused: bool = False  # its node has other code, and no training may run there


def told(error: BaseException | None) -> Death:
    """An error of Ray as a person wants to read it."""
    cause = error.cause if isinstance(error, RayTaskError) else None
    if isinstance(cause, OtherCode):
        return Death(str(cause), refused=True)
    if isinstance(cause, DeviceLost):
        return Death(cause.reason if cause.memory else f"it lost its GPU: {cause}"[:LONGEST], cause.memory)
    text = " ".join(str(error or "").split())
    if "running low on memory" in text:
        used = re.search(r"\) was ([\d.]+ ?[KMGT]?B)(?: used)? / ([\d.]+ ?[KMGT]?B)", text)
        level = f" ({used[1]} of {used[2]} used)" if used else ""
        memory = isinstance(error, OutOfMemoryError) or getattr(error, "memory", False)
        return Death(f"killed by Ray, because its node was low on memory{level}", memory)
    if "node has died" in text or "node was terminated" in text:
        return Death("its node was lost")
    if isinstance(error, RayTaskError) or "creation task" in text:  # a traceback: what was raised stands last
        lines = str(error).strip().splitlines()
        return Death(f"the worker could not start: {' '.join(lines[-1].split())}"[:LONGEST])
    detail = text.partition("Worker exit detail: ")[2].partition(" Some common causes")[0] or text
    return Death(f"the worker died: {detail}"[:LONGEST].rstrip(": ."))


def of(trial: Any) -> Death:
    """Why the last attempt of one of Tune's trials ended in an error."""
    path = trial.pickled_error_file  # Tune's own reader looks where this file is copied to at the end
    if path is None or not Path(path).exists():
        return told(None)
    return told(cloudpickle.loads(Path(path).read_bytes()))


@contextmanager
def survived() -> Iterator[None]:
    """While this lasts, a worker killed by Ray's memory monitor costs Tune that trial, not the whole search.

    Tune 2.60 knows two errors of an actor's task, the actor's death and an exception in it, and gives up at any
    other, such as `OutOfMemoryError`.
    """
    kept = {name: getattr(RayActorManager, name) for name in ("_actor_task_failed", "_actor_start_failed")}

    def task(manager: Any, tracked_actor_task: Any, exception: Exception) -> None:
        kept["_actor_task_failed"](manager, tracked_actor_task, _as_a_death(exception, training=True))

    def start(manager: Any, tracked_actor: Any, exception: Exception) -> None:
        kept["_actor_start_failed"](manager, tracked_actor, _as_a_death(exception, training=False))

    for name, ours in {"_actor_task_failed": task, "_actor_start_failed": start}.items():
        setattr(RayActorManager, name, ours)
    try:
        yield
    finally:
        for name, method in kept.items():
            setattr(RayActorManager, name, method)


def _as_a_death(error: Exception, *, training: bool) -> Exception:
    """An error that Tune knows. A worker killed before it trained says nothing about the memory of its trial."""
    if isinstance(error, RayError) and not isinstance(error, RayActorError | RayTaskError):
        return WorkerLost(str(error), training and isinstance(error, OutOfMemoryError))
    return error
