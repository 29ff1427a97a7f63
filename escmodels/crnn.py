"""Convolutions over the spectrogram, then an LSTM over its frames (the family of ACRNN and CNN+LSTM).

Shape letters: B batch, C channels, M bands, N frames, H features of a frame, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn

from .checks import one_of, within
from .mel_cnn import conv_block

if TYPE_CHECKING:
    from .architectures import NetContext


@dataclass(frozen=True)
class CrnnConfig:
    """Convolution blocks keep the time, the LSTM reads it, a mean or an attention sums it up."""

    width: int = 32  # channels of the first block, doubled from block to block
    blocks: int = 3  # each halves the bands; only the first halves the frames
    hidden: int = 64  # LSTM units in each direction
    layers: int = 1  # LSTM layers
    bidirectional: bool = True
    pool: str = "mean"  # over frames: mean, or attention (softmax over time)
    dropout: float = 0.3

    def __post_init__(self) -> None:
        within("model.width", self.width, 4, 256)
        within("model.blocks", self.blocks, 1, 6)
        within("model.hidden", self.hidden, 4, 1024)
        within("model.layers", self.layers, 1, 4)
        one_of("model.pool", self.pool, ("mean", "attention"))
        within("model.dropout", self.dropout, 0.0, 0.9)


class Crnn(nn.Module):
    """Spectrogram [B, C, M, any N] -> logits [B, K]."""

    channels_last: ClassVar[bool] = True

    def __init__(self, config: CrnnConfig, context: NetContext) -> None:
        super().__init__()
        channels, bands, _ = context.in_shape
        widths = [channels] + [config.width * 2**i for i in range(config.blocks)]
        self.body = nn.Sequential(
            *(
                conv_block(a, b, 1, (2, 2) if i == 0 else (2, 1))
                for i, (a, b) in enumerate(zip(widths, widths[1:], strict=False))
            )
        )
        frame = widths[-1] * -(-bands // 2**config.blocks)  # bands stay apart: their order is information
        between = config.dropout if config.layers > 1 else 0.0
        options = {"batch_first": True, "dropout": between, "bidirectional": config.bidirectional}
        self.lstm = nn.LSTM(frame, config.hidden, config.layers, **options)
        size = config.hidden * (2 if config.bidirectional else 1)
        self.attention = nn.Linear(size, 1) if config.pool == "attention" else None
        self.dropout = nn.Dropout(config.dropout)
        self.classes = nn.Linear(size, context.n_classes)

    def forward(self, x_BCMN: Tensor) -> Tensor:
        x_BNH = self.body(x_BCMN).permute(0, 3, 2, 1).flatten(2)
        x_BNH, _ = self.lstm(self.dropout(x_BNH))
        if self.attention is None:
            x_BH = x_BNH.mean(dim=1)
        else:
            x_BH = (x_BNH * self.attention(x_BNH).softmax(dim=1)).sum(dim=1)
        return self.classes(self.dropout(x_BH))
