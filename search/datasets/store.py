"""Every clip decoded and resampled once: a flat int16 file per sample rate, read through a memory map.

    CACHE/audio/
      seen/KEY.json                    what the files of a data set hold, found by name, size and time only
      CONTENT-22050hz/samples.i16      all clips end to end
      CONTENT-22050hz/index.json       their lengths, and the clips that could not be decoded

A store is addressed by the content of its files, so a moved or touched data set is read again but not decoded
again. It is written beside its place and renamed: an interruption leaves none, and of two processes that make
the same store one wins. Decoding runs in threads: soundfile and soxr release the lock, and two threads on two
cores take half the time of one.
"""

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from escmodels.clips import ClipSet

from ..errors import Failure
from ..files import write_atomically
from .audio import AudioError, decode, resample, to_int16
from .clip import Clip, Dataset

VERSION = 1  # of the layout and of the decoding: a change makes every store anew
FORGOTTEN = 3600.0  # seconds after which a build that no longer grows counts as killed
SAMPLES, INDEX = "samples.i16", "index.json"
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Store:
    """A data set ready for training, and what became of it on the way."""

    clips: ClipSet
    dataset: Dataset  # without the clips that were left out; `skipped` names them with the reason
    fingerprint: str  # of file contents, labels, folds and sources
    folder: Path
    decoded: int  # files decoded by this call; 0 for a warm start


def open_store(
    dataset: Dataset, sample_rate: int, cache: Path, progress: Progress = lambda done, total: None
) -> ClipSet:
    """The clips of `prepare`, for callers that need no more."""
    return prepare(dataset, sample_rate, cache, progress).clips


def prepare(
    dataset: Dataset, sample_rate: int, cache: Path, progress: Progress = lambda done, total: None
) -> Store:
    """Open the store of a data set at `sample_rate` Hz; make it first if there is none.

    `progress` is called with (files done, files) while decoding, and never on a warm start.

    Raises:
        Failure: files that cannot be decoded, all named in one sentence (with `dataset.skip_bad` they are left
            out instead, and listed in the `skipped` of the returned data set); files that change meanwhile;
            a cache that cannot be written.
    """
    if sample_rate < 1:
        raise Failure(f"sample rate {sample_rate} Hz: expected a positive number")
    home = cache / "audio"
    try:
        home.mkdir(parents=True, exist_ok=True)
        seen = _look(dataset.clips, home)
        decoder = [VERSION, version("soundfile"), version("soxr")]
        key = _digest([decoder, sample_rate, [seen.contents[clip.name] for clip in dataset.clips]])
        folder = home / f"{key}-{sample_rate}hz"
        index = _read_index(folder)
        decoded = 0
        if index is None:
            index = _build(dataset, seen.key, sample_rate, folder, progress)
            decoded = len(dataset.clips)
    except OSError as error:
        raise Failure(f"the waveform cache {home} cannot be used: {error}") from error
    names = [clip.name for clip in dataset.clips]
    kept = dataset.without({names[int(row)]: reason for row, reason in index["bad"].items()})
    return Store(
        clips=_clip_set(kept, index["lengths"], folder, sample_rate),
        dataset=kept,
        fingerprint=_fingerprint(kept.clips, seen.contents),
        folder=folder,
        decoded=decoded,
    )


def fingerprint(dataset: Dataset, cache: Path | None = None) -> str:
    """16 hex digits of file contents, labels, folds and sources; independent of place and sample rate.

    With a `cache` that has seen the files, none is read.
    """
    home = None if cache is None else cache / "audio"
    return _fingerprint(dataset.clips, _look(dataset.clips, home).contents)


def allowed_sources(dataset: Dataset, clips: ClipSet) -> frozenset[int]:
    """Numbers, in `clips`, of the sources known to stand in two official folds (for `escmodels.folds.check`)."""
    known = {clip.name for clip in dataset.clips if clip.source in dataset.shared_sources}
    return frozenset(int(clips.sources[row]) for row, name in enumerate(clips.names) if name in known)


def _clip_set(dataset: Dataset, lengths: Sequence[int], folder: Path, sample_rate: int) -> ClipSet:
    clips = dataset.clips
    label = {name: index for index, name in enumerate(dataset.classes)}
    number = {source: index for index, source in enumerate(sorted({clip.source for clip in clips}))}
    return ClipSet(
        samples=np.memmap(folder / SAMPLES, dtype=np.int16, mode="r"),
        starts=np.cumsum([0, *lengths[:-1]], dtype=np.int64),
        lengths=np.array(lengths, dtype=np.int64),
        labels=np.array([label[clip.label] for clip in clips], dtype=np.int64),
        folds=np.array([clip.fold for clip in clips], dtype=np.int64),
        sources=np.array([number[clip.source] for clip in clips], dtype=np.int64),
        names=tuple(clip.name for clip in clips),
        classes=dataset.classes,
        sample_rate=sample_rate,
    )


