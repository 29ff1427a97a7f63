"""What moves the weights: the optimiser of a recipe, and the average of what it does."""

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from .checks import one_of, within

MOMENTUM = 0.9


@dataclass(frozen=True)
class OptimConfig:
    """The optimiser and what goes with it."""

    name: str = "adamw"  # adamw, adam (its weight decay is added to the gradient), or sgd (Nesterov)
    lr: float = 1e-3  # peak rate
    weight_decay: float = 1e-2  # not on norms and biases
    batch: int = 32  # clips between two steps
    momentum: float = MOMENTUM  # sgd
    label_smoothing: float = 0.0  # share of the target spread evenly over all classes
    ema: float = 0.0  # decay per step of the moving average of the weights; 0 = off
    swa: float = 0.0  # share of the run, at its end, over which the weights are averaged equally; 0 = off
    clip_norm: float = 0.0  # largest norm of the whole gradient; 0 = any
    accumulate: int = (
        1  # parts that a batch is computed in, one after the other: for batches beyond the memory
    )
    precision: str = (
        "float32"  # or bfloat16 (autocast); nothing chooses for you, so that a recipe says it all
    )
    compile: str = (
        "none"  # none, default or graphs (CUDA graphs): torch.compile, which takes a minute at first
    )

    def __post_init__(self) -> None:
        one_of("optim.name", self.name, ("adamw", "adam", "sgd"))
        within("optim.lr", self.lr, 1e-8, 10.0)
        within("optim.weight_decay", self.weight_decay, 0.0, 1.0)
        within("optim.batch", self.batch, 2, 4096)
        within("optim.momentum", self.momentum, 0.0, 0.999)
        within("optim.label_smoothing", self.label_smoothing, 0.0, 0.9)
        within("optim.ema", self.ema, 0.0, 0.99999)
        within("optim.swa", self.swa, 0.0, 0.9)
        within("optim.clip_norm", self.clip_norm, 0.0, 1e6)
        within("optim.accumulate", self.accumulate, 1, 64)
        one_of("optim.precision", self.precision, ("float32", "bfloat16"))
        one_of("optim.compile", self.compile, ("none", "default", "graphs"))
        if self.name != "sgd" and self.momentum != MOMENTUM:
            raise ValueError(
                f"optim.momentum is {self.momentum}, expected {MOMENTUM} with optim.name: {self.name}: only sgd takes "
                "another"
            )
        if self.ema and self.swa:
            raise ValueError(
                f"optim.ema is {self.ema} and optim.swa is {self.swa}, expected one average of the weights: set one "
                "of the two to 0"
            )
        if self.compile == "graphs" and self.accumulate > 1:
            raise ValueError(
                f"optim.accumulate is {self.accumulate}, expected 1 with optim.compile: graphs, which would write the "
                "next part's gradients over the last one's"
            )
        if self.batch < 2 * self.accumulate:
            raise ValueError(
                f"optim.accumulate is {self.accumulate}, expected at most {self.batch // 2} with optim.batch: "
                f"{self.batch}: batch norm needs two clips in each part"
            )


@runtime_checkable
class Layered(Protocol):
    """A net whose layers learn at rates, and from epochs, of their own."""

    @property
    def lr_factors(self) -> list[float]:
        """Factor of the learning rate of each group of `layers()`."""
        ...

    def layers(self) -> list[list[nn.Parameter]]:
        """All weights in groups, from the input to the head."""
        ...

    def thaw(self, epoch: int) -> None:
        """To be called before each epoch (1..): what was frozen until then is trained from now on."""
        ...


