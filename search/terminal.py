"""What a command prints: results on stdout, remarks and progress on stderr."""

import io
import json
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

HANGING = " " * 10  # where the text of a summary line begins, behind its label


def stderr_console() -> Console:
    """A console on the present stderr: tests and servers may have exchanged it."""
    return Console(file=sys.stderr, highlight=False)


def take_any_names() -> None:
    """Names of files are bytes: let those that are no UTF-8 through, on stdin and stdout as in Python's own calls."""
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, io.TextIOWrapper):  # a test or a server may have put another thing there
            stream.reconfigure(errors="surrogateescape")


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
    """A table as text: as wide as the terminal, or as its content where there is none. Cells may be rich `Text`.

    What is too long goes on in the next line: a name that is cut cannot be pasted.
    """
    grid = Table(title=title, box=SIMPLE, pad_edge=False, title_justify="left")
    for header in headers:
        grid.add_column(Text(header), overflow="fold")
    for row in rows:
        grid.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in row))
    return _render(grid)


def box(title: str, text: str) -> str:
    """Text between two rules, wrapped to the terminal. Lines that begin with blanks (commands) stay whole."""
    width = min(shutil.get_terminal_size((100, 24)).columns, 110)
    lines = [f"── {title} ".ljust(width, "─")]
    for line in text.splitlines():
        whole = line.startswith(" ") or not line
        lines += (
            [line] if whole else textwrap.wrap(line, width, subsequent_indent=HANGING, break_long_words=False)
        )
    return "\n".join([*lines, "─" * width])


def _render(thing: Any) -> str:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    with console.capture() as capture:
        console.print(thing)
    return "\n".join(line.rstrip() for line in capture.get().strip("\n").splitlines())


def size(bytes: float) -> str:
    """Bytes for people, in units of 1000.

    >>> size(512), size(88_200), size(441e6), size(6.02e9)
    ('512 B', '88 kB', '441 MB', '6.0 GB')
    """
    for unit in ("B", "kB", "MB"):
        if bytes < 999.5:
            return f"{bytes:.0f} {unit}"
        bytes /= 1000
    return f"{bytes:.1f} GB"


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
