"""EnvNet-v2 (Tokozume et al. 2018, arXiv 1711.10282): a learned front end, an image, and large connected layers.

The original is for 44.1 kHz and 66 650 samples; here the pooling of the front end follows the sample rate. Nearly
all weights are in the first connected layer, and their number grows with the length of the crop.

Shape letters: B batch, T samples, F filters of the front end, N frames, K classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from .raw_layers import Grid, Parts, Swap, conv, linear, scaled

if TYPE_CHECKING:
    from .architectures import NetContext
    from .raw_cnn import RawCnnConfig

RATE, POOL = 44_100, 64  # Hz and samples (of every fourth): frames of 5.8 ms
FRONT = ((32, 64), (64, 16))  # filters and kernel, each of stride 2
ROWS = FRONT[-1][0]  # of the image; fewer would leave nothing for the 8x8 kernels
BODY = (  # channels, kernel, pooling: each group has two convolutions, without padding
    (32, (8, 8), (5, 3)),
    (64, (1, 4), (1, 2)),
    (128, (1, 2), (1, 2)),
    (256, (1, 2), (1, 2)),
)
UNITS = 4096  # of both connected layers


def envnet_v2(config: RawCnnConfig, context: NetContext) -> Parts:
    """101 M parameters for 50 classes at 44.1 kHz and 66 650 samples."""
    width = config.width
    pool = _pool(context.sample_rate)
    (first, kernel), (filters, next_kernel) = FRONT
    first = scaled(first, width)
    front = nn.Sequential(
        *conv(context.in_shape[0], first, (1, kernel), 2, padding=False),
        *conv(first, filters, (1, next_kernel), 2, padding=False, pool=(1, pool)),
        Swap(),
    )
    layers: list[nn.Module] = []
    inputs = 1
    for channels, kernels, pools in BODY:
        outputs = scaled(channels, width)
        layers += conv(inputs, outputs, kernels, padding=False)
        layers += conv(outputs, outputs, kernels, padding=False, pool=pools)
        inputs = outputs
    rows, columns = grid(context.in_shape[1], pool)
    units = scaled(UNITS, width)
    head = nn.Sequential(
        Grid(rows, columns),
        *(linear(inputs * rows * columns, units), nn.ReLU(inplace=True), nn.Dropout(config.dropout)),
        *(linear(units, units), nn.ReLU(inplace=True), nn.Dropout(config.dropout)),
        nn.Linear(units, context.n_classes),
    )
    return Parts(front, nn.Sequential(*layers), head)


def shortest(config: RawCnnConfig, sample_rate: int) -> int:
    """Samples that leave one column of the last map, at a sample rate in Hz."""
    return shortest_wave(_pool(sample_rate))


def _pool(sample_rate: int) -> int:
    return max(1, round(POOL * sample_rate / RATE))


def grid(samples: int, pool: int) -> tuple[int, int]:
    """Rows and columns of the last map.

    >>> grid(66_650, 64)
    (10, 8)
    """
    columns = samples
    for _, kernel in FRONT:
        columns = (columns - kernel) // 2 + 1
    rows, columns = ROWS, -(-columns // pool)
    for _, (height, width), (down, along) in BODY:
        rows = -(-(rows - 2 * (height - 1)) // down)
        columns = -(-(columns - 2 * (width - 1)) // along)
    return rows, columns


def shortest_wave(pool: int) -> int:
    """Samples that leave one column: the way back through the layers.

    >>> grid(shortest_wave(64), 64)[1], grid(shortest_wave(64) - 1, 64)[1]
    (1, 0)
    """
    columns = 1
    for _, (_, width), (_, along) in reversed(BODY):
        columns = (columns - 1) * along + 1 + 2 * (width - 1)
    samples = (columns - 1) * pool + 1
    for _, kernel in reversed(FRONT):
        samples = (samples - 1) * 2 + kernel
    return samples
