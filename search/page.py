"""HTML pages that are one file: style, pictures and sounds lie inside, nothing is fetched when one is opened.

Shape letters: T samples, M mel bands, N columns.
"""

import base64
import warnings
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile

from .datasets.looks.spectra import log_mel
from .datasets.waves.audio import Wave, resample

if TYPE_CHECKING:
    from jinja2 import Environment
    from matplotlib.figure import Figure

TEMPLATES = Path(__file__).parent / "templates"
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000)  # Hz, those of MPEG audio up to the one we want
SHORTEST = 0.3  # s; browsers do not play, or do not show, what is shorter
LOUDEST = 0.89  # full scale 1: -1 dB, room for most of the overshoot of the codec
BANDS, COLUMNS = 64, 360  # of a small spectrogram
RANGE = 80.0  # dB below the loudest point that are shown in it
FADE = 0.02  # s, where a long sound is cut


def render(template: str, **context: Any) -> str:
    """The HTML document that `templates/TEMPLATE` makes of `context`.

    Every text of the context is escaped; a name that the template asks for and the context lacks raises
    `jinja2.UndefinedError`.
    """
    return _environment().get_template(template).render(**context)


def sound(wave_T: Wave, rate: int, seconds: float = 10.0) -> str:
    """The first `seconds` of a sound as the data URI of an MP3, mono, at most 32 kHz, for `<audio src>`.

    A sound shorter than 0.3 s is followed by silence up to that; one near or above full scale is turned down
    to -1 dB or as far as the codec needs, a quiet one stays as quiet as it is. Samples that are no numbers are
    silent.
    """
    heard_T = np.nan_to_num(wave_T[: max(1, round(seconds * rate))], posinf=0.0, neginf=0.0)
    if len(heard_T) < len(wave_T):
        fade = min(len(heard_T), round(FADE * rate))
        heard_T[len(heard_T) - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    to = next((known for known in MP3_RATES if known >= rate), MP3_RATES[-1])
    if len(heard_T):
        heard_T = resample(heard_T, rate, to)
    heard_T = np.pad(heard_T, (0, max(0, round(SHORTEST * to) - len(heard_T))))
    return data_uri("audio/mpeg", _mp3(heard_T, to))


def _mp3(wave_T: Wave, rate: int) -> bytes:
    """An MP3 as loud as the wave, or less so that nothing in it is beyond full scale.

    Variable bit rate: keeps the length to the sample. The codec overshoots, dense noise more than twice.
    """
    peak = float(np.abs(wave_T).max())
    if peak > LOUDEST:
        wave_T = wave_T * np.float32(LOUDEST / peak)
    for _ in range(3):
        file = BytesIO()
        soundfile.write(file, wave_T, rate, format="MP3")
        if peak < LOUDEST / 3:
            break
        played_T, _ = soundfile.read(BytesIO(file.getvalue()), dtype="float32")
        beyond = float(np.abs(played_T).max())
        if beyond <= 1:
            break
        wave_T = wave_T * np.float32(LOUDEST / beyond)
    return file.getvalue()


def picture(figure: "Figure", dpi: int = 110) -> str:
    """A matplotlib figure as the data URI of a PNG, for `<img src>`."""
    return data_uri("image/png", png(figure, dpi))


def png(figure: "Figure", dpi: int = 110) -> bytes:
    """A matplotlib figure as the content of a PNG of at most 256 colours: a quarter of the bytes, the same to
    the eye. A letter that no installed font has is drawn as a box.
    """
    from PIL import Image

    drawn, small = BytesIO(), BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .*missing from")
        figure.savefig(drawn, format="png", dpi=dpi, pil_kwargs={"compress_level": 1})
    with Image.open(drawn) as image:
        picture = image.convert("RGB").quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    picture.save(small, "PNG", optimize=True, dpi=(dpi, dpi))
    return small.getvalue()


def spectrogram(wave_T: Wave, rate: int) -> str:
    """A small log-mel of a sound without any writing, as the data URI of a PNG: enough to see that two are the same."""
    from matplotlib import colormaps
    from PIL import Image

    db_MN = log_mel(wave_T, rate, BANDS, COLUMNS).db[::-1]
    level_MN = np.clip(255 * (1 + db_MN / RANGE), 0, 255).astype(np.uint8)
    image = Image.fromarray(level_MN, "L")
    image.putpalette(colormaps["magma"](np.arange(256), bytes=True)[:, :3].tobytes())
    file = BytesIO()
    image.save(file, "PNG", optimize=True)
    return data_uri("image/png", file.getvalue())


def data_uri(kind: str, content: bytes) -> str:
    """Content of a media type as an address that carries it."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
