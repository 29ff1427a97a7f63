"""Image nets of timm on a spectrogram, from pretrained weights or from scratch. timm is imported when it is needed.

Shape letters: B batch, C channels, H rows of the feature, N frames, K classes.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from .checks import one_of, within
from .weights import HUB_FILE, WeightsUnavailable, fetch, load, read

if TYPE_CHECKING:
    from .architectures import NetContext

__all__ = ["Resnet", "ResnetConfig", "WeightsUnavailable"]

RESNETS = ("resnet18", "resnet34", "resnet50")  # known without importing timm, which takes seconds
WIDTHS = (64, 128, 256, 512)  # channels of their four stages
FREEZES = ("none", "body", "1", "2", "3", "4")


@dataclass(frozen=True)
class ResnetConfig:
    """A ResNet (He et al. 2016, arXiv 1512.03385) or another backbone of timm, and how much of it is trained.

    A feature with another number of channels than the pretrained net gets an adapted first convolution; with one
    channel its three colours are summed, the same function as `replicate` and cheaper.
    """

    name: str = "resnet18"  # resnet18, resnet34, resnet50, or the name of any other backbone of timm
    channels: str = "feature"  # feature: as many as the feature has; replicate: its one channel three times
    weights: str = "imagenet"  # imagenet (timm's default ones), none (random), or a PATH (safetensors or pt)
    width: float = (
        1.0  # multiplies the channels of the stages, not the stem's; resnet* with random weights only
    )
    dropout: float = 0.0  # before the head
    freeze: str = (
        "none"  # what is not trained: none, body (all but the head), or the first 1 to 4 layer groups
    )
    unfreeze: int = 0  # epochs after which the frozen part is trained too; 0 = never
    lr_decay: float = (
        1.0  # learning rate of a layer group as a share of that of the next one towards the head
    )

    def __post_init__(self) -> None:
        if self.name not in RESNETS:
            _known(self.name, self.weights)
        one_of("model.channels", self.channels, ("feature", "replicate"))
        within("model.width", self.width, 0.125, 2.0)
        within("model.dropout", self.dropout, 0.0, 0.9)
        one_of("model.freeze", self.freeze, FREEZES)
        within("model.unfreeze", self.unfreeze, 0, 10_000)
        within("model.lr_decay", self.lr_decay, 0.1, 1.0)
        if not self.weights:
            raise ValueError(
                "model.weights is empty, expected 'imagenet', 'none' or the path of a weight file"
            )
        if self.width != 1.0 and self.weights != "none":
            raise ValueError(
                f"model.width is {self.width}, expected 1.0 with model.weights = {self.weights!r}: "
                "another width fits no pretrained weights, so it needs model.weights: none"
            )
        if self.width != 1.0 and self.name not in RESNETS:
            raise ValueError(
                f"model.width is {self.width}, expected 1.0 with model.name = {self.name!r}: only "
                f"{', '.join(RESNETS)} take another"
            )
        if self.unfreeze and self.freeze == "none":
            raise ValueError(
                f"model.unfreeze is {self.unfreeze}, expected 0 with model.freeze: none, which leaves nothing to "
                "unfreeze"
            )

    def check(self, shape: tuple[int, ...], sample_rate: int) -> None:
        """Refuse channels that cannot be replicated. What else a backbone cannot take shows when it is built."""
        if self.channels == "replicate" and shape[0] != 1:
            raise ValueError(
                f"model.channels is 'replicate', but the feature has {shape[0]} channels: expected 'feature', which "
                "takes them as they are"
            )


class Resnet(nn.Module):
    """Spectrogram [B, C, H, any N] -> logits [B, K]. A backbone of one input size sees it stretched to that size.

    The layer groups are timm's (the four stages of a ResNet, the blocks of a transformer), the stem counted with
    the first of them and what lies between the last of them and the head with the last; the head is the last group.

    Raises:
        WeightsUnavailable: `weights` cannot be fetched, found, read or fitted into the net.
        ValueError: the feature has channels that cannot be replicated, or the backbone cannot take its shape.
    """

    channels_last: ClassVar[bool] = True

    def __init__(self, config: ResnetConfig, context: NetContext) -> None:
        super().__init__()
        config.check(context.in_shape, context.sample_rate)
        import timm  # seconds: only who builds one pays

        self.config = config
        self.channels = 3 if config.channels == "replicate" else context.in_shape[0]
        extra: dict[str, Any] = {}
        if config.width != 1.0:
            extra["channels"] = tuple(max(8, round(width * config.width)) for width in WIDTHS)
        net: Any = timm.create_model(
            config.name,
            pretrained=False,
            num_classes=context.n_classes,
            in_chans=self.channels,
            drop_rate=config.dropout,
            **extra,
        )
        self.net: nn.Module = net
        facts: dict[str, Any] = net.pretrained_cfg  # without what is None
        self.size: tuple[int, int] | None = (
            tuple(facts["input_size"][1:]) if facts.get("fixed_input_size") else None
        )
        head = _names(facts.get("classifier"))
        if context.pretrained and config.weights != "none":
            path = Path(config.weights).expanduser()
            if config.weights == "imagenet":
                path = fetch(config.name, facts["hf_hub_id"], facts.get("hf_hub_filename") or HUB_FILE)
            load(self.net, read(path), _names(facts.get("first_conv")), head, config.weights, config.name)
        self.groups = _groups(self.net, head)  # names of weights
        self.frozen = 0  # groups that are not trained, from the input on
        self._freeze(_frozen(config, len(self.groups)))
        if config.name not in RESNETS:  # those take any shape
            self._try(context)

    def forward(self, x_BCHN: Tensor) -> Tensor:
        if self.size is not None:
            x_BCHN = functional.interpolate(x_BCHN, self.size, mode="bilinear", align_corners=False)
        return self.net(x_BCHN.expand(-1, self.channels, -1, -1))

    def layers(self) -> list[list[nn.Parameter]]:
        """All weights by layer group, from the input to the head."""
        weights = dict(self.net.named_parameters())
        return [[weights[name] for name in names] for names in self.groups]

    @property
    def lr_factors(self) -> list[float]:
        """Factor of the learning rate of each of `layers()`: 1 for the head, `lr_decay` more with each step down."""
        return [self.config.lr_decay**depth for depth in reversed(range(len(self.groups)))]

    def thaw(self, epoch: int) -> None:
        """To be called before each epoch (1..): after `unfreeze` of them the frozen part is trained too."""
        if self.frozen and 0 < self.config.unfreeze < epoch:
            self._freeze(0)

    def train(self, mode: bool = True) -> Resnet:
        """As of every module, but the batch norms of frozen layers keep the statistics that they came with."""
        super().train(mode)
        held = {name for names in self.groups[: self.frozen] for name in names}
        for name, module in self.net.named_modules():
            if isinstance(module, _BatchNorm) and f"{name}.weight" in held:
                module.eval()
        return self

    def _freeze(self, groups: int) -> None:
        self.frozen = groups
        for place, weights in enumerate(self.layers()):
            for p in weights:
                p.requires_grad_(place >= groups)
        self.train(self.training)

    @torch.no_grad()
    def _try(self, context: NetContext) -> None:
        """One silent clip through the net: timm says nowhere what shapes a backbone can take."""
        try:
            shape = tuple(self.eval()(torch.zeros(1, *context.in_shape)).shape)
        except Exception as error:  # whatever its layers raise: the reason is in the sentence
            raise ValueError(
                f"model.name is {self.config.name!r}, which cannot take a spectrogram of shape "
                f"{list(context.in_shape)} ({str(error).strip() or type(error).__name__}): give it another number "
                "of bands or another crop, or take another backbone"
            ) from error
        finally:
            self.train()
        if shape != (1, context.n_classes):
            raise ValueError(
                f"model.name is {self.config.name!r}, which gives {list(shape)} instead of one number a class: "
                "expected a backbone that classifies"
            )


def _known(name: str, weights: str) -> None:
    """Refuse what timm does not have."""
    import timm

    try:
        facts = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    except RuntimeError:  # a name with a tag (resnet18.a1_in1k) that it does not have
        facts = None
    if facts is None:
        near = difflib.get_close_matches(name, [*RESNETS, *timm.list_models()], n=3, cutoff=0.0)
        raise ValueError(
            f"model.name is {name!r}, expected a backbone of timm; the nearest are {', '.join(near)}"
        )
    if weights == "imagenet" and not facts.hf_hub_id:
        raise ValueError(
            f"model.weights is 'imagenet', but timm has none of {name}: expected 'none' or the path of a weight file"
        )


def _names(entry: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """timm writes one name as a text, several as a tuple."""
    return (entry,) if isinstance(entry, str) else tuple(entry or ())


def _groups(net: nn.Module, head: tuple[str, ...]) -> list[list[str]]:
    """Names of the weights by layer group, from the input to the head."""
    from timm.models import group_parameters

    own = [name for name, _ in net.named_parameters()]
    last = [name for name in own if name.startswith(tuple(f"{part}." for part in head))]
    try:
        found = group_parameters(net, net.group_matcher(coarse=True))  # type: ignore[operator]
    except (AttributeError, AssertionError):  # a few nets have no groups: their body is one
        found = {0: own}
    ordered = [found[place] for place in sorted(found)]
    stages = [[name for name in names if name not in last] for names in ordered]
    if len(stages) > 1:
        *stages, beside_head = stages
        stages[-1] += beside_head
    if len(stages) > 1:
        stem, *stages = stages
        stages[0] = stem + stages[0]
    return [*stages, last]


def _frozen(config: ResnetConfig, groups: int) -> int:
    """How many layer groups `freeze` means."""
    if config.freeze in ("none", "body"):
        return 0 if config.freeze == "none" else groups - 1
    if int(config.freeze) >= groups:
        raise ValueError(
            f"model.freeze is {config.freeze!r}, but {config.name} has {groups - 1} layer groups before its head: "
            f"expected at most {str(groups - 1)!r}, or 'body'"
        )
    return int(config.freeze)
