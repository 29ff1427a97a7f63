"""Reports on their way from a training to the driver, which the training waits for only where it decides.

What a worker tells Ray Tune it tells it synchronously: the call ends when the driver has answered, 20 ms later where
other trainings keep all cores busy. A training that waited for each epoch of a second would lose 2 % of its time.
"""

import threading
import time
from collections.abc import Callable, Sequence

from .trial import Report

TOGETHER = 2.0  # seconds between two letters to the driver, where nothing is decided


class Letters:
    """Reports in letters, sent by a thread of their own, in order.

    send: gives the driver a letter and returns when it has answered; what it raises ends the correspondence, and
    is raised by the next `put` or `close`. points: (split, epoch) after which the driver decides whether to go on.
    """

    def __init__(
        self, send: Callable[[Sequence[Report]], None], points: frozenset[tuple[int, int]] = frozenset()
    ) -> None:
        self._send, self._points = send, points
        self._change = threading.Condition()
        self._waiting: list[Report] = []
        self._handed_in = self._answered = 0  # reports
        self._soon = self._closed = False
        self._ended: BaseException | None = None
        self._last = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="letters", daemon=True)
        self._thread.start()

    def put(self, news: Report) -> None:
        """Hand a report in; at a point of decision wait for the answer."""
        with self._change:
            self._go_on()
            self._waiting.append(news)
            self._handed_in += 1
            decided = (news.split, news.epoch) in self._points
            # the end of a split is worth more than a letter: a worker that dies now must not take it along
            self._soon = self._soon or decided or news.result is not None or not news.metrics
            self._change.notify_all()
            if decided:
                self._await(self._handed_in)

    def close(self) -> None:
        """Send what waits, and end."""
        with self._change:
            self._closed = True
            self._change.notify_all()
            self._await(self._handed_in)

    def _await(self, reports: int) -> None:
        self._change.wait_for(lambda: self._ended or self._answered >= reports)
        self._go_on()

    def _go_on(self) -> None:
        if self._ended is not None:
            raise self._ended

    def _run(self) -> None:
        while letter := self._next():
            try:
                self._send(letter)
            except BaseException as error:  # SystemExit too: so Tune says that the trial is stopped
                with self._change:
                    self._ended = error
                    self._change.notify_all()
                return
            with self._change:
                self._answered += len(letter)
                self._last = time.monotonic()
                self._change.notify_all()

    def _next(self) -> list[Report]:
        """The next letter when its time has come; an empty one at the end."""
        with self._change:
            while not (self._soon or self._closed):
                left = TOGETHER - (time.monotonic() - self._last) if self._waiting else None
                if left is not None and left <= 0:
                    break
                self._change.wait(left)
            letter, self._waiting, self._soon = self._waiting, [], False
            return letter
