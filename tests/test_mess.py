"""The mess in folders of real recordings: each file is heard right, or named with its reason; nothing crashes."""

import json
import os
import signal
from contextlib import contextmanager
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
import soundfile
import soxr
import yaml
from mess import BAD, CUT, HEARD, HIDDEN, LABELS, LONG, RATE, reference, shown, write_bad, write_good
from test_audit import noise

from search.cli import main
from search.datasets.audits.health import flaws, load, measure, mono
from search.datasets.clip import Clip
from search.datasets.dataset import open_dataset
from search.datasets.waves import audio
from search.datasets.waves.audio import AudioError, EmptyError, decode
from search.datasets.waves.build import duration
from search.datasets.waves.store import prepare
from search.errors import Failure, UsageError
from search.settings import resolve
from search.spec import Spec
from search.studies import create


@pytest.fixture(autouse=True)
def impatient():
    """What waits for a pipe would wait for ever."""

    def late(*_):
        raise TimeoutError("it waits for ever")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def mess(tmp_path_factory):
    """Nearly all of it in three classes: the folder, the names of good clips with their files, of bad ones with their
    reasons, and of those that were cut short with what is said of them."""
    root = tmp_path_factory.mktemp("mess") / "own recordings"
    good, bad, cut = {}, {}, {}
    for label in LABELS:
        (root / label).mkdir(parents=True)
        for name in HIDDEN:
            (root / label / name).write_bytes(b"of the Finder")

    def place(number, name):
        label = LABELS[number % 3]
        return root / label / name, f"{normalize('NFD', label)}/{shown(name)}"

    for number, name in enumerate(sorted(HEARD.keys() - {"a minute.flac"})):  # long to compare with
        path, called = place(number, name)
        good[called] = write_good(path)
    for number, name in enumerate(BAD):
        path, called = place(number, name)
        write_bad(path)
        bad[called] = BAD[name][1]
    for number, name in enumerate(("half.wav", "half.ogg", "damaged.flac", "damaged.mp3")):
        path, called = place(number, name)
        path.write_bytes(CUT[name][0])
        good[called], cut[called] = path, CUT[name][2]
    yield root, good, bad, cut
    pipe = next(root.glob("*/pipe.wav"))
    os.close(os.open(pipe, os.O_RDWR | os.O_NONBLOCK))  # lets go who waits for it all the same


@contextmanager
def quiet(label):
    yield lambda done, total: None


def snr(wave: np.ndarray, expected: np.ndarray) -> float:
    """dB of signal over error."""
    error = float(np.square(wave.astype(float) - expected).mean())
    return 10 * np.log10(float(np.square(expected.astype(float)).mean()) / max(error, 1e-30))


@pytest.mark.parametrize("name", HEARD, ids=ascii)
def test_what_can_be_heard_is_heard_right(tmp_path, name):
    seconds, rate, _, least = HEARD[name]
    path, expected = write_good(tmp_path / name), reference(name)
    wave, found = decode(path)
    assert found == rate and wave.dtype == np.float32
    block = 2048 if "adpcm" in name or name == "gsm.wav" else 0  # they come in whole blocks
    assert len(expected) <= len(wave) <= len(expected) + block
    assert snr(wave[: len(expected)], expected) >= least
    heard = load(path)
    np.testing.assert_array_equal(mono(heard.samples_TC), wave)
    assert (heard.lacking, heard.unread) == (0, "")
    assert duration(Clip("c", path, "x", 1, "c")) == pytest.approx(len(wave) / rate)
    if len(wave) > 1:
        part = decode(path, None, 0.3 * seconds, 0.8 * seconds)[0]
        whole = wave[round(0.3 * seconds * rate) : round(0.8 * seconds * rate)]
        np.testing.assert_allclose(part, whole, atol=1e-4 * np.abs(wave).max())


@pytest.mark.parametrize("name", BAD, ids=ascii)
def test_what_cannot_is_refused_in_one_sentence_by_all_who_read(tmp_path, name):
    path, reason = write_bad(tmp_path / name), BAD[name][1]
    for read in (decode, load):
        with pytest.raises(AudioError) as caught:
            read(path, shown(name))
        words = str(caught.value)
        assert words.startswith(f"{shown(name)}: ") and reason in words
        assert "\n" not in words and str(tmp_path) not in words and len(words) < 160
        assert isinstance(caught.value, EmptyError) == ("is empty" in reason or "no samples" in reason)
    assert duration(Clip("c", path, "x", 1, "c")) < 1


