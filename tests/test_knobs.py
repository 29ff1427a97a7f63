"""docs/knobs.md is the code: every knob, its values and default, what is refused, and settings that can be pasted."""

import ast
import re
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import torch
import yaml

from escmodels.architectures import ARCHITECTURES, NetContext, build, parameters
from escmodels.augment import Augment, AugmentConfig
from escmodels.features import FEATURES
from escmodels.optim import OptimConfig
from escmodels.recipe import DataConfig, knobs, parse
from escmodels.schedule import ScheduleConfig
from search.check import check
from spaces.load import load
from spaces.space import complete

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "knobs.md").read_text(encoding="utf-8")
OWNERS: dict[str, tuple[str, Any]] = {  # what a heading may name: its prefix and config
    "data": ("data", DataConfig),
    **{name: ("feature", kind.config) for name, kind in FEATURES.items()},
    "augment": ("augment", AugmentConfig),
    **{name: ("model", family.config) for name, family in ARCHITECTURES.items()},
    "optim": ("optim", OptimConfig),
    "schedule": ("schedule", ScheduleConfig),
}
NEEDS = {"blocks": {"variant": "plain"}, "kernel": {"variant": "plain"}}  # of raw_cnn: else they must be 0
SEVERAL = re.compile(r"`([^`]*)`")


@dataclass(frozen=True)
class Row:
    """A line of a table of knobs."""

    owner: str
    knob: str
    values: str
    default: str


def sections(level: str) -> list[tuple[str, str]]:
    """(heading, text below it up to the next heading) of every heading of a level."""
    return re.findall(rf"^{level} (.+)\n((?:(?!^#+ ).*\n)*)", PAGE, re.MULTILINE)


def cells(text: str, first: str) -> list[list[str]]:
    """The rows of the tables of a text whose first column is called `first`."""
    found, inside = [], False
    for line in text.splitlines():
        row = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        inside = bool(row) and (inside or row[0] == first)
        if inside and row[0] != first and not row[0].startswith("---"):
            found.append(row)
    return found


ROWS = [
    Row(owner, SEVERAL.findall(knob)[0], values, default)
    for heading, text in sections("###")
    for owner in SEVERAL.findall(heading)
    for knob, values, default, _ in cells(text, "knob")
]
CHOICES = {SEVERAL.findall(row[0])[0]: row for h, text in sections("##") for row in cells(text, "knob")}
SETTINGS = {
    heading: re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    for heading, text in sections("###")
    if "```yaml" in text
}


def field_of(row: Row) -> Any:
    prefix, config = OWNERS[row.owner]
    name = "name" if row.knob == "schedule" else row.knob.removeprefix(f"{prefix}.")
    return next(field for field in fields(config) if field.name == name)


@pytest.mark.parametrize("owner", OWNERS)
def test_every_knob_of_a_config_has_one_row_and_no_other_has(owner):
    prefix, config = OWNERS[owner]
    want = {f"{prefix}.{field.name}" for field in fields(config)}
    if owner == "schedule":
        want = want - {"schedule.name"} | {"schedule"}
    assert sorted(row.knob for row in ROWS if row.owner == owner) == sorted(want)


def test_the_page_has_all_knobs_of_recipes_and_no_other():
    assert {row.knob for row in ROWS} | CHOICES.keys() == knobs()


def test_the_choices_are_the_tables_of_the_code():
    _, values, default, _ = CHOICES["architecture"]
    assert SEVERAL.findall(values) == list(ARCHITECTURES)
    assert [default.strip("`")] == [
        name for name, family in ARCHITECTURES.items() if isinstance(parse({}).model, family.config)
    ]
    assert SEVERAL.findall(CHOICES["feature"][1]) == list(FEATURES)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.owner}-{row.knob}")
def test_the_default_of_a_row_is_that_of_the_code(row):
    field = field_of(row)
    assert field.default is not MISSING
    stated = yaml.safe_load(SEVERAL.fullmatch(row.default)[1])
    assert (stated, type(stated)) == (field.default, type(field.default))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.owner}-{row.knob}")
