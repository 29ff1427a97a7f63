"""Laws of the proposer."""

import math
import random
import warnings
from statistics import pstdev

import pytest

from search.suggest import Proposer
from spaces.domains import Categorical, Float, Int
from spaces.load import load, shipped
from spaces.space import Level, Space, complete, contains, sample

SPACE = Space(
    "toy",
    "",
    3,
    Level(
        {"x": Float(0.0, 1.0), "fixed": "always"},
        {
            "family": {
                "a": Level({"lr": Float(1e-5, 1e-3, log=True)}),
                "b": Level({"lr": Float(1e-2, 1e-1, log=True), "n": Int(1, 9, step=2)}),
                "c": Level({"n": Int(1, 9, step=2)}),
            }
        },
    ),
    defaults=({"family": "b", "x": 0.5}, {"family": "c"}),
)
FIRSTS = [complete(SPACE, default) for default in SPACE.defaults]
SMALL = Space(
    "small", "", 1, Level({"a": Int(1, 3), "b": Categorical((1, 2))}, {"c": {"x": Level(), "y": Level()}})
)


def score(values):
    """Best at family b, x = 0.8."""
    return 1.0 - abs(values["x"] - 0.8) - (values["family"] != "b")


def search(proposer, count):
    points = []
    for _ in range(count):
        proposal, values = proposer.ask()
        proposer.tell(proposal, "complete", score(values), {1: score(values)})
        points.append(values)
    return points


def test_defaults_come_first_and_every_proposal_is_a_whole_point():
    points = search(Proposer(SPACE, seed=0), 40)
    assert points[:2] == FIRSTS
    assert all(contains(SPACE, point) for point in points)
    assert {point["family"] for point in points} == {"a", "b", "c"}
    assert all(point["fixed"] == "always" for point in points)


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_same_seed_and_answers_give_the_same_proposals(sampler):
    first, again, other = (
        search(Proposer(SPACE, seed=seed, startup=5, sampler=sampler), 20) for seed in (1, 1, 2)
    )
    assert first == again
    assert first[2:] != other[2:]


def test_tpe_learns_what_random_does_not():
    def late(sampler):
        found = [
            score(v) for s in range(3) for v in search(Proposer(SPACE, seed=s, sampler=sampler), 50)[30:]
        ]
        return sum(found) / len(found)

    assert late("tpe") > late("random") + 0.3


def test_an_unknown_sampler_is_refused():
    with pytest.raises(ValueError, match="'grid', known: tpe, random"):
        Proposer(SPACE, seed=0, sampler="grid")


def test_a_pruned_trial_stays_pruned_with_what_it_had_reported():
    from optuna.trial import TrialState

    proposer = Proposer(SPACE, seed=0)
    for outcome, value in [("pruned", None), ("complete", 0.5), ("failed", None), ("complete", math.nan)]:
        proposal, _ = proposer.ask()
        proposer.tell(proposal, outcome, value, {4: 0.3, 2: 0.2, 6: math.nan})
    trials = proposer._study.trials
    assert [t.state for t in trials] == [
        TrialState.PRUNED, TrialState.COMPLETE, TrialState.FAIL, TrialState.FAIL
    ]  # fmt: skip
    assert trials[0].intermediate_values == {2: 0.2, 4: 0.3}
    assert trials[1].value == 0.5


def test_a_replayed_history_is_what_was_told():
    told = Proposer(SPACE, seed=0)
    replayed = Proposer(SPACE, seed=0)
    for number, outcome in enumerate(["complete", "pruned", "failed", "complete"]):
        proposal, values = told.ask()
        value = score(values) if outcome == "complete" else None
        told.tell(proposal, outcome, value, {3: 0.1 * number})
        replayed.replay(values, outcome, value, {3: 0.1 * number})

    def facts(proposer):
        return [
            (t.state, t.params, t.distributions, t.values, t.intermediate_values)
            for t in proposer._study.trials
        ]

    old, new = facts(told), facts(replayed)
    assert [(s, p, d, i) for s, p, d, _, i in old] == [(s, p, d, i) for s, p, d, _, i in new]
    assert [values for state, _, _, values, _ in new if state.name == "COMPLETE"] == [
        values for state, _, _, values, _ in old if state.name == "COMPLETE"
    ]


def test_after_a_replay_defaults_are_not_asked_twice_and_new_points_come():
    first = Proposer(SPACE, seed=0)
    before = search(first, 6)
    resumed = Proposer(SPACE, seed=0)
    for values in [*before[1:], before[0]]:
        resumed.replay(values, "complete", score(values), {})
    after = search(resumed, 6)
    assert not [point for point in after if point in before]
    assert len(resumed._study.trials) == 12  # found at once, not by throwing repeated ones away
    again = Proposer(SPACE, seed=0)
    for values in [*before[1:], before[0]]:
        again.replay(values, "complete", score(values), {})
    assert search(again, 6) == after


def test_a_trial_that_was_running_is_not_asked_again_and_can_be_told_later():
    proposer = Proposer(SPACE, seed=0)
    waiting = proposer.replay(FIRSTS[0], "running", None, {})
    other, values = proposer.ask()
    assert values == FIRSTS[1] and other != waiting
    proposer.tell(waiting, "complete", 0.7, {1: 0.6})
    assert proposer._study.best_value == 0.7
    assert proposer._study.trials[0].intermediate_values == {1: 0.6}


def test_history_outside_a_changed_space_teaches_nothing_and_breaks_nothing():
    proposer = Proposer(SPACE, seed=0)
    number = proposer.replay({"x": 3.0, "family": "b"}, "running", None, {})
    proposer.tell(number, "complete", 0.9, {})
    assert not proposer._study.trials
    assert proposer.ask()[0] != number


def test_a_small_space_is_tried_to_its_last_point_before_one_comes_twice():
    for seed in range(3):
        proposer, seen = Proposer(SMALL, seed=seed, startup=4), set()
        for _ in range(12):
            proposal, values = proposer.ask()
            proposer.tell(proposal, "complete", float(values["a"]), {})
            seen.add(tuple(sorted(values.items())))
        assert len(seen) == 12
        assert contains(SMALL, proposer.ask()[1])  # nothing new is left: an old one


def test_proposals_side_by_side_keep_away_from_each_other():
    line = Space("line", "", 1, Level({"x": Float(0.0, 1.0)}))
    spreads = []
    for seed in range(4):
        proposer = Proposer(line, seed=seed, startup=5)
        for _ in range(30):
            proposal, values = proposer.ask()
            proposer.tell(proposal, "complete", 1 - abs(values["x"] - 0.5), {})
        spreads.append(pstdev(proposer.ask()[1]["x"] for _ in range(20)))
    assert sum(spreads) / 4 > 0.17  # 0.23; without the constant liar 0.12


def test_nothing_of_optuna_reaches_the_terminal(capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search(Proposer(SPACE, seed=0, startup=2), 6)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", shipped())
def test_proposals_of_shipped_spaces_parse(name):
    from escmodels.recipe import parse

    space = load(name)
    proposer = Proposer(space, seed=0, startup=5)
    for number in range(25):
        proposal, values = proposer.ask()
        assert contains(space, values)
        parse(values)
        proposer.tell(proposal, "complete", random.Random(number).random(), {})
    assert all(parse(sample(space, random.Random(seed))) for seed in range(50))
