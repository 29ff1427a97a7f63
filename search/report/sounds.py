"""The clips that a model gets most wrong, to listen to.

Shape letters: T samples, N clips, K classes.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from escmodels.exams import OutOfFold

from ..datasets.clip import Clip
from ..datasets.waves.audio import AudioError, decode
from ..page import sound, spectrogram

MOST = 12  # clips; a page of them stays below 2 MB
ALIKE = 2  # clips of one true and one predicted class, so that one confusion does not fill the page
SECONDS = 6.0  # of a clip that can be heard


@dataclass(frozen=True)
class Confused:
    """A clip that was taken for something else."""

    name: str
    fold: int
    truth: str
    said: str
    sure: float  # probability of the class that was said, mean over seeds
    knew: float  # probability of the true one


@dataclass(frozen=True)
class Heard:
    """The same with its sound and its picture as data URIs."""

    clip: Confused
    src: str
    image: str


def confused(found: OutOfFold, most: int = MOST) -> list[Confused]:
    """The clips that were wrong with the greatest assurance, worst first."""
    prob_NK = found.prob_SNK.mean(axis=0, dtype=np.float64)
    said_N = prob_NK.argmax(axis=1)
    every_N = np.arange(len(found))
    margin_N = prob_NK[every_N, said_N] - prob_NK[every_N, found.labels]
    seen: Counter[tuple[int, int]] = Counter()
    chosen: list[Confused] = []
    for row in np.argsort(-margin_N, kind="stable"):
        pair = int(found.labels[row]), int(said_N[row])
        if pair[0] == pair[1] or len(chosen) == most:
            break
        seen[pair] += 1
        if seen[pair] <= ALIKE:
            truth, said = (found.classes[index] for index in pair)
            sure, knew = float(prob_NK[row, pair[1]]), float(prob_NK[row, pair[0]])
            chosen.append(Confused(found.names[row], int(found.folds[row]), truth, said, sure, knew))
    return chosen


def hear(chosen: list[Confused], clips: Mapping[str, Clip]) -> list[Heard]:
    """Those of them whose files can be read."""
    heard = []
    for one in chosen:
        clip = clips.get(one.name)
        if clip is None:
            continue
        try:
            wave_T, rate = decode(clip.path, clip.name, clip.start, clip.end)
        except AudioError:
            continue
        shown_T = wave_T[: round(SECONDS * rate)]
        heard.append(Heard(one, sound(wave_T, rate, SECONDS), spectrogram(shown_T, rate)))
    return heard
