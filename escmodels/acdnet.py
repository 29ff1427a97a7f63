"""ACDNet (Mohaimenuzzaman et al. 2023, arXiv 2103.03483) and AclNet (Huang and Alvarado Leanos 2018, arXiv 1811.06669).

Both: two strided convolutions learn 64 filters, pooled to frames of 10 ms and swapped into an image of 64 rows;
then 3x3 convolutions, a 1x1 convolution to the classes and a global mean. The originals are for 20 kHz (ACDNet),
16 and 44.1 kHz (AclNet); here the pooling follows the sample rate.

Shape letters: B batch, T samples, F filters of the front end, N frames of 10 ms, K classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from .raw_layers import Mean, Parts, Swap, conv, scaled

if TYPE_CHECKING:
    from .architectures import NetContext
    from .raw_cnn import RawCnnConfig

FRAME = 0.010  # seconds: what the front end pools to
FILTERS = (8, 64)
BODY = ((32,), (64, 64), (128, 128), (256, 256), (512, 512))  # each group ends in 2x2 pooling
FAST = 32_000  # Hz: from here on AclNet's first stride is 5


def acdnet(config: RawCnnConfig, context: NetContext) -> Parts:
    """4.74 M parameters for 50 classes: AclNet with other strides and a fully connected layer at its end."""
    front, body = _image(config, context)
    return Parts(front, body, nn.Sequential(Mean(), nn.Linear(context.n_classes, context.n_classes)))


def aclnet(config: RawCnnConfig, context: NetContext) -> Parts:
    """4.74 M parameters for 50 classes, with separable convolutions and width 0.5 0.15 M.

    No ReLU stands before the mean: what is averaged are the logits, and those of absent classes are negative.
    """
    front, body = _image(config, context)
    return Parts(front, body[:-1], Mean())


def shortest(config: RawCnnConfig, sample_rate: int) -> int:
    """Samples that fill one cell of the last map, at a sample rate in Hz."""
    strides, pool = _front(config.variant, sample_rate)
    return strides[0] * strides[1] * pool * 2 ** len(BODY)


def _front(variant: str, sample_rate: int) -> tuple[tuple[int, int], int]:
    """Strides of the two convolutions and samples of the pooling behind them."""
    strides = (2, 2) if variant == "acdnet" else (2 if sample_rate < FAST else 5, 4)
    return strides, max(1, round(sample_rate * FRAME / (strides[0] * strides[1])))


def _image(config: RawCnnConfig, context: NetContext) -> tuple[nn.Sequential, nn.Sequential]:
    first, filters = (scaled(channels, config.width) for channels in FILTERS)
    strides, pool = _front(config.variant, context.sample_rate)
    front = nn.Sequential(
        *conv(context.in_shape[0], first, (1, 9), strides[0]),
        *conv(first, filters, (1, 5), strides[1], separable=config.separable, pool=(1, pool)),
        Swap(),
    )
    layers: list[nn.Module] = []
    inputs = 1
    for group in BODY:
        for index, channels in enumerate(group, start=1):
            outputs = scaled(channels, config.width)
            halved = (2, 2) if index == len(group) else None
            layers += conv(inputs, outputs, (3, 3), separable=config.separable, pool=halved)
            inputs = outputs
    layers += [nn.Dropout(config.dropout), *conv(inputs, context.n_classes, (1, 1))]
    return front, nn.Sequential(*layers)
