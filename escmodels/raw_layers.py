"""What the nets on samples are made of.

Shape letters: B batch, C channels, F filters of a front end, H height, N width (frames), K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Parts:
    """A net on samples in three parts."""

    front: nn.Module  # [B, C, 1, T] -> map
    body: nn.Module  # map -> map
    head: nn.Module  # map -> [B, K]


def scaled(channels: int, width: float) -> int:
    """A channel count times the width, at least 4."""
    return max(4, round(channels * width))


def conv(
    inputs: int,
    outputs: int,
    kernel: tuple[int, int],
    stride: int = 1,
    padding: bool = True,
    separable: bool = False,
    pool: tuple[int, int] | None = None,
) -> list[nn.Module]:
    """Convolution without bias (batch norm has one), batch norm, max pooling if any, ReLU.

    ReLU stands behind the pooling: the same function, less work. The pooling never empties an axis.

    Args:
        kernel: height and width in cells.
        stride: along the width, in cells.
        padding: zeros around the map, so that only the stride makes it smaller.
        separable: one filter a channel and then a 1x1 convolution, each with batch norm and ReLU (Howard et al.
            2017, arXiv 1704.04861). A single channel has nothing to separate and gets a whole convolution.
        pool: cells of the pooling, height and width.
    """
    around = ((kernel[0] - 1) // 2, (kernel[1] - 1) // 2) if padding else (0, 0)
    layers: list[nn.Module] = []
    if separable and inputs > 1:
        depthwise = nn.Conv2d(inputs, inputs, kernel, (1, stride), around, groups=inputs, bias=False)
        layers = [depthwise, nn.BatchNorm2d(inputs), nn.ReLU(inplace=True)]
        layers += [nn.Conv2d(inputs, outputs, 1, bias=False)]
    else:
        layers = [nn.Conv2d(inputs, outputs, kernel, (1, stride), around, bias=False)]
    layers += [nn.BatchNorm2d(outputs)]
    layers += [nn.MaxPool2d(pool, ceil_mode=True)] if pool else []
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return [*layers, nn.ReLU(inplace=True)]


def linear(inputs: int, outputs: int) -> nn.Linear:
    """A fully connected layer for a ReLU behind it (He et al. 2015)."""
    layer = nn.Linear(inputs, outputs)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)
    return layer


class Swap(nn.Module):
    """[B, F, 1, N] -> [B, 1, F, N]: the filters become the rows of an image."""

    def forward(self, x_BF1N: Tensor) -> Tensor:
        return x_BF1N.transpose(1, 2).contiguous().to(memory_format=torch.channels_last)


class Mean(nn.Module):
    """[B, C, H, N] -> [B, C]: mean over the map."""

    def forward(self, x_BCHN: Tensor) -> Tensor:
        return x_BCHN.mean(dim=(2, 3))


class MeanMax(nn.Module):
    """[B, C, H, N] -> [B, C]: mean plus maximum over the map, as PANNs sum up their frames."""

    def forward(self, x_BCHN: Tensor) -> Tensor:
        return x_BCHN.mean(dim=(2, 3)) + x_BCHN.amax(dim=(2, 3))


class Grid(nn.Module):
    """[B, C, any H, any N] -> [B, C x H x N] of a fixed grid: a map of another size is averaged into it."""

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.size = (rows, columns)

    def forward(self, x_BCHN: Tensor) -> Tensor:
        if x_BCHN.shape[2:] != torch.Size(self.size):
            x_BCHN = functional.adaptive_avg_pool2d(x_BCHN, self.size)
        return x_BCHN.flatten(1)
