"""Stacks of one-dimensional convolutions: M3 to M18 (Dai et al. 2017, arXiv 1610.00087), and a plain one.

Shape letters: B batch, T samples, C channels, N frames, K classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from .raw_layers import Mean, MeanMax, Parts, conv, scaled

if TYPE_CHECKING:
    from .architectures import NetContext
    from .raw_cnn import RawCnnConfig

FIRST, STRIDE = 80, 4  # samples: kernel and stride of the first convolution
POOL, POOLS = 4, 4  # after the first convolution and after every group but a fifth
GROUPS = {  # channels of the first convolution and of the groups of convolutions of width 3
    "m3": ((256,), (256,)),
    "m5": ((128,), (128,), (256,), (512,)),
    "m11": ((64,), (64,) * 2, (128,) * 2, (256,) * 3, (512,) * 2),
    "m18": ((64,), (64,) * 4, (128,) * 4, (256,) * 4, (512,) * 4),
}
WIDEST, BLOCKS, KERNEL = (
    512,
    5,
    9,
)  # of the plain stack: most channels; convolutions and their samples by default


def m_net(config: RawCnnConfig, context: NetContext) -> Parts:
    """0.22, 0.56, 1.79 and 3.68 M parameters for 10 classes.

    Published for 8 kHz, where the first kernel lasts 10 ms; at another rate it keeps its 80 samples. The biases
    before batch norm, which have no effect, are left out.
    """
    layers: list[nn.Module] = []
    inputs = context.in_shape[0]
    for index, group in enumerate(GROUPS[config.variant]):
        for last, channels in enumerate(group, start=1):
            outputs = scaled(channels, config.width)
            pool = (1, POOL) if last == len(group) and index < POOLS else None
            kernel, stride = (FIRST, STRIDE) if index == 0 else (3, 1)
            layers.append(nn.Sequential(*conv(inputs, outputs, (1, kernel), stride, pool=pool)))
            inputs = outputs
    head = nn.Sequential(Mean(), nn.Dropout(config.dropout), nn.Linear(inputs, context.n_classes))
    return Parts(layers[0], nn.Sequential(*layers[1:]), head)


def plain(config: RawCnnConfig, context: NetContext) -> Parts:
    """`blocks` times a convolution of `kernel` samples and pooling by 4; 16 channels, doubled up to 512."""
    blocks, kernel = config.blocks or BLOCKS, config.kernel or KERNEL
    widths = [scaled(min(16 * 2**index, WIDEST), config.width) for index in range(blocks)]
    layers = [
        nn.Sequential(*conv(inputs, outputs, (1, kernel), pool=(1, POOL)))
        for inputs, outputs in zip([context.in_shape[0], *widths], widths, strict=False)
    ]
    head = nn.Sequential(MeanMax(), nn.Dropout(config.dropout), nn.Linear(widths[-1], context.n_classes))
    return Parts(layers[0], nn.Sequential(*layers[1:]), head)


def shortest(config: RawCnnConfig, sample_rate: int) -> int:
    """Samples that fill one cell of the last map."""
    if config.variant == "plain":
        return POOL ** (config.blocks or BLOCKS)
    return STRIDE * POOL ** min(len(GROUPS[config.variant]), POOLS)
