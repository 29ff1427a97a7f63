"""The MLflow model registry: names, their versions, and what stands at each. Aliases only, never stages.

A model name has versions; the alias `champion` points at the one in use, `previous` at the one before it, `challenger`
at the last one that the gate refused (`reigns.py` moves them). Only one process may promote at a time: MLflow moves
aliases one by one.
"""

import logging
import os
import sqlite3
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from escmodels.exams import Exam

from .errors import Failure, UsageError
from .mlflow_tracker import check_reachable
from .settings import Settings

CHAMPION, PREVIOUS, CHALLENGER = "champion", "previous", "challenger"
EXAM_TAG = "exam"  # Exam.to_json()
REASON_TAG = "reason"  # why it was promoted, or refused
LONGEST = 5000  # characters of a description; older servers take no longer tag either
SINCE_TAG = "champion_since"  # ISO time, UTC
NOISE = (  # warnings of MLflow 3.17 about its own code
    ".*Any type hint is inferred as AnyType",
    "The ``noload`` loader strategy is deprecated",
    "Operation with range is deprecated",
)


@dataclass(frozen=True)
class Card:
    """One version of a registered model."""

    name: str
    version: int
    aliases: tuple[str, ...]
    exam: Exam | None  # None for a version that something else registered, or whose exam cannot be read
    tags: Mapping[str, str]
    created: datetime  # UTC
    source: str  # where MLflow keeps its files
    run_id: str  # of the run that carries it; empty where there is none

    @property
    def uri(self) -> str:
        """The name under which anyone loads exactly this version."""
        return f"models:/{self.name}/{self.version}"


