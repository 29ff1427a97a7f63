"""Is this machine fit for a search? One line a check; a line that fails ends with what to do."""

import os
import shutil
import socket
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from . import selftest
from .errors import Failure
from .machine import CPU_INFO, INSTALL, Line, cpu, devices, extras, packages, short, text
from .paste import without_login
from .settings import FILE, VARIABLES, Settings
from .terminal import size

FREE_GB = 2.0  # a study with its store of ESC-50 at four sample rates


def check(settings: Settings) -> Iterator[Line]:
    """Every line, one by one: some take seconds."""
    yield from packages()
    yield from extras()
    yield cpu(text(CPU_INFO))
    yield from devices()
    yield replace(home(settings.home), setting=origin(settings, "home"))
    yield disk(settings.home)
    yield cache(settings.cache)
    for name, uri, setting in _stores(settings):
        yield replace(mlflow_store(name, uri), setting=setting)
    ray = ray_address(settings.ray_address, settings.origins["ray_address"])
    yield replace(ray, setting=origin(settings, "ray_address"))
    yield audio()
    yield from self_test()


def origin(settings: Settings, key: str, environment: Mapping[str, str] = os.environ) -> str:
    """Which setting won, and the variable that lost against a flag."""
    won, variable = settings.origins[key], VARIABLES[key]
    over = f", over environment {variable}" if won.startswith("flag") and environment.get(variable) else ""
    return won + over


def home(folder: Path) -> Line:
    """Whether studies can be written: files, and a SQLite database as the ledger is one."""
    remedy = "choose another with --home or ESCSEARCH_HOME"
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not there.is_dir():
        return Line("home", f"{folder}: {there} is a file", remedy)
    try:
        with tempfile.TemporaryDirectory(dir=there) as place:
            with closing(sqlite3.connect(Path(place) / "ledger.sqlite")) as database:
                database.execute("PRAGMA journal_mode = WAL")
                database.execute("CREATE TABLE written (number)")
    except (OSError, sqlite3.Error) as error:
        return Line("home", f"{folder}: {short(error)}", remedy)
    return Line("home", f"{folder}{'' if folder.is_dir() else ', made at the first run'}")


def disk(folder: Path) -> Line:
    """Room for the stores and models of a study."""
    free = shutil.disk_usage(next(place for place in (folder, *folder.parents) if place.is_dir())).free / 1e9
    short = free < FREE_GB
    remedy = f"needs {FREE_GB:.0f} GB: make room, or choose another place with --home" if short else ""
    return Line("free disk", f"{free:.1f} GB", remedy)


def cache(folder: Path) -> Line:
    """How much the decoded waveforms take."""
    taken = 0
    for file in folder.rglob("*"):
        try:
            taken += file.stat().st_size if file.is_file() else 0
        except OSError:  # a search that runs meanwhile has replaced it
            continue
    return Line("cache", f"{size(taken)} in {folder}, may be deleted" if taken else f"empty ({folder})")


def mlflow_store(name: str, uri: str) -> Line:
    """Whether the store answers."""
    from .registry import check_store, quiet_mlflow

    shown = without_login(uri)  # such lines are shown to others
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        return Line(name, f"{shown}, made at the first run")
    try:
        check_store(uri)
    except Failure as error:
        return Line(name, shown, str(error))
    quiet_mlflow()
    before = os.environ.get("MLFLOW_HTTP_REQUEST_MAX_RETRIES")
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"  # a doctor does not wait for minutes
    try:
        from mlflow import MlflowClient

        found = len(MlflowClient(uri, uri).search_experiments())
    except (
        Exception
    ) as error:  # MLflow's, SQLAlchemy's, a database driver's that is missing: all are an answer
        remedy = (
            f"install the database's driver: pip install {error.name}"
            if isinstance(error, ModuleNotFoundError)
            else "is that an MLflow store? choose another with --tracking-uri or --registry-uri"
        )
        return Line(name, f"{shown}: {short(error).replace(uri, shown)}", remedy)
    finally:
        if before is None:
            del os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"]
        else:
            os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = before
    return Line(name, f"{shown} answers, {found} experiments")


def ray_address(address: str, won: str) -> Line:
    """Whether the cluster's port answers. won: where the address came from, as `Settings.origins` has it."""
    change, leave = _ray_remedies(won)
    remedy = f"start the cluster, or {leave} to search on this machine"
    if address == "local":
        return Line("ray", "starts on this machine")
    asked = address
    if address == "auto":
        from ray._common.utils import get_ray_address_file

        asked = text(Path(get_ray_address_file(None))).strip()
        if not asked:
            return Line("ray", "auto: no cluster was started on this machine", remedy)
    host, _, port = asked.removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):
        remedy = f"{change}, or {leave} to search on this machine"
        return Line("ray", f"{address!r} is no address of a cluster", remedy)
    at = "" if asked == address else f" ({asked})"
    try:
        socket.create_connection((host.strip("[]"), int(port)), 3).close()
    except (OSError, OverflowError) as error:
        return Line("ray", f"{address}{at}: {short(error)}", remedy)
    return Line("ray", f"{address}{at} answers")


def _ray_remedies(won: str) -> tuple[str, str]:
    """How to name another cluster, and how to do without one, where the address came from there."""
    if won.startswith("flag"):
        return "say --address auto or --address HOST:PORT", "say --address local"
    if won.startswith("file"):
        return f"set ray_address in {FILE} to auto or HOST:PORT", f"take ray_address out of {FILE}"
    variable = VARIABLES["ray_address"]
    return f"set {variable} to auto or HOST:PORT", f"unset {variable}"


def audio() -> Line:
    """Write half a second of a tone in every format and read it back."""
    broken = selftest.unreadable()
    remedy = "install a newer soundfile: `pip install -U soundfile` (libsndfile 1.1 or newer reads MP3)"
    found = "; ".join(f"{name}: {reason}" for name, reason in broken.items())
    return Line(
        "audio", found or f"{', '.join(selftest.FORMATS)} written and read back", remedy if broken else ""
    )


def self_test() -> Iterator[Line]:
    """A net from training to loading, on the CPU and on the first GPU."""
    try:
        import torch

        places = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    except (ImportError, OSError, RuntimeError):
        return  # `devices` has said so
    for place in places:
        what = "self-test" if place == "cpu" else "self-test GPU"
        try:
            apart = selftest.learn(place)
        except Exception as error:  # whatever torch or the file system raises is what this line is for
            remedy = (
                INSTALL if place == "cpu" else "search without --gpus-per-trial, and update the NVIDIA driver"
            )
            yield Line(what, f"{type(error).__name__}: {short(error)}", remedy)
            continue
        same = "the same bit for bit" if apart == 0 else f"the same to {apart:.0e}"
        yield Line(what, f"a tiny net was trained, packed and unpacked, and predicts {same}")


def _stores(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Name, URI and origin of the stores."""
    tracking, registry = origin(settings, "tracking_uri"), origin(settings, "registry_uri")
    if settings.registry_uri != settings.tracking_uri:
        yield "mlflow tracking", settings.tracking_uri, tracking
        yield "mlflow registry", settings.registry_uri, registry
    else:  # the registry is where the runs are, unless somebody said so too
        both = tracking if registry in (tracking, "default") else f"{tracking}; registry: {registry}"
        yield "mlflow", settings.tracking_uri, both
