"""Laws of early stopping."""

import numpy as np
import pytest
from scipy.stats import binomtest

from escmodels.evidence import mcnemar
from search.pruning import Policy, Pruner, smoothed


def pruner(splits=3, epochs=9, **policy):
    return Pruner(Policy(**({"competitors": 2} | policy)), splits, epochs)


def clips(right, of=100, start=0):
    """So many right clips of a hundred, from one on."""
    hits = np.zeros(of, bool)
    hits[start : start + right] = True
    return hits


# where


def test_rungs_lie_at_thirds_of_the_first_split():
    assert pruner(5, 30).rungs == (10, 20, 30)
    assert pruner(5, 30, rungs=(0.5,)).rungs == (15,)


def test_no_rung_lies_before_a_sixth_of_the_first_split():
    for epochs in range(1, 60):
        assert all(rung >= epochs / 6 for rung in pruner(5, epochs, rungs=(1 / 6, 1 / 3)).rungs)


def test_the_end_of_a_trial_stops_nobody():
    assert pruner(1, 30).rungs == (10, 20)
    assert not pruner(1, 30).queues
    assert not pruner(1, 30).races_at(1)
    assert [pruner(5).races_at(position) for position in range(1, 6)] == [True] * 4 + [False]


@pytest.mark.parametrize(
    ("name", "halves", "races"),
    [("both", True, True), ("asha", True, False), ("race", False, True), ("none", False, False)],
)
def test_a_pruner_is_its_stages(name, halves, races):
    found = pruner(pruner=name)
    assert (bool(found.rungs), found.races_at(1)) == (halves, races)


# halving


def test_nobody_is_stopped_before_enough_competitors_have_come():
    p = pruner(competitors=4)
    assert all(p.halve(trial, 3, 0.9 - trial / 10) is None for trial in range(3))
    assert p.halve(3, 3, 0.1) is not None


@pytest.mark.parametrize(("eta", "stays", "goes"), [(2.0, 0.25, 0.15), (3.0, 0.35, 0.25)])
def test_the_best_share_goes_on(eta, stays, goes):
    p = pruner(eta=eta)
    for trial in range(5):
        p.halve(trial, 3, trial / 10)
    assert p.halve(5, 3, stays) is None
    assert "behind at split 1, epoch 3" in p.halve(6, 3, goes)


def test_equals_are_not_stopped_by_each_other():
    p = pruner()
    assert all(p.halve(trial, 3, 0.5) is None for trial in range(6))


def test_trials_are_compared_only_at_the_same_point():
    p = pruner()
    for trial in range(10):
        p.halve(trial, 9, 0.9)
        p.race(trial, 1, clips(90))
    assert p.halve(10, 3, 0.1) is None
    assert p.race(10, 2, np.tile(clips(10), 2)) is None
    assert p.halve(10, 9, 0.1) is not None
    assert p.race(10, 1, clips(10)) is not None


def test_judging_again_after_a_restart_changes_nothing():
    p = pruner()
    for trial in range(6):
        p.halve(trial, 3, trial / 10)
    assert p.halve(0, 3, 0.0) == p.halve(0, 3, 0.0) is not None


# the race


def test_the_race_drops_who_is_surely_behind_and_no_one_else():
    p = pruner(level=0.3)
    assert p.race(0, 1, clips(80)) is None
    assert p.race(1, 1, clips(79)) is None  # one clip lost: p is 1
    assert p.race(2, 1, clips(60)) is not None
    assert p.race(3, 1, clips(90)) is None


def test_clips_are_paired_not_counted():
    p = pruner(level=0.3)
    p.race(0, 1, clips(70))
    assert p.race(1, 1, clips(62)) is not None  # eight clips lost, none won
    assert p.race(2, 1, clips(62, start=30)) is None  # 30 lost, 22 won


def test_the_level_is_a_third_after_the_first_split():
    """Three clips lost, none won: p is 0.25."""
    p = pruner(level=0.3)
    p.race(0, 1, clips(70))
    p.race(0, 2, clips(140, of=200))
    assert p.race(1, 1, clips(67)) is None
    assert p.race(1, 2, clips(137, of=200)) is not None


def test_a_smaller_level_drops_fewer():
    dropped = []
    for level in (0.01, 0.1, 0.3):
        p = pruner(level=level)
        p.race(0, 1, clips(70))
        dropped.append(sum(p.race(1 + n, 1, clips(70 - n)) is not None for n in range(20)))
    assert dropped == sorted(dropped)
    assert dropped[0] < dropped[-1]


def test_the_best_on_the_same_splits_leads_even_if_it_was_dropped_later():
    p = pruner()
    p.race(0, 1, clips(80))
    p.race(1, 1, clips(90))
    p.race(0, 2, np.tile(clips(80), 2))
    assert "behind trial 1 after split 1" in p.race(2, 1, clips(50))
    assert "behind trial 0 after split 2" in p.race(2, 2, np.tile(clips(50), 2))


# costs


def test_what_costs_less_is_not_judged_by_what_costs_more():
    p = pruner()
    for trial in range(4):
        p.halve(trial, 3, 0.9, (100.0, 5.0))
        p.race(trial, 1, clips(90), (100.0, 5.0))
    assert p.halve(4, 3, 0.5, (99.0, 9.0)) is None
    assert p.race(4, 1, clips(50), (99.0, 9.0)) is None
    assert p.halve(5, 3, 0.5, (100.0, 5.0)) is not None
    assert p.race(5, 1, clips(40), (101.0, 9.0)) is not None


# scores


def test_single_epochs_are_averaged_but_not_averaged_weights():
    assert smoothed([0.0, 0.0, 0.3, 0.6, 0.9], averaged=False) == pytest.approx(0.6)
    assert smoothed([0.2], averaged=False) == 0.2
    assert smoothed([0.0, 0.3, 0.9], averaged=True) == 0.9


@pytest.mark.parametrize(("lost", "won"), [(0, 0), (3, 0), (0, 3), (5, 2), (12, 12), (900, 600)])
def test_mcnemar_is_the_exact_binomial_test(lost, won):
    expected = binomtest(lost, lost + won).pvalue if lost + won else 1.0
    assert mcnemar(lost, won) == pytest.approx(expected)


def test_no_system_has_a_negative_number_of_clips():
    with pytest.raises(ValueError, match="negative"):
        mcnemar(-1, 0)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"pruner": "median"}, "known: both, asha, race, none"),
        ({"eta": 1.0}, "eta must be above 1"),
        ({"rungs": (0.1, 1.0)}, "between 1/6 and 1"),
        ({"rungs": ()}, "got none"),
        ({"competitors": 1}, "at least 2"),
        ({"level": 0.0}, "between 0 and 1"),
        ({"queue": -1}, "queue must be 0 or"),
    ],
)
def test_settings_that_cannot_be_are_refused(bad, said):
    with pytest.raises(ValueError, match=said):
        Policy(**bad)
