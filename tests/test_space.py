"""Laws of a space: what is open, what a point is, what fixing leaves."""

import random

import pytest

from spaces.domains import Categorical, Float, Int
from spaces.space import (
    Level,
    PointError,
    Space,
    complete,
    contains,
    corner,
    corners,
    dimensions,
    fix,
    names,
    options,
    sample,
    size,
    walk,
)

LOGMEL = Level({"feature.n_mels": Int(40, 128, step=8)})
SPACE = Space(
    "toy",
    "",
    3,
    Level(
        {"optim.lr": Float(1e-4, 1e-2, log=True), "data.sample_rate": 16000},
        {
            "architecture": {
                "mel_cnn": Level(
                    {"model.width": Categorical((16, 32))}, {"feature": {"logmel": LOGMEL, "mfcc": Level()}}
                ),
                "raw_cnn": Level({"model.width": Categorical((32, 64)), "data.crop": 1.5}),
            }
        },
    ),
    defaults=(
        {"architecture": "mel_cnn", "model.width": 32},
        {"architecture": "raw_cnn", "optim.lr": 0.001},
    ),
    lines={"model.width": 5, "architecture=raw_cnn, model.width": 9},
)
SMALL = Space(
    "small",
    "",
    1,
    Level({"a": Int(1, 3)}, {"b": {"x": Level({"c": Categorical((1, 2))}), "y": Level()}}),
)


def points(count, seed=0):
    rng = random.Random(seed)
    return [sample(SPACE, rng) for _ in range(count)]


def test_only_the_chosen_arm_is_open():
    for point in points(100):
        assert ("feature.n_mels" in point) == (point.get("feature") == "logmel")
        assert ("data.crop" in point) == (point["architecture"] == "raw_cnn")
        assert point["data.sample_rate"] == 16000


def test_the_path_says_what_was_chosen_above():
    seen = {}

    def draw(name, domain, path):
        seen[name] = path
        return domain.middle()

    walk(SPACE, draw)
    assert seen == {
        "optim.lr": "",
        "architecture": "",
        "model.width": "architecture=mel_cnn",
        "feature": "architecture=mel_cnn",
        "feature.n_mels": "architecture=mel_cnn, feature=logmel",
    }


def test_every_sample_and_corner_is_contained_and_completes_to_itself():
    rng = random.Random(1)
    for point in [*points(100), *(corner(SPACE, rng) for _ in range(100))]:
        assert contains(SPACE, point)
        assert complete(SPACE, point) == point


def test_all_corners_of_some_knobs_are_walked_once_and_the_others_are_at_their_ends():
    varied = [name for name in names(SPACE) if name.startswith(("model.", "architecture"))]
    found = list(corners(SPACE, varied, random.Random(0)))
    kept = [tuple(sorted((k, v) for k, v in point.items() if k in varied)) for point in found]
    assert len(kept) == len(set(kept))
    by_chance = (corner(SPACE, random.Random(seed)) for seed in range(500))
    assert {tuple(sorted((k, v) for k, v in p.items() if k in varied)) for p in by_chance} == set(kept)
    assert all(contains(SPACE, point) for point in found)


@pytest.mark.parametrize(
    "varied", [{"feature.n_mels"}, {"data.crop", "feature.n_mels"}, {"optim.lr", "model.width"}]
)
@pytest.mark.parametrize("seed", range(5))
def test_corners_of_knobs_inside_arms_come_with_every_arm_and_each_combination(varied, seed):
    found = list(corners(SPACE, varied, random.Random(seed)))
    told = {tuple(sorted((k, v) for k, v in point.items() if k in varied)) for point in found}
    by_chance = (corner(SPACE, random.Random(number)) for number in range(500))
    assert told == {tuple(sorted((k, v) for k, v in p.items() if k in varied)) for p in by_chance}


def test_corners_reach_every_end_of_every_knob():
    rng = random.Random(0)
    seen = {}
    for _ in range(200):
        for name, value in corner(SPACE, rng).items():
            seen.setdefault(name, set()).add(value)
    assert seen["optim.lr"] == {1e-4, 1e-2}
    assert seen["feature.n_mels"] == {40, 128}
    assert seen["model.width"] == {16, 32, 64}
    assert seen["architecture"] == {"mel_cnn", "raw_cnn"}


def test_the_same_seed_gives_the_same_points():
    assert points(20, seed=5) == points(20, seed=5)
    assert points(20, seed=5) != points(20, seed=6)


def test_what_a_default_leaves_out_takes_the_middle_or_the_first_choice():
    point = complete(SPACE, {"feature": "logmel"})
    assert point == {
        "optim.lr": pytest.approx(1e-3),
        "data.sample_rate": 16000,
        "architecture": "mel_cnn",
        "model.width": 16,
        "feature": "logmel",
        "feature.n_mels": 80,
    }


