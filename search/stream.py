"""Sound as it comes, judged window by window: a microphone, WAV on standard input, or a file played in real time.

Shape letters: T samples, C channels.
"""

import queue
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .datasets.waves.audio import AudioError, Wave, decode, mono
from .errors import Failure, UsageError
from .predict import Model
from .terminal import say

BLOCK = 0.05  # seconds of sound that come at once
WAITING = 200  # blocks that may wait for the model; a pipe then waits too
PATIENCE = 5.0  # seconds without a block, after which a microphone is taken for unplugged
NO_TAIL = 50  # less than 1/50 of a window behind the last one makes none of its own, as in `ClipSet.windows`
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE  # what the header of a WAV file calls its samples
ENDLESS = 0x7FFFF000  # bytes: from here on a length in a header means that whoever wrote it did not know


@dataclass(frozen=True)
class Block:
    """A piece of sound."""

    wave_T: Wave
    end: float  # when its last sample was there, on the clock


@dataclass(frozen=True)
class Source:
    """Where sound comes from."""

    rate: int  # Hz
    blocks: Iterator[Block]
    pace: float  # seconds on the clock from one sample to the next; 0 where samples come in pieces
    waits: bool  # whether it waits for a slow model; else windows are skipped


@dataclass(frozen=True)
class Heard:
    """What the model says of one window."""

    start: float  # seconds since the sound began
    end: float
    labels: tuple[tuple[str, float], ...]  # the most probable first, each with its probability
    arrived: float  # when its last sample was there, on the clock
    skipped: int  # windows left out before it, because the model was late


