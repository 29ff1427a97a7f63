"""The version of everything that decides what a training computes."""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path

import escmodels

from .datasets.waves import audio

NUMERIC = ("torch", "torchaudio", "timm", "soundfile", "soxr")


def code_fingerprint() -> str:
    """16 hex digits of all that decides what a training computes besides its recipe and data.

    The source of escmodels and of the decoder, and the versions of the libraries that touch samples or tensors.
    """
    digest = hashlib.sha256(json.dumps([version(name) for name in NUMERIC]).encode())
    sources = [*sorted(Path(escmodels.__path__[0]).glob("*.py")), Path(audio.__file__)]
    for path in sources:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]
