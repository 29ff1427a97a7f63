"""What a net costs once it is shipped, known before it is trained: its size, its work and its time for one clip."""

import copy
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from statistics import median

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from .chance import Chance
from .classifier import Classifier, Views
from .clips import ClipSet
from .folded import folded
from .recipe import Recipe

WARM_UP = 3  # runs that are not counted: memory is laid out, kernels are chosen
LEAST, MOST = 5, 25  # runs that are counted; from the least on, only as long as there is time
ENOUGH = 1.0  # seconds of counted runs


def costs(
    recipe: Recipe, clips: ClipSet, device: str | torch.device, wanted: Collection[str]
) -> dict[str, float]:
    """The costs that are wanted, of an untrained classifier of the recipe: training changes neither.

    `params`: number of parameters of the net, as it is packed. `macs`: multiply-adds of its convolutions and matrix
    products (recurrent layers included, the feature not) for one clip, mean over the clips. `latency`: median
    milliseconds from the int16 samples of one clip to its probabilities, alone in its batch, over clips spread through
    the set; on a CPU with one thread.
    Torch's global generators neither matter nor change.

    Raises:
        ValueError: a cost that is not known, no clips, or clips that do not fit the recipe.
    """
    if unknown := sorted(set(wanted) - MEASURES.keys()):
        raise ValueError(f"unknown cost {unknown[0]!r}, known: {', '.join(MEASURES)}")
    if not wanted:
        return {}
    with Chance(0, torch.device(device)).own():
        model = Classifier.fresh(
            recipe, clips.classes, device, pretrained=False
        )  # the same net, without the files
    return {name: measure(model, clips) for name, measure in MEASURES.items() if name in wanted}


def noise(length: int, sample_rate: int, classes: Sequence[str] = ("one", "two"), count: int = 1) -> ClipSet:
    """Clips of noise, so many samples each: costs do not hang on what is heard, but silent windows are left out."""
    samples = np.random.default_rng(0).integers(-3000, 3000, count * length, dtype=np.int16)
    each = np.arange(count)
    names = tuple(f"noise-{number}" for number in each)
    lengths = np.full(count, length)
    return ClipSet(
        samples,
        each * length,
        lengths,
        each % len(classes),
        each % 5 + 1,
        each,
        names,
        tuple(classes),
        sample_rate,
    )


def _params(model: Classifier, clips: ClipSet) -> float:
    return float(sum(parameter.numel() for parameter in model.net.parameters()))


def _macs(model: Classifier, clips: ClipSet) -> float:
    if len(clips) == 0:
        raise ValueError("the work for one clip needs at least one clip, got none")
    views = Views(clips, model.recipe, model.feature, model.device)
    # Nothing is computed on the meta device, and recurrent layers come apart into the products they consist of.
    net = copy.deepcopy(model.net).to("meta").eval()
    window = torch.zeros((1, *model.feature.shape(views.length)), device="meta")
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        net(window)
    return counter.get_total_flops() / 2 * len(views.rows) / len(clips)


def _latency(model: Classifier, clips: ClipSet) -> float:
    if len(clips) == 0:
        raise ValueError("the time for one clip needs at least one clip, got none")
    rows = np.linspace(0, len(clips) - 1, min(MOST, len(clips))).astype(int)
    alone = [clips.subset([row]) for row in rows]
    judge = folded(model.net)
    seconds: list[float] = []
    with _one_thread(model.device), torch.inference_mode():
        for clip in alone[:WARM_UP]:
            _classify(model, judge, clip)
        while len(seconds) < LEAST or (len(seconds) < MOST and sum(seconds) < ENOUGH):
            seconds.append(_classify(model, judge, alone[len(seconds) % len(alone)]))
    return 1000 * median(seconds)


def _classify(model: Classifier, judge: nn.Module, clip: ClipSet) -> float:
    """Seconds from the samples of a clip to its probabilities."""
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
    began = time.perf_counter()
    views = Views(clip, model.recipe, model.feature, model.device)
    probs = torch.cat([judge(x).float().softmax(dim=1) for x in views])
    views.by_clip(probs.cpu().numpy())  # waits for the device
    return time.perf_counter() - began


@contextmanager
def _one_thread(device: torch.device) -> Iterator[None]:
    """One thread of this process where the work is done on the CPU, whatever its workers are given."""
    threads = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


MEASURES: dict[str, Callable[[Classifier, ClipSet], float]] = {
    "params": _params,
    "macs": _macs,
    "latency": _latency,
}
