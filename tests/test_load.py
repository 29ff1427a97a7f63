"""Laws of space files: what is read, and the one sentence about what cannot be meant."""

import pytest

from spaces.domains import Categorical, Float, Int
from spaces.load import SpaceError, find, load, shipped
from spaces.scalars import parse_value
from spaces.space import complete, fix, names, sample

GOOD = """\
about: a toy
epochs: 3
knobs:
  optim.lr: {type: float, low: 1e-4, high: 1e-2, log: true}
  optim.batch: 16
  augment.mixup:
    type: float
    low: 0
    high: 0.4
  architecture:
    type: categorical
    choices:
      mel_cnn:
        feature:
          type: categorical
          choices:
            logmel: &logmel {feature.n_mels: {type: int, low: 40, high: 128, step: 8}}
            mfcc: {}
            off:
      crnn: {feature: {type: categorical, choices: {logmel: *logmel}}, model.layers: 2}
defaults: {architecture: crnn, optim.lr: 0.001}
"""


@pytest.fixture
def read(tmp_path):
    def from_text(text):
        path = tmp_path / "toy.yaml"
        path.write_text(text)
        return load(path)

    return from_text


def test_a_file_becomes_domains_branches_and_lines(read):
    space = read(GOOD)
    assert (space.name, space.about, space.epochs) == ("toy", "a toy", 3)
    assert space.root.knobs["optim.lr"] == Float(1e-4, 1e-2, log=True)
    assert space.root.knobs["optim.batch"] == 16
    arm = space.root.branches["architecture"]["mel_cnn"].branches["feature"]
    assert list(arm) == ["logmel", "mfcc", "off"]
    assert arm["logmel"].knobs["feature.n_mels"] == Int(40, 128, step=8)
    assert not arm["mfcc"].knobs and not arm["off"].knobs
    assert space.defaults == ({"architecture": "crnn", "optim.lr": 0.001},)
    assert (space.line("optim.lr"), space.line("augment.mixup"), space.line("feature.n_mels")) == (4, 6, 17)
    assert space.line("model.layers", "architecture=crnn") == 20


def test_a_list_of_defaults_is_as_many_first_trials(read):
    space = read(GOOD.replace("defaults: {arch", "defaults:\n  - {}\n  - {arch"))
    assert space.defaults == ({}, {"architecture": "crnn", "optim.lr": 0.001})
    assert complete(space, space.defaults[0])["architecture"] == "mel_cnn"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        ("-2.5e+3", -2500.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("16", 16),
        ("010", 10),
        ("true", True),
        ("False", False),
        ("yes", "yes"),
        ("off", "off"),
        ("12:30", "12:30"),
        ("1_000", "1_000"),
        ("2026-01-01", "2026-01-01"),
        ("'16'", "16"),
        ("mel_cnn", "mel_cnn"),
    ],
)
def test_scalars_are_those_of_yaml_1_2_on_the_command_line_and_in_a_file(text, value, read):
    assert parse_value(text) == value and type(parse_value(text)) is type(value)
    (found,) = read(f"epochs: 1\nknobs: {{a: {{type: categorical, choices: [{text}]}}}}").root.knobs.values()
    assert found == Categorical((value,)) and type(found.choices[0]) is type(value)


