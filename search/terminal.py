"""What a command prints: results on stdout, remarks and progress on stderr."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table


def stderr_console() -> Console:
    """A console on the present stderr: tests and servers may have exchanged it."""
    return Console(file=sys.stderr, highlight=False)


def say(text: str) -> None:
    """One remark for the person at the terminal."""
    print(text, file=sys.stderr, flush=True)


def out(text: str) -> None:
    """One line of the result."""
    print(text, flush=True)


def emit_json(document: Any) -> None:
    """The result as one JSON document."""
    print(json.dumps(document, indent=2, default=str), flush=True)


def table(headers: Sequence[str], rows: Sequence[Sequence[object]], title: str | None = None) -> str:
    """A table as text: as wide as the terminal, or as its content where there is none."""
    grid = Table(*headers, title=title, box=SIMPLE, pad_edge=False, title_justify="left")
    for row in rows:
        grid.add_row(*(str(cell) for cell in row))
    return _render(grid)


def box(title: str, text: str) -> str:
    """Text in a frame. Commands in it stay whole lines, so that they can be pasted."""
    width = max(len(line) for line in [*text.splitlines(), title]) + 6
    return _render(Panel(text, title=title, title_align="left", expand=False), width)


def _render(thing: Any, width: int = 0) -> str:
    terminal = sys.stdout.isatty()
    console = Console(highlight=False, width=None if terminal and not width else max(width, 160))
    with console.capture() as capture:
        console.print(thing)
    return "\n".join(line.rstrip() for line in capture.get().strip("\n").splitlines())


@contextmanager
def progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, a line every few seconds elsewhere; call it with (done, total)."""
    if sys.stderr.isatty():
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=stderr_console(), transient=True) as bar:
            task = bar.add_task(label, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
        return
    last = time.monotonic()

    def line(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= 5 or done == total:
            last = time.monotonic()
            say(f"{label}: {done}/{total}")

    yield line