def listen(
    model: Model,
    source: Source,
    hop: float | None = None,
    top_k: int = 1,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Heard]:
    """Window by window as soon as each is complete: as long as the model's, `hop` seconds apart (default: half).

    The last window ends with the sound; a sound shorter than a window makes one. Where the source does not wait, a
    window whose successor is complete already is skipped, but never the last one of all.
    """
    length = max(1, round(model.crop * source.rate))
    step = length // 2 or 1 if hop is None else max(1, round(hop * source.rate))
    kept_T = np.zeros(0, np.float32)
    first = begin = total = skipped = 0  # samples: of kept_T, of the next window, of all that came
    end = clock()

    def heard(at: int, wave_T: Wave) -> Heard:
        ((_, rows, _),) = model.each([(wave_T, source.rate)], top_k=top_k)
        if isinstance(rows, str):
            raise Failure(f"the sound from {at / source.rate:.2f} s on cannot be judged: {rows}")
        last = at + len(wave_T)
        labels = tuple((row[3], row[4]) for row in rows)
        arrived = end - (total - last) * source.pace
        return Heard(at / source.rate, last / source.rate, labels, arrived, skipped)

    for block in source.blocks:
        wanted = begin - step if skipped else begin  # one that was skipped may turn out to be the last
        # the last window may begin before the next one would
        needed = max(first, min(wanted, total - length))
        kept_T = np.concatenate((kept_T[needed - first :], block.wave_T))
        first, total, end = needed, total + len(block.wave_T), block.end
        while begin + length <= total:
            late = clock() - end + (total - begin - length) * source.pace
            if not source.waits and late > step / source.rate:
                skipped += 1
            else:
                yield heard(begin, kept_T[begin - first : begin - first + length])
                skipped = 0
            begin += step
    done = begin - step + length if begin else 0
    if total == 0:
        raise Failure("no sound came")
    if total - done > (length // NO_TAIL if begin else 0):
        at = max(first, total - length)
        yield heard(at, kept_T[at - first :])
    elif skipped:
        skipped -= 1
        at = begin - step
        yield heard(at, kept_T[at - first : at - first + length])


def played(
    path: Path,
    speed: float = 1.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Source:
    """A file as if it were heard just now, `speed` times as fast as it was recorded. Raises `UsageError`."""
    if not 0 < speed < float("inf"):
        raise UsageError(f"--speed must be a number above 0, got {speed:g}")
    try:
        wave_T, rate = decode(path, str(path))
    except AudioError as error:
        raise UsageError(str(error)) from error
    size = max(1, round(BLOCK * rate))

    def blocks() -> Iterator[Block]:
        began = clock()
        for at in range(0, len(wave_T), size):
            part_T = wave_T[at : at + size]
            due = began + (at + len(part_T)) / rate / speed
            if (early := due - clock()) > 0:
                sleep(early)
            yield Block(part_T, due)

    return Source(rate, blocks(), 1 / rate / speed, waits=speed != 1)


def piped(stream: BinaryIO, clock: Callable[[], float] = time.monotonic) -> Source:
    """WAV as it comes, of any length; the header need not say how long. Raises `UsageError` for anything else."""
    rate, channels, read, width, size = _header(stream)
    count = max(1, round(BLOCK * rate))

    def blocks() -> Iterator[Block]:
        left = size
        while left and (content := stream.read(min(left, count * width * channels))):
            left -= len(content)
            whole = len(content) // (width * channels) * width * channels
            if whole:  # the rest of a sample that was cut off is no sound
                yield Block(mono(read(content[:whole]).reshape(-1, channels)), clock())

    return Source(rate, _ahead(blocks()), 0.0, waits=True)


@contextmanager
def microphone(device: str | None = None, clock: Callable[[], float] = time.monotonic) -> Iterator[Source]:
    """What a microphone hears, until the block ends. device: its number or a part of its name (default: the system's).

    Raises `Failure` where there is no microphone or nothing to open it with, and when nothing comes from it any more.
    Says at the end how often sound was lost because this machine was too slow to take it.
    """
    otherwise = "or pipe WAV in, as `arecord -f S16_LE -r 44100 | escsearch stream MODEL --file -` does"
    try:
        import sounddevice
    except ImportError as error:
        raise Failure(
            f"the microphone needs sounddevice: pip install 'escsearch[stream]', {otherwise}"
        ) from error
    except OSError as error:
        raise Failure(
            f"sounddevice cannot be used ({error}): install it (Debian: apt install libportaudio2), {otherwise}"
        ) from error
    came: queue.SimpleQueue[Block] = queue.SimpleQueue()

    lost = 0

    def callback(samples_TC: Any, frames: int, timing: object, status: Any) -> None:
        nonlocal lost
        lost += bool(status.input_overflow)
        came.put(Block(mono(samples_TC.copy()), clock()))

    def blocks() -> Iterator[Block]:
        while True:
            try:
                yield came.get(timeout=PATIENCE)
            except queue.Empty:
                raise Failure(
                    f"nothing has come from the microphone for {PATIENCE:g} s: see whether it is still plugged in, "
                    "or choose another with --device"
                ) from None

    chosen = int(device) if device is not None and device.isdigit() else device
    try:
        rate = round(sounddevice.query_devices(chosen, "input")["default_samplerate"])
        opened = sounddevice.InputStream(
            samplerate=rate,
            blocksize=round(BLOCK * rate),
            device=chosen,
            channels=1,
            dtype="float32",
            callback=callback,
        )
    except (sounddevice.PortAudioError, ValueError) as error:
        raise Failure(
            f"no microphone can be opened ({error}): choose one with --device, {otherwise}"
        ) from error
    try:
        with opened:
            yield Source(rate, blocks(), 1 / rate, waits=False)
    finally:
        if lost:
            times = "once" if lost == 1 else f"{lost} times"
            say(f"warning: the microphone lost sound {times}, because this machine was too slow to take it")


def _ahead(blocks: Iterator[Block]) -> Iterator[Block]:
    """The same, read by a thread, so that a block is stamped when it comes and not when the model has time."""
    came: queue.Queue[Block | Exception | None] = queue.Queue(WAITING)

    def read() -> None:
        try:
            for block in blocks:
                came.put(block)
            came.put(None)
        except Exception as error:  # raised again where the blocks are wanted
            came.put(error)

    threading.Thread(target=read, name="stream", daemon=True).start()
    while (block := came.get()) is not None:
        if isinstance(block, Exception):
            raise block
        yield block


Samples = Callable[[bytes], Wave]
READERS: dict[tuple[int, int], Samples] = {  # by kind and bytes of a sample
    (PCM, 1): lambda content: _scaled(np.frombuffer(content, np.uint8).astype(np.float32) - 128, 2**7),
    (PCM, 2): lambda content: _scaled(np.frombuffer(content, "<i2"), 2**15),
    (PCM, 3): lambda content: _wide(content),
    (PCM, 4): lambda content: _scaled(np.frombuffer(content, "<i4"), 2**31),
    (FLOAT, 4): lambda content: _scaled(np.frombuffer(content, "<f4"), 1),
    (FLOAT, 8): lambda content: _scaled(np.frombuffer(content, "<f8"), 1),
}


def _scaled(number_T: Any, full: int) -> Wave:
    return np.asarray(number_T / full, dtype=np.float32)


def _wide(content: bytes) -> Wave:
    """24-bit samples: each into the upper bytes of a 32-bit one."""
    bytes_T4 = np.zeros((len(content) // 3, 4), np.uint8)
    bytes_T4[:, 1:] = np.frombuffer(content, np.uint8).reshape(-1, 3)
    return _scaled(bytes_T4.reshape(-1).view("<i4"), 2**31)


def _header(stream: BinaryIO) -> tuple[int, int, Samples, int, int]:
    """Rate, channels, how to read samples, bytes of one, bytes of all, with the stream at the first sample."""
    riff = stream.read(12)
    if len(riff) < 12 or riff[:4] not in (b"RIFF", b"RF64") or riff[8:] != b"WAVE":
        raise UsageError(
            f"standard input is no WAV (it begins with {riff[:4]!r}): `ffmpeg -i FILE -f wav -` makes it from any sound"
        )
    known: tuple[int, int, Samples, int] | None = None
    while len(head := stream.read(8)) == 8:
        name, size = struct.unpack("<4sI", head)
        if name == b"data":
            if known is None:
                break
            return *known, size if 0 < size < ENDLESS else 2**62
        content = stream.read(size + size % 2)
        if name == b"fmt ":
            known = _format(content)
    raise UsageError("standard input ends, or has samples, before a WAV header that says what they are")


def _format(content: bytes) -> tuple[int, int, Samples, int]:
    if len(content) < 16:
        raise UsageError(
            f"the WAV header on standard input is cut off: {len(content)} bytes of format, expected 16"
        )
    kind, channels, rate, _, _, bits = struct.unpack("<HHIIHH", content[:16])
    if kind == EXTENSIBLE and len(content) >= 26:
        (kind,) = struct.unpack("<H", content[24:26])
    read = READERS.get((kind, bits // 8))
    if read is None or bits % 8 or not 1 <= channels <= 256 or not 1000 <= rate <= 10_000_000:
        raise UsageError(
            f"standard input is WAV of kind {kind}, {bits} bits, {channels} channels, {rate} Hz; expected PCM of "
            "8 to 32 bits or floats of 32 or 64: `ffmpeg -i FILE -f wav -` makes it"
        )
    return rate, channels, read, bits // 8
