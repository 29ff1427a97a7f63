"""Every line says what it found; a line that fails says what to do."""

import argparse
import json
import socket
import sqlite3
import warnings
from contextlib import closing
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import torch

from escmodels.classifier import Classifier
from search import doctor, machine, selftest
from search.commands import system
from search.errors import Failure, UsageError
from search.machine import Line
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
    wanted = (
        "python torch torchaudio ray optuna mlflow cpu threads devices home cache audio self-test".split()
    )
    assert {*wanted, "free disk", "extra onnx", "extra stream"} <= lines.keys()
    assert lines["home"]["setting"] == "environment ESCSEARCH_HOME"
    assert lines["mlflow"]["setting"] == lines["ray"]["setting"] == "default"
    assert all(line["ok"] and not line["remedy"] for line in lines.values())
    assert not settings.home.exists()


def test_lines_for_people_hold_what_the_document_holds(
    settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        doctor, "check", lambda settings: iter([Line("a", "b"), Line("c", "d", "do e", "flag --f")])
    )
    assert run(settings, "doctor") == 1
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        "ok    a                b",
        "FAIL  c                d (flag --f) -> do e",
    ]
    assert said.err == "1 of 2 checks failed\n"
    assert run(settings, "doctor", "--json") == 1
    assert json.loads(capsys.readouterr().out)[1] == {
        "what": "c", "found": "d", "remedy": "do e", "setting": "flag --f", "ok": False
    }  # fmt: skip
    monkeypatch.setattr(doctor, "check", lambda settings: iter([Line("a", "b")]))
    assert run(settings, "doctor") == 0 and capsys.readouterr().err == "all 1 checks passed\n"


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
    assert not doctor.ray_address(uri.removeprefix("http://"), "default").ok


