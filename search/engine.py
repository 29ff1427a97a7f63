"""Who runs the trainings of a study: what was asked, the runner that does it, and how it is stopped."""

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from .conductor import Conductor
from .errors import UsageError
from .local import LocalRunner
from .runner import Runner
from .settings import Settings
from .studies import recorded_engine
from .study import Study
from .terminal import say

HANG = 30.0  # minutes


@dataclass(frozen=True)
class Engine:
    """Who runs the trainings."""

    runner: str = "ray"  # or "local": one after the other in this process
    workers: int | None = None  # side by side; None: one a core
    gpus_per_trial: float = 0.0
    cpus_per_trial: int = 1  # threads of a training
    hang_minutes: float | None = (
        None  # without a report, before the worker of a training is given up; None: 30
    )
    address: str | None = None  # of a Ray cluster; None: what the settings say

    def __post_init__(self) -> None:
        if self.runner not in ("ray", "local"):
            raise ValueError(f"unknown runner {self.runner!r}, known: ray, local")
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers must be at least 1, got {self.workers}")
        if self.runner == "local" and (self.workers or 1) > 1:
            raise ValueError(f"the local runner trains one recipe at a time, got {self.workers} workers")
        share = self.gpus_per_trial
        fraction = 0 < share < 1 and abs(1 / share - round(1 / share)) > 0.01
        if share < 0 or fraction or (share > 1 and share % 1):
            raise ValueError(f"gpus per trial must be 0, 1/n or a whole number, got {share}")
        if self.cpus_per_trial < 1:
            raise ValueError(f"cpus per trial must be at least 1, got {self.cpus_per_trial}")
        if self.hang_minutes is not None and self.hang_minutes <= 0:
            raise ValueError(f"minutes without a report must be positive, got {self.hang_minutes:g}")
        if self.hang_minutes is not None and self.runner == "local":
            raise ValueError("the local runner has no worker that could hang by itself: leave --hang out")


def engine_of(asked: Mapping[str, Any]) -> Engine:
    try:
        return Engine(**asked)
    except (TypeError, ValueError) as error:
        raise UsageError(str(error)) from error


def continued(study: Study, asked: Mapping[str, Any] | None) -> Engine:
    """As the study was run before, but for what is asked now; another runner or cluster has workers of its own."""
    before, now = recorded_engine(study), dict(asked or {})
    if now.get("runner", before.get("runner")) != before.get("runner"):
        before = {}
    elif "address" in now and now["address"] != before.get("address"):
        before = {name: before[name] for name in ("runner",) if name in before}
    return engine_of(before | now)


def make_runner(engine: Engine, settings: Settings) -> Runner:
    if engine.runner == "local":
        return LocalRunner(engine.cpus_per_trial, "cuda" if engine.gpus_per_trial else "cpu")
    from .cluster import RayRunner  # Ray takes seconds to import

    address = engine.address or settings.ray_address
    return RayRunner(
        address, engine.workers, engine.gpus_per_trial, engine.cpus_per_trial, engine.hang_minutes or HANG
    )


@contextmanager
def gently(conductor: Conductor) -> Iterator[None]:
    """Ctrl-C, or the notice that a machine is taken away, lets running epochs end; the second one does not wait."""

    heard: list[int] = []

    def stop(number: int, frame: object) -> None:
        heard.append(number)
        if len(heard) > 1:
            raise KeyboardInterrupt
        conductor.stop()
        say("stopping when the running epochs have ended; press Ctrl-C again to leave at once")

    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread hears signals
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
