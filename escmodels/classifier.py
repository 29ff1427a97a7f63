"""A classifier of sounds: waveform in, class probabilities out.

Shape letters: B batch, T samples, K classes, N clips, W windows.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from . import packed
from .architectures import NetContext
from .architectures import build as build_net
from .calibration import apply_temperature
from .clips import ClipSet, quantise
from .features import Feature
from .features import build as build_feature
from .folded import folded
from .recipe import Recipe, flatten, parse
from .resident import reader


def waves(int_BT: Tensor, device: str | torch.device) -> Tensor:
    """int16 samples as float32 in [-1, 1) on the device: a quarter of the traffic of float64, half of float32."""
    return int_BT.to(device, non_blocking=True).float().div_(32768)


def predict(net: nn.Module, batches: Iterable[Tensor]) -> np.ndarray:
    """Softmax of a net in evaluation mode over batches of features: float32 [W, K]. The net keeps its mode."""
    return softmax(folded(net), batches)


def softmax(net: nn.Module, batches: Iterable[Tensor]) -> np.ndarray:
    """The same of a net that is folded already."""
    with torch.inference_mode():
        return torch.cat([net(x).float().softmax(dim=1) for x in batches]).cpu().numpy()


class Views:
    """The evaluation windows of clips as batches of features: windows of `data.crop`, half a crop apart.

    Iterating computes them; `list(views)` keeps them. Every judgement of clips and of long audio goes through
    here, so that one rule holds for all (silent windows are left out, see `ClipSet.windows`).
    """

    def __init__(
        self, clips: ClipSet, recipe: Recipe, feature: Feature, device: torch.device, batch: int = 32
    ) -> None:
        if clips.sample_rate != recipe.data.sample_rate:
            raise ValueError(
                f"clips at {clips.sample_rate} Hz, the recipe wants {recipe.data.sample_rate} Hz"
            )
        self.clips, self.recipe, self.feature, self.device, self.batch = clips, recipe, feature, device, batch
        self.length, self.reader = recipe.data.crop_samples, reader(clips, device)
        self.rows, self.begins = clips.windows(
            self.length, hop=max(1, self.length // 2), least=recipe.data.views
        )

    def __iter__(self) -> Iterator[Tensor]:
        for at in range(0, len(self.rows), self.batch):
            part = slice(at, at + self.batch)
            pad = self.recipe.data.pad
            int_BT = self.reader.take(self.rows[part], self.begins[part], self.length, pad)
            with torch.inference_mode():
                x = self.feature(waves(int_BT, self.device))
            yield x

    def by_clip(self, prob_WK: np.ndarray) -> np.ndarray:
        """Mean over the windows of each clip: float32 [N, K]."""
        first_N = np.searchsorted(self.rows, np.arange(len(self.clips)))
        count_N = np.bincount(self.rows, minlength=len(self.clips))
        sum_NK = np.add.reduceat(prob_WK.astype(np.float64), first_N)
        return (sum_NK / count_N[:, None]).astype(np.float32)


class Judged(NamedTuple):
    """What a model says of one sound. Silent windows are left out unless all are."""

    start_W: np.ndarray  # float64, seconds
    end_W: np.ndarray
    prob_WK: np.ndarray  # float32: of each window
    clip_K: np.ndarray  # float32: of the whole


class Judge(ABC):
    """What judges sounds: clips of a set, or audio of any length, by one rule.

    A window has the softmax of the net, a sound the mean over its windows; the temperature comes last, on either.
    """

    recipe: Recipe
    classes: tuple[str, ...]
    temperature: float  # 1 leaves every probability as it is, bit for bit

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the net is."""

    @abstractmethod
    def softmax(self, clips: ClipSet, batch: int = 32) -> tuple[Views, np.ndarray]:
        """The windows of clips and what the net says of each, before the temperature: float32 [W, K]."""

    @abstractmethod
    def pack(self, folder: Path) -> None:
        """Write it into a folder, which is made if it is not there."""

    def probabilities(self, clips: ClipSet, batch: int = 32) -> np.ndarray:
        """Of each clip: float32 [N, K]."""
        if len(clips) == 0:
            return np.zeros((0, len(self.classes)), dtype=np.float32)
        views, prob_WK = self.softmax(clips, batch)
        return apply_temperature(views.by_clip(prob_WK), self.temperature)

    def judge(self, waves: Sequence[np.ndarray]) -> list[Judged]:
        """Judge sounds of any length; windows of several share a batch, which is faster than one by one.

        waves: float mono [T] in [-1, 1] at the recipe's sample rate, each with another T.
        Raises ValueError for anything but finite mono waves with at least one sample.
        """
        if not waves:
            return []
        for wave in waves:
            _check(wave)
        rate, length_N = self.recipe.data.sample_rate, np.array([len(wave) for wave in waves])
        zero_N = np.zeros(len(waves), dtype=np.int64)  # all of the first class, whatever they are
        clips = ClipSet(
            np.concatenate([quantise(wave) for wave in waves]),
            *(np.cumsum(length_N) - length_N, length_N, zero_N, zero_N + 1, zero_N),
            *(("audio",) * len(waves), self.classes, rate),
        )
        views, prob_WK = self.softmax(clips)
        clip_NK = apply_temperature(views.by_clip(prob_WK), self.temperature)
        prob_WK = apply_temperature(prob_WK, self.temperature)
        end_W = np.minimum(views.begins + views.length, length_N[views.rows])
        bound = np.searchsorted(views.rows, np.arange(1, len(waves)))
        parts = (np.split(of_W, bound) for of_W in (views.begins / rate, end_W / rate, prob_WK))
        return [Judged(*one) for one in zip(*parts, clip_NK, strict=True)]

    def windows(self, wave: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Start and end of every window of one sound in seconds, float64 [W], and its probabilities [W, K]."""
        return self.judge([wave])[0][:3]


def _check(wave: np.ndarray) -> None:
    if wave.ndim != 1 or wave.dtype.kind != "f":
        raise ValueError(f"expected a mono float wave [T], got {wave.dtype} {list(wave.shape)}")
    if len(wave) == 0 or not np.isfinite(wave).all():
        raise ValueError("the audio has no samples" if len(wave) == 0 else "the audio holds NaN or infinity")


class Classifier(Judge):
    """A recipe with its feature module and its net."""

    def __init__(
        self,
        recipe: Recipe,
        classes: tuple[str, ...],
        feature: Feature,
        net: nn.Module,
        temperature: float = 1.0,
    ) -> None:
        self.recipe, self.classes, self.feature, self.net = recipe, classes, feature, net
        self.temperature = temperature
        self._folded: nn.Module | None = None  # of a net that is trained no more

    @classmethod
    def fresh(
        cls,
        recipe: Recipe,
        classes: tuple[str, ...],
        device: str | torch.device = "cpu",
        pretrained: bool = True,
    ) -> "Classifier":
        """An untrained one. Weights are drawn from torch's global generator on the CPU, on every device alike."""
        feature = build_feature(recipe.feature, recipe.data.sample_rate)
        shape = feature.shape(recipe.data.crop_samples)
        context = NetContext(shape, recipe.data.sample_rate, len(classes))
        net = build_net(recipe.model, context, pretrained)
        memory = torch.channels_last if getattr(net, "channels_last", False) else torch.preserve_format
        # the keyword is missing from the overloads of nn.Module.to that mypy sees
        net = net.to(device=device, memory_format=memory)  # type: ignore[call-overload]
        return cls(recipe, classes, feature.to(device), net)

    @property
    def device(self) -> torch.device:
        """Where the net is."""
        return next(self.net.parameters()).device

    def logits(self, wave_BT: Tensor) -> Tensor:
        """float32 waves in [-1, 1] at the recipe's sample rate -> [B, K]. The net keeps its mode."""
        return self.net(self.feature(wave_BT))

    def softmax(self, clips: ClipSet, batch: int = 32) -> tuple[Views, np.ndarray]:
        views = Views(clips, self.recipe, self.feature, self.device, batch)
        return views, predict(self.net, views) if self._folded is None else softmax(self._folded, views)

    def pack(self, folder: Path) -> None:
        """Write `weights.safetensors` and `config.json` into the folder, which is made if it is not there."""
        packed.write(folder, self.config(), self.tensors())

    @classmethod
    def unpack(cls, folder: Path, device: str | torch.device = "cpu") -> "Classifier":
        """Read what `pack` wrote; the same probabilities bit for bit. Pretrained weight files are not needed.

        Raises ValueError if the folder holds no packed classifier, or one of another format.
        """
        config = packed.read_config(folder)
        if config["members"] != 1:
            raise ValueError(f"{folder} holds {config['members']} classifiers, expected one")
        model = cls.blank(config)
        model.temperature = config["temperature"]
        packed.fill(folder, model.tensors())
        return model.ready(device)

    @classmethod
    def blank(cls, config: dict[str, Any]) -> "Classifier":
        """One whose weights are still to be filled in. Torch's global generators do not change."""
        with torch.random.fork_rng(devices=[]):
            model = cls.fresh(parse(config["values"]), tuple(config["classes"]), pretrained=False)
        model.net.eval().requires_grad_(False)
        return model

    def ready(self, device: str | torch.device) -> "Classifier":
        """On a device, for judging alone: the net must not be trained any more."""
        self.feature, self.net = self.feature.to(device), self.net.to(device)
        self._folded = folded(self.net)
        return self

    def config(self) -> dict[str, Any]:
        """What is packed besides the weights."""
        return {
            "classes": self.classes,
            "temperature": self.temperature,
            "members": 1,
            "feature_shape": self.feature.shape(self.recipe.data.crop_samples),
            "values": flatten(self.recipe),
        }

    def tensors(self) -> dict[str, Tensor]:
        """The weights that are packed, by name."""
        parts = {"feature": self.feature, "net": self.net}
        return {f"{part}.{k}": v for part, module in parts.items() for k, v in module.state_dict().items()}
