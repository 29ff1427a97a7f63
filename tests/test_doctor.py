"""Every line says what it found; a line that fails says what to do."""

import argparse
import json
import socket
import sqlite3
from contextlib import closing
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from search import doctor
from search.commands import system
from search.errors import Failure, UsageError
from search.settings import Settings, resolve


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return resolve({}, environment={"ESCSEARCH_HOME": str(tmp_path / "runs")}, directory=tmp_path)


def closed_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


def make_store(settings: Settings) -> None:
    """What `check_store` takes for MLflow's."""
    settings.home.mkdir()
    with closing(sqlite3.connect(settings.home / "mlflow.sqlite")) as database:
        database.execute("CREATE TABLE alembic_version (version_num TEXT)")


def run(settings: Settings, *words: str) -> int:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true")
    parser = argparse.ArgumentParser()
    system.add(parser.add_subparsers(), common)
    args = parser.parse_args(words)
    return args.act(args, settings)


def test_a_sound_machine_passes_and_nothing_is_made(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(settings, "doctor", "--json") == 0
    lines = {line["what"]: line for line in json.loads(capsys.readouterr().out)}
    assert {"torch", "torchaudio", "ray", "optuna", "mlflow", "audio", "free disk", "cache"} <= lines.keys()
    assert "ESCSEARCH_HOME" in lines["setting home"]["found"]
    assert "(default)" in lines["setting ray_address"]["found"]
    assert all(line["ok"] for line in lines.values())
    assert not settings.home.exists()


def test_a_failing_line_ends_with_what_to_do_and_the_exit_code_is_1(
    settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "FREE_GB", 1e9)
    assert run(settings, "doctor") == 1
    failed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("FAIL")]
    assert len(failed) == 1 and "free disk" in failed[0] and failed[0].endswith("--home")


def test_a_missing_or_wrong_package_is_named() -> None:
    def installed(package: str) -> str:
        if package == "optuna":
            raise PackageNotFoundError(package)
        return "1.0" if package == "torch" else "999"

    lines = {line.what: line for line in doctor.packages(installed)}
    assert not lines["optuna"].ok and lines["optuna"].found == "not installed"
    assert not lines["torch"].ok and "2.11" in lines["torch"].remedy


def test_a_server_that_is_away_is_reported_at_once() -> None:
    uri = f"http://127.0.0.1:{closed_port()}"
    assert not doctor.mlflow_store("mlflow", uri).ok
    assert not doctor.ray_address(uri.removeprefix("http://")).ok


def test_something_else_at_the_store_is_reported(tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite"
    other.write_text("no database")
    assert not doctor.mlflow_store("mlflow", f"sqlite:///{other}").ok


def test_a_home_that_cannot_be_written_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise PermissionError("no")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    line = doctor.home(tmp_path / "runs")
    assert not line.ok and "--home" in line.remedy


def test_an_audio_format_that_cannot_be_decoded_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.audio().ok
    monkeypatch.setitem(doctor.FORMATS, "MP3", "NO_SUCH_CODEC")
    line = doctor.audio()
    assert not line.ok and "MP3" in line.found and "OGG" not in line.found


class TestUi:
    def test_without_a_store_it_says_so(self, settings: Settings) -> None:
        with pytest.raises(UsageError, match="no MLflow store"):
            run(settings, "ui", "--dry-run")
        assert not settings.home.exists()

    def test_dry_run_prints_address_and_command(
        self, settings: Settings, capsys: pytest.CaptureFixture[str]
    ) -> None:
        make_store(settings)
        assert run(settings, "ui", "--dry-run", "--port", "5055") == 0
        said = capsys.readouterr()
        assert said.out.strip() == "http://127.0.0.1:5055"
        assert settings.tracking_uri in said.err and "--host 127.0.0.1" in said.err

    def test_a_server_is_only_pointed_at(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        uri = "http://mlflow.example:5000"
        assert run(resolve({"tracking_uri": uri}, environment={}, directory=tmp_path), "ui") == 0
        assert capsys.readouterr().out.strip() == uri

    def test_a_taken_port_is_refused(self, settings: Settings) -> None:
        make_store(settings)
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            with pytest.raises(Failure, match="--port"):
                run(settings, "ui", "--port", str(other.getsockname()[1]))