def optimiser(config: OptimConfig, net: nn.Module) -> torch.optim.Optimizer:
    """Fused (2.5-2.9x faster than foreach), without weight decay on norms and biases (tensors with one axis).

    Weights that are frozen now are in it, in groups of their own: a step leaves weights without a gradient alone, but
    torch's fused SGD cannot give some weights of a group their momentum at a later step than the others.
    """
    layers = list(zip(net.lr_factors, net.layers(), strict=True)) if isinstance(net, Layered) else []
    parts: dict[tuple[float, float, bool], list[nn.Parameter]] = {}  # few: each is a call of its own a step
    for factor, weights in layers or [(1.0, list(net.parameters()))]:
        for p in weights:
            decay = config.weight_decay if p.ndim > 1 else 0.0
            parts.setdefault((factor, decay, p.requires_grad), []).append(p)
    groups = [
        {"params": weights, "weight_decay": decay, "lr": config.lr * factor, "factor": factor}
        for (factor, decay, _), weights in parts.items()
    ]
    if config.name == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr, fused=True)
    if config.name == "adam":
        return torch.optim.Adam(groups, lr=config.lr, fused=True)
    momentum = config.momentum
    return torch.optim.SGD(groups, lr=config.lr, momentum=momentum, nesterov=momentum > 0, fused=True)


def set_rate(optimiser: torch.optim.Optimizer, lr: float) -> None:
    """The learning rate of the next steps; each group takes it times its own factor."""
    for group in optimiser.param_groups:
        group["lr"] = lr * group["factor"]


def compiled(config: OptimConfig, net: nn.Module) -> Callable[[Tensor], Tensor]:
    """The forward pass of training: the net itself, or what torch.compile makes of it at the first step.

    Each batch size (the last batch of an epoch is smaller) is compiled for itself: convolutions want known sizes.
    """
    if config.compile == "none":
        return net
    mode = "reduce-overhead" if config.compile == "graphs" else "default"
    with warnings.catch_warnings():
        # importing its compiler, torch 2.11 calls a function of its own that it has given up
        warnings.filterwarnings("ignore", message=r".*torch\.jit\.", category=DeprecationWarning)
        return torch.compile(net, mode=mode, dynamic=False)


class Average:
    """The average of a net over its steps: exponential (`ema`), or equal over the end of the run (`swa`).

    The decay of the exponential one rises with the step, (1 + t) / (10 + t), up to its value. The equal one is
    stochastic weight averaging (Izmailov et al. 2018, arXiv 1803.05407), of every step instead of every epoch; until
    its share of the run has `begun`, `net` is the net that training started with.

    The running statistics of batch norm are averaged with the weights: those of the net belong to its latest
    weights, while the mean of a layer's output is linear in its weights, so that the average fits the average.
    """

    def __init__(self, net: nn.Module, config: OptimConfig) -> None:
        assert config.ema or config.swa, "an average that was not asked for"
        self.ema, self.swa = config.ema, config.swa
        self.taken = 0  # steps in the average
        self.net = copy.deepcopy(net).requires_grad_(False)
        for module in self.net.modules():
            if isinstance(module, nn.RNNBase):  # cuDNN wants the weights in one piece, a copy scatters them
                module.flatten_parameters()
        self._mine, self._my_counts = _state(self.net)
        self._theirs, self._their_counts = _state(net)

    @property
    def begun(self) -> bool:
        """Whether `net` is the one to judge and to keep; until then it is the trained one."""
        return self.ema > 0 or self.taken > 0

    @torch.no_grad()
    def update(self, step: int, steps: int) -> None:
        """Take in the weights as they are after step number `step` (0..) of `steps` of the whole run."""
        if self.ema:
            share = 1 - min(self.ema, (1 + step) / (10 + step))
        elif steps - step <= max(1.0, self.swa * steps + 1e-9):  # rounding must not cost a step
            share = 1 / (1 + self.taken)
        else:
            return
        self.taken += 1
        torch._foreach_lerp_(self._mine, self._theirs, share)
        if self._my_counts:  # torch takes no empty list
            torch._foreach_copy_(self._my_counts, self._their_counts)


def _state(net: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Weights and float buffers; whole-number buffers (counters of batch norm)."""
    tensors = [tensor.detach() for tensor in (*net.parameters(), *net.buffers())]
    return [t for t in tensors if t.is_floating_point()], [t for t in tensors if not t.is_floating_point()]
