"""Commands that can be pasted into the shell that ran this one."""

import dataclasses
import re
import shlex
import shutil
import sys
from pathlib import Path

from .settings import Settings

LOGIN = re.compile(r"(?<=://)[^/?#\s'\"]*@")  # user:password of an address


def command(settings: Settings, *words: str | Path) -> str:
    """This program with these words, and with the flags that lead it to the same place."""
    written = [shlex.quote(relative(word) if isinstance(word, Path) else word) for word in words]
    return " ".join([_program(), *written, *_place(settings)])


def without_login(text: str) -> str:
    """A text in which no address names its user and password any more.

    >>> without_login("--tracking-uri https://joe:secret@tracker.org/runs")
    '--tracking-uri https://tracker.org/runs'
    """
    return LOGIN.sub("", text)


def shareable(settings: Settings) -> Settings:
    """The same for commands on pages that travel: their addresses name no user and no password."""
    return dataclasses.replace(
        settings,
        tracking_uri=without_login(settings.tracking_uri),
        registry_uri=without_login(settings.registry_uri),
    )


def relative(path: Path | str) -> str:
    """A path as short as it can be pasted from here."""
    try:
        return str(Path(path).absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _program() -> str:
    called = Path(sys.argv[0])
    found = shutil.which("escsearch")
    if found and Path(found).resolve() == called.resolve():
        return "escsearch"
    if called.name != "escsearch":
        return f"{shlex.quote(relative(sys.executable))} -m search"
    return shlex.quote(relative(called))


def _place(settings: Settings) -> list[str]:
    values = {
        "home": relative(settings.home),
        "tracking_uri": settings.tracking_uri,
        "registry_uri": settings.registry_uri,
    }
    flags = {key: value for key, value in values.items() if settings.origins[key].startswith("flag")}
    return [f"--{key.replace('_', '-')} {shlex.quote(value)}" for key, value in flags.items()]
