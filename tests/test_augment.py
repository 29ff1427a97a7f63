"""Laws of the augmentations: what each may change, by how much, and that chance comes from the generator alone."""

import pytest
import torch

from escmodels.augment import (
    NOISE_RANGE_DB,
    Augment,
    AugmentConfig,
    blend,
    gain,
    mixup,
    noise,
    roll,
    spec_augment,
)

B, T, K = 64, 4000, 5
ALL_ON = AugmentConfig(
    gain_db=6.0, roll=1.0, noise_p=0.5, noise_snr_db=10.0, freq_mask=0.3, time_mask=0.3, mixup=0.4
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def wave():
    return torch.rand((B, T), generator=generator(7)) - 0.5


@pytest.fixture
def spec():
    return torch.randn((B, 1, 40, 100), generator=generator(8))


@pytest.fixture
def target():
    return torch.eye(K)[torch.arange(B) % K]


def test_gain_scales_each_clip_within_its_decibels(wave):
    ratio_BT = gain(wave, generator(), 6.0) / wave
    db_B = 20 * ratio_BT.mean(dim=1).log10()
    torch.testing.assert_close(ratio_BT, ratio_BT[:, :1].expand(-1, T), rtol=1e-4, atol=0)
    assert db_B.abs().max() <= 6.0
    assert db_B.max() > 4.0 and db_B.min() < -4.0


def test_roll_only_moves_samples(wave):
    moved = roll(wave, generator(), 1.0)
    assert (moved != wave).any(dim=1).float().mean() > 0.9
    assert torch.equal(moved.sort(dim=1).values, wave.sort(dim=1).values)


def test_roll_moves_whole_frames_of_a_spectrogram(spec):
    moved = roll(spec, generator(), 1.0)
    for before, after in zip(spec, moved, strict=True):
        shift = next(n for n in range(before.shape[-1]) if torch.equal(before.roll(n, -1), after))
        assert 0 <= shift < before.shape[-1]
    assert not torch.equal(moved, spec)


def test_roll_keeps_the_order_and_the_reach():
    ramp = torch.arange(float(T)).expand(B, T)
    start_B = roll(ramp, generator(), 0.2)[:, 0].long()
    shift_B = torch.where(start_B > T // 2, T - start_B, -start_B)
    assert torch.equal(roll(ramp, generator(), 0.2), (ramp + start_B[:, None]) % T)
    assert shift_B.abs().max() <= 0.1 * T
    assert shift_B.max() > 0.05 * T and shift_B.min() < -0.05 * T


def test_noise_hits_the_ratio_that_was_asked(wave):
    loud = wave * torch.linspace(0.01, 1.0, B)[:, None]
    added = noise(loud, generator(), 1.0, 10.0) - loud
    ratio_B = 10 * (loud.square().mean(dim=1) / added.square().mean(dim=1)).log10()
    assert ratio_B.min() > 10.0 - 0.5
    assert ratio_B.max() < 10.0 + NOISE_RANGE_DB + 0.5
    assert ratio_B.min() < 13.0 and ratio_B.max() > 27.0


def test_noise_is_white(wave):
    added = noise(wave, generator(), 1.0, 0.0) - wave
    unit = added / added.square().mean(dim=1, keepdim=True).sqrt()
    power_F = torch.fft.rfft(unit).abs().square().mean(dim=0)[1:-1]
    eighths = torch.stack([part.mean() for part in power_F.chunk(8)])
    assert (eighths / eighths.mean() - 1).abs().max() < 0.05


def test_noise_takes_its_share_of_the_clips_and_leaves_the_rest_alone(wave):
    changed_B = (noise(wave, generator(), 0.25, 10.0) != wave).any(dim=1)
    assert 0.1 < changed_B.float().mean() < 0.4


def test_a_silent_clip_stays_silent():
    assert not noise(torch.zeros(4, T), generator(), 1.0, 0.0).any()


@pytest.mark.parametrize("masks", [1, 2, 3])
@pytest.mark.parametrize("share", [0.1, 0.35])
def test_masks_never_hide_more_than_their_share(spec, share, masks):
    for seed in range(5):
        hidden_BMN = spec_augment(spec, generator(seed), share, share, masks)[:, 0] == 0
        bands_B = hidden_BMN.all(dim=2).float().mean(dim=1)
        frames_B = hidden_BMN.all(dim=1).float().mean(dim=1)
        assert 0 < bands_B.max() <= share
        assert 0 < frames_B.max() <= share
        stripes = hidden_BMN.all(dim=2)[:, :, None] | hidden_BMN.all(dim=1)[:, None, :]
        assert torch.equal(hidden_BMN, stripes)  # whole bands and whole frames, nothing else


def test_masks_reach_every_place_and_differ_between_examples(spec):
    hidden_BN = (spec_augment(spec.repeat(4, 1, 1, 1), generator(), 0.0, 0.3)[:, 0] == 0).all(dim=1)
    assert hidden_BN.any(dim=0).all()
    assert len({tuple(row.tolist()) for row in hidden_BN}) > B


def test_a_waveform_gets_time_masks_only(wave):
    out = spec_augment(wave[:, None], generator(), 0.5, 0.0)
    assert torch.equal(out, wave[:, None])
    assert (spec_augment(wave[:, None], generator(), 0.5, 0.2) == 0).any()


def test_share_one_of_a_blend_is_identity(spec):
    partner_B = torch.arange(B).flip(0)
    assert torch.equal(blend(spec, partner_B, torch.ones(B)), spec)
    assert torch.equal(blend(spec, partner_B, torch.zeros(B)), spec.flip(0))


@pytest.mark.parametrize("alpha", [1e-3, 0.2, 1.0, 10.0])
def test_mixed_targets_stay_distributions(spec, target, alpha):
    mixed, soft_BK = mixup(spec, target, generator(), alpha)
    torch.testing.assert_close(soft_BK.sum(dim=1), torch.ones(B))
    assert soft_BK.min() >= 0.0
    assert mixed.isfinite().all()


def test_features_and_targets_are_mixed_alike(target):
    mixed, soft_BK = mixup(target.clone(), target, generator(), 0.5)
    torch.testing.assert_close(mixed, soft_BK)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_follow_the_beta_distribution(alpha):
    rng, rows = generator(1), 1000
    x = torch.arange(float(rows))[:, None]
    mixed = torch.cat([mixup(x, torch.zeros(rows, 1), rng, alpha)[0] for _ in range(20)])
    # Var(s i + (1 - s) j) = Var(i) E[s^2 + (1 - s)^2] for independent partners, and E[s (1 - s)] of a Beta is known
    expected = 1 - alpha / (2 * alpha + 1)
    assert mixed.var() / x.var() == pytest.approx(expected, abs=0.03)


def test_everything_off_is_identity_and_draws_nothing(wave, spec, target):
    augment, rng = Augment(AugmentConfig()), generator()
    before = rng.get_state()
    assert augment.wave(wave, rng) is wave
    assert augment.spec(spec, rng) is spec
    assert augment.mix(spec, target, rng) == (spec, target)
    assert torch.equal(rng.get_state(), before)
    assert not augment.touches_wave


@pytest.mark.parametrize("knob", ["gain_db", "noise_p"])
def test_what_changes_the_wave_says_so(knob):
    assert Augment(AugmentConfig(**{knob: 0.5})).touches_wave


@pytest.mark.parametrize("knob", ["roll", "freq_mask", "time_mask", "mixup"])
def test_what_leaves_the_wave_alone_says_so(knob):
    assert not Augment(AugmentConfig(**{knob: 0.5})).touches_wave


def run_all(wave, spec, target, seed):
    augment, rng = Augment(ALL_ON), generator(seed)
    return augment.wave(wave, rng), augment.spec(spec, rng), *augment.mix(spec, target, rng)


def test_the_same_seed_gives_the_same_result_whatever_the_global_state(wave, spec, target):
    torch.manual_seed(1)
    first = run_all(wave, spec, target, seed=3)
    torch.manual_seed(2)
    again, other = run_all(wave, spec, target, seed=3), run_all(wave, spec, target, seed=4)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_the_input_is_left_alone(wave, spec, target):
    kept = wave.clone(), spec.clone(), target.clone()
    run_all(wave, spec, target, seed=0)
    assert all(torch.equal(a, b) for a, b in zip(kept, (wave, spec, target), strict=True))


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("gain_db", -1.0),
        ("roll", 1.5),
        ("noise_p", 2.0),
        ("freq_mask", 1.0),
        ("masks", 0),
        ("mixup", float("nan")),
    ],
)
def test_a_config_refuses_nonsense_and_says_what_is_allowed(knob, value):
    with pytest.raises(ValueError, match=rf"augment\.{knob} is {value}, expected a number from .* to .*"):
        AugmentConfig(**{knob: value})