@pytest.mark.parametrize(
    ("values", "knob", "said"),
    [
        ({"optim.lr": 1.0}, "optim.lr", "optim.lr is 1, expected 0.0001 to 0.01"),
        ({"optim.rl": 0.001}, "optim.rl", "unknown knob 'optim.rl'; the nearest known is 'optim.lr'"),
        ({"data.sample_rate": 8000}, "data.sample_rate", "fixes it to 16000"),
        (
            {"architecture": "raw_cnn", "feature.n_mels": 40},
            "feature.n_mels",
            "open only with architecture=mel_cnn, feature=logmel, not with architecture=raw_cnn",
        ),
        ({"feature": "mfcc", "feature.n_mels": 40}, "feature.n_mels", "not with feature=mfcc"),
        ({"architecture": "transformer"}, "architecture", "expected one of mel_cnn, raw_cnn"),
    ],
)
def test_what_is_no_point_is_refused_by_the_knob_at_fault(values, knob, said):
    with pytest.raises(PointError, match=said) as caught:
        complete(SPACE, values)
    assert caught.value.knob == knob
    assert not contains(SPACE, values)


def test_a_point_with_a_knob_missing_or_too_many_is_not_contained():
    point = points(1)[0]
    assert contains(SPACE, point)
    assert not contains(SPACE, {**point, "model.depth": 3})
    assert not contains(SPACE, {name: value for name, value in point.items() if name != "optim.lr"})


def test_size_counts_points_and_is_none_where_a_range_is_continuous():
    assert size(SMALL) == 3 * (2 + 1)
    rng = random.Random(0)
    assert len({tuple(sorted(sample(SMALL, rng).items())) for _ in range(500)}) == size(SMALL)
    assert size(SPACE) is None


def test_dimensions_count_what_is_drawn():
    drawn = []
    for point in points(100):
        count = 0

        def draw(name, domain, path, point=point):
            nonlocal count
            count += 1
            return point[name]

        walk(SPACE, draw)
        drawn.append(count)
    assert dimensions(SPACE) == (min(drawn), max(drawn)) == (3, 5)


def test_options_are_every_value_and_none_where_a_point_leaves_the_knob_out():
    assert options(SPACE, "data.sample_rate") == {16000}
    assert options(SPACE, "model.width") == {16, 32, 64}
    assert options(SPACE, "data.crop") == {None, 1.5}
    assert options(SPACE, "feature.n_mels") == {None, *range(40, 129, 8)}
    assert options(SPACE, "data.pad") == {None}
    with pytest.raises(ValueError, match="continuous"):
        options(SPACE, "optim.lr")


def test_a_fixed_knob_has_that_value_at_every_point():
    fixed = fix(SPACE, "optim.lr", 0.001)
    assert all(sample(fixed, random.Random(seed))["optim.lr"] == 0.001 for seed in range(20))
    assert [dict(default) for default in fixed.defaults] == [
        {"architecture": "mel_cnn", "model.width": 32, "optim.lr": 0.001},
        {"architecture": "raw_cnn", "optim.lr": 0.001},
    ]


def test_fixing_a_branch_picks_its_arm_and_defaults_lose_what_another_had_opened():
    fixed = fix(SPACE, "architecture", "raw_cnn")
    assert names(fixed) == {"optim.lr", "data.sample_rate", "architecture", "model.width", "data.crop"}
    assert [dict(default) for default in fixed.defaults] == [
        {"architecture": "raw_cnn", "optim.lr": 0.001},  # had it already
        {"architecture": "raw_cnn"},
    ]
    assert fixed.line("model.width") == 9
    assert all(contains(SPACE, sample(fixed, random.Random(seed))) for seed in range(20))


def test_fixing_reaches_into_every_arm():
    fixed = fix(SPACE, "model.width", 32)
    assert options(fixed, "model.width") == {32}
    assert {sample(fixed, random.Random(seed))["architecture"] for seed in range(30)} == {
        "mel_cnn",
        "raw_cnn",
    }


def test_a_value_that_is_set_may_lie_outside_the_range_and_replace_a_fixed_one():
    outside = fix(fix(SPACE, "optim.lr", 0.5), "data.sample_rate", 8000)
    point = sample(outside, random.Random(0))
    assert (point["optim.lr"], point["data.sample_rate"]) == (0.5, 8000)


@pytest.mark.parametrize(
    ("knob", "value", "said"),
    [
        ("optim.rate", 0.1, "no knob 'optim.rate'; the nearest known is"),
        ("architecture", "vit", "expected one of mel_cnn, raw_cnn"),
    ],
)
def test_what_cannot_be_fixed_is_refused(knob, value, said):
    with pytest.raises(ValueError, match=said):
        fix(SPACE, knob, value)
