"""A model in a folder labels sound files of any kind; what cannot be done is said in one sentence."""

import argparse
import csv
import importlib
import io
import json
import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from tiny_model import CARD, CLASSES, RATE, bundled, sound, tones

from escmodels.classifier import Classifier
from search import load_model
from search.commands import model as commands
from search.errors import Failure, UsageError
from search.predict import Model, collect
from search.settings import Settings, resolve


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundled(tmp_path_factory.mktemp("bundle") / "model")


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return load_model(str(folder))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return resolve({"home": str(tmp_path / "runs")}, environment={}, directory=tmp_path)


def written(folder: Path, name: str, label: str = "tone", seconds: float = 1.0, rate: int = RATE) -> Path:
    wave_T = sound(label, seconds, rate)
    soundfile.write(folder / name, np.stack([wave_T, wave_T], axis=1), rate)
    return folder / name


def encoded(label: str) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, sound(label, 1.0, RATE), RATE, format="FLAC")
    return buffer.getvalue()


def test_a_bundle_is_complete_and_holds_no_pickle(folder: Path) -> None:
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {"card.json", "config.json", "weights.safetensors", "code/audio.py"} <= files
    assert {"code/escmodels/classifier.py", "code/escmodels/__init__.py"} <= files
    assert not [file for file in files if file.endswith((".pkl", ".pth", ".pt", ".pyc", ".bin"))]


def test_a_bundle_is_never_overwritten(folder: Path) -> None:
    with pytest.raises(FileExistsError):
        bundled(folder)


def marked(folder: Path, copy: Path, mark: str) -> Path:
    """A copy of a bundle whose code is another."""
    shutil.copytree(folder, copy)
    with (copy / "code" / "escmodels" / "classifier.py").open("a") as source:
        source.write(f"\nMARK = {mark!r}\n")
    return copy


def code_of(model: Model) -> str:
    """The name under which the model's code was imported."""
    return type(model.classifier._classifier).__module__


def test_loading_leaves_no_trace_in_the_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    fresh = marked(folder, tmp_path / "fresh", "never imported before")
    model = load_model(str(fresh))
    assert model.card == CARD and model.classes == CLASSES
    assert not list(fresh.rglob("__pycache__")) and not sys.dont_write_bytecode


@pytest.mark.parametrize("seconds", [1.0, 2.6])  # one window, several windows
def test_predicts_what_the_classifier_predicts(
    model: Model, folder: Path, tmp_path: Path, seconds: float
) -> None:
    clips = tones(seconds)
    expected_NK = Classifier.unpack(folder).probabilities(clips)
    paths = []
    for row, (start, length) in enumerate(zip(clips.starts, clips.lengths, strict=True)):
        paths.append(tmp_path / f"{row}.flac")
        soundfile.write(paths[-1], clips.samples[start : start + length], RATE)
    table = model.predict(paths)
    assert np.abs(np.stack(table.probabilities) - expected_NK).max() <= 1e-6
    assert list(table.label) == [CLASSES[best] for best in expected_NK.argmax(axis=1)]
    assert list(table.label) == [CLASSES[label] for label in clips.labels]  # it has learned something
    assert list(table.file) == [str(path) for path in paths]


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
@pytest.mark.parametrize(("rate", "seconds"), [(8000, 0.3), (22050, 1.0), (44100, 12.0), (48000, 5.0)])
def test_takes_any_format_rate_and_length(
    model: Model, tmp_path: Path, name: str, rate: int, seconds: float
) -> None:
    table = model.predict(written(tmp_path, name, "noise", seconds, rate))
    assert len(table) == 1 and table.start[0] == 0
    assert table.end[0] == pytest.approx(seconds, abs=0.15)  # MP3 pads to whole frames
    assert sum(table.probabilities[0]) == pytest.approx(1, abs=1e-5)


