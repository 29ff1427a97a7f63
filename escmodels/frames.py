"""Frames of many clips, end to end: what a training keeps of spectrograms, to cut batches from.

Shape letters: B batch, N frames of a batch, S frames of all clips, R resolutions, X bands or nodes of a spectrum.
"""

import numpy as np
import torch
from torch import Tensor


class Frames:
    """Room for the frames of clips, all zeros at first.

    Args:
        counts: frames of each clip.
        resolutions, width: R and X.
        device: where to keep them.
    """

    def __init__(self, counts: np.ndarray, resolutions: int, width: int, device: torch.device) -> None:
        self.firsts = torch.from_numpy(np.cumsum(counts) - counts).to(device)
        self.counts = torch.from_numpy(counts).to(device)
        self.values_SRX = torch.zeros(int(counts.sum()), resolutions, width, device=device)
        self.loud_S2 = torch.zeros(len(self.values_SRX), 2, device=device)

    def write(self, rows: np.ndarray, values_BRNX: Tensor, loud_BN2: Tensor | None = None) -> None:
        """Keep all frames of these clips, and their loudness if somebody asks for it."""
        place = self._places(torch.from_numpy(rows).to(self.firsts.device), 0, values_BRNX.shape[2]).flatten()
        self.values_SRX[place] = values_BRNX.transpose(1, 2).flatten(0, 1)
        if loud_BN2 is not None:
            self.loud_S2[place] = loud_BN2.flatten(0, 1)

    def span(self, row_B: Tensor, begin_B: Tensor, frames: int) -> tuple[Tensor, Tensor]:
        """So many frames of each row from `begin_B` on: values [B, R, N, X] and loudness [B, N, 2].

        A clip that ends before is read on from its start.
        """
        place_BN = self._places(row_B, begin_B[:, None], frames)
        place, shape = place_BN.flatten(), place_BN.shape
        values_BNRX = torch.unflatten(self.values_SRX.index_select(0, place), 0, shape)
        return values_BNRX.transpose(1, 2), torch.unflatten(self.loud_S2.index_select(0, place), 0, shape)

    def _places(self, row_B: Tensor, begin: Tensor | int, frames: int) -> Tensor:
        place_BN = begin + torch.arange(frames, device=row_B.device)
        return self.firsts[row_B][:, None] + place_BN % self.counts[row_B][:, None]
