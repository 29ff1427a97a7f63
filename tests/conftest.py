"""What every test shares: one thread a process, and the real data where it is found."""

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)  # tiny nets: one thread is several times faster than two

BESIDE = Path(__file__).resolve().parents[1].parent / "shared" / "data"


def _found(variable: str, default: Path, what: str) -> Path:
    path = Path(os.environ.get(variable, default))
    if not path.exists():
        pytest.skip(f"{what} not found: set {variable} (looked at {path})")
    return path


@pytest.fixture(scope="session")
def esc10_root() -> Path:
    """The 2015 release of ESC-10 (400 OGG clips)."""
    return _found("ESC10_ROOT", BESIDE / "ESC-10", "ESC-10")
