"""A served model answers over HTTP; what cannot be answered is refused with 400 and one sentence."""

import argparse
import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from tiny_model import CLASSES, RATE, bundled, sound

from search import load_model
from search.commands import serve as commands
from search.errors import Failure, UsageError
from search.serve import curl, refused, serve, write_example
from search.settings import Settings, resolve

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundled(tmp_path_factory.mktemp("bundle") / "model")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return resolve({"home": str(tmp_path / "runs")}, environment={}, directory=tmp_path)


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """`escsearch serve` in a process of its own: what it printed with --json."""
    home = tmp_path_factory.mktemp("home")
    command = [
        sys.executable,
        "-m",
        "search",
        "serve",
        str(folder),
        "--port",
        "0",
        "--home",
        str(home),
        "--json",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, cwd=home, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        document = ""
        while line := process.stdout.readline():
            document += line
            if line == "}\n":
                break
        try:
            yield json.loads(document)
        finally:
            process.terminate()
            assert process.wait(20) == 0
            assert process.stderr.read() == "stopped\n"
    assert not (home / "runs").exists()


def asked(url: str, body: Any = None, kind: str = "application/json") -> tuple[int, Any]:
    content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, content, {"Content-Type": kind})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
            return answer.status, json.loads(text) if text.strip() else None
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


@pytest.mark.slow
class TestServer:
    @pytest.mark.parametrize("path", ["/ping", "/health"])
    def test_is_healthy(self, server: dict[str, str], path: str) -> None:
        assert asked(server["url"] + path) == (200, None)
        assert server["health"] == server["url"] + "/ping"

    def test_says_what_it_is_and_what_it_wants(self, server: dict[str, str]) -> None:
        status, about = asked(server["url"] + "/")
        assert status == 200 and about["classes"] == list(CLASSES) and "audio" in json.dumps(about["body"])

    def test_the_printed_command_works_as_it_stands(self, server: dict[str, str]) -> None:
        done = subprocess.run(["bash", "-c", server["curl"]], capture_output=True, text=True, timeout=30)
        first, second = json.loads(done.stdout)["predictions"]
        assert first["label"] == "tone" and first["probability"] > second["probability"]

    def test_answers_what_predict_says(self, server: dict[str, str], folder: Path, tmp_path: Path) -> None:
        paths = [tmp_path / "a.flac", tmp_path / "b.ogg"]
        for path, label in zip(paths, CLASSES, strict=True):
            soundfile.write(path, sound(label, 2.6, RATE), RATE)
        expected = load_model(str(folder)).predict(paths, windows=True, top_k=2)
        rows = [{"audio": encoded(path)} for path in paths]
        status, answer = asked(
            server["invocations"], {"dataframe_records": rows, "params": {"windows": True, "top_k": 2}}
        )
        got = answer["predictions"]
        assert status == 200 and [row["label"] for row in got] == list(expected.label)
        assert {row["file"] for row in got} == {"audio[0]", "audio[1]"}
        assert np.allclose([row["probabilities"] for row in got], list(expected.probabilities), atol=1e-6)
        assert np.allclose([row["start"] for row in got], expected.start)

    def test_samples_need_no_file(self, server: dict[str, str], folder: Path) -> None:
        wave_T = sound("tone", 1.3, 11025)
        expected = load_model(str(folder)).predict((wave_T, 11025))
        row = {"samples": wave_T.tolist(), "rate": 11025}
        status, answer = asked(server["invocations"], {"dataframe_records": [row]})
        assert status == 200 and answer["predictions"][0]["label"] == "tone"
        assert np.allclose(answer["predictions"][0]["probabilities"], expected.probabilities[0], atol=1e-6)
        status, answer = asked(server["invocations"], {"dataframe_records": [{"samples": [0.0, 0.5]}]})
        assert status == 400 and "rate" in answer["message"]

    def test_the_command_takes_a_file_of_any_size(self, server: dict[str, str], tmp_path: Path) -> None:
        path = tmp_path / "it's large.wav"
        soundfile.write(path, sound("noise", 60.0, RATE), RATE)
        command = curl(server["url"], path)
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
        assert json.loads(done.stdout)["predictions"][0]["label"] == "noise"

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            (
                {"dataframe_records": [{"audio": base64.b64encode(b"no sound").decode()}]},
                r"audio[0]: not decodable",
            ),
            ({"dataframe_records": [{"audio": "x"}]}, "base64"),
            ({"dataframe_records": [{"path": "/etc/hostname"}]}, "reads no files"),
            ({"dataframe_records": [{"sound": "x"}]}, "needs a column `audio`"),
            ({"dataframe_records": []}, "needs a column `audio`"),
            ({"audio": "x"}, "dataframe_records"),
            (b"no JSON", "JSON"),
            (b"", "JSON"),
        ],
    )
    def test_a_bad_request_is_refused_in_a_sentence(
        self, server: dict[str, str], body: Any, said: str
    ) -> None:
        status, answer = asked(server["invocations"], body)
        assert status == 400 and set(answer) == {"error_code", "message"}
        assert said in answer["message"] and len(answer["message"]) <= 400
        assert "Traceback" not in answer["message"] and "\n" not in answer["message"]

    @pytest.mark.parametrize("params", [{"top_k": 0}, {"top_k": "many"}])
    def test_bad_parameters_are_refused(
        self, server: dict[str, str], tmp_path: Path, params: dict[str, Any]
    ) -> None:
        row = {"audio": encoded(write_example(tmp_path / "a.wav"))}
        status, answer = asked(server["invocations"], {"dataframe_records": [row], "params": params})
        assert status == 400 and "top_k" in answer["message"]

    def test_another_kind_of_content_is_refused(self, server: dict[str, str]) -> None:
        status, answer = asked(server["invocations"], b"x", "text/plain")
        assert status == 415 and "application/json" in answer["message"]

    def test_a_page_that_is_not_there_is_told_from_what_there_is(self, server: dict[str, str]) -> None:
        status, answer = asked(server["url"] + "/predict")
        assert status == 404 and "GET /" in answer["message"]

    def test_its_port_cannot_be_had_twice(
        self, server: dict[str, str], folder: Path, settings: Settings
    ) -> None:
        with pytest.raises(Failure, match="--port"):
            serve(str(folder), settings, port=int(server["url"].rpartition(":")[2]))


