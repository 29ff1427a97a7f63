"""Work on many files side by side: soundfile and soxr release the lock, so threads fill the cores."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
AHEAD = 4  # results a core that wait in memory
_halted = threading.Event()


class Halted(Exception):
    """Whoever wanted the work has gone."""


def halt(on: bool = True) -> None:
    """End all work at its next step; with `on` False let work begin again. A process that is interrupted would
    otherwise wait for its threads."""
    (_halted.set if on else _halted.clear)()


def check() -> None:
    """A step of work. Raises `Halted` after `halt`."""
    if _halted.is_set():
        raise Halted


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Results in the order of `items`, made by one thread a core, with few of them waiting in memory."""
    width = cores()
    waiting: deque[Future[Result]] = deque()

    def step(item: Item) -> Result:
        check()
        return work(item)

    with ThreadPoolExecutor(width, thread_name_prefix="sounds") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(step, item))
                if len(waiting) > AHEAD * width:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
