"""The folder of a packed model: its configuration as JSON, its weights as safetensors, never pickle."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

FORMAT = 3  # of the packed folder; raise it when older code could not read it, or would read it wrongly
READABLE = (2, 3)  # 2: one classifier without a temperature
CONFIG, WEIGHTS = "config.json", "weights.safetensors"


def write(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write both files into the folder, which is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, folder / WEIGHTS)
    text = json.dumps({"format": FORMAT, **config}, indent=1)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration; one of format 2 as format 3 would have it.

    Raises ValueError if the folder holds no packed model, or one of a format that cannot be read.
    """
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder} holds no packed classifier: {CONFIG} cannot be read ({error})") from error
    found = config.get("format") if isinstance(config, dict) else None
    if found not in READABLE:
        known = " and ".join(map(str, READABLE))
        raise ValueError(f"{folder / CONFIG} is of format {found!r}, this version reads formats {known}")
    return {"temperature": 1.0, "members": 1, **config}


def fill(folder: Path, own: Mapping[str, Tensor]) -> None:
    """Copy the stored weights into `own`. Raises ValueError if they cannot be read, or are not these."""
    try:
        stored = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{folder / WEIGHTS} cannot be read: {error}") from error
    wrong = sorted(own.keys() ^ stored.keys())
    wrong += [name for name in own.keys() & stored.keys() if own[name].shape != stored[name].shape]
    if wrong:
        raise ValueError(
            f"{folder / WEIGHTS} does not fit its {CONFIG}: {len(wrong)} tensors, first {wrong[0]!r}"
        )
    for name, tensor in own.items():
        tensor.copy_(stored[name])
