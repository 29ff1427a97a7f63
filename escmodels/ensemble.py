"""Several classifiers of one recipe that judge together: the mean of what they say.

Shape letters: M members, W windows, K classes.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from . import packed
from .classifier import Classifier, Judge, Views
from .clips import ClipSet


class Ensemble(Judge):
    """Judges as a classifier does, with the mean of its members' softmax in the place of one softmax.

    The members' own temperatures do not matter: the ensemble's comes last. Raises ValueError unless there is a
    member, and all have the same recipe and classes.
    """

    def __init__(self, members: Sequence[Classifier], temperature: float = 1.0) -> None:
        if not members:
            raise ValueError("an ensemble needs at least one classifier")
        first = members[0]
        if any((member.recipe, member.classes) != (first.recipe, first.classes) for member in members):
            raise ValueError("the classifiers of an ensemble must have one recipe and the same classes")
        self.members, self.temperature = tuple(members), temperature
        self.recipe, self.classes = first.recipe, first.classes

    @property
    def device(self) -> torch.device:
        """Where the nets are."""
        return self.members[0].device

    def softmax(self, clips: ClipSet, batch: int = 32) -> tuple[Views, np.ndarray]:
        said = [member.softmax(clips, batch) for member in self.members]  # each has statistics of its own
        prob_MWK = np.stack([prob_WK for _, prob_WK in said])
        return said[0][0], prob_MWK.mean(axis=0, dtype=np.float64).astype(np.float32)

    def pack(self, folder: Path) -> None:
        """As `Classifier.pack`; the weights of all members are in one file."""
        config = self.members[0].config() | {"temperature": self.temperature, "members": len(self.members)}
        tensors = {
            f"{number}.{name}": tensor
            for number, member in enumerate(self.members)
            for name, tensor in member.tensors().items()
        }
        packed.write(folder, config, tensors)


def unpack(folder: Path, device: str | torch.device = "cpu") -> Classifier | Ensemble:
    """Read what either of them packed. Raises ValueError as `Classifier.unpack` does."""
    config = packed.read_config(folder)
    count = config["members"]
    if count == 1:
        return Classifier.unpack(folder, device)
    members = [Classifier.blank(config) for _ in range(count)]
    own = {
        f"{n}.{name}": tensor for n, member in enumerate(members) for name, tensor in member.tensors().items()
    }
    packed.fill(folder, own)
    return Ensemble([member.ready(device) for member in members], config["temperature"])