@pytest.mark.parametrize("name", CUT)
def test_of_a_damaged_file_comes_what_lies_before_the_damage_and_the_audit_knows(tmp_path, name):
    content, share, words = CUT[name]
    (tmp_path / name).write_bytes(content)
    wave, rate = decode(tmp_path / name)
    assert rate == RATE and len(wave) == pytest.approx(share * len(LONG), abs=0.06 * len(LONG))
    assert snr(wave, LONG[: len(wave)]) >= 10
    np.testing.assert_array_equal(decode(content)[0], wave)
    heard = load(tmp_path / name)
    np.testing.assert_array_equal(mono(heard.samples_TC), wave)
    assert words in flaws(measure(heard, heard.samples_TC, wave))["cut-short"]
    np.testing.assert_allclose(
        decode(tmp_path / name, None, 1.0, 2.0)[0], wave[RATE : 2 * RATE], atol=1e-4 * np.abs(wave).max()
    )
    if share < 0.8:
        with pytest.raises(AudioError, match="so there is no part from 2 s to 7 s|not decodable"):
            decode(tmp_path / name, None, 2.0, 7.0)


def test_a_file_longer_than_one_reading_is_the_same(tmp_path, monkeypatch):
    for name in ("16 bit.wav", "5.1.flac", "vorbis.ogg", "opus.ogg", "streamed.flac", "ima adpcm.wav"):
        path = write_good(tmp_path / name)
        expected = decode(path)[0]
        for block in (len(expected), 1000 * 6):
            monkeypatch.setattr(audio, "BLOCK", block)
            np.testing.assert_array_equal(decode(path)[0], expected)
        monkeypatch.undo()


