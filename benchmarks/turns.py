"""Whole programs side by side on one machine, in turns of seconds: while one runs, all processes of the others stand.

A machine that other people use drifts by more from minute to minute than what is to be told apart. In turns as
short as these the drift meets all programs alike.
"""

import contextlib
import signal
import subprocess
import time
from collections.abc import Mapping

import psutil

Turns = list[tuple[float, float]]  # in which a program ran: from, to; seconds since 1970


def take_turns(programs: Mapping[str, "subprocess.Popen[str]"], seconds: float) -> dict[str, Turns]:
    """Let programs run by turns until all have ended; when each of them ran. One that is left alone runs on."""
    turns: dict[str, Turns] = {name: [] for name in programs}
    for program in programs.values():
        send(program, signal.SIGSTOP)
    try:
        while running := [name for name, program in programs.items() if program.poll() is None]:
            for name in running:
                began = time.time()
                send(programs[name], signal.SIGCONT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    programs[name].wait(seconds)
                if programs[name].poll() is None and len(running) > 1:
                    send(programs[name], signal.SIGSTOP)
                turns[name].append((began, time.time()))
    finally:
        for program in programs.values():
            send(program, signal.SIGCONT)
    return turns


def ran(turns: Turns, moment: float) -> float:
    """Seconds that a program had run at a moment.

    >>> ran([(10.0, 15.0), (20.0, 25.0)], 22.0)
    7.0
    """
    return sum(min(end, moment) - began for began, end in turns if began < moment)


def send(program: "subprocess.Popen[str]", what: signal.Signals) -> None:
    """Send a signal to a program and all that it has started, and what these start meanwhile."""
    reached: set[int] = set()
    while fresh := [process for process in family(program.pid) if process.pid not in reached]:
        for process in fresh:
            reached.add(process.pid)
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(what)


def family(pid: int) -> list[psutil.Process]:
    """A process and all below it; nothing where it has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []
