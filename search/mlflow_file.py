"""MLflow's store in a SQLite file, made in one step.

MLflow builds a new store by some fifty migrations on the file itself, each committed for itself: killed between
two of them, or opened by two processes at once, it leaves a file that no later start can finish ("duplicate
column name"). So a new store is built under another name, and gets its own when it is whole.
"""

import fcntl
import shutil
from pathlib import Path

from .settings import Settings

SCHEME = "sqlite:///"


def make_stores(settings: Settings) -> None:
    """Make the SQLite stores of the settings that are not there yet, whole or not at all.

    Of several processes that make one, one succeeds and all use its store. Raises what MLflow, SQLAlchemy,
    sqlite3 or the system raises.
    """
    for uri in dict.fromkeys((settings.tracking_uri, settings.registry_uri)):
        if uri.startswith(SCHEME):
            _make(Path(uri.removeprefix(SCHEME)), settings.artifacts)


def _make(file: Path, artifacts: Path) -> None:
    if _there(file):
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file.with_name(f".{file.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of several processes the others wait, and find it made
        if not _there(file):
            _build(file, artifacts)


def _there(file: Path) -> bool:
    """Whether the store is made; an empty file was left by a start that was killed before it wrote anything."""
    return file.is_file() and file.stat().st_size > 0


def _build(file: Path, artifacts: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    folder = file.with_name(f".{file.name}.new")
    shutil.rmtree(folder, ignore_errors=True)  # of a start that was killed
    folder.mkdir()
    made = folder.absolute() / file.name
    store = SqlAlchemyStore(f"{SCHEME}{made}", artifacts.as_uri())  # type: ignore[no-untyped-call]
    store.engine.dispose()
    made.replace(file)
    shutil.rmtree(folder)
