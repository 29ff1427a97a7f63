"""The training loop: one recipe, some clips, one seed. It speaks through a callback and writes nothing.

Shape letters: B batch, T samples, N clips, K classes.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from .chance import Chance
from .classifier import Classifier, Views, predict
from .clips import ClipSet
from .inputs import KEEP, Inputs
from .optim import Average, Layered, compiled, optimiser, set_rate
from .precision import autocast
from .recipe import Recipe
from .schedule import Plateau, rate
from .scores import accuracy, log_loss

EVALUATION = 32  # windows in a batch: more is slower on a CPU (cache)


class Diverged(ValueError):
    """The loss is no longer a finite number."""

    def __init__(self, epoch: int) -> None:
        super().__init__(f"the loss was no finite number in epoch {epoch}")
        self.epoch = epoch

    def __reduce__(self) -> tuple[type["Diverged"], tuple[int]]:  # pickled by its epoch, not by its sentence
        return Diverged, (self.epoch,)


@dataclass(frozen=True)
class EpochScore:
    """What is known at the end of an epoch."""

    epoch: int  # 1..
    train_loss: float  # mean over the epoch, with its augmentation, smoothing and dropout
    valid_loss: float | None
    valid_accuracy: float | None
    lr: float  # of the last step
    seconds: float


@dataclass(frozen=True)
class Fitted:
    """What a training leaves behind: the last weights (or their moving average), never the best."""

    classifier: Classifier
    scores: tuple[EpochScore, ...]
    valid_probabilities: np.ndarray | None  # float32 [N, K] of the validation clips


def fit(
    recipe: Recipe,
    train: ClipSet,
    valid: ClipSet | None,
    *,
    epochs: int,
    stop_after: int | None = None,
    seed: int,
    device: str | torch.device = "cpu",
    on_epoch: Callable[[EpochScore], None] = lambda score: None,
) -> Fitted:
    """Train on `train`, judge on `valid` after every epoch.

    The schedule runs over `epochs` even if only `stop_after` of them are trained, so that a stopped run is the
    beginning of the long one. All chance comes from `seed`; torch's global generators neither matter nor change.
    Whatever `on_epoch` raises ends the training.

    Raises:
        Diverged: the loss became NaN or infinite.
        ValueError: fewer than two training clips, no validation clips, or clips that do not fit the recipe.
    """
    stop = epochs if stop_after is None else stop_after
    _check(recipe, train, valid, epochs, stop)
    device = torch.device(device)
    chance = Chance(seed, device)
    with chance.own():
        model = Classifier.fresh(recipe, train.classes, device)
    trainer = _Trainer(model, train, chance, epochs)
    judge = None if valid is None else _Judge(model, valid)
    scores, probabilities = [], None
    for epoch in range(1, stop + 1):
        began = time.perf_counter()
        with chance.own():
            train_loss = trainer.epoch(epoch)
        valid_loss = valid_accuracy = None
        if judge is not None:
            probabilities = judge.probabilities(trainer.result)
            valid_loss, valid_accuracy = judge.scores(probabilities)
            if trainer.plateau and epoch / epochs >= recipe.schedule.warmup:  # a rate that rises cannot stall
                trainer.plateau.observe(valid_loss)
        if not math.isfinite(train_loss) or not math.isfinite(valid_loss or 0.0):
            raise Diverged(epoch)
        seconds = time.perf_counter() - began
        scores.append(EpochScore(epoch, train_loss, valid_loss, valid_accuracy, trainer.lr, seconds))
        on_epoch(scores[-1])
    net = trainer.result.eval().requires_grad_(False)
    return Fitted(Classifier(recipe, train.classes, model.feature, net), tuple(scores), probabilities)


def _check(recipe: Recipe, train: ClipSet, valid: ClipSet | None, epochs: int, stop: int) -> None:
    if len(train) < 2:
        raise ValueError(f"training needs at least 2 clips, got {len(train)}")
    if valid is not None and len(valid) == 0:
        raise ValueError("there are no validation clips; pass None to train without")
    if not 1 <= stop <= epochs:
        raise ValueError(f"stop_after is {stop}, expected 1 to epochs = {epochs}")
    if valid is None and recipe.schedule.name == "plateau":
        raise ValueError(
            "schedule is 'plateau', which needs validation clips; take 'step' with schedule.at instead"
        )
    if train.sample_rate != recipe.data.sample_rate:
        raise ValueError(f"clips at {train.sample_rate} Hz, the recipe wants {recipe.data.sample_rate} Hz")
    if valid is not None and valid.classes != train.classes:
        raise ValueError(f"training classes {train.classes}, validation classes {valid.classes}")


class _Judge:
    """The validation clips; their features are computed once for all epochs."""

    def __init__(self, model: Classifier, valid: ClipSet) -> None:
        self.label_N = valid.labels
        self.views = Views(valid, model.recipe, model.feature, model.device, EVALUATION)
        size = 4 * len(self.views.rows) * math.prod(model.feature.shape(model.recipe.data.crop_samples))
        fits = model.feature.gives == "spectrogram" and size <= KEEP  # samples are read again as int16
        self.batches = list(self.views) if fits else self.views

    def probabilities(self, net: nn.Module) -> np.ndarray:
        """float32 [N, K]."""
        return self.views.by_clip(predict(net, self.batches))

    def scores(self, prob_NK: np.ndarray) -> tuple[float, float]:
        """Log loss and accuracy."""
        return log_loss(prob_NK, self.label_N), accuracy(prob_NK.argmax(axis=1), self.label_N)


class _Trainer:
    """The moving parts of a training: net, optimiser, average, step count."""

    def __init__(self, model: Classifier, train: ClipSet, chance: Chance, epochs: int) -> None:
        self.recipe, self.net, self.chance, self.device = model.recipe, model.net, chance, model.device
        self.inputs = Inputs(model, train, chance)
        optim = self.recipe.optim
        self.count, self.step, self.lr = len(train), 0, 0.0
        self.epochs, self.steps = epochs, epochs * len(self._batches())
        self.optimiser = optimiser(optim, self.net)
        self.average = Average(self.net, optim) if optim.ema or optim.swa else None
        self.plateau = Plateau(self.recipe.schedule) if self.recipe.schedule.name == "plateau" else None
        self.forward = compiled(optim, self.net)
        smooth, K = optim.label_smoothing, len(train.classes)
        self.target_KK = (torch.eye(K) * (1 - smooth) + smooth / K).to(self.device)
        self.label_N = torch.from_numpy(train.labels).to(self.device)

    @property
    def result(self) -> nn.Module:
        """The net to judge and to keep."""
        return self.average.net if self.average and self.average.begun else self.net

    def _batches(self) -> list[int]:
        """First places of the batches; a last batch of one clip is dropped: batch norm cannot train on it."""
        return list(range(0, self.count - 1, self.recipe.optim.batch))

    def epoch(self, number: int) -> float:
        """One pass over the training clips; their mean loss. No step waits for the device."""
        if isinstance(self.net, Layered):
            self.net.thaw(number)
        self.net.train()
        order = torch.randperm(self.count, generator=self.chance.order)
        total, seen = torch.zeros((), device=self.device), 0
        for at in self._batches():
            rows = order[at : at + self.recipe.optim.batch]
            total += self._step(rows) * len(rows)
            seen += len(rows)
        return total.item() / seen

    def _step(self, rows: Tensor) -> Tensor:
        optim = self.recipe.optim
        target_BK = self.target_KK[self.label_N[rows.to(self.device, non_blocking=True)]]
        x, target_BK = self.inputs.batch(rows, target_BK)
        loss = self._gradients(x, target_BK)
        if optim.clip_norm:
            nn.utils.clip_grad_norm_(self.net.parameters(), optim.clip_norm)
        drops = self.plateau.drops if self.plateau else 0
        progress = self.step / self.steps
        self.lr = optim.lr * rate(self.recipe.schedule, progress, epochs=self.epochs, drops=drops)
        set_rate(self.optimiser, self.lr)
        self.optimiser.step()
        if self.average:
            self.average.update(self.step, self.steps)
        self.step += 1
        return loss

    def _gradients(self, x: Tensor, target_BK: Tensor) -> Tensor:
        """The mean loss of a batch; its gradients are left in the net. In parts if the recipe accumulates."""
        optim, B = self.recipe.optim, len(x)
        self.optimiser.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        size = max(2, -(-B // optim.accumulate))
        for part, wanted in _parts(x, target_BK, size):
            with autocast(optim, self.device):
                logits = self.forward(part)
            loss = functional.cross_entropy(logits.float(), wanted) * (len(part) / B)
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        return total


def _parts(x: Tensor, target_BK: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Examples and targets in parts of `size`; a single one that is left over goes with the last part."""
    ends = list(range(size, len(x) - 1, size)) + [len(x)]
    for begin, end in zip([0, *ends], ends, strict=False):
        yield x[begin:end], target_BK[begin:end]
