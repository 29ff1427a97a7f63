"""Pretrained weights of an image net: found in the hub's cache or a file, fitted to another number of channels.

Shape letters: O channels out, I channels in, h height, w width of a kernel.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

HUB_FILE = "model.safetensors"
PATIENCE = 5.0  # seconds for the hub's first answer


class WeightsUnavailable(ValueError):
    """Pretrained weights that were asked for cannot be had."""


def fetch(name: str, repo: str, file: str = HUB_FILE) -> Path:
    """The file of the weights of backbone `name`, from the hub's cache or the hub.

    Raises:
        WeightsUnavailable: it is not in the cache, and the hub gave none.
    """
    import huggingface_hub as hub
    from huggingface_hub.utils.tqdm import disable_progress_bars

    levels = {logger: logger.level for logger in map(logging.getLogger, ("huggingface_hub", "httpx"))}
    disable_progress_bars()
    try:
        for logger in levels:
            logger.setLevel(logging.CRITICAL)  # its retries and hints are no message to our user
        try:
            return Path(hub.hf_hub_download(repo, file, local_files_only=True))
        except FileNotFoundError:  # LocalEntryNotFoundError: not in the cache
            # one try first: offline, the download itself gives up only after half a minute of retries
            hub.get_session().head(hub.constants.ENDPOINT, timeout=PATIENCE)
            return Path(hub.hf_hub_download(repo, file))
    except Exception as error:  # whatever the hub's HTTP library raises: the reason is in the sentence
        raise WeightsUnavailable(
            f"model.weights is 'imagenet', but {repo} is not in the cache and could not be downloaded "
            f"({type(error).__name__}): set model.weights to the PATH of a local state dict (safetensors or pt) of "
            f"{name}, or to none for random weights"
        ) from error
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)


def read(path: Path) -> dict[str, Tensor]:
    """A state dict from a .safetensors file or from a torch file, which may hold tensors only.

    Raises:
        WeightsUnavailable: there is no such file, or it is no state dict.
    """
    if not path.is_file():
        raise WeightsUnavailable(
            f"model.weights is {str(path)!r}, no such file: give a state dict (safetensors or pt)"
        )
    state: Any
    try:
        if path.suffix == ".safetensors":
            state = safetensors.torch.load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a foreign file raises whatever its bytes lead the reader into
        raise WeightsUnavailable(
            f"model.weights is {str(path)!r}, which is no state dict in safetensors or torch format"
        ) from error
    return state.get("state_dict", state) if isinstance(state, dict) else {}


def adapt(weight_OIhw: Tensor, channels: int) -> Tensor:
    """The weights of a first convolution for another number of input channels [O, channels, h, w].

    One channel gets the sum of all: the same function as feeding it to each. Several get the old ones in turn,
    scaled so that a picture with equal channels gives what it gave (timm's `adapt_input_conv`).
    """
    given = weight_OIhw.shape[1]
    if channels == given:
        return weight_OIhw
    if channels == 1:
        return weight_OIhw.sum(dim=1, keepdim=True)
    repeated = weight_OIhw.repeat(1, math.ceil(channels / given), 1, 1)[:, :channels]
    return repeated * (given / channels)


def load(
    net: nn.Module,
    state: dict[str, Tensor],
    first: Collection[str],
    head: Collection[str],
    source: str,
    name: str,
) -> None:
    """Put the weights into the net; the head stays random where its classes differ.

    Args:
        net: a backbone of timm.
        state: its weights, perhaps for another number of channels and classes.
        first: names of the convolutions that see the input, such as conv1.
        head: names of the layers that give the classes, such as fc.
        source: where the weights come from, for the message.
        name: of the backbone, for the message.

    Raises:
        WeightsUnavailable: the weights are those of another net.
    """
    own = net.state_dict()
    heads = {f"{part}.{kind}" for part in head for kind in ("weight", "bias")}
    state = {k: v for k, v in state.items() if k not in heads or k in own and v.shape == own[k].shape}
    for key in (f"{part}.weight" for part in first):
        if key in own and key in state and state[key].dim() == own[key].dim() == 4:
            state[key] = adapt(state[key], own[key].shape[1])
    counters = {key for key in own if key.endswith("num_batches_tracked")}  # files of old lack them
    wrong = sorted((own.keys() - state.keys() - heads - counters) | (state.keys() - own.keys()))
    wrong += [key for key in own if key in state and state[key].shape != own[key].shape]
    if wrong:
        raise WeightsUnavailable(
            f"model.weights is {source!r}, which does not fit {name}: {len(wrong)} tensors are missing, "
            f"unknown or of another shape, first {wrong[0]!r}; give a state dict of {name} in timm's naming "
            "(a ResNet's is torchvision's too)"
        )
    net.load_state_dict(state, strict=False)
