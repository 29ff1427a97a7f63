"""Laws of the check of a space against what recipes know: what cannot be trained is refused, with its line."""

import re

import pytest

from search.check import check
from search.errors import UsageError
from spaces.load import load, shipped


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_space_is_recipes_to_its_corners(name):
    check(load(name))


def refusal(tmp_path, text):
    """The sentence about a space file, without the file; it begins with a line number."""
    path = tmp_path / "toy.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        check(load(path))
    assert caught.value.code == 2 and "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}:")
    return str(caught.value)[len(str(path)) + 1 :]


ARMS = """\
epochs: 3
knobs:
  architecture:
    type: categorical
    choices:
      mel_cnn:
        model.width: 8
        {mel}
      raw_cnn:
        model.width: 0.5
        {raw}
"""


@pytest.mark.parametrize(
    ("mel", "raw", "said"),
    [
        ("model.wdith: 3", "", "8: unknown knob 'model.wdith'; the nearest known is 'model.width'"),
        (
            "",
            "model.hidden: 3",
            "11: a point of the space is no recipe: architecture 'raw_cnn' has no knob 'model.hi",
        ),
        ("model.blocks: 99", "", "8: a point of the space is no recipe: model.blocks is 99"),
        (
            "",
            "feature: logmel",
            "11: a point of the space is no recipe: architecture 'raw_cnn' takes a waveform",
        ),
        (
            "feature.n_mels: {type: int, low: 40, high: 400}",
            "",
            "8: a point .* feature.n_mels is 400, too many",
        ),
        ("optim.name: true", "", "8: a point .* optim.name is True .bool., expected a text"),
    ],
)
def test_what_no_recipe_knows_is_refused_with_its_line(mel, raw, said, tmp_path):
    sentence = refusal(tmp_path, ARMS.format(mel=mel, raw=raw))
    line = said.partition(":")[0]
    if "takes a waveform" in said:  # two choices that do not fit: either line is right
        line = sentence.partition(":")[0]
        assert line in ("3", "11")
    assert re.match(line + said[said.index(":") :], sentence), sentence


def test_a_default_that_is_no_recipe_is_refused_with_its_own_line(tmp_path):
    text = """\
epochs: 3
knobs:
  optim.batch: {type: categorical, choices: [16, 1]}
  model.width: {type: int, low: 4, high: 8}
defaults:
  - {optim.batch: 16}
  - {optim.batch: 1}
"""
    assert refusal(tmp_path, text).startswith("7: default is no recipe: optim.batch is 1")


DEEP = """\
epochs: 3
knobs:
  optim.lr: {type: float, low: 1e-4, high: 1e-2, log: true}
  optim.batch: {type: categorical, choices: [64, 32, 16]}
  optim.accumulate: {type: categorical, choices: [1, 4, PARTS]}
  optim.label_smoothing: {type: categorical, choices: [0.0, 0.1]}
  augment.roll: {type: float, low: 0.0, high: 1.0}
  augment.gain_db: {type: float, low: 0.0, high: 12.0}
  augment.noise_p: {type: float, low: 0.0, high: 0.5}
  schedule: {type: categorical, choices: [cosine, onecycle, linear, step, constant]}
  architecture:
    type: categorical
    choices:
      mel_cnn:
        model.width: {type: categorical, choices: [16, 8, 12, 20, 24, 32]}
        model.pooling: {type: categorical, choices: [max, avg]}
        data.sample_rate: {type: categorical, choices: [22050, 16000, 32000]}
        augment.mixup: {type: float, low: 0.0, high: 0.4}
        feature:
          type: categorical
          choices:
            mfcc:
            gammatone: {feature.n_fft: 2048, feature.n_bands: {type: int, low: 40, high: 64, step: 8}}
            logmel:
              feature.hop: {type: categorical, choices: [256, 128]}
              feature.deltas: {type: int, low: 0, high: 2}
              feature.compression:
                type: categorical
                choices:
                  db:
                  log:
                  pcen:
                    feature.pcen_time: {type: float, low: 0.1, high: 1.0}
                    feature.n_mels: {type: categorical, choices: [20, 24, MELS]}
                    feature.n_fft: {type: categorical, choices: [2048, 4096, POINTS]}
      crnn:
        model.cell: {type: categorical, choices: [lstm, gru]}
        augment.mixup: {type: categorical, choices: [0.1, 0.2, 0.3]}
      raw_cnn:
        data.sample_rate: {type: categorical, choices: [44100, 22050, 16000, 32000]}
        data.crop: {type: categorical, choices: [5.0, 6.0, CROP]}
        model.width: {type: categorical, choices: [0.25, 0.5, 0.75, 1.0, 1.25]}
        model.dropout: {type: float, low: 0.1, high: 0.5}
        model.variant:
          type: categorical
          choices:
            acdnet: {model.separable: {type: categorical, choices: [false, true]}}
            m5:
            m11:
            plain:
              model.kernel: {type: categorical, choices: [3, 5, 7, 9, 11, 15]}
              model.blocks: {type: int, low: 4, high: BLOCKS}
"""
SOUND = {"PARTS": "8", "MELS": "32", "POINTS": "1024", "CROP": "4.5", "BLOCKS": "7"}


def deep(wrong):
    text = DEEP
    for place, value in {**SOUND, **wrong}.items():
        text = text.replace(place, value)
    return text


@pytest.mark.parametrize(
    ("wrong", "knob", "said"),
    [
        ({"MELS": "128", "POINTS": "512"}, "feature.n_mels", "feature.n_mels is 128, too many .* = 512 at"),
        ({"BLOCKS": "8", "CROP": "3.0"}, "model.variant", "'plain' needs 65536 samples .* has 48000"),
        ({"PARTS": "16"}, "optim.accumulate", "optim.accumulate is 16, expected at most 8 with"),
        ({"POINTS": "128"}, "feature.hop", "feature.hop is 256, expected at most feature.n_fft = 128"),
    ],
)
def test_a_contradiction_of_one_rare_combination_is_found_with_its_line(wrong, knob, said, tmp_path):
    lines = deep(wrong).splitlines()
    number = 1 + next(at for at, line in enumerate(lines) if line.strip().startswith(f"{knob}:"))
    sentence = refusal(tmp_path, deep(wrong))
    assert re.match(f"{number}: a point of the space is no recipe: .*{said}", sentence), sentence
    # either half of it alone contradicts nothing
    for half in wrong if len(wrong) > 1 else {}:
        path = tmp_path / "half.yaml"
        path.write_text(deep({half: wrong[half]}))
        check(load(path))


def test_values_between_the_ends_of_a_range_are_looked_at_too(tmp_path):
    text = """\
epochs: 3
knobs:
  feature.stack: bands
  feature.n_mels: {type: int, low: 48, high: 96, step: 8}
"""
    assert "feature.stack 'bands' cuts three equal parts" in refusal(tmp_path, text)


def test_a_backbone_that_cannot_take_the_spectrogram_or_the_freeze_is_refused_before_it_is_tried(tmp_path):
    text = """\
epochs: 3
knobs:
  architecture: resnet
  model.weights: none
  model.name: {type: categorical, choices: [resnet18, BACKBONE]}
  model.freeze: "FREEZE"
"""
    with_inception = text.replace("BACKBONE", "inception_v3").replace("FREEZE", "none")
    assert refusal(tmp_path, with_inception).startswith(
        "5: a point of the space is no recipe: model.name is 'inc"
    )
    botnet = text.replace("BACKBONE", "vgg11").replace("FREEZE", "body")
    (tmp_path / "fine.yaml").write_text(botnet)
    check(load(tmp_path / "fine.yaml"))