def quiet_mlflow() -> None:
    """No telemetry, no chatter on stdout and stderr. To be called before MLflow is imported, harmless later."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    level = os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR").upper()
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(level)
    for text in NOISE:
        warnings.filterwarnings("ignore", text)


@contextmanager
def pickle_forbidden() -> Iterator[None]:
    """A model that would need pickle to load is refused by MLflow inside this block; its folder stays as it is.

    MLflow imports the code of a model where it lies, which may be the registry's own copy: no `__pycache__` there.
    """
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        with _environment({"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}):
            yield
    finally:
        sys.dont_write_bytecode = before


@contextmanager
def connected(settings: Settings) -> Iterator[Any]:
    """An `MlflowClient` on the stores of the settings, which MLflow's global functions use too inside this block.

    A SQLite store has to be there already. Raises `UsageError` if it is not, `Failure` with
    MLflow's reason for whatever MLflow refuses.
    """
    for uri in dict.fromkeys((settings.tracking_uri, settings.registry_uri)):
        check_store(uri)
    quiet_mlflow()
    import mlflow
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    before = {name: os.environ.get(name) for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")}
    mlflow.set_tracking_uri(settings.tracking_uri)
    mlflow.set_registry_uri(settings.registry_uri)
    try:
        yield mlflow.MlflowClient(settings.tracking_uri, settings.registry_uri)
    except (MlflowException, SQLAlchemyError) as error:
        raise Failure(f"MLflow at {settings.registry_uri}: {_sentence(error)}") from error
    finally:
        _forget(mlflow, before)


def check_store(uri: str) -> None:
    """Raises `UsageError` or `Failure` when there is no MLflow store at the URI. Never makes one; imports nothing."""
    if uri.startswith("sqlite:///"):
        file = Path(uri.removeprefix("sqlite:///"))
        if not file.is_file():
            raise UsageError(
                f"there is no MLflow store at {uri}: give the --home (or MLFLOW_TRACKING_URI) that the model "
                "was made with, or make one with `escsearch demo`"
            )
        try:
            with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as database:
                database.execute("SELECT version_num FROM alembic_version").fetchall()
        except sqlite3.Error as error:
            raise Failure(f"{file} is not an MLflow store ({error}): choose another --home") from error
        return
    check_reachable(uri)


def register(settings: Settings, model: str, name: str, tags: Mapping[str, str]) -> int:
    """Make a version of `name` (made too if missing) from what `log_model` returned or from a run's id.

    tags: `EXAM_TAG`, `REASON_TAG` and whatever else shall stand at the version. Returns the version's number.
    """
    with connected(settings) as client:
        from mlflow.exceptions import MlflowException

        try:
            client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        if model.startswith("models:/"):
            model_id = model.removeprefix("models:/")
            run_id = client.get_logged_model(model_id).source_run_id
        else:
            run_id = model.removeprefix("runs:/").split("/")[0]
            outputs = client.get_run(run_id).outputs
            if outputs is None or not outputs.model_outputs:
                raise UsageError(f"run {run_id} has no model; log one first")
            model_id = outputs.model_outputs[-1].model_id
        made = client.create_model_version(
            name,
            f"models:/{model_id}",
            run_id,
            tags=dict(tags),
            model_id=model_id,
            description=tags.get(REASON_TAG, "")[:LONGEST],
        )
        return int(made.version)


def tag(settings: Settings, name: str, version: int, tags: Mapping[str, str]) -> None:
    """Set or replace tags of a version."""
    with connected(settings) as client:
        for key, value in tags.items():
            client.set_model_version_tag(name, str(version), key, value)


def nothing(settings: Settings) -> bool:
    """Whether the store is a file that is not there yet: the first study makes it."""
    uri = settings.registry_uri
    return uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).is_file()


def champion(settings: Settings, name: str) -> Card | None:
    """The champion of a name; None if the name, the alias or the whole store is not there yet."""
    if nothing(settings):
        return None
    with connected(settings) as client:
        if name not in _names(client):
            return None
        return next((card for card in _cards(client, name) if CHAMPION in card.aliases), None)


def find(settings: Settings, name: str, which: str = CHAMPION) -> Card:
    """The version with an alias or number. Raises `UsageError` listing what there is."""
    cards = history(settings, name)
    for card in cards:
        if which in card.aliases or which == str(card.version):
            return card
    known = [f"@{alias}" for card in cards for alias in card.aliases] + [f"/{card.version}" for card in cards]
    sign = "" if which.isdigit() else "@"
    raise UsageError(
        f"model {name} has no version {sign}{which}; it has {', '.join(known) or 'no version at all'}"
    )


def history(settings: Settings, name: str) -> list[Card]:
    """Every version of a name, newest first. Raises `UsageError` for an unknown name, listing the known."""
    with connected(settings) as client:
        known = _names(client)
        if name not in known:
            there = f"known there: {', '.join(known)}" if known else "there is no model yet"
            raise UsageError(f"no model is named {name!r} in {settings.registry_uri}; {there}")
        return _cards(client, name)


def names(settings: Settings) -> list[str]:
    """Every registered name."""
    with connected(settings) as client:
        return _names(client)


def _names(client: Any) -> list[str]:
    return sorted(model.name for model in _pages(client.search_registered_models))


def _cards(client: Any, name: str) -> list[Card]:
    holders = _aliases(client, name)
    versions = _pages(client.search_model_versions, filter_string=f"name = '{name}'")
    cards = [_card(version, holders) for version in versions]
    return sorted(cards, key=lambda card: -card.version)


def _card(version: Any, holders: Mapping[str, int]) -> Card:
    number = int(version.version)
    try:
        exam = Exam.from_json(version.tags[EXAM_TAG])
    except (KeyError, ValueError, TypeError):  # the version itself can be used all the same
        exam = None
    return Card(
        version.name,
        number,
        tuple(sorted(alias for alias, holder in holders.items() if holder == number)),
        exam,
        dict(version.tags),
        datetime.fromtimestamp(version.creation_timestamp / 1000, UTC),
        version.source,
        version.run_id or "",
    )


def _aliases(client: Any, name: str) -> dict[str, int]:
    return {alias: int(version) for alias, version in client.get_registered_model(name).aliases.items()}


def _pages(search: Any, **query: Any) -> Iterator[Any]:
    token = None
    while True:
        page = search(page_token=token, **query)
        yield from page
        token = page.token
        if not token:
            return


def _forget(mlflow: Any, before: Mapping[str, str | None]) -> None:
    """MLflow writes what it is set to into the environment, where later settings would find it."""
    mlflow.set_tracking_uri(before["MLFLOW_TRACKING_URI"])
    mlflow.set_registry_uri(before["MLFLOW_REGISTRY_URI"])
    _restore(before)


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


@contextmanager
def _environment(wanted: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        _restore(before)


def _restore(before: Mapping[str, str | None]) -> None:
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
