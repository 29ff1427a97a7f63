"""Laws of early stopping."""

import pytest

from search.pruning import Halving, Rung, rung_score, rungs


def test_rungs_lie_at_a_third_and_the_end_of_the_first_split_and_at_later_ends_but_the_last():
    places = [(rung.position, rung.epoch) for rung in rungs(5, 30, 2.0)]
    assert places == [(1, 10), (1, 30), (2, 30), (3, 30), (4, 30)]


def test_no_rung_lies_before_a_sixth_of_the_first_split():
    for epochs in range(1, 60):
        assert all(rung.epoch >= epochs / 6 for rung in rungs(5, epochs, 2.0))


def test_a_single_epoch_has_no_rung_inside_the_split():
    assert [(rung.position, rung.epoch) for rung in rungs(3, 1, 2.0)] == [(1, 1), (2, 1)]


def test_nobody_is_stopped_before_enough_competitors_have_come():
    halving = Halving((Rung(1, 10, 2.0),), minimum=4)
    assert all(halving.judge(trial, 1, 10, 0.9 - trial / 10) for trial in range(3))
    assert not halving.judge(3, 1, 10, 0.1)


def test_the_best_half_goes_on():
    halving = Halving((Rung(1, 10, 2.0),), minimum=4)
    halving.remember([(trial, 1, 10, trial / 10) for trial in range(5)])
    assert halving.judge(5, 1, 10, 0.25)  # third of six
    assert not halving.judge(6, 1, 10, 0.15)  # sixth of seven


def test_equals_are_not_stopped_by_each_other():
    halving = Halving((Rung(1, 10, 2.0),), minimum=2)
    assert all(halving.judge(trial, 1, 10, 0.5) for trial in range(6))


def test_trials_are_compared_only_at_the_same_point():
    halving = Halving(rungs(3, 9, 2.0), minimum=2)
    halving.remember([(trial, 1, 9, 0.9) for trial in range(10)])
    assert halving.judge(10, 1, 3, 0.1)
    assert halving.judge(10, 2, 9, 0.1)
    assert halving.judge(10, 1, 5, 0.0)  # no rung there
    assert not halving.judge(10, 1, 9, 0.1)


def test_judging_again_after_a_restart_changes_nothing():
    halving = Halving((Rung(1, 10, 2.0),), minimum=4)
    halving.remember([(trial, 1, 10, trial / 10) for trial in range(6)])
    assert halving.judge(0, 1, 10, 0.0) == halving.judge(0, 1, 10, 0.0) is False


def test_a_rung_averages_whole_splits_and_the_last_three_epochs():
    assert rung_score([0.8, 0.6], []) == pytest.approx(0.7)
    assert rung_score([], [0.0, 0.0, 0.3, 0.6, 0.9]) == pytest.approx(0.6)
    assert rung_score([0.8], [0.2]) == pytest.approx(0.5)


@pytest.mark.parametrize("bad", [{"minimum": 1}, {"rungs": (Rung(1, 1, 1.0),)}])
def test_settings_that_stop_everybody_are_refused(bad):
    with pytest.raises(ValueError, match="eta > 1"):
        Halving(**({"rungs": (Rung(1, 1, 2.0),)} | bad))
