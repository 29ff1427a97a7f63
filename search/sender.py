"""The thread in which the ledger is projected beside a study: the one writer to the tracker."""

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from .ledger import Ledger
from .projection import Doubt, Projector, StudyFacts, read_doubts, write_doubts
from .tracker import Tracker, TrackerDown

GRACE = 5.0  # seconds that anybody waits for a tracker that is known to be away
SHARE = 0.02  # of one core, at most, that the thread computes: training needs the cores
NICE = 5  # priority of the thread; one much lower holds up the driver, which waits for Python's lock


class ProjectorThread:
    """Runs a projector beside a study, the one writer to the tracker. The tracker may come late, go, come back.

    connect: builds the tracker, in the thread (importing MLflow and creating its database take seconds).
    pause: seconds between two looks at the outbox, longer after a look that took much computing; five times
    that while the tracker is away.
    """

    def __init__(
        self,
        path: Path,
        connect: Callable[[], Tracker],
        study: StudyFacts,
        reader: str,
        *,
        say: Callable[[str], None],
        pause: float = 2.0,
    ) -> None:
        self._path, self._connect, self._study, self._reader = path, connect, study, reader
        self._say, self._pause = say, pause
        self._projector: Projector | None = None
        self._end = False
        self._asked = self._served = 0  # passes over the outbox
        self._alive = self._failed = -float("inf")  # when the tracker last took something, last was away
        self._away = False  # was said
        self._turn = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="projector", daemon=True)
        self.trouble: str | None = None  # why changes wait at present

    def start(self) -> None:
        """Begin; calling it again does nothing."""
        if self._thread.ident is None:
            self._thread.start()

    def drain(self, seconds: float) -> int:
        """Wait until the outbox was gone through once more; the number of changes that still wait.

        A slow tracker is waited for up to `seconds`, one that is known to be away `GRACE` seconds at most.
        """
        with self._turn:
            self._asked += 1
            wanted, asked = self._asked, time.monotonic()
            self._turn.notify_all()
            self.start()
            while self._served < wanted:
                now = time.monotonic()
                left = seconds - (now - asked)
                if self.trouble:
                    left = min(left, GRACE - (now - max(asked, self._alive)))
                if left <= 0:
                    break
                self._turn.wait(left)
        ledger = Ledger(self._path)
        try:
            return ledger.backlog(self._reader)
        finally:
            ledger.close()

    def finish(self, seconds: float) -> int:
        """Drain a last time and end the thread; the number of changes that still wait."""
        self._end = True
        left = self.drain(seconds)
        self._thread.join(1.0)
        if self._thread.is_alive() and self._projector is not None:  # waits for an answer: its last request
            self._projector.abandoned = True
            self._leave_in_doubt(self._projector.sending)
        return left

    def _leave_in_doubt(self, sending: Doubt | None) -> None:
        ledger = Ledger(self._path)
        try:
            doubts = read_doubts(ledger, self._reader)
            if sending is not None and sending not in doubts:
                write_doubts(ledger, self._reader, [*doubts, sending])
        finally:
            ledger.close()

    def _run(self) -> None:
        _let_training_go_first()
        ledger = Ledger(self._path)
        told: set[str] = set()
        try:
            while True:
                asked, last, began = self._asked, self._end, time.thread_time()
                try:
                    self._pass(ledger, last)
                    for key, reason in (self._projector.refused if self._projector else {}).items():
                        if key not in told:
                            told.add(key)
                            self._say(f"MLflow does not take {key}: {reason}")
                    trouble = None
                except TrackerDown as error:
                    trouble = f"MLflow is away ({error})"
                except Exception as error:  # a bug here must not end a search; the outbox waits
                    trouble = f"sending to MLflow failed ({type(error).__name__}: {error})"
                with self._turn:
                    self._note(trouble)
                    # who asked while the tracker was found away need not wait until that is found once more
                    self._served = self._asked if trouble or last else asked
                    self._turn.notify_all()
                    if last or (trouble and self._end):
                        return
                    pause = 5 * self._pause if trouble else self._pause
                    pause = max(pause, (time.thread_time() - began) / SHARE)
                    self._turn.wait_for(lambda: self._asked > self._served, pause)
        finally:
            ledger.close()

    def _pass(self, ledger: Ledger, last: bool) -> None:
        if self._projector is None:
            tracker = self._connect()
            self._projector = Projector(ledger, tracker, self._study, self._reader, self._heard)
            if self._projector.again:
                self._say(
                    "MLflow is not the store that this study was sent to before; all of it is sent again"
                )
        self._projector.catch_up()
        calm = time.monotonic() - self._failed > 5 * self._pause
        if self._projector.doubts and (calm or last):
            self._projector.settle(keep=not calm)

    def _heard(self) -> None:
        self._alive, self.trouble = time.monotonic(), None

    def _note(self, trouble: str | None) -> None:
        """Say once when sending begins to fail, and once when it works again."""
        if trouble:
            self._failed = time.monotonic()
        if trouble and not self._away:
            self._say(f"{trouble}; the search goes on and the ledger keeps everything")
        elif self._away and not trouble:
            self._say("MLflow is back, the backlog was sent")
        self.trouble, self._away = trouble, trouble is not None


def _let_training_go_first() -> None:
    """Lower the priority of the calling thread, where an operating system knows such a thing (Linux)."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        # not above that of the process, which only root may: who runs it under nice means the thread too
        os.setpriority(os.PRIO_PROCESS, thread, max(NICE, os.getpriority(os.PRIO_PROCESS, thread)))
