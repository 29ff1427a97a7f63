"""The store: decoded once, exactly, atomically; a warm start reads no sound."""

import json
import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from test_audio import bad_sounds, tone

from search.datasets import store
from search.datasets.dataset import Dataset, open_dataset
from search.datasets.store import allowed_sources, fingerprint, open_store, prepare
from search.errors import Failure


@pytest.fixture
def sounds(tmp_path) -> Path:
    """Two classes of four sounds, of different rates, lengths, depths and channels."""
    root = tmp_path / "sounds"
    for label, hz in (("high", 2000), ("low", 300)):
        (root / label).mkdir(parents=True)
        soundfile.write(root / label / "a.wav", tone(0.3, 44100, hz), 44100)
        soundfile.write(root / label / "b.flac", tone(0.2, 16000, hz), 16000)
        soundfile.write(root / label / "c.ogg", tone(0.4, 22050, hz), 22050)
        soundfile.write(root / label / "d.wav", np.stack([tone(0.1, 8000, hz)] * 2, 1), 8000, subtype="FLOAT")
    return root


def opened(root: Path, **options) -> Dataset:
    return open_dataset(root, folds=3, **options)


@pytest.fixture
def decoder(monkeypatch) -> list[str]:
    """Names of the files that were decoded."""
    heard: list[str] = []
    real = store.decode
    monkeypatch.setattr(store, "decode", lambda path: (heard.append(path.name), real(path))[1])
    return heard


def stores(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / "audio").iterdir() if path.name != "seen")


def test_the_store_is_soundfile_and_soxr_rounded(sounds, tmp_path):
    dataset = opened(sounds)
    clips = open_store(dataset, 16000, tmp_path / "cache")
    assert isinstance(clips.samples, np.memmap) and not clips.samples.flags.writeable
    assert clips.names == tuple(clip.name for clip in dataset.clips) and clips.sample_rate == 16000
    for row, clip in enumerate(dataset.clips):
        wave, rate = soundfile.read(clip.path, always_2d=True, dtype="float32")
        mono = wave.mean(axis=1)
        expected = soxr.resample(mono, rate, 16000, quality="HQ") if rate != 16000 else mono
        begin, length = clips.starts[row], clips.lengths[row]
        stored = clips.samples[begin : begin + length]
        np.testing.assert_array_equal(
            stored, np.clip(np.rint(expected * 32768), -32768, 32767).astype(np.int16)
        )
    assert clips.starts[0] == 0 and (clips.starts[1:] == clips.starts[:-1] + clips.lengths[:-1]).all()


def test_labels_folds_and_sources_are_those_of_the_listing(sounds, tmp_path):
    dataset = opened(sounds, source_regex=r"^([ab]|c|d)")  # the same letter of both classes is one source
    clips = open_store(dataset, 8000, tmp_path / "cache")
    assert [clips.classes[label] for label in clips.labels] == [clip.label for clip in dataset.clips]
    assert clips.folds.tolist() == [clip.fold for clip in dataset.clips]
    assert clips.sources.tolist() == [0, 1, 2, 3] * 2


def test_a_second_start_decodes_nothing_and_is_the_same(sounds, tmp_path, decoder):
    calls: list[tuple[int, int]] = []
    first = prepare(opened(sounds), 16000, tmp_path, lambda done, total: calls.append((done, total)))
    assert first.decoded == len(decoder) == 8 and calls == [(done, 8) for done in range(1, 9)]
    again = prepare(opened(sounds), 16000, tmp_path, lambda done, total: calls.append((done, total)))
    assert again.decoded == 0 and len(decoder) == 8 and len(calls) == 8
    np.testing.assert_array_equal(first.clips.samples, again.clips.samples)
    assert first.fingerprint == again.fingerprint == fingerprint(opened(sounds))


def test_a_warm_start_opens_no_sound_file(sounds, tmp_path, monkeypatch):
    known = prepare(opened(sounds), 16000, tmp_path).fingerprint
    monkeypatch.setattr(store, "_hash_file", lambda clip: pytest.fail("a sound was read"))
    assert prepare(opened(sounds), 16000, tmp_path).fingerprint == known
    assert fingerprint(opened(sounds), tmp_path) == known


