"""Values to typed configs and back: text and numbers are checked once, here, and are right ever after.

Values are one flat dict of scalars. `architecture`, `feature` and `schedule` choose; `data.`, `feature.`,
`augment.`, `model.`, `optim.` and `schedule.` are the fields of the configs that were chosen.
"""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, get_type_hints

from .architectures import ARCHITECTURES, ModelConfig, name_of
from .augment import AugmentConfig
from .checks import one_of, within
from .clips import PADS
from .feature_configs import FeatureConfig, SpectrogramConfig
from .features import FEATURES
from .optim import OptimConfig
from .schedule import ScheduleConfig

Value = str | int | float | bool
CHOICES = ("architecture", "feature", "schedule")
DEFAULT_ARCHITECTURE = "mel_cnn"


@dataclass(frozen=True)
class DataConfig:
    """What a net gets of a clip."""

    sample_rate: int = 22050  # Hz
    crop: float = 5.0  # seconds: the training crop, and the window of evaluation
    pad: str = "zero"  # what follows a clip shorter than the crop: zero, or tile (the clip again)
    views: int = 1  # windows that a clip longer than the crop is judged by, at least (always half a crop apart or less)

    def __post_init__(self) -> None:
        within("data.sample_rate", self.sample_rate, 4000, 192_000)
        within("data.crop", self.crop, 0.1, 60.0)
        one_of("data.pad", self.pad, PADS)
        within("data.views", self.views, 1, 100)

    @property
    def crop_samples(self) -> int:
        """Length of a crop in samples."""
        return round(self.crop * self.sample_rate)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a training but the clips, the seed and the number of epochs."""

    data: DataConfig
    feature: FeatureConfig
    augment: AugmentConfig
    model: ModelConfig
    optim: OptimConfig
    schedule: ScheduleConfig


def parse(values: Mapping[str, Value]) -> Recipe:
    """The recipe of flat values; knobs that are left out take the default of their config.

    Without `feature` the net gets the first that it can take. An integer is accepted where a number is
    wanted. Raises ValueError for a knob that the recipe does not have (naming the nearest), a value of another
    type or outside its range, and choices that do not fit each other.
    """
    architecture = _choice(values, "architecture", ARCHITECTURES, DEFAULT_ARCHITECTURE)
    takes = ARCHITECTURES[architecture].takes
    fitting = [name for name, kind in FEATURES.items() if kind.gives == takes]
    feature = _choice(values, "feature", FEATURES, fitting[0])
    if feature not in fitting:
        raise ValueError(
            f"architecture {architecture!r} takes a {takes}, feature {feature!r} gives a "
            f"{FEATURES[feature].gives}; features that fit: {', '.join(fitting)}"
        )
    configs = _configs(architecture, feature)
    known = knobs(architecture, feature)
    for name in values:
        if name not in known:
            raise ValueError(_stranger(name, known, architecture, feature))
    parts = {prefix: _fill(prefix, config, values) for prefix, config in configs.items()}
    recipe = Recipe(**parts)
    recipe.feature.check(recipe.data.sample_rate)
    recipe.augment.check(takes)
    _check_masks(recipe)
    recipe.model.check(recipe.feature.shape(recipe.data.crop_samples), recipe.data.sample_rate)
    return recipe


def _check_masks(recipe: Recipe) -> None:
    """Masks hide behind zeros: the mean of a normalised spectrogram, the silence of a wave or of PCEN."""
    feature, hidden = recipe.feature, max(recipe.augment.freq_mask, recipe.augment.time_mask)
    if not isinstance(feature, SpectrogramConfig) or feature.compression == "pcen":
        return
    if hidden and feature.normalise == "none":
        raise ValueError(
            f"feature.normalise is 'none', but augment.freq_mask and augment.time_mask hide behind zeros, which in "
            f"{feature.compression!r} are loud: normalise by dataset or clip, or set the masks to 0"
        )


def flatten(recipe: Recipe) -> dict[str, Value]:
    """Every knob of the recipe: `parse(flatten(recipe)) == recipe`."""
    feature = next(name for name, kind in FEATURES.items() if isinstance(recipe.feature, kind.config))
    architecture = name_of(recipe.model)
    values: dict[str, Value] = {"architecture": architecture, "feature": feature}
    for prefix, config in _configs(architecture, feature).items():
        part = getattr(recipe, prefix)
        values |= {_knob(prefix, field.name): getattr(part, field.name) for field in fields(config)}
    return values


def knobs(architecture: str | None = None, feature: str | None = None) -> frozenset[str]:
    """Names of all knobs: of one architecture and feature, or of every one where None is given."""
    names = {"architecture", "feature"}
    for family in [architecture] if architecture else ARCHITECTURES:
        for front in [feature] if feature else FEATURES:
            for prefix, config in _configs(family, front).items():
                names |= {_knob(prefix, field.name) for field in fields(config)}
    return frozenset(names)


def _configs(architecture: str, feature: str) -> dict[str, Any]:
    """The config class behind each prefix, in the order of Recipe's fields."""
    return {
        "data": DataConfig,
        "feature": FEATURES[feature].config,
        "augment": AugmentConfig,
        "model": ARCHITECTURES[architecture].config,
        "optim": OptimConfig,
        "schedule": ScheduleConfig,
    }


def _knob(prefix: str, field: str) -> str:
    return "schedule" if (prefix, field) == ("schedule", "name") else f"{prefix}.{field}"


def _choice(values: Mapping[str, Value], knob: str, table: Mapping[str, object], default: str) -> str:
    name = values.get(knob, default)
    if not isinstance(name, str) or name not in table:
        raise ValueError(f"unknown {knob} {name!r}, known: {', '.join(sorted(table))}")
    return name


def _stranger(name: str, known: frozenset[str], architecture: str, feature: str) -> str:
    """Why a knob is not one of this recipe."""
    if name in knobs():
        choice = f"feature {feature!r}" if name.startswith("feature.") else f"architecture {architecture!r}"
        return f"{choice} has no knob {name!r}"
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.0)
    return f"unknown knob {name!r}; the nearest known is {near[0]!r}"


@cache
def _types(config: type) -> dict[str, type]:
    return get_type_hints(config)


def _fill(prefix: str, config: Any, values: Mapping[str, Value]) -> Any:
    types = _types(config)
    given = ((field.name, _knob(prefix, field.name)) for field in fields(config))
    return config(**{name: _typed(knob, values[knob], types[name]) for name, knob in given if knob in values})


def _typed(knob: str, value: Value, wanted: type) -> Value:
    """The value as the type of its field. A bool is no number, a numeral in quotes is a text."""
    if wanted is float and isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise ValueError(f"{knob} is {value!r}, expected a finite number")
        return float(value)
    if isinstance(value, wanted) and not (wanted is int and isinstance(value, bool)):
        return value
    words = {float: "a number", int: "a whole number", str: "a text", bool: "true or false"}
    raise ValueError(f"{knob} is {value!r} ({type(value).__name__}), expected {words[wanted]}")
