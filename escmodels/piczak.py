"""Piczak's net: convolutions as tall as the spectrogram, then two wide layers.

Source: K. J. Piczak, "Environmental sound classification with convolutional neural networks", MLSP 2015.

Shape letters: B batch, C channels, M bands, N frames, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from .checks import within

if TYPE_CHECKING:
    from .architectures import NetContext

SLACK = 3  # bands that the first convolution may shift by: it is M - 3 tall, 57 of the paper's 60
BANDS = 8  # fewer: the first kernel would hardly be taller than its slack
FRAMES = 20  # fewer leave nothing behind the second pooling


@dataclass(frozen=True)
class PiczakConfig:
    """The defaults are the paper's: 26.5 million weights for 2 channels, 60 bands, 41 frames, 50 classes."""

    filters: int = 80  # of both convolutions
    hidden: int = 5000  # units of both layers before the classes
    dropout: float = 0.5  # after the first convolution and after each wide layer

    def __post_init__(self) -> None:
        within("model.filters", self.filters, 4, 512)
        within("model.hidden", self.hidden, 16, 8192)
        within("model.dropout", self.dropout, 0.0, 0.9)

    def check(self, shape: tuple[int, ...], sample_rate: int) -> None:
        """Refuse a spectrogram that is too small for the net."""
        _, bands, frames = shape
        if bands < BANDS or frames < FRAMES:
            raise ValueError(
                f"architecture 'piczak' needs at least {BANDS} bands and {FRAMES} frames, the feature has {bands} and "
                f"{frames}; choose a longer data.crop, a shorter feature.hop or more bands"
            )


class Piczak(nn.Module):
    """Spectrogram [B, C, M, any N] -> logits [B, K]; made for the N it is built with.

    Raises:
        ValueError: the spectrogram is too small for the net.
    """

    channels_last: ClassVar[bool] = False  # measured: no gain, the wide layers and one tall kernel cost most

    def __init__(self, config: PiczakConfig, context: NetContext) -> None:
        super().__init__()
        channels, bands, frames = context.in_shape
        config.check(context.in_shape, context.sample_rate)
        first = nn.Conv2d(channels, config.filters, (bands - SLACK, 6))
        second = nn.Conv2d(config.filters, config.filters, (1, 3))
        # a ReLU behind a max pooling is the same function as before it, and a fraction of the work
        self.body = nn.Sequential(
            first,  # [B, filters, 4, N - 5]
            nn.MaxPool2d((SLACK + 1, 3), stride=(1, 3)),
            nn.ReLU(inplace=True),
            nn.Dropout(config.dropout),
            second,
            nn.MaxPool2d((1, 3)),
            nn.ReLU(inplace=True),
        )
        self.grid = (1, ((frames - 5) // 3 - 2) // 3)
        size = config.filters * self.grid[1]
        wide = [nn.Linear(size, config.hidden), nn.Linear(config.hidden, config.hidden)]
        heard: list[nn.Conv2d | nn.Linear] = [first, second, *wide]  # by a ReLU
        for layer in heard:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        layers = [m for w in wide for m in (w, nn.ReLU(inplace=True), nn.Dropout(config.dropout))]
        self.head = nn.Sequential(*layers, nn.Linear(config.hidden, context.n_classes))

    def forward(self, x_BCMN: Tensor) -> Tensor:
        missing = FRAMES - x_BCMN.shape[3]
        if missing > 0:  # another length than the net was built for: zeros for what is not there
            x_BCMN = functional.pad(x_BCMN, (0, missing))
        x_BCMN = self.body(x_BCMN)
        if x_BCMN.shape[2:] != torch.Size(self.grid):
            x_BCMN = functional.adaptive_avg_pool2d(x_BCMN, self.grid)
        return self.head(x_BCMN.flatten(1))
