"""What the search settles for the exam: how many epochs, and a plateau becomes the steps it took."""

import numpy as np
import pytest

from escmodels.recipe import parse
from escmodels.schedule import ScheduleConfig, rate
from search.ledger import Ledger
from search.settle import settled, settled_epochs, settled_values

EPOCHS = 30
PLATEAU = {
    "architecture": "mel_cnn",
    "schedule": "plateau",
    "schedule.gamma": 0.5,
    "schedule.warmup": 0.1,
    "schedule.patience": 3,
}


def rates(drops_after: list[int]) -> list[float]:
    """Learning rate at the last of 4 steps of each epoch of a plateau that dropped after these epochs."""
    config = ScheduleConfig(name="plateau", gamma=0.5, warmup=0.1)
    return [
        rate(
            config, (4 * epoch + 3) / (4 * EPOCHS), epochs=EPOCHS, drops=sum(e <= epoch for e in drops_after)
        )
        for epoch in range(EPOCHS)
    ]


def test_other_schedules_stay_as_they_are():
    values = {"schedule": "cosine", "optim.lr": 0.1}
    assert settled_values(values, [[0.1, 0.05]], 2) == values


def test_the_steps_give_the_rates_of_the_plateau_at_every_step():
    settled = settled_values(PLATEAU, [rates([7, 20]), rates([7, 20]), rates([7, 20])], EPOCHS)
    config = parse(settled).schedule
    assert config.name == "step"
    for step in range(4 * EPOCHS):
        drops = sum(4 * e <= step for e in (7, 20))
        wanted = rate(parse(PLATEAU).schedule, step / (4 * EPOCHS), epochs=EPOCHS, drops=drops)
        assert rate(config, step / (4 * EPOCHS), epochs=EPOCHS) == pytest.approx(wanted), step


def test_a_drop_counts_if_half_the_splits_had_it_and_comes_at_their_median():
    curves = [rates([9]), rates([12]), rates([15, 25]), rates([])]
    assert (
        settled_values(PLATEAU, curves, EPOCHS)["schedule.at"] == "0.5"
    )  # of 9, 12, 15, never: the later middle
    assert settled_values(PLATEAU, [rates([]), rates([]), rates([5])], EPOCHS)["schedule"] == "constant"
    parse(settled_values(PLATEAU, [rates([])], EPOCHS))


def test_whatever_the_drops_were_the_exam_gets_a_recipe():
    rng = np.random.default_rng(0)
    for _ in range(300):
        curves = [
            rates(sorted(rng.choice(np.arange(3, EPOCHS), rng.integers(0, 5), replace=False).tolist()))
            for _ in range(rng.integers(1, 6))
        ]
        assert parse(settled_values(PLATEAU, curves, EPOCHS)).schedule.name in ("step", "constant")


def test_the_full_length_is_kept_when_the_curve_rises():
    assert settled_epochs([np.linspace(0.1, 0.9, 20)] * 5, clips=400) == 20


def test_a_lucky_early_peak_within_the_noise_is_not_believed():
    curve = np.full(20, 0.80)
    curve[7] = 0.84
    assert settled_epochs([curve] * 5, clips=400) == 20


def test_a_clear_early_peak_is_believed():
    curve = np.concatenate([np.linspace(0.3, 0.9, 10), np.linspace(0.9, 0.5, 10)])
    assert 9 <= settled_epochs([curve] * 5, clips=400) <= 12


def test_one_or_two_epochs_are_enough_for_a_decision():
    assert settled_epochs([[0.5]], clips=10) == 1
    assert settled_epochs([[0.5, 0.6]], clips=10) == 2


def test_a_rescued_winner_is_examined_and_shipped_as_it_was_trained(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite", create=True)
    ledger.open_trial(0, {"optim.batch": 16})
    ledger.rescue_trial(0, {"optim.accumulate": 2})
    ledger.log_epoch("k", 1, {"valid_accuracy": 0.5}, trial=0, phase="search", split=1, seed=0)
    ledger.finish_fold("k", score=0.5, loss=1.0, epochs=1, seconds=1.0, predictions=b"")
    values, _ = settled(ledger, ledger.trial(0), clips=10, epochs=1)
    assert values == {"optim.batch": 16, "optim.accumulate": 2}
    ledger.close()
