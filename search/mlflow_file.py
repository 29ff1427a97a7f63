"""MLflow's store in a SQLite file, made in one step.

MLflow builds a new store by some fifty migrations on the file itself, each committed for itself: killed between
two of them, or opened by two processes at once, it leaves a file that no later start can finish ("duplicate
column name"). So a new store is built under another name, and gets its own when it is whole.
"""

import os
import tempfile
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
    if file.is_file() and file.stat().st_size:
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{file.name}-", dir=file.parent) as folder:
        made = Path(folder).absolute() / file.name
        store = SqlAlchemyStore(f"{SCHEME}{made}", artifacts.as_uri())  # type: ignore[no-untyped-call]
        store.engine.dispose()
        if file.is_file() and not file.stat().st_size:
            file.unlink()  # left by a start that was killed before it wrote anything
        try:
            os.link(made, file)
        except FileExistsError:
            pass  # another process was faster: its store is as good
        except OSError:  # a file system without links
            made.rename(file)
