"""Every knob of every shipped space at one of its ends parses, builds and trains one step."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from escmodels.architectures import NetContext, build
from escmodels.clips import ClipSet
from escmodels.features import build as build_feature
from escmodels.fit import fit
from escmodels.recipe import flatten, parse
from spaces.domains import Categorical
from spaces.load import load
from spaces.space import Space, Values, corner, every, paths

SECONDS = 0.5  # of a training clip: the width of a net is dear, the length of a clip cheap
CLASSES = ("a", "b", "c")
SPACES = ["smoke", "demo", "esc10", pytest.param("esc50", marks=pytest.mark.slow)]


def covering(space: Space) -> list[Values]:
    """Few corners that together hold every end of every knob in every arm."""
    rng = random.Random(0)
    missing = {
        (path, name, end)
        for name, domain, path in every(space)
        if hasattr(domain, "ends")
        for end in domain.ends()
    }
    found = []
    for _ in range(5000):
        point = corner(space, rng)
        held = {(path, name, point[name]) for name, path in paths(space, point).items()} & missing
        if held:
            found.append(point)
            missing -= held
    assert not missing, f"no corner holds {missing}"
    return found


def noise(sample_rate: int) -> ClipSet:
    length, rows = round(SECONDS * sample_rate), np.arange(4)
    samples = np.random.default_rng(0).integers(-9000, 9000, 4 * length, dtype=np.int16)
    names = tuple(f"noise-{row}" for row in rows)
    return ClipSet(
        samples, rows * length, np.full(4, length), rows % 3, rows % 2 + 1, rows, names, CLASSES, sample_rate
    )


@pytest.mark.parametrize("name", ["smoke", "demo", "esc10", "esc50"])
def test_every_corner_is_a_recipe_that_flattens_back(name):
    space, rng = load(name), random.Random(1)
    for point in [*covering(space), *(corner(space, rng) for _ in range(100))]:
        recipe = parse(point)
        flat = flatten(recipe)
        assert parse(flat) == recipe
        assert {knob: flat[knob] for knob in point} == point


@pytest.mark.parametrize("name", SPACES)
def test_every_end_of_every_knob_builds_and_trains_a_step(name):
    for point in covering(load(name)):
        recipe = parse(point)
        if point.get("model.weights") == "imagenet":  # no weight file is touched, the net is the same
            recipe = replace(recipe, model=replace(recipe.model, weights="none"))
            context = NetContext(shape(recipe), recipe.data.sample_rate, len(CLASSES))
            build(parse(point).model, context, pretrained=False)
        recipe = replace(
            recipe,
            data=replace(recipe.data, crop=min(recipe.data.crop, SECONDS)),
            optim=replace(recipe.optim, batch=4),
        )
        fitted = fit(recipe, noise(recipe.data.sample_rate), None, epochs=1, seed=0)
        assert np.isfinite(fitted.scores[0].train_loss), point


def shape(recipe) -> tuple[int, ...]:
    wave_BT = torch.zeros(1, round(SECONDS * recipe.data.sample_rate))
    return tuple(build_feature(recipe.feature, recipe.data.sample_rate)(wave_BT).shape[1:])


def test_the_covering_corners_hold_every_choice():
    points = covering(load("esc50"))
    for name, domain, _ in every(load("esc50")):
        if isinstance(domain, Categorical):
            assert set(domain.choices) <= {point[name] for point in points if name in point}, name
