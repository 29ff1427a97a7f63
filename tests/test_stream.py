"""Sound that comes bit by bit is judged as the whole recording is; the clock of these tests is a number."""

import argparse
import io
import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny_model import CLASSES, RATE, bundled, sound

from search import load_model
from search.commands import serve as commands
from search.errors import Failure, UsageError
from search.predict import Model
from search.settings import resolve
from search.stream import Block, Source, listen, microphone, piped, played

SECONDS = 3.2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundled(tmp_path_factory.mktemp("bundle") / "model")


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return load_model(str(folder))


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "long.wav"
    wave_T = np.concatenate((sound("tone", 1.6, RATE), sound("noise", 1.6, RATE)))
    soundfile.write(path, wave_T, RATE)
    return path


class Clock:
    """Time that passes only in sleep."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


def heard(model: Model, path: Path, clock: Clock, **options: float) -> list:
    return list(listen(model, played(path, clock=clock, sleep=clock.sleep), clock=clock, **options))


def test_a_file_played_has_the_windows_of_the_file_predicted(model: Model, recording: Path) -> None:
    windows = model.predict(recording, windows=True)
    found = heard(model, recording, Clock())
    assert [one.start for one in found] == pytest.approx(list(windows.start))
    assert [one.end for one in found] == pytest.approx(list(windows.end))
    assert [one.labels[0][0] for one in found] == list(windows.label)
    assert [one.labels[0][1] for one in found] == pytest.approx(list(windows.probability), abs=1e-6)


def test_windows_are_as_far_apart_as_asked_and_the_last_ends_with_the_sound(
    model: Model, recording: Path
) -> None:
    assert [one.start for one in heard(model, recording, Clock(), hop=1.0)] == pytest.approx([0, 1, 2, 2.2])
    assert [one.start for one in heard(model, recording, Clock(), hop=2.0)] == pytest.approx([0, 2, 2.2])


def test_a_window_is_said_when_its_last_sample_has_come(model: Model, recording: Path) -> None:
    clock = Clock()
    began = clock()
    for one in listen(model, played(recording, clock=clock, sleep=clock.sleep), clock=clock):
        assert one.arrived == pytest.approx(began + one.end)
        assert 0 <= clock() - one.arrived <= 0.05  # at most a block later
    assert clock() == pytest.approx(began + SECONDS)


def test_twice_as_fast_takes_half_the_time(model: Model, recording: Path) -> None:
    clock = Clock()
    found = list(listen(model, played(recording, 2.0, clock, clock.sleep), clock=clock))
    assert clock() == pytest.approx(100 + SECONDS / 2)
    assert found[0].arrived == pytest.approx(100 + 0.5) and found[0].end == 1.0


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan"), float("inf")])
def test_an_impossible_speed_is_refused(recording: Path, speed: float) -> None:
    with pytest.raises(UsageError, match="--speed"):
        played(recording, speed)


def test_the_most_probable_labels_come_first(model: Model, recording: Path) -> None:
    (labels, *_) = (one.labels for one in heard(model, recording, Clock(), top_k=2))
    assert {label for label, _ in labels} == set(CLASSES) and labels[0][1] > labels[1][1]


@pytest.mark.parametrize("seconds", [0.3, 1.0, 1.01])
def test_a_short_sound_makes_one_window(model: Model, tmp_path: Path, seconds: float) -> None:
    soundfile.write(tmp_path / "short.wav", sound("tone", seconds, RATE), RATE)
    (only,) = heard(model, tmp_path / "short.wav", Clock())
    assert only.start == 0 and only.end == pytest.approx(min(seconds, 1.0), abs=0.01)


@pytest.mark.parametrize("seconds", [4.0, 4.01, 4.3, 8.0])  # 4.01: the rest makes no window of its own
@pytest.mark.parametrize("latency", [0.7, 1.2, 2.5])
@pytest.mark.parametrize("hop", [0.5, 1.0])
def test_a_slow_model_counts_every_window_and_judges_the_last(
    model: Model, tmp_path: Path, seconds: float, latency: float, hop: float
) -> None:
    clock = Clock()

    class Slow:
        crop = model.crop

        def each(self, sounds, **options):
            clock.now += latency
            return model.each(sounds, **options)

    soundfile.write(tmp_path / "a.wav", sound("tone", seconds, RATE), RATE)
    every = heard(model, tmp_path / "a.wav", Clock(), hop=hop)
    found = heard(Slow(), tmp_path / "a.wav", clock, hop=hop)
    assert len(found) + sum(one.skipped for one in found) == len(every)
    assert (found[-1].start, found[-1].end) == (every[-1].start, every[-1].end)
    assert {(one.start, one.end) for one in found} <= {(one.start, one.end) for one in every}


def test_a_slow_model_skips_windows_of_a_microphone_and_none_of_a_pipe(model: Model) -> None:
    clock = Clock()

    class Slow:
        crop = model.crop

        def each(self, sounds, **options):
            clock.now += 1.2  # of windows half a second apart
            return model.each(sounds, **options)

    def source(waits: bool) -> Source:
        began, wave_T = clock(), sound("tone", 8.0, RATE)

        def blocks():
            for at in range(0, len(wave_T), 400):
                due = began + (at + 400) / RATE
                clock.now = max(clock.now, due)
                yield Block(wave_T[at : at + 400], due)

        return Source(RATE, blocks(), 1 / RATE, waits)

    patient = list(listen(Slow(), source(waits=True), clock=clock))
    assert [one.skipped for one in patient] == [0] * 15
    hasty = list(listen(Slow(), source(waits=False), clock=clock))
    assert sum(one.skipped for one in hasty) + len(hasty) == 15 and len(hasty) < 8
    assert max(later.end - one.end for one, later in zip(hasty, hasty[1:], strict=False)) <= 2.0


class TestPipe:
    """WAV on standard input."""

    @pytest.mark.parametrize(
        ("subtype", "step"),
        [
            ("PCM_U8", 2**-7),
            ("PCM_16", 2**-15),
            ("PCM_24", 2**-23),
            ("PCM_32", 2**-24),
            ("FLOAT", 0),
            ("DOUBLE", 0),
        ],
    )
    @pytest.mark.parametrize("format", ["WAV", "WAVEX"])
    def test_every_kind_of_samples_is_read(self, format: str, subtype: str, step: float) -> None:
        wave_T = sound("noise", 0.33, RATE)
        buffer = io.BytesIO()
        soundfile.write(
            buffer, np.stack((wave_T, -wave_T, wave_T), axis=1), RATE, format=format, subtype=subtype
        )
        buffer.seek(0)
        source = piped(buffer)
        got_T = np.concatenate([block.wave_T for block in source.blocks])
        assert source.rate == RATE and got_T.dtype == np.float32
        assert np.abs(got_T - wave_T / 3).max() <= step + 1e-6

    @pytest.mark.parametrize("length", [0, 0xFFFFFFFF, 0x7FFFFFFF])
    def test_a_header_without_a_length_is_read_to_the_end(self, length: int) -> None:
        content = bytearray(self.wav())
        at = content.index(b"data") + 4
        content[at : at + 4] = length.to_bytes(4, "little")
        blocks = piped(io.BytesIO(bytes(content[:-1]))).blocks  # and the last sample is cut in two
        assert sum(len(block.wave_T) for block in blocks) == RATE // 2 - 1

    def test_what_follows_the_samples_is_no_sound(self) -> None:
        blocks = piped(io.BytesIO(self.wav() + b"LIST" + bytes(1000))).blocks
        assert sum(len(block.wave_T) for block in blocks) == RATE // 2

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"", "no WAV"),
            (b"OggS" + bytes(100), "OggS"),
            (b"RIFF\0\0\0\0WAVE", "before a WAV header"),
            (b"RIFF\0\0\0\0WAVEdata\4\0\0\0\0\0\0\0", "before a WAV header"),
            (b"RIFF\0\0\0\0WAVEfmt \4\0\0\0\0\0\0\0", "cut off"),
            (b"RIFF\0\0\0\0WAVEfmt \20\0\0\0\2\0\1\0\0\175\0\0\0\0\0\0\0\0\4\0", "kind 2"),
        ],
    )
    def test_what_is_no_wav_is_said(self, content: bytes, said: str) -> None:
        with pytest.raises(UsageError, match=said):
            piped(io.BytesIO(content))

    def test_nothing_but_a_header_is_a_failure(self, model: Model) -> None:
        content = self.wav()
        with pytest.raises(Failure, match="no sound came"):
            list(listen(model, piped(io.BytesIO(content[: content.index(b"data") + 8]))))

    def test_an_error_while_reading_comes_out(self) -> None:
        class Broken(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                if self.tell() > 1000:
                    raise OSError("the pipe broke")
                return super().read(size)

        with pytest.raises(OSError, match="the pipe broke"):
            list(piped(Broken(self.wav())).blocks)

    def wav(self) -> bytes:
        buffer = io.BytesIO()
        soundfile.write(buffer, sound("tone", 0.5, RATE), RATE, format="WAV")
        return buffer.getvalue()


class TestMicrophone:
    """With a sounddevice that plays a tone."""

    @pytest.fixture
    def sounddevice(self, monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
        class Stream:
            def __init__(self, callback, blocksize, **options) -> None:
                fake.options = options
                self.callback, self.blocksize = callback, blocksize

            def __enter__(self) -> "Stream":
                wave_T1 = sound("tone", 2.0, RATE)[:, None]
                for at in range(0, len(wave_T1), self.blocksize):
                    status = types.SimpleNamespace(input_overflow=at < fake.overflows * self.blocksize)
                    self.callback(wave_T1[at : at + self.blocksize], self.blocksize, None, status)

            def __exit__(self, *error: object) -> None:
                fake.closed = True

        fake = types.SimpleNamespace(
            overflows=0,
            query_devices=lambda device, kind: {"default_samplerate": float(RATE)},
            InputStream=Stream,
            PortAudioError=type("PortAudioError", (Exception,), {}),
        )
        monkeypatch.setitem(sys.modules, "sounddevice", fake)
        return fake

    def test_hears(self, model: Model, sounddevice: types.SimpleNamespace) -> None:
        with microphone("3") as source:
            windows = listen(model, source)
            assert [next(windows).labels[0][0] for _ in range(3)] == ["tone"] * 3
        assert sounddevice.closed and sounddevice.options["device"] == 3

    @pytest.mark.parametrize(
        ("overflows", "said"), [(0, ""), (1, "lost sound once"), (3, "lost sound 3 times")]
    )
    def test_says_how_often_sound_was_lost(
        self,
        sounddevice: types.SimpleNamespace,
        capsys: pytest.CaptureFixture[str],
        overflows: int,
        said: str,
    ) -> None:
        sounddevice.overflows = overflows
        with microphone():
            pass
        err = capsys.readouterr().err
        assert said in err and bool(err) == bool(overflows)

    def test_one_that_is_unplugged_is_not_waited_for(
        self, model: Model, sounddevice: types.SimpleNamespace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("search.stream.PATIENCE", 0.01)
        with (
            pytest.raises(Failure, match=r"microphone for 0\.01 s.*plugged in"),
            microphone() as source,
        ):
            list(listen(model, source))

    def test_one_that_cannot_be_opened_is_said(self, sounddevice: types.SimpleNamespace) -> None:
        def query(device: object, kind: str) -> object:
            raise ValueError("No input device matching 'usb'")

        sounddevice.query_devices = query
        with pytest.raises(Failure, match="no microphone.*usb.*--device"), microphone("usb"):
            pass

    def test_without_sounddevice_it_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "sounddevice", None)
        with pytest.raises(Failure, match=r"pip install 'escsearch\[stream\]'"), microphone():
            pass


class TestCommand:
    def run(self, tmp_path: Path, *words: object) -> int:
        common = argparse.ArgumentParser(add_help=False)
        common.add_argument("--json", action="store_true")
        parser = argparse.ArgumentParser()
        commands.add(parser.add_subparsers(), common)
        args = parser.parse_args(["stream", *map(str, words)])
        return args.act(args, resolve({"home": str(tmp_path / "runs")}, environment={}, directory=tmp_path))

    def test_a_line_for_each_window_with_its_latency(
        self, tmp_path: Path, folder: Path, recording: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.run(tmp_path, folder, "--file", recording, "--speed", 50, "--top", 2) == 0
        said = capsys.readouterr()
        lines = said.out.splitlines()
        assert len(lines) == 6 and all(
            " ms)" in line and "tone" in line and "noise" in line for line in lines
        )
        assert "6 windows, 0 skipped" in said.err

    def test_json_is_a_document_a_line(
        self,
        tmp_path: Path,
        folder: Path,
        recording: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(recording.read_bytes())))
        assert self.run(tmp_path, folder, "--file", "-", "--json", "--hop", 1) == 0
        documents = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [one["start"] for one in documents] == pytest.approx([0, 1, 2, 2.2])
        assert all(one["latency_ms"] >= 0 and set(one["labels"]) == {one["label"]} for one in documents)

    def test_ctrl_c_is_the_usual_end(
        self, tmp_path: Path, folder: Path, recording: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted(path: Path, speed: float) -> Source:
            def blocks():
                yield Block(sound("tone", 1.1, RATE), 0.0)
                raise KeyboardInterrupt

            return Source(RATE, blocks(), 0.0, waits=True)

        monkeypatch.setattr("search.stream.played", interrupted)
        assert self.run(tmp_path, folder, "--file", recording) == 0

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["--speed", "2"], "--speed is for a sound file"),
            (["--file", "-", "--speed", "2"], "--speed is for a sound file"),
            (["--file", "a.wav", "--device", "1"], "--device is for the microphone"),
            (["--file", "not-there.wav"], "not-there.wav: no such file"),
        ],
    )
    def test_what_does_not_fit_together_is_said(self, tmp_path: Path, words: list[str], said: str) -> None:
        with pytest.raises(UsageError, match=said):
            self.run(tmp_path, "no-such-model", *words)

    @pytest.mark.parametrize("hop", ["0", "-1", "soon", "nan"])
    def test_a_hop_is_seconds(self, tmp_path: Path, hop: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            self.run(tmp_path, "model", "--hop", hop)
        assert "seconds above 0" in capsys.readouterr().err