def test_windows_cover_a_long_recording_and_average_to_the_clip(model: Model, tmp_path: Path) -> None:
    path = written(tmp_path, "long.wav", "noise", 3.2)
    windows, clip = model.predict(path, windows=True), model.predict(path)
    assert windows.start[0] == 0 and windows.end.iloc[-1] == pytest.approx(3.2, abs=1e-3)
    assert (windows.end - windows.start).round(6).eq(1.0).all() and len(windows) > 3
    mean_K = np.stack(windows.probabilities).mean(axis=0)
    assert np.abs(mean_K - clip.probabilities[0]).max() < 1e-6


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """More than a share of each of many threads; of several lengths, rates and formats, one of them broken."""
    folder, lengths = tmp_path_factory.mktemp("many"), (0.3, 1.0, 2.6)
    paths = []
    for number in range(61):
        name = f"{number}.{('wav', 'flac', 'ogg')[number % 3]}"
        rate = (RATE, 11025)[number % 2]
        paths.append(written(folder, name, CLASSES[number % 2], lengths[number % 3], rate))
    paths[40].write_bytes(b"no sound")
    return paths


class TestMany:
    """Files are decoded side by side and share batches; nothing of that may be seen."""

    @pytest.mark.parametrize("windows", [False, True])
    def test_each_is_what_it_is_alone_and_in_order(
        self, model: Model, paths: list[Path], windows: bool
    ) -> None:
        together = list(model.each(paths, windows=windows, top_k=2))
        assert [name for name, *_ in together] == [str(path) for path in paths]
        for path, (_, rows, _) in zip(paths, together, strict=True):
            (_, alone, _), *_ = model.each([path], windows=windows, top_k=2)
            if path == paths[40]:
                assert rows == alone and "40.flac" in str(rows)
                continue
            assert [row[:4] for row in rows] == [row[:4] for row in alone]
            assert np.allclose([row[5] for row in rows], [row[5] for row in alone], rtol=0, atol=1e-6)

    def test_the_first_that_cannot_be_read_is_named(self, model: Model, paths: list[Path]) -> None:
        with pytest.raises(UsageError, match="40.flac"):
            model.predict(paths)
        assert len(model.predict(paths[:40])) == 40

    def test_torch_has_its_threads_again(self, model: Model, paths: list[Path]) -> None:
        before = torch.get_num_threads()
        torch.set_num_threads(2)
        try:
            found = model.each(paths)
            next(found)
            assert torch.get_num_threads() == 1
            found.close()
            assert torch.get_num_threads() == 2
        finally:
            torch.set_num_threads(before)

    def test_bytes_and_samples_are_sounds_too(self, model: Model, tmp_path: Path) -> None:
        wave_T = sound("tone", 1.0, RATE)
        soundfile.write(tmp_path / "a.wav", wave_T, RATE, subtype="FLOAT")
        path = tmp_path / "a.wav"
        table = model.predict([path, path.read_bytes(), (wave_T, RATE), (wave_T.tolist(), RATE)])
        assert list(table.file) == [str(path), "audio[1]", "samples[2]", "samples[3]"]
        assert np.ptp(np.stack(table.probabilities), axis=0).max() <= 1e-6
        with pytest.raises(UsageError, match=r"samples\[0\]"):
            model.predict((wave_T * 32768, RATE))

    def test_nothing_is_nothing(self, model: Model) -> None:
        assert model.predict([]).empty and list(model.predict([]).columns)


def test_top_k_ranks_the_labels(model: Model, tmp_path: Path) -> None:
    path = written(tmp_path, "a.wav")
    table = model.predict(path, top_k=2)
    assert len(table) == 2 and table.probability.is_monotonic_decreasing
    assert table.probability.sum() == pytest.approx(1, abs=1e-5)
    assert len(model.predict(path, top_k=99)) == 2
    with pytest.raises(UsageError, match="top_k"):
        model.predict(path, top_k=0)


