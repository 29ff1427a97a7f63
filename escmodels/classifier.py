"""A classifier of sounds: waveform in, class probabilities out. Packed as safetensors and JSON, never pickle.

Shape letters: B batch, T samples, K classes, N clips, W windows.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .architectures import NetContext
from .architectures import build as build_net
from .clips import ClipSet, quantise
from .features import Feature
from .features import build as build_feature
from .folded import folded
from .recipe import Recipe, flatten, parse
from .resident import reader

FORMAT = 2  # of the packed folder; raise it when older code could not read it
CONFIG, WEIGHTS = "config.json", "weights.safetensors"


def waves(int_BT: Tensor, device: str | torch.device) -> Tensor:
    """int16 samples as float32 in [-1, 1) on the device: a quarter of the traffic of float64, half of float32."""
    return int_BT.to(device, non_blocking=True).float().div_(32768)


def predict(net: nn.Module, batches: Iterable[Tensor]) -> np.ndarray:
    """Softmax of a net in evaluation mode over batches of features: float32 [W, K]. The net keeps its mode."""
    with torch.inference_mode():
        judge = folded(net)
        return torch.cat([judge(x).float().softmax(dim=1) for x in batches]).cpu().numpy()


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


class Classifier:
    """A recipe with its feature module and its net."""

    def __init__(self, recipe: Recipe, classes: tuple[str, ...], feature: Feature, net: nn.Module) -> None:
        self.recipe, self.classes, self.feature, self.net = recipe, classes, feature, net

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

    def probabilities(self, clips: ClipSet, batch: int = 32) -> np.ndarray:
        """Mean softmax over the windows of each clip: float32 [N, K]."""
        views = Views(clips, self.recipe, self.feature, self.device, batch)
        if len(clips) == 0:
            return np.zeros((0, len(self.classes)), dtype=np.float32)
        return views.by_clip(predict(self.net, views))

    def windows(self, wave: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Judge audio of any length by the rule for clips.

        wave: float mono [T] in [-1, 1] at the recipe's sample rate. Returns start and end of every window in
        seconds, float64 [W], and its softmax, float32 [W, K]; silent windows are left out unless all are.
        Raises ValueError for anything but a finite mono wave with at least one sample.
        """
        if wave.ndim != 1 or wave.dtype.kind != "f":
            raise ValueError(f"expected a mono float wave [T], got {wave.dtype} {list(wave.shape)}")
        if len(wave) == 0 or not np.isfinite(wave).all():
            raise ValueError(
                "the audio has no samples" if len(wave) == 0 else "the audio holds NaN or infinity"
            )
        rate, zero, one = self.recipe.data.sample_rate, np.zeros(1, np.int64), np.ones(1, np.int64)
        table = (zero, one * len(wave), zero, one, zero)  # one clip of the first class, whatever it is
        clips = ClipSet(quantise(wave), *table, ("audio",), self.classes, rate)
        views = Views(clips, self.recipe, self.feature, self.device)
        ends = np.minimum(views.begins + views.length, len(wave))
        return views.begins / rate, ends / rate, predict(self.net, views)

    def pack(self, folder: Path) -> None:
        """Write `weights.safetensors` and `config.json` into the folder, which is made if it is not there."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file({k: v.detach().cpu().contiguous() for k, v in self._tensors().items()}, folder / WEIGHTS)
        shape = self.feature.shape(self.recipe.data.crop_samples)
        config = {
            "format": FORMAT,
            "classes": self.classes,
            "feature_shape": shape,
            "values": flatten(self.recipe),
        }
        (folder / CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def unpack(cls, folder: Path, device: str | torch.device = "cpu") -> "Classifier":
        """Read what `pack` wrote; the same probabilities bit for bit. Pretrained weight files are not needed.

        Raises ValueError if the folder holds no packed classifier, or one of another format.
        """
        config = _config(folder)
        recipe, classes = parse(config["values"]), tuple(config["classes"])
        with torch.random.fork_rng(devices=[]):  # the weights drawn here are replaced: chance stays untouched
            packed = cls.fresh(recipe, classes, pretrained=False)
        try:
            stored = load_file(folder / WEIGHTS)
        except (OSError, SafetensorError) as error:
            raise ValueError(f"{folder / WEIGHTS} cannot be read: {error}") from error
        own = packed._tensors()
        wrong = sorted(own.keys() ^ stored.keys())
        wrong += [name for name in own.keys() & stored.keys() if own[name].shape != stored[name].shape]
        if wrong:
            raise ValueError(
                f"{folder / WEIGHTS} does not fit its {CONFIG}: {len(wrong)} tensors, first {wrong[0]!r}"
            )
        for name, tensor in own.items():
            tensor.copy_(stored[name])
        packed.net.eval().requires_grad_(False)
        return cls(recipe, classes, packed.feature.to(device), packed.net.to(device))

    def _tensors(self) -> dict[str, Tensor]:
        parts = {"feature": self.feature, "net": self.net}
        return {f"{part}.{k}": v for part, module in parts.items() for k, v in module.state_dict().items()}


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder} holds no packed classifier: {CONFIG} cannot be read ({error})") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        found = config.get("format") if isinstance(config, dict) else None
        raise ValueError(f"{folder / CONFIG} is of format {found!r}, this version reads format {FORMAT}")
    return config