def test_a_changed_file_is_noticed(sounds, tmp_path, decoder):
    before = prepare(opened(sounds), 16000, tmp_path)
    soundfile.write(sounds / "low" / "a.wav", tone(0.3, 44100, 777), 44100)
    after = prepare(opened(sounds), 16000, tmp_path)
    assert after.decoded == 8 and after.fingerprint != before.fingerprint
    assert not np.array_equal(before.clips.samples, after.clips.samples)


def test_touched_and_moved_sets_are_not_decoded_again(sounds, tmp_path, decoder):
    before = prepare(opened(sounds), 16000, tmp_path)
    os.utime(sounds / "low" / "a.wav", (1, 1))
    assert prepare(opened(sounds), 16000, tmp_path).decoded == 0
    sounds.rename(tmp_path / "moved")
    assert prepare(opened(tmp_path / "moved"), 16000, tmp_path).fingerprint == before.fingerprint
    assert len(decoder) == 8


def test_rates_lie_side_by_side(sounds, tmp_path):
    slow, fast = (prepare(opened(sounds), rate, tmp_path) for rate in (8000, 16000))
    assert slow.fingerprint == fast.fingerprint and slow.folder != fast.folder
    assert len(slow.clips.samples) == pytest.approx(len(fast.clips.samples) / 2, abs=8)


@pytest.mark.parametrize("change", [{"label": "x"}, {"fold": 3}, {"source": "x"}, {"name": "x"}])
def test_the_fingerprint_depends_on_every_fact_of_a_clip(sounds, change):
    dataset = opened(sounds)
    assert fingerprint(dataset) == fingerprint(opened(sounds)) and len(fingerprint(dataset)) == 16
    first = next(clip for clip in dataset.clips if clip.fold != 3)
    clips = tuple(replace(clip, **change) if clip is first else clip for clip in dataset.clips)
    assert fingerprint(replace(dataset, clips=clips)) != fingerprint(dataset)


def test_an_interruption_leaves_no_store_and_the_next_start_makes_it(sounds, tmp_path, monkeypatch):
    real, cache = store.decode, tmp_path / "cache"

    def killed(path):
        if path.name == "c.ogg":
            raise KeyboardInterrupt
        return real(path)

    monkeypatch.setattr(store, "decode", killed)
    with pytest.raises(KeyboardInterrupt):
        prepare(opened(sounds), 16000, cache)
    assert stores(cache) == []
    monkeypatch.setattr(store, "decode", real)
    assert prepare(opened(sounds), 16000, cache).decoded == 8
    assert len(stores(cache)) == 1


def test_what_a_killed_build_left_is_cleared_away_later(sounds, tmp_path):
    left = tmp_path / "audio" / ".building-x"
    fresh = tmp_path / "audio" / ".building-y"
    for folder in (left, fresh):
        folder.mkdir(parents=True)
        (folder / "samples.i16").write_bytes(b"half")
    for path in (left / "samples.i16", left):
        os.utime(path, (1, 1))
    prepare(opened(sounds), 16000, tmp_path)
    assert not left.exists() and fresh.exists()