@pytest.mark.parametrize("refused", [Path.open, Path.stat], ids=["open", "stat"])
def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch, refused):
    """Permission bits do not bind root, so the refusal is played."""
    path = write_good(tmp_path / "16 bit.wav")

    def deny(self, *args, **more):
        if self == path:
            raise PermissionError(13, "Permission denied", str(self))
        return refused(self, *args, **more)

    monkeypatch.setattr(Path, refused.__name__, deny)
    for read in (decode, load):
        with pytest.raises(AudioError, match="^16 bit.wav: cannot be read .Permission denied.$"):
            read(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file, whatever its permission bits say")
def test_permission_bits_are_named(tmp_path):
    path = write_good(tmp_path / "16 bit.wav")
    path.chmod(0)
    with pytest.raises(AudioError, match="cannot be read .Permission denied."):
        decode(path)


def test_listing_opens_nothing_hides_nothing_and_names_everything_in_print(mess):
    root, good, bad, _ = mess
    dataset = open_dataset(root)
    assert {clip.name for clip in dataset.clips} == good.keys() | bad.keys()
    assert dataset.classes == tuple(sorted(normalize("NFC", label) for label in LABELS))
    for clip in dataset.clips:
        f"{clip.name} {clip.label} {clip.source}".encode()
        assert "\n" not in clip.name + clip.source


def test_two_files_that_would_have_one_name_in_print_are_refused(tmp_path):
    for name in ("a/1\n2.wav", "a/1\\n2.wav", "b/1.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(UsageError, match=r"would both be called a/1\\n2.wav: rename one"):
        open_dataset(tmp_path)


def test_links_to_folders_are_classes_unless_they_lead_back(tmp_path):
    for label in ("cat", "dog"):
        (tmp_path / "elsewhere" / label).mkdir(parents=True)
        for take in range(3):
            (tmp_path / "elsewhere" / label / f"{take}.wav").touch()
    root = tmp_path / "set"
    root.mkdir()
    for name, target in {"cat": "../elsewhere/cat", "dog": "../elsewhere/dog", "self": ".", "up": "..", "loop": "loop",
                         "gone": "nowhere"}.items():  # fmt: skip
        (root / name).symlink_to(target)
    (tmp_path / "elsewhere" / "cat" / "back").symlink_to(root)
    dataset = open_dataset(root)
    assert dataset.classes == ("cat", "dog") and len(dataset.clips) == 6 and len(dataset.remarks) == 1


@pytest.mark.slow
def test_a_study_refuses_the_mess_by_name_and_leaves_it_out_when_asked(mess, tmp_path):
    root, good, bad, _ = mess
    settings = resolve({"home": str(tmp_path / "home")}, {}, tmp_path)
    with pytest.raises(
        Failure, match=f"^{len(bad)} of {len(bad) + len(good)} files of own_recordings"
    ) as caught:
        create(Spec(str(root)), "smoke", settings, None).open_clips(settings, quiet)
    assert "--skip-bad" in str(caught.value) and "\n" not in str(caught.value)
    assert sum(f"{name}: " in str(caught.value) for name in bad) == 5
    assert not (tmp_path / "home" / "runs").exists()
    study = create(Spec(str(root), skip_bad=True), "smoke", settings, None)
    study.open_clips(settings, quiet)
    study.write({"runner": "local", "workers": None})
    recorded = yaml.safe_load((study.folder / "study.yaml").read_text(encoding="utf-8"))
    assert recorded["skipped"].keys() == bad.keys()
    for name, reason in bad.items():
        assert recorded["skipped"][name].startswith(f"{name}: ") and reason in recorded["skipped"][name]
    assert set(json.loads((study.folder / "splits.json").read_text())["folds"]) == good.keys()
    for rate, clips in study.clips.items():  # the store of the others is exact
        for row, name in enumerate(clips.names):
            begin, length = clips.starts[row], clips.lengths[row]
            wave, found = decode(good[name])
            if good[name].name in HEARD and not any(odd in name for odd in ("streamed.f", "gsm", "mp3")):
                many, found = soundfile.read(os.fsencode(good[name]), dtype="float32", always_2d=True)
                wave = many.mean(axis=1)
            expected = soxr.resample(wave, found, rate, quality="HQ") if found != rate else wave
            expected = expected if len(expected) else wave[:1]
            stored = clips.samples[begin : begin + length]
            np.testing.assert_array_equal(stored, np.clip(np.rint(expected * 32768), -32768, 32767))


def test_a_bad_file_under_another_name_is_named_anew(tmp_path):
    for label in ("cat", "dog"):
        (tmp_path / "set" / label).mkdir(parents=True)
        for take in range(3):
            soundfile.write(
                tmp_path / "set" / label / f"{take}.wav", noise(take + 3 * (label == "dog")), 16000
            )
    bad = tmp_path / "set" / "dog" / "x.wav"
    bad.write_text("no sound")
    for name in ("dog/x.wav", "dog/y.wav"):
        bad = bad.rename(tmp_path / "set" / name)
        store = prepare(open_dataset(tmp_path / "set", skip_bad=True), 16000, tmp_path / "cache")
        ((skipped, reason),) = store.dataset.skipped
        assert skipped == name and reason.startswith(f"{name}: not decodable")


def test_the_command_run_refuses_before_anything_is_begun(mess, tmp_path, capfd):
    root, _, bad, _ = mess
    words = ["run", "smoke", "--data", str(root), "--runner", "local", "--home", str(tmp_path / "home")]
    assert main(words) == 1
    printed = capfd.readouterr()
    assert "Traceback" not in printed.err and f"{len(bad)} of" in printed.err and "--skip-bad" in printed.err
    assert not (tmp_path / "home" / "runs").exists()


def test_the_audit_names_every_bad_file_and_goes_on(mess, tmp_path, capfd):
    root, good, bad, cut = mess
    page = tmp_path / "page.html"
    words = ["data", "audit", str(root), "--quick", "--home", str(tmp_path / "home")]
    assert main([*words, "--json", "--html", str(page)]) == 0
    printed = capfd.readouterr()
    report = json.loads(printed.out)
    assert report["clips"] == len(good) and "Traceback" not in printed.err
    kinds = ("undecodable", "empty", "missing")
    named = {f["clips"][0]: f["text"] for f in report["findings"] if f["kind"] in kinds}
    assert named.keys() == bad.keys() and all(bad[name] in text for name, text in named.items())
    short = {f["clips"][0]: f["text"] for f in report["findings"] if f["kind"] == "cut-short"}
    assert short.keys() == cut.keys() and all(cut[name] in text for name, text in short.items())
    wrong = {f["text"] for f in report["findings"] if f["kind"] == "extension"}
    assert wrong == {"really ogg.wav holds OGG audio", "really mp3.flac holds MP3 audio"}
    assert "picture.ogg" in page.read_text(encoding="utf-8")
    assert main(words) == 0
    assert "Traceback" not in capfd.readouterr().err


def test_the_pictures_are_of_the_others(mess, tmp_path, capfd):
    root = mess[0]
    assert (
        main(["data", "show", str(root), "--out", str(tmp_path / "out"), "--home", str(tmp_path / "home")])
        == 0
    )
    printed = capfd.readouterr()
    assert "Traceback" not in printed.err and (tmp_path / "out" / "index.html").stat().st_size > 10_000
    assert "[bold]" in printed.out  # brackets in a label are no markup
    assert main(["data", "folds", str(root), "--skip-bad", "--home", str(tmp_path / "home")]) == 0
    printed = capfd.readouterr()
    assert "Traceback" not in printed.err and "[bold]" in printed.out
