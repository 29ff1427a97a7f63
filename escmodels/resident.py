"""Samples of clips on the device, so that no step waits for the host.

Shape letters: B batch, T samples of a crop, S samples of all clips.
"""

from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from .clips import PADS, ClipSet

MOST = 4 << 30  # bytes of samples that may lie on a device; a larger set is read from the host


class Reader(Protocol):
    """What cuts crops: a ClipSet on the host, or a Resident on the device."""

    def take(self, rows: Any, begins: Any, length: int, pad: str = "zero") -> Tensor:
        """int16 [B, length]."""


class Resident:
    """The int16 samples of these clips alone, on a device; `take` gives what `ClipSet.take` gives."""

    def __init__(self, clips: ClipSet, device: torch.device) -> None:
        runs = [clips.samples[at : at + n] for at, n in zip(clips.starts, clips.lengths, strict=True)]
        self.samples_S = torch.from_numpy(np.concatenate(runs)).to(device)
        self.lengths = clips.lengths
        self.starts = np.cumsum(clips.lengths) - clips.lengths

    def take(self, rows: Any, begins: Any, length: int, pad: str = "zero") -> Tensor:
        """Cut `length` samples from each of `rows`, from `begins` on: int16 [B, length] on the device."""
        if pad not in PADS:
            raise ValueError(f"unknown pad {pad!r}, known: {sorted(PADS)}")
        row_B = np.asarray(rows, dtype=np.int64)
        begin_B = np.broadcast_to(np.asarray(begins, dtype=np.int64), row_B.shape)
        where_3B = np.stack((self.starts[row_B], self.lengths[row_B], begin_B))
        start_B1, length_B1, begin_B1 = self._move(torch.from_numpy(where_3B)).unsqueeze(2)
        place_BT = begin_B1 + torch.arange(length, device=self.samples_S.device)
        if pad == "tile":
            return self.samples_S[start_B1 + place_BT % length_B1]
        wave_BT = self.samples_S[start_B1 + torch.minimum(place_BT, length_B1 - 1)]
        return wave_BT.masked_fill_(place_BT >= length_B1, 0)

    def _move(self, index: Tensor) -> Tensor:
        """To the device; from pinned memory, because only then the copy waits for nothing."""
        device = self.samples_S.device
        return index.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else index.to(device)


def reader(clips: ClipSet, device: torch.device) -> Reader:
    """The clips where they are if that is the CPU or they are too many, else a copy of them on the device."""
    if device.type == "cpu" or 2 * int(clips.lengths.sum()) > MOST:
        return clips
    return Resident(clips, device)
