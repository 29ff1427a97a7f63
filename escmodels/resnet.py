"""ResNets of timm on a spectrogram, from ImageNet weights or from scratch. timm is imported when one is built."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import safetensors.torch
import torch
from torch import Tensor, nn

from .checks import one_of, within

if TYPE_CHECKING:
    from .architectures import NetContext

WIDTHS = (64, 128, 256, 512)  # channels of the four stages
HEAD = {"fc.weight", "fc.bias"}
HUB_FILE = "model.safetensors"
PATIENCE = 5.0  # seconds for the hub's first answer


class WeightsUnavailable(ValueError):
    """Pretrained weights that were asked for cannot be had."""


@dataclass(frozen=True)
class ResnetConfig:
    """A ResNet (He et al. 2016); 1 channel with ImageNet weights sums the three colours of the first convolution."""

    name: str = "resnet18"
    channels: int = 1  # 3: the one spectrogram channel is repeated
    weights: str = (
        "imagenet"  # imagenet (timm's hub), none (random), or a PATH (safetensors or pt state dict)
    )
    width: float = (
        1.0  # multiplies the channels of the stages (not of the stem); not 1 only with random weights
    )
    dropout: float = 0.0

    def __post_init__(self) -> None:
        one_of("model.name", self.name, ("resnet18", "resnet34", "resnet50"))
        one_of("model.channels", self.channels, (1, 3))
        within("model.width", self.width, 0.125, 2.0)
        within("model.dropout", self.dropout, 0.0, 0.9)
        if not self.weights:
            raise ValueError(
                "model.weights is empty, expected 'imagenet', 'none' or the path of a weight file"
            )
        if self.width != 1.0 and self.weights != "none":
            raise ValueError(
                f"model.width is {self.width}, expected 1.0 with model.weights = {self.weights!r}: "
                "another width fits no pretrained weights, so it needs model.weights: none"
            )


class Resnet(nn.Module):
    """Spectrogram [B, C, M, any N] -> logits [B, K].

    Raises:
        WeightsUnavailable: `weights` cannot be fetched, found, read or fitted into the net.
    """

    channels_last: ClassVar[bool] = True

    def __init__(self, config: ResnetConfig, context: NetContext) -> None:
        super().__init__()
        given = context.in_shape[0]
        if given not in (1, config.channels):
            raise ValueError(
                f"model.channels is {config.channels}, but the feature has {given} channels: expected 1 or as many"
            )
        import timm  # seconds: only who builds one pays

        self.channels = config.channels
        widths = tuple(max(8, round(width * config.width)) for width in WIDTHS)
        self.net = timm.create_model(
            config.name,
            pretrained=False,
            num_classes=context.n_classes,
            in_chans=config.channels,
            drop_rate=config.dropout,
            channels=widths,
        )
        if context.pretrained and config.weights != "none":
            path = _fetch(config.name) if config.weights == "imagenet" else Path(config.weights).expanduser()
            _load(self.net, _read(path), config)

    def forward(self, x_BCMN: Tensor) -> Tensor:
        return self.net(x_BCMN.expand(-1, self.channels, -1, -1))


def _fetch(name: str) -> Path:
    """The file of timm's ImageNet weights, from the hub's cache or the hub."""
    import huggingface_hub as hub
    import timm
    from huggingface_hub.utils.tqdm import disable_progress_bars

    facts = timm.get_pretrained_cfg(name)
    assert facts is not None and facts.hf_hub_id, f"timm knows no weights of {name}"
    repo = facts.hf_hub_id
    levels = {logger: logger.level for logger in map(logging.getLogger, ("huggingface_hub", "httpx"))}
    disable_progress_bars()
    try:
        for logger in levels:
            logger.setLevel(logging.CRITICAL)  # its retries and hints are no message to our user
        try:
            return Path(hub.hf_hub_download(repo, HUB_FILE, local_files_only=True))
        except FileNotFoundError:  # LocalEntryNotFoundError: not in the cache
            # one try first: offline, the download itself gives up only after half a minute of retries
            hub.get_session().head(hub.constants.ENDPOINT, timeout=PATIENCE)
            return Path(hub.hf_hub_download(repo, HUB_FILE))
    except Exception as error:  # whatever the hub's HTTP library raises: the reason is in the sentence
        raise WeightsUnavailable(
            f"model.weights is 'imagenet', but {repo} is not in the cache and could not be downloaded "
            f"({type(error).__name__}): set model.weights to the PATH of a local state dict (safetensors or pt) of "
            f"{name}, or to none for random weights"
        ) from error
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)


def _read(path: Path) -> dict[str, Tensor]:
    """A state dict from a .safetensors file or from a torch file, which may hold tensors only."""
    if not path.is_file():
        raise WeightsUnavailable(
            f"model.weights is {str(path)!r}, no such file: give a state dict (safetensors or pt)"
        )
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a foreign file raises whatever its bytes lead the reader into
        raise WeightsUnavailable(
            f"model.weights is {str(path)!r}, which is no state dict in safetensors or torch format"
        ) from error
    return state.get("state_dict", state) if isinstance(state, dict) else {}


def _load(net: nn.Module, state: dict[str, Tensor], config: ResnetConfig) -> None:
    """Put the weights into the net; the head stays random where its classes differ."""
    own = net.state_dict()
    state = {k: value for k, value in state.items() if k not in HEAD or value.shape == own[k].shape}
    first = state.get("conv1.weight")
    if first is not None and first.dim() == 4 and first.shape[1] != config.channels:
        summed = first.sum(dim=1, keepdim=True)  # the same function on equal channels
        state["conv1.weight"] = summed.expand(-1, config.channels, -1, -1) / config.channels
    counters = {name for name in own if name.endswith("num_batches_tracked")}  # files of old lack them
    wrong = sorted((own.keys() - state.keys() - HEAD - counters) | (state.keys() - own.keys()))
    wrong += [name for name in own if name in state and state[name].shape != own[name].shape]
    if wrong:
        raise WeightsUnavailable(
            f"model.weights is {config.weights!r}, which does not fit {config.name}: {len(wrong)} tensors are missing, "
            f"unknown or of another shape, first {wrong[0]!r}; give a state dict of {config.name} in timm's or "
            "torchvision's naming"
        )
    net.load_state_dict(state, strict=False)
