"""Laws of `escsearch space`: what is printed is the space, and a bad one is one sentence with code 2."""

import json

import pytest

from escmodels.costs import costs, noise
from escmodels.recipe import parse
from search.cli import main
from search.commands.space import _duration
from spaces.load import find, load
from spaces.space import complete, contains, names


def test_check_tells_size_dimensions_and_families(capsys):
    assert main(["space", "check", "esc10", "--no-timing"]) == 0
    text = capsys.readouterr().out
    assert (
        text.startswith("ok: ") and "continuous" in text and "mel_cnn, crnn, resnet, raw_cnn, piczak" in text
    )


def test_check_times_each_family_without_fetching_weights(capsys):
    assert main(["space", "check", "smoke", "--json"]) == 0
    cost = json.loads(capsys.readouterr().out)["cost"]
    assert cost["seconds_per_epoch"].keys() == {"mel_cnn", "raw_cnn", "crnn", "resnet", "piczak"}
    assert all(seconds > 0 for seconds in cost["seconds_per_epoch"].values())
    assert all(count > 0 for count in cost["parameters"].values()) and cost["hours"] >= 0


def test_show_prints_every_knob(capsys):
    assert main(["space", "show", "esc50"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in names(load("esc50")))
    assert main(["space", "show", "esc50", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["defaults"] == [complete(load("esc50"), default) for default in load("esc50").defaults]


def test_samples_are_points_and_the_seed_repeats_them(capsys):
    def draw(seed):
        assert main(["space", "sample", "demo", "-n", "4", "--seed", seed, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    points = draw("1")
    assert len(points) == 4 and points == draw("1") != draw("2")
    assert all(contains(load("demo"), point) and parse(point) for point in points)


@pytest.mark.parametrize(
    ("knob", "said"),
    [
        ("optim.rl: 0.1", ":3: unknown knob 'optim.rl'; the nearest known is 'optim.lr'"),
        ("optim.lr: {type: float, low: 1, high: 0.1}", ":3: optim.lr: the range from 1 to 0.1 is empty"),
        ("optim.lr: 0.1\ndefaults: {optim.lr: 3}", ":4: default: optim.lr is 3"),
    ],
)
def test_a_bad_space_is_one_sentence_and_code_2(knob, said, tmp_path, capsys):
    path = tmp_path / "bad.yaml"
    path.write_text(f"epochs: 1\nknobs:\n  {knob}\n")
    assert main(["space", "check", str(path)]) == 2
    out, err = capsys.readouterr()
    assert not out and err.startswith(f"escsearch: {path}{said}") and err.count("\n") == 1


def test_a_missing_space_is_code_2(capsys):
    assert main(["space", "show", "esc9"]) == 2
    assert "no such space file" in capsys.readouterr().err


def test_durations_read_like_durations():
    assert [_duration(hours) for hours in (0.02, 0.5, 12.0)] == ["1.2 minutes", "30 minutes", "12 hours"]


def test_check_says_how_many_random_recipes_keep_the_limits(capsys, tmp_path):
    assert main(["space", "check", "edge", "--no-timing", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["limits"].keys() == {"params", "macs", "latency"} and 10 < document["within"] <= 50
    text = find("edge").read_text()
    tight = tmp_path / "tight.yaml"
    tight.write_text(text.replace("params: 100000", "params: 3"))
    assert main(["space", "check", str(tight), "--no-timing"]) == 0
    assert "at most 3 parameters" in (said := capsys.readouterr().out) and "0 of 50 random recipes" in said
    assert main(["space", "show", "edge"]) == 0
    assert "limits: at most 100,000 parameters, 20,000,000 multiply-adds a clip" in capsys.readouterr().out


def test_the_first_trials_of_edge_keep_its_limits():
    space = load("edge")
    for default in space.defaults:
        recipe = parse(complete(space, default))
        rate = recipe.data.sample_rate
        found = costs(recipe, noise(5 * rate, rate), "cpu", ("params", "macs"))
        assert all(found[name] <= space.limits[name] for name in found)