def test_something_else_at_the_store_is_reported(tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite"
    other.write_text("no database")
    assert not doctor.mlflow_store("mlflow", f"sqlite:///{other}").ok


@pytest.mark.slow
def test_a_database_without_its_driver_is_reported_without_its_password() -> None:
    line = doctor.mlflow_store("mlflow", "postgresql://joe:secret@127.0.0.1:9/runs")
    assert not line.ok and "secret" not in str(line) and "127.0.0.1:9/runs" in line.found
    assert line.remedy.startswith("install the database's driver: pip install psycopg")


@pytest.mark.slow
def test_a_store_that_answers_says_how_much_it_holds(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path / 'mlflow.sqlite'}"
    MlflowClient(uri).create_experiment("sounds")
    assert doctor.mlflow_store("mlflow", uri) == Line("mlflow", f"{uri} answers, 2 experiments")


class TestWhichSettingWon:
    def lines(self, directory: Path, environment: dict[str, str], **flags: str) -> dict[str, str]:
        settings = resolve(flags, environment=environment, directory=directory)
        stores = {name: setting for name, _, setting in doctor._stores(settings)}
        return stores | {"home": doctor.origin(settings, "home", environment)}

    def test_a_flag_is_said_with_the_variable_that_it_beat(self, tmp_path: Path) -> None:
        won = self.lines(tmp_path, {"ESCSEARCH_HOME": "a"}, home="b")
        assert won["home"] == "flag --home, over environment ESCSEARCH_HOME"
        assert self.lines(tmp_path, {}, home="b")["home"] == "flag --home"

    def test_a_registry_that_nobody_named_is_where_the_runs_are(self, tmp_path: Path) -> None:
        tracking = {"MLFLOW_TRACKING_URI": "sqlite:///a"}
        assert self.lines(tmp_path, tracking)["mlflow"] == "environment MLFLOW_TRACKING_URI"
        same = self.lines(tmp_path, tracking | {"MLFLOW_REGISTRY_URI": "sqlite:///a"})
        assert same["mlflow"] == "environment MLFLOW_TRACKING_URI; registry: environment MLFLOW_REGISTRY_URI"
        (tmp_path / "escsearch.yaml").write_text("registry_uri: sqlite:///b\n")
        apart = self.lines(tmp_path, tracking)
        assert apart["mlflow tracking"] == "environment MLFLOW_TRACKING_URI"
        assert apart["mlflow registry"] == "file escsearch.yaml"


WON = "environment RAY_ADDRESS"


class TestRay:
    def test_the_cluster_of_this_machine_is_looked_up(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        there = tmp_path / "ray_current_cluster"
        monkeypatch.setattr("ray._common.utils.get_ray_address_file", lambda folder: str(there))
        line = doctor.ray_address("auto", WON)
        assert not line.ok and "no cluster" in line.found
        with socket.socket() as head:
            head.bind(("127.0.0.1", 0))
            head.listen()
            address = f"127.0.0.1:{head.getsockname()[1]}"
            there.write_text(address)
            assert doctor.ray_address("auto", WON) == Line("ray", f"auto ({address}) answers")
            assert doctor.ray_address(address, WON).ok and doctor.ray_address(f"ray://{address}", WON).ok
        assert not doctor.ray_address("auto", WON).ok

    def test_what_is_no_address_is_told(self) -> None:
        assert doctor.ray_address("local", WON).ok
        for address in ("nonsense", "host:port", ":6379", "127.0.0.1:99999999"):
            assert not doctor.ray_address(address, WON).ok

    def test_the_remedy_is_for_the_setting_that_won(self, tmp_path: Path) -> None:
        (tmp_path / "escsearch.yaml").write_text("ray_address: nonsense\n")
        away = f"127.0.0.1:{closed_port()}"
        for flags, environment, words, others in (
            ({"ray_address": away}, {"RAY_ADDRESS": "b"}, "say --address local", ("RAY_ADDRESS", "yaml")),
            ({}, {"RAY_ADDRESS": away}, "unset RAY_ADDRESS", ("--address", "yaml")),
            ({}, {}, "take ray_address out of escsearch.yaml", ("--address", "RAY_ADDRESS")),
        ):
            settings = resolve(flags, environment, tmp_path)
            line = doctor.ray_address(settings.ray_address, settings.origins["ray_address"])
            assert not line.ok and words in line.remedy
            assert not any(other in line.remedy for other in others)


class TestMachine:
    def test_the_units_of_a_processor_say_whether_bfloat16_pays(self) -> None:
        intel = machine.cpu(
            "processor : 0\nmodel name : Big One\nflags : fpu avx2 avx512f avx512_bf16 amx_bf16\n"
        )
        assert intel.found == "Big One: AVX2, AVX-512, AVX-512 bfloat16, AMX bfloat16, bfloat16 pays here"
        assert (
            machine.cpu("model name : Old\nflags : sse avx2\n").found
            == "Old: AVX2, bfloat16 does not pay here"
        )
        assert machine.cpu("Features : fp asimd bf16\n").found.endswith(
            ": NEON, bfloat16, bfloat16 does not pay here"
        )
        assert machine.cpu("").ok and machine.cpu("").found

    def test_a_container_with_less_work_than_cores_is_told_how_many_workers(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        assert machine.threads(1, 1).found == "1 core, torch uses 1 thread"
        assert machine.threads(16, 16, "max 100000\n").found == "16 cores, torch uses 16 threads"
        assert machine.threads(16, 16, "1600000 100000").found == "16 cores, torch uses 16 threads"
        assert machine.threads(16, 2, "250000 100000\n").found.endswith(
            "may use 2.5 of them: search with --workers 2"
        )
        assert machine.threads(16, 2, "50000 100000\n").found.endswith("--workers 1")
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        assert machine.threads(16, 2).found.endswith("(OMP_NUM_THREADS=2)")

    def test_an_extra_that_is_missing_or_broken_is_no_failure(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def missing(package: str) -> str:
            raise PackageNotFoundError(package)

        assert all("pip install 'escsearch[" in line.found and line.ok for line in machine.extras(missing))

        def broken(name: str) -> None:
            raise OSError("library not found")

        monkeypatch.setattr(machine, "import_module", broken)
        lines = list(machine.extras(lambda package: "1.0"))
        assert all(line.found.endswith("which cannot be imported: library not found") for line in lines)
        assert all(line.ok for line in lines)

    def test_a_gpu_that_torch_cannot_use_is_told(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        driver = tmp_path / "version"
        driver.touch()
        monkeypatch.setattr(machine, "NVIDIA", driver)
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
        monkeypatch.setattr("torch.version.cuda", None)
        assert "built without CUDA" in list(machine.devices())[-1].found
        monkeypatch.setattr("torch.version.cuda", "13.0")
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        assert "CUDA_VISIBLE_DEVICES=''" in list(machine.devices())[-1].found

        def old() -> bool:
            warnings.warn("the driver is too old", stacklevel=1)
            return False

        monkeypatch.setattr("torch.cuda.is_available", old)
        line = list(machine.devices())[-1]
        assert not line.ok and "too old" in line.found and line.remedy == "update the NVIDIA driver"


class TestSelfTest:
    def test_what_was_packed_predicts_the_same(self) -> None:
        assert selftest.learn("cpu") == 0.0
        (line,) = (line for line in doctor.self_test() if line.what == "self-test")
        assert line.ok and "bit for bit" in line.found

    def test_a_model_that_comes_back_otherwise_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pack = Classifier.pack

        def other(self: Classifier, folder: Path) -> None:
            torch.manual_seed(1)
            pack(Classifier.fresh(self.recipe, self.classes), folder)

        monkeypatch.setattr(Classifier, "pack", other)
        line = next(doctor.self_test())
        assert not line.ok and "predicts otherwise" in line.found and line.remedy == machine.INSTALL

    def test_whatever_is_raised_is_a_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(*_: object, **__: object) -> None:
            raise RuntimeError("no kernel\nfor this")

        monkeypatch.setattr("escmodels.fit.fit", broken)
        line = next(doctor.self_test())
        assert not line.ok and line.found == "RuntimeError: no kernel for this"


def test_the_cache_is_counted(tmp_path: Path) -> None:
    assert doctor.cache(tmp_path / "none").found.startswith("empty")
    (tmp_path / "wave").write_bytes(bytes(2_000_000))
    assert doctor.cache(tmp_path).found == f"2 MB in {tmp_path}, may be deleted"


def test_a_home_that_cannot_be_written_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.home(tmp_path / "runs").ok and doctor.home(tmp_path).ok and not list(tmp_path.iterdir())

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("no")

    for broken in ("tempfile.TemporaryDirectory", "sqlite3.connect"):
        with monkeypatch.context() as patch:
            patch.setattr(broken, refuse)
            line = doctor.home(tmp_path / "runs")
            assert not line.ok and "--home" in line.remedy
    (tmp_path / "file").touch()
    line = doctor.home(tmp_path / "file" / "runs")
    assert not line.ok and f"{tmp_path / 'file'} is a file" in line.found


def test_an_audio_format_that_cannot_be_decoded_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.audio().ok
    monkeypatch.setitem(selftest.FORMATS, "MP3", "NO_SUCH_CODEC")
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