def test_two_at_once_both_get_the_store(sounds, tmp_path):
    results: list[np.ndarray] = []
    workers = [
        threading.Thread(
            target=lambda: results.append(open_store(opened(sounds), 16000, tmp_path).samples[:])
        )
        for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(results) == 4 and len(stores(tmp_path)) == 1
    for result in results:
        np.testing.assert_array_equal(result, results[0])


@pytest.mark.parametrize("damage", ["short", "no index", "bad index", "bad note"])
def test_a_damaged_store_is_made_again(sounds, tmp_path, damage):
    known = prepare(opened(sounds), 16000, tmp_path)
    expected = known.clips.samples.copy()
    match damage:
        case "short":
            os.truncate(known.folder / "samples.i16", 100)
        case "no index":
            (known.folder / "index.json").unlink()
        case "bad index":
            (known.folder / "index.json").write_text("{")
        case "bad note":
            next((tmp_path / "audio" / "seen").iterdir()).write_text("{}")
    again = prepare(opened(sounds), 16000, tmp_path)
    assert again.decoded == (0 if damage == "bad note" else 8) and again.fingerprint == known.fingerprint
    np.testing.assert_array_equal(again.clips.samples, expected)


def add_bad(sounds: Path) -> int:
    """Put every kind of bad sound into class low; returns how many."""
    bad = bad_sounds(sounds / "low")
    for name in ("whole.flac", "raw.raw"):  # a good one, and one that is not listed by its suffix
        (sounds / "low" / name).unlink()
    return len(bad.keys() - {"raw.raw", "missing.wav"})


def test_bad_files_are_named_all_at_once_and_nothing_is_kept(sounds, tmp_path):
    count = add_bad(sounds)
    with pytest.raises(Failure, match=f"^{count} of {count + 8} files") as caught:
        open_store(opened(sounds), 16000, tmp_path / "cache")
    text = str(caught.value)
    assert caught.value.code == 1 and "\n" not in text
    assert text.count(".wav: ") + text.count(".flac: ") + text.count(".ogg: ") == 5
    assert "and 1 more" in text and "--skip-bad" in text
    assert stores(tmp_path / "cache") == []


def test_skip_bad_leaves_them_out_by_name_cold_and_warm(sounds, tmp_path, decoder):
    good = open_store(opened(sounds), 16000, tmp_path)
    count = add_bad(sounds)
    dataset = opened(sounds, skip_bad=True)
    for expected in (count + 8, 0):
        kept = prepare(dataset, 16000, tmp_path)
        assert kept.decoded == expected
        assert kept.clips.names == good.names
        assert {name for name, _ in kept.dataset.skipped} == {c.name for c in dataset.clips} - set(good.names)
        assert dict(kept.dataset.skipped)["low/empty.wav"] == "empty.wav: the file is empty (0 bytes)"
        np.testing.assert_array_equal(kept.clips.samples, good.samples)
        assert kept.fingerprint == fingerprint(kept.dataset)
    with pytest.raises(Failure, match="--skip-bad"):  # the store is there, the permission is not
        open_store(opened(sounds), 16000, tmp_path)


def test_a_set_of_bad_files_only_is_refused_even_then(sounds, tmp_path):
    for path in sounds.glob("*/*"):
        path.write_bytes(b"nothing")
    with pytest.raises(Failure, match="8 of 8 files .* nothing is left"):
        open_store(opened(sounds, skip_bad=True), 16000, tmp_path)


def test_files_that_change_meanwhile_are_refused(sounds, tmp_path, monkeypatch):
    real = store.decode

    def grows(path):
        os.utime(path)
        return real(path)

    monkeypatch.setattr(store, "decode", grows)
    with pytest.raises(Failure, match="changed while they were read"):
        open_store(opened(sounds), 16000, tmp_path / "cache")
    assert stores(tmp_path / "cache") == []


def test_a_cache_that_cannot_be_made_is_one_sentence(sounds, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(Failure, match="the waveform cache .* cannot be used"):
        open_store(opened(sounds), 16000, tmp_path / "file")


def test_known_sources_of_two_folds_are_found_by_number(sounds, tmp_path):
    dataset = replace(opened(sounds, source_regex=r"^([abcd])"), shared_sources=frozenset({"b", "no such"}))
    clips = open_store(dataset, 8000, tmp_path)
    assert allowed_sources(dataset, clips) == {1}


def test_the_index_says_what_it_holds(sounds, tmp_path):
    kept = prepare(opened(sounds), 16000, tmp_path)
    index = json.loads((kept.folder / "index.json").read_text())
    assert (
        index["sample_rate"] == 16000 and index["lengths"] == kept.clips.lengths.tolist() and not index["bad"]
    )


def test_real_clips_come_back(esc10_root, tmp_path):
    root = tmp_path / "ESC-10"
    for folder in sorted(esc10_root.glob("0*"))[:3]:
        (root / folder.name).mkdir(parents=True)
        for path in sorted(folder.glob("*.ogg"))[:3]:
            shutil.copy(path, root / folder.name)
    clips = open_store(open_dataset(root), 22050, tmp_path)
    assert len(clips) == 9 and (abs(clips.lengths - 5 * 22050) < 0.1 * 22050).all()
    assert np.abs(clips.samples).max() > 1000
