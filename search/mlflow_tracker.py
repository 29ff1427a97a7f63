"""The tracker on MLflow: any tracking URI, SQLite on this machine or a server.

A run is found again by its tag `esc.key`; what was found is remembered. Uses `MlflowClient` only, so that no
global state of MLflow is touched.
"""

import os
import socket
import sqlite3
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from .errors import Failure, UsageError
from .settings import Settings
from .tracker import Point, TrackerDown, TrackerRefused

BATCH = 500  # metrics in one request; MLflow takes at most 1000
KEY = "esc.key"
REFUSALS = (400, 404, 409)  # HTTP: wrong for ever; anything else may pass
Result = TypeVar("Result")


def check_reachable(uri: str, seconds: float = 3.0) -> None:
    """Raises `Failure` when the store at a tracking URI cannot be there: cheap, without importing MLflow."""
    parts = urlsplit(uri)
    if parts.scheme in ("http", "https"):
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            socket.create_connection((parts.hostname or "", port), seconds).close()
        except OSError as error:
            raise Failure(
                f"MLflow does not answer at {uri} ({error}); start it, or set --tracking-uri "
                "(or MLFLOW_TRACKING_URI), or leave it out to use SQLite in --home"
            ) from error
    elif parts.scheme == "sqlite":
        folder = Path(uri.removeprefix("sqlite:///")).parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise Failure(
                f"the MLflow store {uri} cannot be written: {error}; choose another --home"
            ) from error
    elif parts.scheme in ("", "file"):
        raise UsageError(
            f"tracking URI {uri!r} is a folder, which MLflow no longer keeps runs in; use sqlite:///FILE or http://..."
        )


class MlflowTracker:
    """See `tracker.Tracker`. `experiment` is created where it is missing. Belongs to one thread."""

    def __init__(self, settings: Settings, experiment: str) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        # the ledger repeats what failed: MLflow's own patience (minutes a call) would only hold up the end
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
        from .registry import quiet_mlflow  # here, because importing MLflow takes seconds

        quiet_mlflow()
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        self._error = MlflowException
        self._uri = settings.tracking_uri
        self._client = self._guard(lambda: MlflowClient(tracking_uri=settings.tracking_uri))
        try:
            _use_wal(settings.tracking_uri)
        except sqlite3.Error as error:
            raise TrackerDown(f"{settings.tracking_uri}: {error}") from error
        self.experiment = self._guard(lambda: self._experiment(experiment, settings))
        self._runs: dict[str, str] = {}  # our key -> MLflow's id
        self._names: dict[str, str] = {}  # our key -> the name that the run has

    def _experiment(self, name: str, settings: Settings) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is not None and found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
        if found is not None:
            return found.experiment_id
        local = settings.tracking_uri.startswith("sqlite:")
        location = settings.artifacts.as_uri() if local else None
        return self._client.create_experiment(name, artifact_location=location)

    def _guard(self, call: Callable[[], Result]) -> Result:
        try:
            return call()
        except (self._error, OSError) as error:
            sentence = " ".join(str(error).split())[:300]
            if isinstance(error, self._error) and error.get_http_status_code() in REFUSALS:  # type: ignore[no-untyped-call]
                raise TrackerRefused(sentence) from error
            raise TrackerDown(sentence) from error

    def run_id(self, key: str) -> str | None:
        """MLflow's id of the run with our key, None where there is none."""
        if key not in self._runs:
            query = f"tags.`{KEY}` = '{key}'"
            found = self._guard(lambda: self._client.search_runs([self.experiment], query, max_results=1))
            if not found:
                return None
            self._runs[key] = found[0].info.run_id
        return self._runs[key]

    def _existing(self, key: str) -> str:
        run_id = self.run_id(key)
        if run_id is None:
            raise TrackerRefused(f"no run with key {key!r} was opened")
        return run_id

    def open(
        self,
        key: str,
        name: str,
        parent: str | None,
        tags: Mapping[str, str],
        params: Mapping[str, object],
        time: int,
    ) -> None:
        """See `Tracker.open`."""
        from mlflow.entities import Param, RunTag

        links = {KEY: key, "mlflow.source.name": "escsearch"} | (
            {"mlflow.parentRunId": self._existing(parent)} if parent else {}
        )
        run_id = self.run_id(key)
        if run_id is None:
            run = self._guard(
                lambda: self._client.create_run(
                    self.experiment, start_time=time, run_name=name, tags={**links, **tags}
                )
            )
            self._runs[key] = run_id = run.info.run_id
        else:
            if self._names.get(key) != name:
                self._guard(lambda: self._client.update_run(run_id, name=name))
            wanted = [RunTag(tag, text) for tag, text in tags.items()]
            self._guard(lambda: self._client.log_batch(run_id, tags=wanted))
        self._names[key] = name
        if params:
            listed = [Param(param, str(value)) for param, value in params.items()]
            self._guard(lambda: self._client.log_batch(run_id, params=listed))

    def log(self, key: str, points: Sequence[Point]) -> None:
        """See `Tracker.log`."""
        from mlflow.entities import Metric

        run_id = self._existing(key)
        metrics = [Metric(point.metric, point.value, point.time, point.step) for point in points]
        for first in range(0, len(metrics), BATCH):
            batch = metrics[first : first + BATCH]
            self._guard(lambda batch=batch: self._client.log_batch(run_id, metrics=batch))  # type: ignore[misc]

    def attach(self, key: str, name: str, content: bytes) -> None:
        """See `Tracker.attach`."""
        run_id = self._existing(key)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_bytes(content)
            self._guard(lambda: self._client.log_artifact(run_id, str(path)))

    def mark(self, key: str, status: str, time: int) -> None:
        """See `Tracker.mark`."""
        run_id = self._existing(key)
        if status in ("RUNNING", "SCHEDULED"):
            self._guard(lambda: self._client.update_run(run_id, status=status))
        else:
            self._guard(lambda: self._client.set_terminated(run_id, status=status, end_time=time))

    def drop(self, key: str) -> None:
        """See `Tracker.drop`."""
        run_id = self.run_id(key)
        if run_id is not None:
            self._guard(lambda: self._client.delete_run(run_id))
            del self._runs[key]


def _use_wal(uri: str) -> None:
    """Readers (the UI) and the one writer then do not wait for each other."""
    if uri.startswith("sqlite:///"):
        with sqlite3.connect(uri.removeprefix("sqlite:///"), timeout=20) as database:
            database.execute("PRAGMA journal_mode = WAL")
        database.close()
