"""Every setting of every knob of every shipped space parses, builds and trains a step, in every arm."""

import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from escmodels.clips import ClipSet
from escmodels.fit import fit
from escmodels.recipe import Recipe, flatten, parse
from escmodels.resnet import ResnetConfig
from spaces.domains import Categorical, Domain, Float, Int, Value
from spaces.load import load, shipped
from spaces.space import (
    Space,
    Values,
    below,
    complete,
    contains,
    corner,
    dimensions,
    every,
    paths,
    sample,
    walk,
)

CLASSES = ("a", "b", "c")
CLIPS, BATCH = 4, 4
CROPS = (0.5, 0.75, 1.0, 1.5, 2.5)  # seconds: the width of a net is dear, the length of a clip cheap
HALVED = 32  # frames that image nets want, which halve them five times
LENGTHS = (1.0, 1.4, 0.8)  # of the clips, as shares of the crop, in turn: as long, cut, followed by zeros
DEAR = ("envnet_v2", "resnet50", "densenet201", "convnext_tiny")  # only where nothing else holds a setting
SPACES = [pytest.param(name, marks=pytest.mark.slow if name == "esc50" else ()) for name in shipped()]
Setting = tuple[str, str, Value]  # path, knob, value


def settings(domain: Domain) -> tuple[Value, ...]:
    """Every choice, or both ends and the middle of a range; those that cost little first."""
    match domain:
        case Categorical(choices):
            numbers = all(isinstance(choice, int | float) for choice in choices)
            return tuple(sorted(choices) if numbers else sorted(choices, key=lambda choice: choice in DEAR))
        case Float(low, high) | Int(low, high):
            return tuple(dict.fromkeys((low, domain.middle(), high)))


def covering(space: Space) -> list[Values]:
    """Few points that together hold every setting of every knob in every arm.

    Each point takes what is still missing; a branch is followed where most is missing below it, and what has been
    seen everywhere is left at what costs least.
    """
    missing: set[Setting] = {
        (path, name, value)
        for name, domain, path in every(space)
        if isinstance(domain, Domain)
        for value in settings(domain)
    }

    def draw(name: str, domain: Domain, path: str) -> Value:
        values = settings(domain)

        def open_below(value: Value) -> int:
            step = below(path, name, value)
            deeper = sum(p == step or p.startswith(f"{step}, ") for p, _, _ in missing)
            return deeper + ((path, name, value) in missing)

        return max(values, key=open_below)  # of equals the first

    found = []
    while missing:
        point = walk(space, draw)
        held = {(path, name, point[name]) for name, path in paths(space, point).items()} & missing
        assert held, f"no point holds {sorted(missing)}"
        found.append(point)
        missing -= held
    return found or [complete(space, {})]  # a space of one point


def small(recipe: Recipe) -> Recipe:
    """The recipe with the shortest crop that its net takes, a small batch, and no weight files."""
    if getattr(recipe.model, "weights", "none") == "imagenet":  # no file is touched, the net is the same
        recipe = replace(recipe, model=replace(recipe.model, weights="none"))
    recipe = replace(recipe, optim=replace(recipe.optim, batch=BATCH))
    for crop in CROPS:
        shorter = replace(recipe, data=replace(recipe.data, crop=min(recipe.data.crop, crop)))
        shape = recipe.feature.shape(shorter.data.crop_samples)
        try:
            recipe.model.check(shape, recipe.data.sample_rate)
        except ValueError:
            continue
        if isinstance(recipe.model, ResnetConfig) and shape[-1] < HALVED:
            continue
        return shorter
    return recipe


def noise(sample_rate: int, length: int, count: int = CLIPS) -> ClipSet:
    """Clips of white noise of so many samples."""
    rows = np.arange(count)
    samples = np.random.default_rng(0).integers(-9000, 9000, count * length, dtype=np.int16)
    names = tuple(f"noise-{row}" for row in rows)
    lengths = np.full(count, length)
    return ClipSet(samples, rows * length, lengths, rows % 3, rows % 2 + 1, rows, names, CLASSES, sample_rate)


def trains(point: Values, turn: int) -> None:
    """One step, and a look at clips that were kept for validation."""
    recipe = small(parse(point))
    length = round(LENGTHS[turn % len(LENGTHS)] * recipe.data.crop_samples)
    rate = recipe.data.sample_rate
    fitted = fit(recipe, noise(rate, length), noise(rate, length, 2), epochs=1, seed=0)
    score = fitted.scores[0]
    assert np.isfinite([score.train_loss, score.valid_loss]).all()


@pytest.mark.parametrize("name", shipped())
def test_every_covering_point_and_corner_is_a_recipe_that_flattens_back(name):
    space, rng = load(name), random.Random(1)
    for point in [*covering(space), *(corner(space, rng) for _ in range(100))]:
        assert contains(space, point)
        recipe = parse(point)
        flat = flatten(recipe)
        assert parse(flat) == recipe
        assert {knob: flat[knob] for knob in point} == point


@pytest.mark.parametrize("name", SPACES)
def test_every_setting_of_every_knob_trains_a_step(name):
    for turn, point in enumerate(covering(load(name))):
        try:
            trains(point, turn)
        except Exception as error:  # a warning, too
            raise AssertionError(f"{point} does not train: {error}") from error


@pytest.mark.parametrize("name", SPACES)
def test_points_drawn_by_chance_train_a_step(name):
    space, rng = load(name), random.Random(3)
    points = [sample(space, rng) for _ in range(60 if name == "esc50" else 12)]
    for turn, point in enumerate(points if dimensions(space)[1] else points[:1]):
        try:
            trains(point, turn)
        except Exception as error:
            raise AssertionError(f"{point} does not train: {error}") from error


@pytest.mark.parametrize("name", shipped())
def test_covering_points_hold_every_choice_and_range_in_every_arm_and_few_dear_nets(name):
    space = load(name)
    points = covering(space)
    placed = [(point, paths(space, point)) for point in points]
    for knob, domain, path in every(space):
        if isinstance(domain, Domain):
            seen = {point[knob] for point, where in placed if where.get(knob) == path}
            match domain:
                case Categorical(choices):
                    assert seen >= set(choices), (path, knob)
                case _:
                    assert seen >= {*domain.ends(), domain.middle()}, (path, knob)
    dear = Counter(value for point in points for value in point.values() if value in DEAR)
    assert all(count <= 4 for count in dear.values()), dear
    assert len(points) < 100


@pytest.mark.parametrize("name", shipped())
def test_random_points_are_recipes(name):
    space, rng = load(name), random.Random(2)
    for _ in range(200):
        parse(sample(space, rng))
