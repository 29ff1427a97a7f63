"""The tracker on MLflow: any tracking URI, SQLite on this machine or a server.

A run is found again by its tag `esc.key`; what was found is remembered, and so is what an unfinished run
carries, so that nothing is sent twice without need. Uses `MlflowClient` only, so that no global state of
MLflow is touched but its patience (see `MlflowTracker`).
"""

import os
import sqlite3
import ssl
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.error import HTTPError
from urllib.parse import SplitResult, urlsplit, urlunsplit
from urllib.request import urlopen

from .errors import Failure, UsageError
from .mlflow_file import make_stores
from .settings import Settings
from .tracker import Point, TrackerDown, TrackerRefused

if TYPE_CHECKING:
    from mlflow.entities import Experiment, Run

TIMEOUT = 20  # seconds for one answer: a slow server is waited for, a hanging one is noticed
KEY, NAME, PARENT = "esc.key", "mlflow.runName", "mlflow.parentRunId"  # tags
REFUSALS = (400, 404, 409)  # HTTP: wrong for ever, if MLflow itself says so; anything else may pass
REMEDIES = {
    401: "it wants credentials (401): set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, "
    "or MLFLOW_TRACKING_TOKEN",
    403: "it lets nobody in by this address or account (403): start the server with --allowed-hosts HOST:PORT "
    "as they stand in the URI, or set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
}
DATABASES = ("postgresql", "mysql", "mssql")
OTHERS = ("databricks", "databricks-uc", "uc")  # MLflow's words for stores of its maker
Result = TypeVar("Result")


def check_tracking(uri: str, seconds: float = 3.0) -> str | None:
    """A remark, one sentence, where a server does not answer at a tracking URI: the search goes on without it.

    Raises `UsageError` or `Failure` where the URI can never work: a folder, a SQLite file that cannot be
    written, an unknown scheme. Cheap: MLflow is not imported.
    """
    if (silence := _silence(uri, seconds)) is None:
        return None
    return (
        f"MLflow does not answer at {_shown(uri)} ({silence}); the search goes on and the ledger keeps "
        "everything: send it later with `escsearch sync STUDY`"
    )


def check_reachable(uri: str, seconds: float = TIMEOUT) -> None:
    """For what cannot do without MLflow: like `check_tracking`, but a server that is silent is a `Failure`."""
    if (silence := _silence(uri, seconds)) is not None:
        raise Failure(
            f"MLflow does not answer at {_shown(uri)} ({silence}); start it, or set --tracking-uri "
            "(or MLFLOW_TRACKING_URI), or leave it out to use SQLite in --home"
        )


def _silence(uri: str, seconds: float) -> str | None:
    """Why the server at a URI does not serve at the moment, None where it does or there is no server to ask."""
    parts = urlsplit(uri)
    scheme = parts.scheme.partition("+")[0]  # postgresql+psycopg2
    if scheme in ("http", "https"):
        return _ask(parts, seconds)
    if scheme == "sqlite":
        _check_sqlite(uri)
    elif scheme in ("", "file"):
        raise UsageError(
            f"tracking URI {uri!r} is a folder, which MLflow no longer keeps runs in; use sqlite:///FILE or http://..."
        )
    elif (
        scheme not in (*DATABASES, *OTHERS)
        and parts.scheme not in entry_points(group="mlflow.tracking_store").names
    ):
        raise UsageError(
            f"tracking URI {_shown(uri)!r} has the scheme {parts.scheme!r}, which MLflow does not know; "
            "use sqlite:///FILE or http://HOST:PORT"
        )
    return None


def _ask(parts: SplitResult, seconds: float) -> str | None:
    host = parts.netloc.rpartition("@")[2]
    context = None
    if parts.scheme == "https":  # whether it can be trusted is MLflow's to say: nothing is told to it here
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    url = urlunsplit((parts.scheme, host, parts.path.rstrip("/") + "/health", "", ""))
    try:
        urlopen(url, timeout=seconds, context=context).close()
    except HTTPError as error:  # whoever asks for credentials, or knows no /health, is there
        error.close()
        return f"it answers {error.code}" if error.code >= 429 else None
    except (OSError, HTTPException, ValueError) as error:
        return str(getattr(error, "reason", error)) or type(error).__name__
    return None


def _check_sqlite(uri: str) -> None:
    file = Path(uri.removeprefix("sqlite:///"))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=file.parent):
            pass
        if file.exists():
            with open(file, "r+b") as content:
                start = content.read(16)
            if start and not start.startswith(b"SQLite format 3"):
                raise OSError("it is not a SQLite file")
    except OSError as error:
        raise Failure(f"the MLflow store {uri} cannot be written: {error}; choose another --home") from error