def _read_index(folder: Path) -> dict[str, Any] | None:
    """The index of a whole store, or None where there is none (or a damaged one, which is cleared away)."""
    try:
        index: dict[str, Any] = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        if (folder / SAMPLES).stat().st_size == 2 * sum(index["lengths"]) > 0:
            return index
    except FileNotFoundError:
        if not folder.exists():
            return None
    except (ValueError, KeyError):
        pass  # not what was written: damaged, falls through
    shutil.rmtree(folder)
    return None


def _build(
    dataset: Dataset, stat_key: str, sample_rate: int, folder: Path, progress: Progress
) -> dict[str, Any]:
    """Decode everything into a folder beside `folder`, then move it there. Returns the index."""
    _sweep(folder.parent)
    building = Path(tempfile.mkdtemp(prefix=".building-", dir=folder.parent))
    lengths: list[int] = []
    bad: dict[int, str] = {}

    def one(clip: Clip) -> NDArray[np.int16] | AudioError:
        try:
            wave_T, rate = decode(clip.path)
        except AudioError as error:
            return error
        return to_int16(resample(wave_T, rate, sample_rate))

    try:
        with (building / SAMPLES).open("wb") as file:
            for row, result in enumerate(_in_order(one, dataset.clips)):
                if isinstance(result, AudioError):
                    bad[row] = str(result)
                else:
                    result.tofile(file)
                    lengths.append(len(result))
                progress(row + 1, len(dataset.clips))
            file.flush()
            os.fsync(file.fileno())
        _unchanged(dataset.clips, stat_key)
        # Refuses the set unless its bad files may be left out: then there is no store, only the sentence.
        dataset.without({dataset.clips[row].name: reason for row, reason in bad.items()})
        index = {"sample_rate": sample_rate, "lengths": lengths, "bad": {str(row): bad[row] for row in bad}}
        (building / INDEX).write_text(json.dumps(index), encoding="utf-8")
        try:
            building.rename(folder)
        except OSError:
            if not (folder / INDEX).exists():  # else another process was faster, with the same content
                raise
        return index
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _in_order(work: Callable[[Clip], Any], clips: Sequence[Clip]) -> Iterator[Any]:
    """Results in the order of `clips`, made by one thread a core, with few of them waiting in memory."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    waiting: deque[Future[Any]] = deque()
    with ThreadPoolExecutor(cores, thread_name_prefix="decode") as pool:
        try:
            for clip in clips:
                waiting.append(pool.submit(work, clip))
                if len(waiting) > 8 * cores:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _sweep(home: Path) -> None:
    """Clear away what killed builds have left."""
    for left in home.glob(".building-*"):
        try:
            last = max(path.stat().st_mtime for path in (left, *left.iterdir()))
        except OSError:  # its maker is just removing it
            continue
        if time.time() - last > FORGOTTEN:
            shutil.rmtree(left, ignore_errors=True)


def _look(clips: Sequence[Clip], home: Path | None) -> "_Seen":
    """What the files hold: remembered in `home` while nothing about them changes, else read."""
    key = _stat_key(clips)
    note = None if home is None else home / "seen" / f"{key}.json"
    if note is not None and note.is_file():
        try:
            hashes = json.loads(note.read_text(encoding="utf-8"))
            return _Seen(key, {clip.name: str(hash) for clip, hash in zip(clips, hashes, strict=True)})
        except (ValueError, TypeError):
            note.unlink()  # damaged: read the files again
    hashes = list(_in_order(_hash_file, clips))
    _unchanged(clips, key)
    if note is not None:
        note.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(note, json.dumps(hashes))
    return _Seen(key, {clip.name: hash for clip, hash in zip(clips, hashes, strict=True)})


@dataclass(frozen=True)
class _Seen:
    key: str  # of names, sizes and times
    contents: dict[str, str]  # clip name -> hash of its file


def _unchanged(clips: Sequence[Clip], key: str) -> None:
    if _stat_key(clips) != key:
        raise Failure("sound files changed while they were read; start again when nothing writes to them")


def _hash_file(clip: Clip) -> str:
    digest = hashlib.blake2b(digest_size=16)
    try:
        with clip.path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError:
        return "unreadable"  # the decoder says why, once, with all the others
    return digest.hexdigest()


def _stat_key(clips: Iterable[Clip]) -> str:
    """What can be known of the files without reading them."""
    facts: list[tuple[str, int, int, bool]] = []
    for clip in clips:
        try:
            status = clip.path.stat()
            facts.append(
                (str(clip.path.absolute()), status.st_size, status.st_mtime_ns, os.access(clip.path, os.R_OK))
            )
        except OSError:
            facts.append((str(clip.path.absolute()), -1, 0, False))
    return _digest([VERSION, facts])


def _fingerprint(clips: Iterable[Clip], contents: dict[str, str]) -> str:
    return _digest(
        sorted((clip.name, contents[clip.name], clip.label, clip.fold, clip.source) for clip in clips)
    )


def _digest(facts: object) -> str:
    return hashlib.blake2b(json.dumps(facts).encode(), digest_size=8).hexdigest()