def test_what_mlflow_repeats_is_left_out() -> None:
    wordy = {
        "error_code": "INVALID_PARAMETER_VALUE",
        "message": "Failed to predict data '  audio\n0 UklG'. \nError: audio[0]: the file is empty",
        "stack_trace": "Traceback ...",
    }
    assert json.loads(refused(400, json.dumps(wordy).encode())) == {
        "error_code": "INVALID_PARAMETER_VALUE",
        "message": "audio[0]: the file is empty",
    }
    echo = {"message": "no JSON.\nInput: \n" + 5000 * "x"}
    assert json.loads(refused(400, json.dumps(echo).encode()))["message"] == "no JSON."
    assert json.loads(refused(504, b"took too long"))["message"] == "took too long"


def test_the_example_is_a_sound(tmp_path: Path) -> None:
    with wave.open(str(write_example(tmp_path / "a.wav"))) as file:
        assert file.getnframes() / file.getframerate() == 0.5
    wave_T, _ = soundfile.read(tmp_path / "a.wav")
    assert 0.3 < np.abs(wave_T).max() < 0.9


def test_an_address_is_taken_before_the_model_is_loaded(settings: Settings) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(Failure, match="choose another --port"),
    ):
        serve("no-such-model", settings, port=taken.getsockname()[1])


@pytest.mark.parametrize("host", ["203.0.113.7", "no-such-host.invalid", "x" * 70])
def test_a_host_that_is_not_this_machine_is_what_is_wrong(settings: Settings, host: str) -> None:
    with pytest.raises(Failure, match=f"cannot listen at {host}, .* as --host$"):
        serve("no-such-model", settings, host=host)


def test_a_damaged_model_is_said(folder: Path, settings: Settings, tmp_path: Path) -> None:
    damaged = shutil.copytree(folder, tmp_path / "damaged")
    (damaged / "weights.safetensors").write_bytes((folder / "weights.safetensors").read_bytes()[:-100])
    with pytest.raises(UsageError, match="damaged cannot be loaded: .*'promote STUDY'$"):
        serve(str(damaged), settings, port=0)


def test_what_is_no_model_is_said(settings: Settings) -> None:
    with pytest.raises(UsageError, match="is no model"):
        serve("./nowhere", settings, port=0)


@pytest.mark.parametrize("words", [["--port", "70000"], ["--port", "http"], ["--port", "-1"]])
def test_a_port_is_a_number(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    commands.add(parser.add_subparsers(), argparse.ArgumentParser(add_help=False))
    with pytest.raises(SystemExit):
        parser.parse_args(["serve", "model", *words])
    assert "0 to 65535" in capsys.readouterr().err


def test_another_host_is_warned_of_and_the_process_is_left_as_it_was(
    folder: Path, settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(self: object, sockets: list[socket.socket]) -> None:
        assert os.environ["__pyfunc_model_path__"]  # the model reads no files now
        raise KeyboardInterrupt

    monkeypatch.setattr("uvicorn.Server.run", run)
    monkeypatch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "false")
    urls: list[str] = []
    serve(str(folder), settings, "0.0.0.0", 0, lambda url, example: urls.append(url))
    said = capsys.readouterr().err
    assert "no password" in said and said.endswith("stopped\n")
    assert urls[0].startswith("http://0.0.0.0:") and "__pyfunc_model_path__" not in os.environ
    serve(str(folder), settings, "127.0.0.1", 0)
    assert "password" not in capsys.readouterr().err
