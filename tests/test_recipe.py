"""Laws of recipes: values come back, a misspelling is an error, types are what they say."""

import json
from dataclasses import fields

import pytest

from escmodels.architectures import ARCHITECTURES
from escmodels.features import FEATURES
from escmodels.recipe import DataConfig, OptimConfig, flatten, knobs, parse

PAIRS = [
    (family, front)
    for family, row in ARCHITECTURES.items()
    for front, kind in FEATURES.items()
    if kind.gives == row.takes
]


@pytest.mark.parametrize(("family", "front"), PAIRS)
def test_values_come_back(family, front):
    recipe = parse({"architecture": family, "feature": front, "optim.lr": 0.003, "schedule": "onecycle"})
    values = flatten(recipe)
    assert parse(values) == recipe
    assert parse(json.loads(json.dumps(values))) == recipe
    assert values.keys() == knobs(family, front)
    assert values["schedule"] == "onecycle" and values["optim.lr"] == 0.003


def test_every_default_is_the_one_of_its_config():
    recipe = parse({})
    assert (recipe.data, recipe.optim) == (DataConfig(), OptimConfig())
    for part in fields(recipe):
        config = getattr(recipe, part.name)
        assert config == type(config)()


def test_a_net_gets_the_feature_it_can_take():
    for family, row in ARCHITECTURES.items():
        front = flatten(parse({"architecture": family}))["feature"]
        assert FEATURES[front].gives == row.takes


def test_features_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="'raw_cnn' takes a waveform, feature 'logmel' gives a spectrogram"):
        parse({"architecture": "raw_cnn", "feature": "logmel"})
    with pytest.raises(ValueError, match="features that fit: .*logmel"):
        parse({"architecture": "mel_cnn", "feature": "waveform"})


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("optim.lrr", "optim.lr"),
        ("augment.mix_up", "augment.mixup"),
        ("achitecture", "architecture"),
        ("lr", "lr"),
    ],
)
def test_an_unknown_knob_names_the_nearest(name, near):
    with pytest.raises(ValueError, match=f"unknown knob '{name}'; the nearest known is '.*{near}'"):
        parse({name: 1})


def test_a_knob_of_another_choice_says_whose_it_is_not():
    with pytest.raises(ValueError, match="architecture 'mel_cnn' has no knob 'model.variant'"):
        parse({"model.variant": "acdnet"})
    with pytest.raises(ValueError, match="feature 'waveform' has no knob 'feature.n_mels'"):
        parse({"architecture": "raw_cnn", "feature.n_mels": 64})
    with pytest.raises(ValueError, match="unknown architecture 'vgg', known: crnn"):
        parse({"architecture": "vgg"})
    with pytest.raises(ValueError, match="unknown feature 3"):
        parse({"feature": 3})
    with pytest.raises(ValueError, match="schedule is 'cos', expected one of"):
        parse({"schedule": "cos"})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"optim.lr": "1e-3"}, r"optim.lr is '1e-3' \(str\), expected a number"),
        ({"optim.lr": True}, r"optim.lr is True \(bool\), expected a number"),
        ({"optim.lr": float("nan")}, "expected a finite number"),
        ({"optim.batch": True}, r"optim.batch is True \(bool\), expected a whole number"),
        ({"optim.batch": 8.0}, r"optim.batch is 8.0 \(float\), expected a whole number"),
        ({"data.pad": 1}, r"data.pad is 1 \(int\), expected a text"),
        ({"architecture": "crnn", "model.bidirectional": 1}, "expected true or false"),
        ({"optim.batch": 1}, "optim.batch is 1, expected a number from 2"),
        ({"optim.name": "adagrad"}, "optim.name is 'adagrad', expected one of 'adamw', 'adam', 'sgd'"),
        ({"data.crop": 0}, "data.crop is 0.0"),
        ({"feature.fmax": 16000.0}, "half the sample rate"),
    ],
)
def test_a_wrong_value_is_refused_in_a_sentence(values, words):
    with pytest.raises(ValueError, match=words):
        parse(values)


def test_a_whole_number_is_a_number():
    recipe = parse({"data.crop": 4})
    assert recipe.data.crop == 4.0 and isinstance(recipe.data.crop, float)
    assert recipe == parse({"data.crop": 4.0})
    assert recipe.data.crop_samples == 88200


def test_knobs_of_everything_are_those_of_each_choice():
    assert knobs() == frozenset().union(*(knobs(family, front) for family, front in PAIRS))
    assert "schedule" in knobs() and "schedule.name" not in knobs() and "optim.name" in knobs()
    assert "model.variant" in knobs("raw_cnn") and "model.variant" not in knobs("crnn")
    assert "feature.n_mels" not in knobs(feature="waveform")
