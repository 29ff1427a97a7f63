"""Convolutional nets on the samples: one config, and the table of published nets it chooses from.

Every one is a front end (samples -> map), a body (map -> map) and a head (map -> logits). One-dimensional
convolutions run as two-dimensional ones over an image of height one in channels_last memory: the same functions, and
on a CPU a training step of M5 takes 0.75 to 0.85, of M18 0.55, of EnvNet-v2 0.8 of the time.

Shape letters: B batch, T samples, C channels, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from . import acdnet, envnet, m_series
from .checks import one_of, within

if TYPE_CHECKING:
    from .architectures import NetContext
    from .raw_layers import Parts


@dataclass(frozen=True)
class Variant:
    """A row of the table."""

    build: Callable[[RawCnnConfig, NetContext], Parts]
    shortest: Callable[
        [RawCnnConfig, int], int
    ]  # samples, at a sample rate in Hz: with fewer a layer has nothing


VARIANTS = {
    "acdnet": Variant(acdnet.acdnet, acdnet.shortest),  # Mohaimenuzzaman et al. 2023
    "aclnet": Variant(acdnet.aclnet, acdnet.shortest),  # Huang and Alvarado Leanos 2018
    "envnet_v2": Variant(envnet.envnet_v2, envnet.shortest),  # Tokozume et al. 2018
    # m3, m5, m11, m18: Dai et al. 2017
    **dict.fromkeys(m_series.GROUPS, Variant(m_series.m_net, m_series.shortest)),
    "plain": Variant(m_series.plain, m_series.shortest),
}
SEPARABLE = ("acdnet", "aclnet")


@dataclass(frozen=True)
class RawCnnConfig:
    """Which net, and how wide. The published nets are at width 1."""

    variant: str = "acdnet"
    width: float = 1.0  # multiplies every channel count (of envnet_v2 not the 64 filters that become rows)
    dropout: float = 0.2  # before every fully connected layer (published: envnet_v2 0.5, m3 to m18 0)
    separable: bool = False  # acdnet, aclnet: depthwise separable convolutions
    blocks: int = 0  # plain: convolutions, 4 to 8; 0 = 5
    kernel: int = 0  # plain: samples of a convolution, odd, 3 to 25; 0 = 9

    def __post_init__(self) -> None:
        one_of("model.variant", self.variant, tuple(VARIANTS))
        within("model.width", self.width, 0.125, 2.0)
        within("model.dropout", self.dropout, 0.0, 0.9)
        self._only("separable", SEPARABLE)
        self._only("blocks", ("plain",))
        self._only("kernel", ("plain",))
        one_of("model.blocks", self.blocks, (0, 4, 5, 6, 7, 8))
        one_of("model.kernel", self.kernel, (0, *range(3, 26, 2)))

    def check(self, shape: tuple[int, ...], sample_rate: int) -> None:
        """Refuse a crop that is too short for the net."""
        least = VARIANTS[self.variant].shortest(self, sample_rate)
        if shape[1] < least:
            raise ValueError(
                f"model.variant {self.variant!r} needs {least} samples ({least / sample_rate:.2f} s at {sample_rate} "
                f"Hz), a crop has {shape[1]}; choose a longer data.crop or another model.variant"
            )

    def _only(self, field: str, variants: tuple[str, ...]) -> None:
        """Refuse a field that the variant does not read."""
        value = getattr(self, field)
        if value and self.variant not in variants:
            raise ValueError(
                f"model.{field} is {value!r}, expected {type(value)()!r} with model.variant {self.variant!r}; "
                f"only {' and '.join(variants)} can have it"
            )


class RawCnn(nn.Module):
    """Wave [B, C, any T] -> logits [B, K]; a wave shorter than the net needs is followed by silence.

    Args:
        config: which net.
        context: its examples are the crops that the net is made for.

    Raises:
        ValueError: such a crop is too short for the net.
    """

    channels_last: ClassVar[bool] = False  # of the batch, which is no image; the net sees to itself

    def __init__(self, config: RawCnnConfig, context: NetContext) -> None:
        super().__init__()
        config.check(context.in_shape, context.sample_rate)
        variant = VARIANTS[config.variant]
        parts, self.shortest = variant.build(config, context), variant.shortest(config, context.sample_rate)
        self.front, self.body, self.head = parts.front, parts.body, parts.head
        for weight in self.parameters():
            if weight.dim() == 4:
                weight.data = weight.data.to(memory_format=torch.channels_last)

    def forward(self, wave_BCT: Tensor) -> Tensor:
        missing = self.shortest - wave_BCT.shape[-1]
        if missing > 0:
            wave_BCT = functional.pad(wave_BCT, (0, missing))
        x_BC1T = wave_BCT.unsqueeze(2).to(
            memory_format=torch.channels_last
        )  # `contiguous` would not restride
        return self.head(self.body(self.front(x_BC1T)))