def edit(old, new):
    assert GOOD.count(old) == 1, old
    return GOOD.replace(old, new)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (edit("low: 1e-4, high", "low: 1e-4, hihg"), 4, "unknown key 'hihg'; the nearest known is 'high'"),
        (edit("low: 1e-4", "low: 0.5"), 4, "optim.lr: the range from 0.5 to 0.01 is empty"),
        (edit("low: 1e-4", "low: 0"), 4, "optim.lr: log needs a low above 0"),
        (edit("low: 1e-4, high: 1e-2", "low: 1e-4"), 4, "optim.lr of type float has no 'high'"),
        (edit("low: 1e-4", "low: [1]"), 4, "low of optim.lr must be one value"),
        (edit("low: 1e-4", "low: ''"), 4, "finite numbers"),
        (edit("low: 1e-4", "low: ~"), 4, "low of optim.lr is empty"),
        (edit("type: float, low: 1e-4", "type: flaot, low: 1e-4"), 4, "type 'flaot'; the nearest known is 'float'"),
        (edit("type: float, low: 1e-4", "low: 1e-4"), 4, "optim.lr has no 'type', known: float, int, categorical"),
        (edit("optim.batch: 16", "optim.batch: [16, 32]"), 5, "optim.batch is a list"),
        (edit("optim.batch: 16", "optim.batch:"), 5, "optim.batch is empty"),
        (edit("optim.batch: 16", "optim.lr: 0.1"), 5, "'optim.lr' is given twice, first in line 4"),
        (edit("model.layers: 2", "model.layers: 2, optim.batch: 8"), 20, "'optim.batch' is open already, .* line 5"),
        (edit("model.layers: 2", "architecture: x"), 20, "'architecture' is open already"),
        (
            edit("model.layers: 2", "b: {type: categorical, choices: {x: {c: 1}}}, c: 2"),
            20,
            "'c' is open already",
        ),
        (edit("step: 8", "step: 9"), 17, "the last value would be 121"),
        (edit("about: a toy", "abuot: a toy"), 1, "unknown key 'abuot'; the nearest known is 'about'"),
        (edit("epochs: 3\n", ""), 1, "has no 'epochs'"),
        (edit("epochs: 3", "epochs: many"), 2, "epochs is 'many'"),
        (edit("epochs: 3", "epochs: 0"), 2, "epochs is 0"),
        (edit("epochs: 3", "epochs: true"), 2, "epochs is True"),
        (edit("optim.lr: 0.001}", "optim.lr: 5}"), 21, "default: optim.lr is 5, expected 0.0001 to 0.01"),
        (edit("optim.lr: 0.001}", "optim.rl: 1}"), 21, "unknown knob 'optim.rl'; the nearest known is 'optim.lr'"),
        (edit("architecture: crnn", "architecture: vit"), 21, "expected one of mel_cnn, crnn"),
        (edit("optim.lr: 0.001}", "feature: mfcc}"), 21, "feature is mfcc, expected one of logmel"),
        (edit("optim.lr: 0.001}", "\n  optim.lr: 5}"), 22, "optim.lr is 5"),
        (edit("defaults: {arch", "defaults: 3 #"), 21, "a default must be a mapping"),
        ("epochs: 1\nknobs: {}", 2, "knobs is empty"),
        ("epochs: 1\nknobs: 3", 2, "knobs must be a mapping"),
        ("epochs: 1\nknobs: {a: {type: categorical, choices: 3}}", 2, "choices of a must be a list"),
        ("epochs: 1\nknobs: {a: {type: categorical, choices: []}}", 2, "choices is empty"),
        ("epochs: 1\nknobs: {a: {type: categorical, choices: {}}}", 2, "choices is empty"),
        ("epochs: 1\nknobs: {a: {type: float, choices: {x: {}}}}", 2, "unknown key 'choices'"),
        ("epochs: 1\nknobs:\n  a: {type: categorical, choices: {x: &x {b: {type: categorical, choices: {y: *x}}}}}",
         3, "leads back"),
        ("- 1\n- 2", 1, "a space must be a mapping"),
        ("just words", 1, "a space must be a mapping"),
        ("epochs: 1\nknobs: {a: [", 2, "not valid YAML"),
        ("epochs: 1\nknobs:\n\ta: 1", 3, "not valid YAML"),
        ("epochs: 1\n---\nepochs: 2", 2, "not valid YAML"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence_with_file_and_line(text, line, said, read, tmp_path):
    with pytest.raises(SpaceError, match=said) as caught:
        read(text)
    assert str(caught.value).startswith(f"{tmp_path / 'toy.yaml'}:{line}: "), str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_empty_file_or_one_that_is_no_text_is_refused_by_name(read, tmp_path):
    with pytest.raises(SpaceError, match="toy.yaml: is empty"):
        read("")
    (tmp_path / "raw.yaml").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(SpaceError, match="raw.yaml: not a text file"):
        load(tmp_path / "raw.yaml")


def test_a_missing_file_names_the_shipped_spaces_and_the_nearest():
    with pytest.raises(
        SpaceError, match="esc11.yaml: no such space file; shipped are .*nearest known is 'esc10'"
    ):
        load("esc11.yaml")
    with pytest.raises(SpaceError, match="is a folder"):
        find("tests")


def test_shipped_spaces_are_found_by_name_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "esc10").mkdir()  # a data set of that name lies there
    assert load("esc10").name == load("spaces/esc10.yaml").name == load("esc10.yaml").name == "esc10"
    with pytest.raises(SpaceError):
        load("elsewhere/esc10.yaml")
    (tmp_path / "demo.yaml").write_text("epochs: 7\nknobs: {optim.batch: 4}")
    assert load("demo.yaml").epochs == 7  # a file of one's own goes before the shipped one


FAMILIES = {"mel_cnn", "raw_cnn", "crnn", "resnet", "piczak"}
SOME = {  # where not all of them are searched
    "quick": {"mel_cnn", "crnn"},
    "edge": {"mel_cnn", "crnn", "raw_cnn"},
    "thorough": FAMILIES - {"piczak"},
    "urbansound8k": FAMILIES - {"piczak"},
}


@pytest.mark.parametrize(
    "name", [name for name in shipped() if name not in ("esc10_mel", "esc10_raw") and "/" not in name]
)  # these are one recipe each
def test_every_space_to_search_starts_with_a_point_of_each_of_its_families(name):
    import random

    space, families = load(name), SOME.get(name, FAMILIES)
    assert {sample(space, random.Random(seed))["architecture"] for seed in range(60)} == families
    assert {default["architecture"] for default in space.defaults[: len(families)]} == families
    assert space.defaults[0]["architecture"] == "mel_cnn"
    assert names(space) and space.about


# limits


def test_limits_are_read_and_kept_when_a_knob_is_fixed(read):
    space = read(GOOD.replace("knobs:", "limits: {params: 5e4, latency: 2}\nknobs:", 1))
    assert space.limits == {"params": 50000.0, "latency": 2.0}
    assert fix(space, "architecture", "crnn").limits == space.limits
    assert read(GOOD).limits == {}


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("{parms: 5}", "toy.yaml:3: limits has the unknown key 'parms'"),
        ("{params: 0}", "toy.yaml:3: the limit of params is 0, expected a number of parameters above 0"),
        ("{latency: -1.5}", "the limit of latency is -1.5, expected a number of ms a clip above 0"),
        ("{macs: true}", "the limit of macs is True"),
        ("{macs: .nan}", "the limit of macs is "),
        ("{params: 100_000}", "the limit of params is '100_000'"),
        ("5", "toy.yaml:3: limits must be a mapping"),
    ],
)
def test_a_limit_that_cannot_be_meant_is_a_sentence_with_its_line(read, written, says):
    with pytest.raises(SpaceError) as caught:
        read(GOOD.replace("knobs:", f"limits: {written}\nknobs:", 1))
    assert says in str(caught.value)