class TestTable:
    """The input as MLflow hands it over."""

    def test_bytes_and_paths_are_the_same_sound(self, model: Model, tmp_path: Path) -> None:
        path = tmp_path / "a.flac"
        path.write_bytes(encoded("tone"))
        by_bytes = model.classifier.predict(None, pd.DataFrame({"audio": [encoded("tone")]}))
        by_path = model.classifier.predict(None, pd.DataFrame({"path": [str(path)]}))
        assert by_bytes.probabilities[0] == by_path.probabilities[0]
        assert by_bytes.file[0] == "audio[0]"

    def test_with_both_columns_the_path_only_names_the_row(self, model: Model) -> None:
        table = model.classifier.predict(
            None, pd.DataFrame({"audio": [encoded("tone")], "path": ["not/there.wav"]})
        )
        assert table.file[0] == "not/there.wav"

    @pytest.mark.parametrize(
        ("table", "said"),
        [
            (pd.DataFrame({"sound": [b""]}), "needs a column `audio`"),
            (pd.DataFrame({"audio": [1.5]}), "row 0"),
            (pd.DataFrame({"audio": [None], "path": [None]}), "row 0"),
            (pd.DataFrame({"audio": [b""]}), r"audio\[0\]"),
            (pd.DataFrame({"audio": [b"not a sound"]}), r"audio\[0\]"),
            (b"bytes alone", "not bytes"),
        ],
    )
    def test_what_cannot_be_used_is_a_bad_request(self, model: Model, table: object, said: str) -> None:
        from mlflow.exceptions import MlflowException

        with pytest.raises(MlflowException, match=said) as caught:
            model.classifier.predict(None, table)
        assert caught.value.get_http_status_code() == 400

    def test_a_served_model_reads_no_files(
        self, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from mlflow.exceptions import MlflowException

        monkeypatch.setenv("__pyfunc_model_path__", "somewhere")  # as MLflow's scoring server has it
        with pytest.raises(MlflowException, match="reads no files"):
            model.classifier.predict(None, [written(tmp_path, "a.wav")])
        assert len(model.classifier.predict(None, pd.DataFrame({"audio": [encoded("tone")]}))) == 1


def test_two_versions_in_one_process_run_their_own_code(folder: Path, tmp_path: Path) -> None:
    ours = code_of(load_model(str(folder)))
    theirs = code_of(load_model(str(marked(folder, tmp_path / "other", "other"))))
    assert ours != theirs
    assert [hasattr(sys.modules[name], "MARK") for name in (ours, theirs)] == [False, True]


def test_code_whose_first_copy_is_gone_is_found_in_the_second(folder: Path, tmp_path: Path) -> None:
    bundle = marked(folder, tmp_path / "first", "gone")
    (
        bundle / "code" / "escmodels" / "late.py"
    ).touch()  # imported only when it is needed, as resnet's timm is
    load_model(str(bundle))
    bundle.rename(tmp_path / "second")
    code = code_of(load_model(str(tmp_path / "second")))
    assert importlib.import_module(code.replace(".classifier", ".late"))


class TestErrors:
    @pytest.mark.parametrize("name", ["tiny", "models:/tiny@champion", "models:/tiny/1", "runs:/abc/model"])
    def test_loading_makes_no_database(self, settings: Settings, name: str) -> None:
        with pytest.raises(UsageError, match="no MLflow store.*--home"):
            load_model(name, settings)
        assert not settings.home.exists()

    @pytest.mark.parametrize("name", ["./nowhere", "a/b/c", "models:/", "x@y@z"])
    def test_what_is_no_model_is_named(self, settings: Settings, name: str) -> None:
        with pytest.raises(UsageError, match="is no model"):
            load_model(name, settings)

    def test_a_folder_without_a_model_is_named(self, settings: Settings, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="holds no model"):
            load_model(str(tmp_path), settings)

    def test_an_empty_file_is_named(self, model: Model, tmp_path: Path) -> None:
        (tmp_path / "empty.wav").touch()
        with pytest.raises(UsageError, match="empty.wav"):
            model.predict(tmp_path / "empty.wav")


def test_collect_finds_sounds_in_folders_once_and_in_order(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("b.WAV", "a.ogg", "deep/c.mp3", "notes.txt"):
        (tmp_path / name).touch()
    found = [
        path.relative_to(tmp_path).as_posix() for path in collect([str(tmp_path), str(tmp_path / "a.ogg")])
    ]
    assert found == ["a.ogg", "b.WAV", "deep/c.mp3"]
    assert collect([str(tmp_path / "notes.txt")])  # a file that is named is tried whatever it is called
    with pytest.raises(UsageError, match="nothing.wav"):
        collect([str(tmp_path / "nothing.wav")])
    (tmp_path / "void").mkdir()
    with pytest.raises(UsageError, match="holds no sound"):
        collect([str(tmp_path / "void")])


def test_collect_understands_patterns_that_the_shell_has_left_alone(tmp_path: Path) -> None:
    (tmp_path / "rain" / "deep").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    for name in ("rain/a.wav", "rain/b.ogg", "rain/deep/c.wav", "rain/[x].wav", "notes.txt"):
        (tmp_path / name).touch()

    def found(*patterns: str) -> list[str]:
        paths = collect([f"{tmp_path}/{pattern}" for pattern in patterns])
        return [path.relative_to(tmp_path).as_posix() for path in paths]

    assert found("rain/*.wav") == ["rain/[x].wav", "rain/a.wav"]
    assert found("**/*.wav") == ["rain/[x].wav", "rain/a.wav", "rain/deep/c.wav"]
    assert found("rain/[x].wav") == ["rain/[x].wav"]  # a file of that name is meant
    assert sorted(found("*")) == sorted([*found("rain"), "notes.txt"])  # folders give the sounds in them
    for pattern in ("*.mp3", "empt?"):
        with pytest.raises(UsageError, match="no sound file matches"):
            found(pattern)


def test_a_model_that_does_not_say_how_long_a_sound_is_has_the_end_of_its_last_window(
    model: Model, paths: list[Path]
) -> None:
    class Older:
        def each(self, *arguments):
            return ((name, rows) for name, rows, _ in model.classifier.each(*arguments))

    for some in (paths[:1], paths[39:42]):
        for (_, _, seconds), (_, _, expected) in zip(
            Model("older", Older()).each(some), model.each(some), strict=True
        ):
            assert seconds == pytest.approx(expected)


@pytest.fixture(scope="module")
def saved_folder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a model folder of MLflow."""
    from search.model_log import save

    return save(folder, tmp_path_factory.mktemp("saved") / "model")


@pytest.mark.filterwarnings("ignore:Operation with range")  # MLflow 3.17 on pandas 3
@pytest.mark.parametrize("saved", [False, True], ids=["bundle", "MLflow"])
class TestDamaged:
    """Whatever is wrong with a model is one sentence."""

    @pytest.fixture
    def copy(self, request: pytest.FixtureRequest, tmp_path: Path, saved: bool) -> tuple[Path, Path]:
        """A model, and the bundle in it."""
        source = request.getfixturevalue("saved_folder" if saved else "folder")
        model = shutil.copytree(source, tmp_path / "copy")
        return model, next(model.rglob("config.json")).parent

    @pytest.mark.parametrize("name", ["weights.safetensors", "config.json", "card.json", "code/audio.py"])
    @pytest.mark.parametrize("gone", [False, True], ids=["cut", "gone"])
    def test_a_file_that_is_not_whole(self, copy: tuple[Path, Path], name: str, gone: bool) -> None:
        model, inner = copy
        content = (inner / name).read_bytes()
        (inner / name).unlink() if gone else (inner / name).write_bytes(content[: len(content) // 2])
        said = "(cannot be loaded: .*; ship it again with 'promote STUDY'|but it holds no model.*)$"
        with pytest.raises(UsageError, match=said):
            load_model(str(model))

    def test_a_disk_that_fails_is_no_damage(self, copy: tuple[Path, Path]) -> None:
        model, inner = copy
        with (inner / "code" / "audio.py").open("a") as source:
            source.write(f"\nraise OSError(5, 'Input/output error')  # {model}\n")
        with pytest.raises(UsageError, match=r"cannot be loaded: .*Input/output error \(OSError\)$"):
            load_model(str(model))

    def test_a_package_that_is_missing(
        self, copy: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model, inner = copy
        with (inner / "code" / "audio.py").open("a") as source:
            source.write(f"\nimport timm  # {model}\n")
        monkeypatch.setitem(sys.modules, "timm", None)
        with pytest.raises(Failure, match="it needs timm, which is not installed: pip install timm$"):
            load_model(str(model))


class TestCommand:
    def run(self, settings: Settings, *words: str) -> int:
        common = argparse.ArgumentParser(add_help=False)
        common.add_argument("--json", action="store_true")
        parser = argparse.ArgumentParser()
        commands.add(parser.add_subparsers(), common)
        args = parser.parse_args(["predict", *words])
        return args.act(args, settings)

    @pytest.fixture
    def sounds(self, tmp_path: Path) -> Path:
        (tmp_path / "sounds").mkdir()
        written(tmp_path / "sounds", "hum.wav", "tone")
        written(tmp_path / "sounds", "rain.ogg", "noise")
        return tmp_path / "sounds"

    def test_prints_a_table(
        self, settings: Settings, folder: Path, sounds: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.run(settings, str(folder), str(sounds)) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line for line in lines if "hum.wav" in line and "tone" in line and "%" in line]
        assert [line for line in lines if "rain.ogg" in line and "noise" in line]

    def test_the_rest_is_done_when_one_file_is_bad(
        self, settings: Settings, folder: Path, sounds: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (sounds / "bad.wav").write_text("no sound")
        assert self.run(settings, str(folder), str(sounds), "--csv", "--top", "2") == 5
        said = capsys.readouterr()
        rows = list(csv.DictReader(io.StringIO(said.out)))
        assert len(rows) == 4 and "bad.wav" in said.err and "Traceback" not in said.err
        assert {row["label"] for row in rows} == set(CLASSES)

    def test_json_holds_predictions_and_failures(
        self, settings: Settings, folder: Path, sounds: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (sounds / "bad.wav").touch()
        assert self.run(settings, str(folder), str(sounds), "--json", "--windows") == 5
        document = json.loads(capsys.readouterr().out)
        assert document["classes"] == list(CLASSES)
        assert [Path(row["file"]).name for row in document["predictions"]] == ["hum.wav", "rain.ogg"]
        assert [Path(row["file"]).name for row in document["failed"]] == ["bad.wav"]

    def test_nothing_readable_is_a_failure(
        self, settings: Settings, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "bad.wav").touch()
        with pytest.raises(Failure, match="no file could be read"):
            self.run(settings, str(folder), str(tmp_path / "bad.wav"))
        assert "bad.wav" in capsys.readouterr().err

    def test_a_missing_file_is_found_out_before_the_model_is_loaded(self, settings: Settings) -> None:
        with pytest.raises(UsageError, match="nothing.wav"):
            self.run(settings, "no-such-model", "nothing.wav")

    def test_a_sound_may_come_on_standard_input(
        self,
        settings: Settings,
        folder: Path,
        sounds: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        self.give(monkeypatch, (sounds / "hum.wav").read_bytes())
        assert self.run(settings, str(folder), "-", str(sounds / "rain.ogg"), "--csv") == 0
        rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
        assert {row["file"]: row["label"] for row in rows} == {
            str(sounds / "rain.ogg"): "noise",
            "standard input": "tone",
        }
        self.give(monkeypatch, b"")
        with pytest.raises(Failure, match="no file could be read"):
            self.run(settings, str(folder), "-")
        assert "standard input: " in capsys.readouterr().err

    @pytest.mark.parametrize("piped", [True, False])
    def test_files_may_come_from_a_list(
        self,
        settings: Settings,
        folder: Path,
        sounds: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        piped: bool,
    ) -> None:
        lines = f"{sounds / 'rain.ogg'}\n\n{sounds / 'gone.wav'}\n{sounds / 'rain.ogg'}\n"
        (sounds / "list.txt").write_text(lines)
        self.give(monkeypatch, lines.encode())
        source = "-" if piped else str(sounds / "list.txt")
        assert self.run(settings, str(folder), "--files-from", source, "--json") == 5
        document = json.loads(capsys.readouterr().out)
        assert [row["file"] for row in document["predictions"]] == [str(sounds / "rain.ogg")]
        assert [row["file"] for row in document["failed"]] == [str(sounds / "gone.wav")]

    def test_says_how_fast_it_was(
        self, settings: Settings, folder: Path, sounds: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.run(settings, str(folder), str(sounds), "--windows") == 0
        assert re.search(r"^2 files, 2\.0 s of sound in .* files/s", capsys.readouterr().err, re.MULTILINE)

    @pytest.mark.parametrize("words", [[], ["--csv"], ["--json"]], ids=str)
    @pytest.mark.parametrize("source", ["-", "list.txt", None])
    def test_a_name_need_not_be_text(
        self,
        folder: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        source: str | None,
        words: list[str],
    ) -> None:
        from search.cli import main

        monkeypatch.chdir(tmp_path)
        written(tmp_path, "a.wav").rename(os.fsdecode(b"caf\xe9.wav"))
        Path("list.txt").write_bytes(b"caf\xe9.wav\n")
        self.give(monkeypatch, b"caf\xe9.wav\n")
        printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
        monkeypatch.setattr(sys, "stdout", printed)
        named = ["--files-from", source] if source else [os.fsdecode(b"caf\xe9.wav")]
        assert main(["predict", str(folder), *named, *words]) == 0
        printed.flush()
        name = json.dumps("caf\udce9.wav").encode() if words == ["--json"] else b"caf\xe9.wav"
        assert name in printed.buffer.getvalue()

    def test_a_list_that_is_no_text_is_said(self, settings: Settings, tmp_path: Path) -> None:
        (tmp_path / "list").write_bytes(b"a.wav\0b.wav\0")
        with pytest.raises(UsageError, match="--files-from .*list is no text"):
            self.run(settings, "no-such-model", "--files-from", str(tmp_path / "list"))

    @pytest.mark.parametrize("words", [[], ["--windows"]])
    def test_silence_at_the_end_is_sound_too(
        self,
        settings: Settings,
        folder: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        words: list[str],
    ) -> None:
        wave_T = np.concatenate((sound("tone", 2.0, RATE), np.zeros(4 * RATE, np.float32)))
        soundfile.write(tmp_path / "a.wav", wave_T, RATE)
        assert self.run(settings, str(folder), str(tmp_path / "a.wav"), *words) == 0
        assert "1 file, 6.0 s of sound" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            ([], "no sound was named"),
            (["-", "--files-from", "-"], "standard input cannot be both"),
            (["--files-from", "no-list.txt"], "no-list.txt cannot be read"),
            (["--files-from", "/dev/null"], "/dev/null names no file"),
            (["a.wav", "--csv", "--json"], "--csv and --json"),
        ],
    )
    def test_what_does_not_fit_together_is_said(
        self, settings: Settings, words: list[str], said: str
    ) -> None:
        with pytest.raises(UsageError, match=said):
            self.run(settings, "no-such-model", *words)

    def give(self, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))
