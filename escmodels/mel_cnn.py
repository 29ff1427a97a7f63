"""Convolutional net on a spectrogram: the family of PANNs' CNN6/10 and of the seed's 64-128-256-512 net.

Shape letters: B batch, C channels, M bands, N frames, H hidden, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from .checks import one_of, within

if TYPE_CHECKING:
    from .architectures import NetContext


@dataclass(frozen=True)
class MelCnnConfig:
    """Blocks of 3x3 convolutions, the channels double from block to block.

    The seed net: width 64, blocks 4, convs 1, head flatten, hidden 1024, dropout 0.5.
    """

    width: int = 32  # channels of the first block
    blocks: int = 4
    convs: int = 1  # convolutions in a block
    head: str = "pool"  # pool: mean over bands, then mean + max over frames (PANNs); flatten: the whole map
    hidden: int = 0  # units of a layer before the classes; 0 = none
    dropout: float = 0.3

    def __post_init__(self) -> None:
        within("model.width", self.width, 4, 256)
        within("model.blocks", self.blocks, 1, 6)
        one_of("model.convs", self.convs, (1, 2))
        one_of("model.head", self.head, ("pool", "flatten"))
        within("model.hidden", self.hidden, 0, 8192)
        within("model.dropout", self.dropout, 0.0, 0.9)


def conv_block(inputs: int, outputs: int, convs: int, pool: tuple[int, int]) -> nn.Sequential:
    """`convs` times (3x3 convolution, batch norm, ReLU), then max pooling that never empties an axis.

    The last ReLU stands behind the pooling: the same function, a quarter of the work.
    """
    layers: list[nn.Module] = []
    for index in range(convs):
        conv = nn.Conv2d(inputs if index == 0 else outputs, outputs, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        layers += [conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    layers.insert(-1, nn.MaxPool2d(pool, ceil_mode=True))
    return nn.Sequential(*layers)


class MelCnn(nn.Module):
    """Spectrogram [B, C, M, any N] -> logits [B, K]."""

    channels_last: ClassVar[bool] = True

    def __init__(self, config: MelCnnConfig, context: NetContext) -> None:
        super().__init__()
        channels, bands, frames = context.in_shape
        widths = [channels] + [config.width * 2**i for i in range(config.blocks)]
        self.body = nn.Sequential(
            *(conv_block(a, b, config.convs, (2, 2)) for a, b in zip(widths, widths[1:], strict=False))
        )
        shrink = 2**config.blocks
        self.grid = (-(-bands // shrink), -(-frames // shrink)) if config.head == "flatten" else None
        size = widths[-1] * (self.grid[0] * self.grid[1] if self.grid else 1)
        layers: list[nn.Module] = [nn.Dropout(config.dropout)]
        if config.hidden:
            hidden = nn.Linear(size, config.hidden)
            nn.init.kaiming_normal_(hidden.weight, nonlinearity="relu")
            layers += [hidden, nn.ReLU(inplace=True), nn.Dropout(config.dropout)]
        self.head = nn.Sequential(*layers, nn.Linear(config.hidden or size, context.n_classes))

    def forward(self, x_BCMN: Tensor) -> Tensor:
        x_BCMN = self.body(x_BCMN)
        if self.grid is None:
            x_BCN = x_BCMN.mean(dim=2)
            return self.head(x_BCN.mean(dim=2) + x_BCN.amax(dim=2))
        if x_BCMN.shape[2:] != torch.Size(self.grid):  # another length than the net was built for
            x_BCMN = functional.adaptive_avg_pool2d(x_BCMN, self.grid)
        return self.head(x_BCMN.flatten(1))