def _shown(uri: str) -> str:
    """A URI without user and password."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if parts.username else uri


@dataclass
class _Carried:
    """What a run is known to carry."""

    name: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    ending: tuple[str, int] = ("", 0)  # status, time of the end in milliseconds since 1970


class MlflowTracker:
    """See `tracker.Tracker`. `experiment` is created where it is missing. Belongs to one thread.

    MLflow's own repeats of a request are switched off in this process: a run whose creation was not answered
    would be made twice unseen. One answer may take `TIMEOUT` seconds, or MLFLOW_HTTP_REQUEST_TIMEOUT.
    """

    def __init__(self, settings: Settings, experiment: str) -> None:
        os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(TIMEOUT))
        from .registry import quiet_mlflow  # here, because importing MLflow takes seconds

        quiet_mlflow()
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException, RestException
        from sqlalchemy.exc import SQLAlchemyError

        self._error, self._answer = MlflowException, RestException
        self._failing = (MlflowException, SQLAlchemyError, OSError)
        self._uri = settings.tracking_uri
        self._guard(lambda: make_stores(settings))
        self._client = self._guard(lambda: MlflowClient(tracking_uri=settings.tracking_uri))
        try:
            _use_wal(settings.tracking_uri)
        except sqlite3.Error as error:
            raise TrackerDown(f"{settings.tracking_uri}: {error}") from error
        found = self._guard(lambda: self._experiment(experiment, settings))
        self.experiment = found.experiment_id
        self.store = (
            f"{found.experiment_id} of {found.creation_time}"  # a number alone comes again in every store
        )
        self._runs: dict[str, str] = {}  # our key -> MLflow's id
        self._carried: dict[str, _Carried] = {}  # our key -> what is known of a run that has not ended
        self._made: set[str] = set()  # runs that did not exist before: below them is only what we put there
        self._doubtful: set[str] = set()  # keys whose creation went down

    def _experiment(self, name: str, settings: Settings) -> "Experiment":
        found = self._client.get_experiment_by_name(name)
        if found is not None and found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
        if found is not None:
            return found
        local = settings.tracking_uri.startswith("sqlite:")
        location = settings.artifacts.as_uri() if local else None
        made = self._client.create_experiment(name, artifact_location=location)
        return self._client.get_experiment(made)

    def _guard(self, call: Callable[[], Result]) -> Result:
        try:
            return call()
        except self._failing as error:
            sentence, status = _short(error), None
            if isinstance(error, self._error):
                status = error.get_http_status_code()  # type: ignore[no-untyped-call]
                # a proxy before a server that is away may say 404 too, but not in MLflow's words
                authentic = isinstance(error, self._answer) or not self._uri.startswith("http")
                if status in REFUSALS and authentic:
                    raise TrackerRefused(sentence) from error
            remedy = REMEDIES.get(status or 0)
            raise TrackerDown(f"{_shown(self._uri)}: {remedy}" if remedy else sentence) from error

    # finding runs

    def run_id(self, key: str) -> str | None:
        """MLflow's id of the run with our key, None where there is none."""
        if key not in self._runs:
            if not (found := self._search(KEY, key)):
                return None
            self._runs[key] = found[0].info.run_id
            if len(found) > 1:  # left by a session whose call was executed, but not answered
                self._runs[key] = max(found, key=self._fullness).info.run_id
                self._keep_one(key, found)
        return self._runs[key]

    def _search(self, tag: str, text: str, most: int = 100) -> "list[Run]":
        query = f"tags.`{tag}` = '{text}'"
        return list(self._guard(lambda: self._client.search_runs([self.experiment], query, max_results=most)))

    def _fullness(self, run: "Run") -> tuple[bool, int, str]:
        """Orders doubles: the one in use has children, or carries more."""
        data = run.data
        carries = len(data.params) + len(data.metrics) + len(data.tags)
        return bool(self._search(PARENT, run.info.run_id, most=1)), carries, run.info.run_id

    def _keep_one(self, key: str, found: "list[Run]") -> int:
        others = [run.info.run_id for run in found if run.info.run_id != self._runs[key]]
        for other in others:
            self._guard(lambda other=other: self._client.delete_run(other))  # type: ignore[misc]
        return len(others)

    def _existing(self, key: str) -> str:
        run_id = self.run_id(key)
        if run_id is None:
            raise TrackerRefused(f"no run with key {key!r} was opened")
        return run_id

    # the laws of `Tracker`

    def open(
        self,
        key: str,
        name: str,
        parent: str | None,
        tags: Mapping[str, str],
        params: Mapping[str, object],
        time: int,
        points: Sequence[Point] = (),
    ) -> None:
        """See `Tracker.open`. One request for a run that is known, one more for a new one."""
        links = {KEY: key, "mlflow.source.name": "escsearch"}
        if parent is not None:
            links[PARENT] = self._existing(parent)
        new = parent in self._made and key not in self._doubtful and key not in self._runs
        run_id = None if new else self.run_id(key)
        if run_id is None:
            run_id = self._create(key, name, {**links, **tags}, time)
            self._carried[key] = _Carried(name, dict(tags), ending=("RUNNING", 0))
        carried = self._carried.setdefault(key, _Carried())
        wanted = {param: str(value) for param, value in params.items()}
        changed = {tag: text for tag, text in tags.items() if carried.tags.get(tag) != text}
        if carried.name != name:
            changed[NAME] = name
        missing = {param: text for param, text in wanted.items() if carried.params.get(param) != text}
        self._send(run_id, points, changed, missing)
        carried.name = name
        carried.tags |= tags
        carried.params |= wanted

    def _create(self, key: str, name: str, tags: dict[str, str], time: int) -> str:
        try:
            run = self._guard(
                lambda: self._client.create_run(self.experiment, start_time=time, run_name=name, tags=tags)
            )
        except TrackerDown:
            self._doubtful.add(key)  # it may be there all the same
            raise
        self._runs[key] = run.info.run_id
        if key not in self._doubtful:
            self._made.add(key)
        return run.info.run_id

    def _send(
        self, run_id: str, points: Sequence[Point], tags: Mapping[str, str], params: Mapping[str, str]
    ) -> None:
        from mlflow.entities import Metric, Param, RunTag

        metrics = [Metric(point.metric, point.value, point.time, point.step) for point in points]
        listed: dict[str, Any] = {
            "params": [Param(param, text) for param, text in params.items()],
            "tags": [RunTag(tag, text) for tag, text in tags.items()],
        }
        self._guard(lambda: self._client.log_batch(run_id, metrics, **listed))  # nothing to send: no request

    def log(self, key: str, points: Sequence[Point]) -> None:
        """See `Tracker.log`."""
        self._send(self._existing(key), points, {}, {})

    def attach(self, key: str, name: str, content: bytes) -> None:
        """See `Tracker.attach`."""
        run_id = self._existing(key)
        with tempfile.TemporaryDirectory() as folder:
            path, inner = Path(folder) / Path(name).name, str(Path(name).parent)
            path.write_bytes(content)
            self._guard(lambda: self._client.log_artifact(run_id, str(path), None if inner == "." else inner))

    def mark(self, key: str, status: str, time: int) -> None:
        """See `Tracker.mark`."""
        run_id = self._existing(key)
        goes_on = status in ("RUNNING", "SCHEDULED")
        ending = (status, 0 if goes_on else time)
        if key in self._carried and self._carried[key].ending == ending:
            return
        if goes_on:
            self._guard(lambda: self._client.update_run(run_id, status=status))
            self._carried.setdefault(key, _Carried()).ending = ending
        else:
            self._guard(lambda: self._client.set_terminated(run_id, status=status, end_time=time))
            self._carried.pop(key, None)  # ten thousand runs that have ended need no memory

    def drop(self, key: str) -> None:
        """See `Tracker.drop`."""
        for run in self._search(KEY, key):
            self._guard(lambda run_id=run.info.run_id: self._client.delete_run(run_id))  # type: ignore[misc]
        self._forget(key)
        self._runs.pop(key, None)

    def settle(self, key: str) -> int:
        """See `Tracker.settle`."""
        found = self._search(KEY, key)
        self._forget(key)
        if not found:
            return 0
        if self._runs.get(key) not in {run.info.run_id for run in found}:
            self._runs[key] = max(found, key=self._fullness).info.run_id
        return self._keep_one(key, found)

    def _forget(self, key: str) -> None:
        self._carried.pop(key, None)
        self._made.discard(key)


def _use_wal(uri: str) -> None:
    """Readers (the UI) and the one writer then do not wait for each other."""
    if uri.startswith("sqlite:///"):
        with sqlite3.connect(uri.removeprefix("sqlite:///"), timeout=20) as database:
            database.execute("PRAGMA journal_mode = WAL")
        database.close()


def _short(error: BaseException) -> str:
    """What went wrong, without the pages that HTTP libraries wrap it in."""
    text = " ".join(str(error).split())
    for sign, words in (("Connection refused", "nothing listens there"), ("timed out", "no answer in time")):
        if sign in text and "HTTPConnection" in text:
            return words
    return text[:300]