def test_the_values_of_a_row_are_what_the_code_accepts(row):
    """The code is asked by its own refusals: "expected a number from ... to ...", "expected one of ..."."""
    config, field = OWNERS[row.owner][1], field_of(row)
    kind = get_type_hints(config)[field.name]
    if kind is bool:
        assert set(SEVERAL.findall(row.values)) == {"true", "false"}
        return
    if row.values == "a text":
        assert kind is str
        return
    wrong = "no such thing" if kind is str else kind(10**9)
    beside = NEEDS.get(field.name, {}) if row.owner == "raw_cnn" else {}
    with pytest.raises(ValueError, match=f"{row.knob}.* is .*, expected (a number from|one of) ") as refusal:
        config(**{field.name: wrong}, **beside)
    said = str(refusal.value).partition(", expected ")[2]
    if said.startswith("one of "):
        allowed = ast.literal_eval(f"({said.removeprefix('one of ')},)")
        assert sorted(SEVERAL.findall(row.values)) == sorted(map(str, allowed))
        return
    low, high = re.fullmatch(r"a number from (\S+) to (\S+)", said).groups()
    whole, stated_low, stated_high = re.fullmatch(r"(whole, )?(\S+) to (\S+)", row.values).groups()
    if other := SEVERAL.fullmatch(stated_high):  # the name of a knob: its default
        stated_high = getattr(config(), other[1])
    assert (float(stated_low), float(stated_high)) == (float(low), float(high))
    assert bool(whole) == (kind is int)


@pytest.mark.parametrize("row", [row for h, text in sections("##") for row in cells(text, "refused")])
def test_what_the_page_calls_refused_is_refused(row):
    reason, example = row
    values = yaml.safe_load(SEVERAL.fullmatch(example)[1])
    with pytest.raises(ValueError) as refusal:
        parse(values)
    assert any(name in str(refusal.value) for name in values), f"{reason}: {refusal.value}"


@pytest.mark.parametrize("row", [row for h, text in sections("##") for row in cells(text, "kept")])
def test_what_the_page_says_is_kept_is_kept(row):
    kept, _, example = row
    augment = parse(yaml.safe_load(SEVERAL.fullmatch(example)[1])).augment
    assert Augment(augment, "spectrogram").needs == kept
    named = {knob.removeprefix("augment.") for knob in yaml.safe_load(SEVERAL.fullmatch(example)[1])}
    assert named <= {field.name for field in fields(augment) if getattr(augment, field.name) != field.default}


def test_every_family_has_a_named_setting():
    chosen = {yaml.safe_load(text)["architecture"] for (text,) in SETTINGS.values()}
    assert chosen == ARCHITECTURES.keys()


@pytest.mark.parametrize("heading", SETTINGS)
def test_a_named_setting_can_be_pasted_into_a_space(heading, tmp_path):
    (text,) = SETTINGS[heading]
    file = tmp_path / "pasted.yaml"
    lines = "".join(f"  {line}\n" for line in text.splitlines())
    file.write_text(f"about: {heading}\nepochs: 10\nknobs:\n{lines}", encoding="utf-8")
    space = load(file)
    check(space)
    parse(complete(space, {}))


@pytest.mark.parametrize(
    ("heading", "text"), [(h, text) for h, text in sections("###") if " weights for " in text]
)
def test_a_named_setting_has_as_many_weights_as_the_page_says(heading, text):
    count, millions, classes = re.search(r"([\d,.]+) (M )?weights for (\d+) classes", text).groups()
    recipe = parse(yaml.safe_load(SETTINGS[heading][0]))
    shape = recipe.feature.shape(recipe.data.crop_samples)
    with torch.device("meta"):  # counted, not made
        net = build(recipe.model, NetContext(shape, recipe.data.sample_rate, int(classes)), pretrained=False)
    if not millions:
        assert parameters(net) == int(count.replace(",", ""))
    else:
        digits = len(count.partition(".")[2])
        assert round(parameters(net) / 1e6, digits) == float(count)


def test_the_page_names_samples_and_frames_as_they_are():
    samples = {"ACDNet": 30_225, "EnvNet-v2": 66_650}
    for heading, want in samples.items():
        assert f"{want:,} samples" in dict(sections("###"))[heading]
        assert parse(yaml.safe_load(SETTINGS[heading][0])).data.crop_samples == want
    for heading, want in {"Piczak's net": 41, "ACRNN": 128}.items():
        recipe = parse(yaml.safe_load(SETTINGS[heading][0]))
        assert recipe.feature.shape(recipe.data.crop_samples)[2] == want
