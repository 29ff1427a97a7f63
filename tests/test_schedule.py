"""Laws of the learning-rate schedules, and agreement with torch's own."""

import math

import pytest
import torch
from torch.optim import lr_scheduler

from escmodels import schedule
from escmodels.schedule import SCHEDULES, WARM_START, Plateau, ScheduleConfig

STEPS = 200
GRID = [step / STEPS for step in range(STEPS + 1)]
EPOCHS = 50
SEAMLESS = pytest.mark.parametrize("name", [name for name in SCHEDULES if name != "onecycle"])
EVERY_KIND = pytest.mark.parametrize("name", SCHEDULES)


def rate(config, progress, epochs=EPOCHS, drops=0):
    return schedule.rate(config, progress, epochs=epochs, drops=drops)


def torch_factors(make, steps=STEPS):
    """The factors a torch scheduler gives at each step of a run with peak rate 1."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make(optimizer)
    factors = []
    for _ in range(steps):
        factors.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return factors


@EVERY_KIND
@pytest.mark.parametrize("warmup", [0.0, 0.1])
def test_a_rate_stays_between_zero_and_the_peak_and_reaches_it(name, warmup):
    rates = [rate(ScheduleConfig(name=name, warmup=warmup), progress) for progress in GRID]
    assert min(rates) > 0.0
    assert max(rates) == pytest.approx(1.0)
    assert max(rates) <= 1.0


@SEAMLESS
def test_without_warm_up_it_starts_at_the_peak(name):
    assert rate(ScheduleConfig(name=name, warmup=0.0), 0.0) == 1.0


@SEAMLESS
def test_a_warm_up_rises_from_a_tenth_to_the_peak_without_a_jump(name):
    config = ScheduleConfig(name=name, warmup=0.2)
    assert rate(config, 0.0) == pytest.approx(WARM_START)
    assert rate(config, 0.1) == pytest.approx((1 + WARM_START) / 2)
    assert rate(config, 0.2 - 1e-9) == pytest.approx(1.0)
    assert rate(config, 0.2) == 1.0


@pytest.mark.parametrize("drops", [{"at": "0.3,0.6,0.9"}, {"every_epochs": 15}])
def test_a_warm_up_moves_no_drop(drops):
    """Papers count shares and epochs from the start of the run, so do `at` and `every_epochs`."""
    plain = ScheduleConfig(name="step", warmup=0.0, **drops)
    warm = ScheduleConfig(name="step", warmup=0.2, **drops)
    late = [progress for progress in GRID if progress >= 0.2]
    assert [rate(warm, progress) for progress in late] == [rate(plain, progress) for progress in late]


@pytest.mark.parametrize("name", ["cosine", "onecycle", "exponential", "linear"])
def test_it_ends_at_the_floor(name):
    assert rate(ScheduleConfig(name=name, floor=0.07), 1.0) == pytest.approx(0.07)


def test_onecycle_peaks_where_it_was_told():
    rates = [rate(ScheduleConfig(name="onecycle", peak=0.4, warmup=0.3), progress) for progress in GRID]
    assert rates[0] == pytest.approx(1 / 25)
    assert max(range(len(rates)), key=rates.__getitem__) == 0.4 * STEPS


def test_the_seed_net_drops_by_ten_every_20_of_60_epochs():
    config = ScheduleConfig(name="step", every=1 / 3, gamma=0.1, warmup=0.0)
    rates = [rate(config, epoch / 60) for epoch in range(60)]
    expected = [1.0] * 20 + [0.1] * 20 + [0.01] * 20
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize(
    ("every", "drops"),
    [(0.33, 2), (0.34, 2), (0.5, 1), (1.0, 0), (0.3, 3), (0.25, 3), (0.4, 2), (0.9, 1), (0.97, 0)],
)
def test_a_remainder_of_the_run_is_no_stage_of_its_own(every, drops):
    end = rate(ScheduleConfig(name="step", every=every, gamma=0.5, warmup=0.0), 1.0)
    assert round(math.log(end, 0.5)) == drops


def test_cosine_agrees_with_torch():
    config = ScheduleConfig(name="cosine", warmup=0.0, floor=0.05)
    theirs = torch_factors(lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS, eta_min=0.05))
    assert [rate(config, progress) for progress in GRID[:-1]] == pytest.approx(theirs)


def test_step_agrees_with_torch():
    config = ScheduleConfig(name="step", warmup=0.0, every=0.25, gamma=0.3)
    theirs = torch_factors(lambda o: lr_scheduler.StepLR(o, STEPS // 4, gamma=0.3))
    assert [rate(config, progress) for progress in GRID[:-1]] == pytest.approx(theirs)


@pytest.mark.parametrize(("at", "milestones"), [("0.3,0.6,0.9", (15, 30, 45)), ("0.5", (25,))])
def test_drops_at_shares_of_the_run_agree_with_torch(at, milestones):
    config = ScheduleConfig(name="step", warmup=0.0, at=at, every=0.1, gamma=0.2)
    theirs = torch_factors(lambda o: lr_scheduler.MultiStepLR(o, milestones, gamma=0.2), EPOCHS)
    assert [rate(config, epoch / EPOCHS) for epoch in range(EPOCHS)] == pytest.approx(theirs)


@pytest.mark.parametrize("epochs", [7, 49, 50, 300])
@pytest.mark.parametrize("every", [1, 7, 20])
def test_drops_every_n_epochs_agree_with_torch_whatever_the_length_of_the_run(every, epochs):
    config = ScheduleConfig(name="step", warmup=0.0, every_epochs=every, gamma=0.9)
    theirs = torch_factors(lambda o: lr_scheduler.StepLR(o, every, gamma=0.9), epochs)
    ours = [rate(config, epoch / epochs, epochs=epochs) for epoch in range(epochs)]
    assert ours == pytest.approx(theirs)


def test_exponential_agrees_with_torch():
    config = ScheduleConfig(name="exponential", warmup=0.0, floor=0.02)
    theirs = torch_factors(lambda o: lr_scheduler.ExponentialLR(o, 0.02 ** (1 / STEPS)))
    assert [rate(config, progress) for progress in GRID[:-1]] == pytest.approx(theirs)


def test_linear_agrees_with_torch():
    config = ScheduleConfig(name="linear", warmup=0.0, floor=0.1)
    theirs = torch_factors(lambda o: lr_scheduler.LinearLR(o, 1.0, 0.1, total_iters=STEPS))
    assert [rate(config, progress) for progress in GRID[:-1]] == pytest.approx(theirs)


def losses_that_stall():
    """Falls, then a long noisy floor with one late fall, then nothing new."""
    wobble = [0.01 * (7 * epoch % 5) for epoch in range(60)]
    trend = [max(1.0, 3.0 - 0.2 * epoch) if epoch < 40 else 0.9 for epoch in range(60)]
    return [a + b for a, b in zip(trend, wobble, strict=True)]


@pytest.mark.parametrize("patience", [0, 1, 5, 10])
def test_plateau_agrees_with_torch(patience):
    config = ScheduleConfig(name="plateau", warmup=0.0, gamma=0.5, patience=patience)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=patience, eps=0.0)
    ours, drops = Plateau(config), []
    for loss in losses_that_stall():
        theirs.step(loss)
        drops.append(ours.observe(loss))
        assert rate(config, 0.5, drops=drops[-1]) == pytest.approx(optimizer.param_groups[0]["lr"])
    assert drops == sorted(drops) and drops[-1] >= 2 and ours.drops == drops[-1]


def test_a_loss_that_falls_without_end_never_drops_the_rate():
    plateau = Plateau(ScheduleConfig(name="plateau", patience=0))
    assert {plateau.observe(1 / epoch) for epoch in range(1, 100)} == {0}
    assert plateau.observe(1 / 99 - 1e-9) == 1  # a gain below the threshold is none


def test_onecycle_agrees_with_torch():
    config = ScheduleConfig(name="onecycle", peak=0.25, floor=0.01)
    steps = STEPS + 1  # torch counts the last step as the end
    theirs = torch_factors(
        lambda o: lr_scheduler.OneCycleLR(
            o,
            1.0,
            total_steps=steps,
            pct_start=51 / steps,
            div_factor=25,
            final_div_factor=4,
            cycle_momentum=False,
        ),
        steps,
    )
    assert [rate(config, progress) for progress in GRID] == pytest.approx(theirs)


def test_warm_up_and_cosine_agree_with_torch():
    config = ScheduleConfig(name="cosine", warmup=0.2, floor=0.0)
    warm = STEPS // 5
    theirs = torch_factors(
        lambda o: lr_scheduler.SequentialLR(
            o,
            [
                lr_scheduler.LinearLR(o, WARM_START, total_iters=warm),
                lr_scheduler.CosineAnnealingLR(o, STEPS - warm),
            ],
            milestones=[warm],
        )
    )
    assert [rate(config, progress) for progress in GRID[:-1]] == pytest.approx(theirs)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"name": "cosin"},
            "schedule is 'cosin', expected one of 'constant', 'cosine', 'exponential', 'linear'",
        ),
        ({"warmup": 0.9}, "schedule.warmup is 0.9, expected a number from 0.0 to 0.5"),
        ({"floor": -0.1}, "schedule.floor is -0.1"),
        ({"every": 0.0}, "schedule.every is 0.0"),
        ({"gamma": 2.0}, "schedule.gamma is 2.0"),
        ({"peak": float("nan")}, "schedule.peak is nan"),
        ({"every_epochs": -1}, "schedule.every_epochs is -1"),
        ({"patience": -1}, "schedule.patience is -1"),
        ({"at": "0.3;0.6"}, "schedule.at is '0.3;0.6', expected rising shares of the run between 0 and 1"),
        ({"at": "0.6,0.3"}, "schedule.at is '0.6,0.3', expected rising shares"),
        ({"at": "0.3,1.0"}, "expected rising shares"),
        ({"at": "0"}, "expected rising shares"),
        ({"at": "nan"}, "expected rising shares"),
        ({"at": "0.3,"}, "expected rising shares"),
        (
            {"at": "0.5", "every_epochs": 3},
            "schedule.at is '0.5' and schedule.every_epochs is 3, expected one",
        ),
        (
            {"name": "exponential", "floor": 0.0},
            "schedule.floor is 0.0, expected more than 0 with schedule: exp",
        ),
    ],
)
def test_a_config_refuses_nonsense_and_says_what_is_allowed(wrong, message):
    with pytest.raises(ValueError, match=message):
        ScheduleConfig(**wrong)
