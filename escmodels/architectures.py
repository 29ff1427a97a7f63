"""The table of model families. Choices come from the config, facts about data from the NetContext."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import nn

from .crnn import Crnn, CrnnConfig
from .mel_cnn import MelCnn, MelCnnConfig
from .piczak import Piczak, PiczakConfig
from .raw_cnn import RawCnn, RawCnnConfig
from .resnet import Resnet, ResnetConfig

ModelConfig = MelCnnConfig | RawCnnConfig | CrnnConfig | ResnetConfig | PiczakConfig


@dataclass(frozen=True)
class NetContext:
    """What a builder must know that is not a choice."""

    in_shape: tuple[int, ...]  # of one example: [C, M, N] spectrogram, [1, T] waveform
    sample_rate: int  # Hz
    n_classes: int
    pretrained: bool = True  # False: never touch weight files, the weights will be loaded from elsewhere


@dataclass(frozen=True)
class Architecture:
    """A row of the table: `takes` is what the feature must give, "spectrogram" or "waveform"."""

    config: type[ModelConfig]
    build: Callable[..., nn.Module]  # (config, context)
    takes: str


ARCHITECTURES = {
    "mel_cnn": Architecture(MelCnnConfig, MelCnn, takes="spectrogram"),
    "piczak": Architecture(PiczakConfig, Piczak, takes="spectrogram"),
    "raw_cnn": Architecture(RawCnnConfig, RawCnn, takes="waveform"),
    "crnn": Architecture(CrnnConfig, Crnn, takes="spectrogram"),
    "resnet": Architecture(ResnetConfig, Resnet, takes="spectrogram"),
}
AXES = {"spectrogram": 3, "waveform": 2}  # of one example


def name_of(config: ModelConfig) -> str:
    """The family a config belongs to."""
    for name, family in ARCHITECTURES.items():
        if isinstance(config, family.config):
            return name
    raise ValueError(f"{config!r} is no model config, known architectures: {sorted(ARCHITECTURES)}")


def build(config: ModelConfig, context: NetContext, pretrained: bool = True) -> nn.Module:
    """A fresh net; its class says in `channels_last` whether that memory format pays.

    Args:
        pretrained: False never opens weight files, for a net whose weights are loaded next.

    Raises:
        ValueError: the config is of no family, or the feature is not what the family takes.
        resnet.WeightsUnavailable: the pretrained weights asked for cannot be had.
    """
    name = name_of(config)
    takes = ARCHITECTURES[name].takes
    if len(context.in_shape) != AXES[takes]:
        raise ValueError(
            f"{name} takes a {takes}, the feature has shape {list(context.in_shape)}; choose another feature"
        )
    return ARCHITECTURES[name].build(config, replace(context, pretrained=pretrained and context.pretrained))


def parameters(net: nn.Module) -> int:
    """Number of trainable weights."""
    return sum(p.numel() for p in net.parameters() if p.requires_grad)
