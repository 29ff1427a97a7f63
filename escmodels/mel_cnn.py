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
    """Blocks of convolutions, the channels double from block to block.

    Published nets as settings:

    - The seed net: width 64, blocks 4, convs 1, head flatten, hidden 1024, dropout 0.5.
    - CNN6 of PANNs (Kong et al. 2020, arXiv 1912.10211): width 64, blocks 4, convs 1, kernel 5,
      pooling avg, hidden 512, dropout 0.5, block_dropout 0.2, norm_input; 4,837,455 weights for 527 classes.
    - CNN10, from the same paper: as CNN6, but convs 2 and kernel 3; 5,219,279 weights.
    """

    width: int = 32  # channels of the first block
    blocks: int = 4
    convs: int = 1  # convolutions in a block
    kernel: int = 3  # bands and frames a convolution sees
    pooling: str = "max"  # of 2 x 2 at the end of a block: max or avg
    head: str = "pool"  # pool: mean over bands, then mean + max over frames (PANNs); flatten: the whole map
    hidden: int = 0  # units of a layer before the classes; 0 = none
    dropout: float = 0.3  # in the head
    block_dropout: float = 0.0  # after each block
    norm_input: bool = False  # batch norm of each band before the first convolution (PANNs)

    def __post_init__(self) -> None:
        within("model.width", self.width, 4, 256)
        within("model.blocks", self.blocks, 1, 6)
        one_of("model.convs", self.convs, (1, 2))
        one_of("model.kernel", self.kernel, (3, 5))
        one_of("model.pooling", self.pooling, ("max", "avg"))
        one_of("model.head", self.head, ("pool", "flatten"))
        within("model.hidden", self.hidden, 0, 8192)
        within("model.dropout", self.dropout, 0.0, 0.9)
        within("model.block_dropout", self.block_dropout, 0.0, 0.9)
        one_of("model.norm_input", self.norm_input, (False, True))

    def check(self, shape: tuple[int, ...], sample_rate: int) -> None:
        """Any spectrogram will do: pooling never empties an axis."""


def conv_block(
    inputs: int,
    outputs: int,
    convs: int,
    pool: tuple[int, int],
    kernel: tuple[int, int] = (3, 3),
    pooling: str = "max",
) -> nn.Sequential:
    """`convs` times (convolution, batch norm, ReLU), then pooling that never empties an axis.

    The convolutions keep bands and frames (`kernel` is odd). The last ReLU stands behind a max pooling:
    the same function, a quarter of the work. Behind a mean it would be another function.
    """
    layers: list[nn.Module] = []
    padding = (kernel[0] // 2, kernel[1] // 2)
    for index in range(convs):
        conv = nn.Conv2d(inputs if index == 0 else outputs, outputs, kernel, padding=padding, bias=False)
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        layers += [conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    if pooling == "max":
        layers.insert(-1, nn.MaxPool2d(pool, ceil_mode=True))
    else:  # at the edges the mean of what is there
        layers.append(nn.AvgPool2d(pool, ceil_mode=True))
    return nn.Sequential(*layers)


class MelCnn(nn.Module):
    """Spectrogram [B, C, M, any N] -> logits [B, K]."""

    channels_last: ClassVar[bool] = True

    def __init__(self, config: MelCnnConfig, context: NetContext) -> None:
        super().__init__()
        channels, bands, frames = context.in_shape
        self.norm = nn.BatchNorm1d(channels * bands) if config.norm_input else None
        widths = [channels] + [config.width * 2**i for i in range(config.blocks)]
        kernel = (config.kernel, config.kernel)
        body: list[nn.Module] = []
        for inputs, outputs in zip(widths, widths[1:], strict=False):
            body.append(conv_block(inputs, outputs, config.convs, (2, 2), kernel, config.pooling))
            if config.block_dropout:
                body.append(nn.Dropout(config.block_dropout))
        self.body = nn.Sequential(*body)
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
        if self.norm is not None:  # one mean and deviation per channel and band, over clips and frames
            x_BCMN = self.norm(x_BCMN.flatten(1, 2)).unflatten(1, x_BCMN.shape[1:3])
        x_BCMN = self.body(x_BCMN)
        if self.grid is None:
            x_BCN = x_BCMN.mean(dim=2)
            return self.head(x_BCN.mean(dim=2) + x_BCN.amax(dim=2))
        if x_BCMN.shape[2:] != torch.Size(self.grid):  # another length than the net was built for
            x_BCMN = functional.adaptive_avg_pool2d(x_BCMN, self.grid)
        return self.head(x_BCMN.flatten(1))
