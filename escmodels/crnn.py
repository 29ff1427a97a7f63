"""Convolutions over the spectrogram, then a recurrent layer over its frames: ACRNN, CNN+LSTM and their kin.

Shape letters: B batch, C channels, M bands, N frames, H features of a frame, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from .checks import one_of, within
from .mel_cnn import conv_block

if TYPE_CHECKING:
    from .architectures import NetContext

Block = tuple[tuple[int, int], tuple[int, int]]  # kernel and pooling, bands x frames

BLOCKS = 3  # of the plain body, unless the config says otherwise
ACRNN: tuple[Block, ...] = (  # two convolutions a block; kernels and pools as re-implementations have them
    ((3, 5), (4, 3)),
    ((3, 1), (4, 1)),
    ((1, 5), (1, 3)),
    ((3, 3), (2, 2)),
)
CELLS = {"lstm": nn.LSTM, "gru": nn.GRU}


@dataclass(frozen=True)
class CrnnConfig:
    """Convolution blocks keep the time, a recurrent layer reads it, `pool` sums it up.

    Known nets as settings:

    - ACRNN (Zhang et al. 2019, arXiv 1907.02230): body acrnn, cell gru, hidden 256, layers 2, pool attention,
      dropout 0.5.
    - The seed's Conv-Dense-LSTM-LSTM: dense 64 (say), cell lstm, layers 2, bidirectional False, pool last.
    """

    width: int = 32  # channels of the first block, doubled from block to block
    blocks: int = BLOCKS  # of the plain body: each halves the bands; only the first halves the frames
    body: str = "plain"  # plain: one 3x3 convolution a block; acrnn: its four blocks of two convolutions
    dense: int = 0  # units of a layer on each frame between convolutions and recurrence; 0 = none
    cell: str = "lstm"  # lstm or gru
    hidden: int = 64  # units of the recurrent layer in each direction
    layers: int = 1  # recurrent layers
    bidirectional: bool = True
    pool: str = "mean"  # over frames: mean, last (of each direction), attention (softmax over time)
    dropout: float = 0.3

    def __post_init__(self) -> None:
        within("model.width", self.width, 4, 256)
        within("model.blocks", self.blocks, 1, 6)
        one_of("model.body", self.body, ("plain", "acrnn"))
        within("model.dense", self.dense, 0, 4096)
        one_of("model.cell", self.cell, tuple(CELLS))
        within("model.hidden", self.hidden, 4, 1024)
        within("model.layers", self.layers, 1, 4)
        one_of("model.bidirectional", self.bidirectional, (False, True))
        one_of("model.pool", self.pool, ("mean", "last", "attention"))
        within("model.dropout", self.dropout, 0.0, 0.9)
        if self.body == "acrnn" and self.blocks != BLOCKS:
            raise ValueError(
                f"model.blocks is {self.blocks}, but model.body = 'acrnn' has its own {len(ACRNN)} blocks; "
                f"leave model.blocks at {BLOCKS}, or choose model.body = 'plain'"
            )

    def check(self, shape: tuple[int, ...], sample_rate: int) -> None:
        """Any spectrogram will do: pooling never empties an axis."""


class Crnn(nn.Module):
    """Spectrogram [B, C, M, any N] -> logits [B, K]."""

    channels_last: ClassVar[bool] = True

    def __init__(self, config: CrnnConfig, context: NetContext) -> None:
        super().__init__()
        channels, bands, _ = context.in_shape
        convs, table = blocks_of(config)
        blocks = []
        for index, (kernel, pool) in enumerate(table):
            outputs = config.width * 2**index
            blocks.append(conv_block(channels, outputs, convs, pool, kernel))
            channels, bands = outputs, -(-bands // pool[0])
        self.body = nn.Sequential(*blocks)
        frame = channels * bands  # bands stay apart: their order is information
        self.dense = None
        if config.dense:
            dense = nn.Linear(frame, config.dense)
            nn.init.kaiming_normal_(dense.weight, nonlinearity="relu")
            self.dense, frame = nn.Sequential(dense, nn.ReLU(inplace=True)), config.dense
        self.recurrent = CELLS[config.cell](
            frame,
            config.hidden,
            config.layers,
            batch_first=True,
            dropout=config.dropout if config.layers > 1 else 0.0,  # between the layers
            bidirectional=config.bidirectional,
        )
        size = config.hidden * (2 if config.bidirectional else 1)
        self.last = config.pool == "last"
        self.attention = nn.Linear(size, 1) if config.pool == "attention" else None
        self.dropout = nn.Dropout(config.dropout)
        self.classes = nn.Linear(size, context.n_classes)

    def forward(self, x_BCMN: Tensor) -> Tensor:
        x_BNH = self.body(x_BCMN).permute(0, 3, 2, 1).flatten(2)
        if self.dense is not None:
            x_BNH = self.dense(x_BNH)
        x_BNH, _ = self.recurrent(self.dropout(x_BNH))
        return self.classes(self.dropout(self.sum_up(x_BNH)))

    def sum_up(self, x_BNH: Tensor) -> Tensor:
        """[B, N, H] -> [B, H]; of two directions each ends at its own side."""
        if self.last:
            hidden = self.recurrent.hidden_size
            return torch.cat([x_BNH[:, -1, :hidden], x_BNH[:, 0, hidden:]], dim=1)
        if self.attention is None:
            return x_BNH.mean(dim=1)
        return (x_BNH * self.attention(x_BNH).softmax(dim=1)).sum(dim=1)


def blocks_of(config: CrnnConfig) -> tuple[int, Sequence[Block]]:
    """Convolutions in a block, and kernel and pooling of each block."""
    if config.body == "acrnn":
        return 2, ACRNN
    return 1, [((3, 3), (2, 2)), *[((3, 3), (2, 1))] * (config.blocks - 1)]
