"""Laws of mixing: targets stay distributions, shares follow their law, loudness counts as the papers say."""

import numpy as np
import pytest
import torch
from toys import generator

from escmodels.features import LogMel, LogMelConfig
from escmodels.mixing import (
    between_bands,
    between_waves,
    blend,
    loudest,
    mixup,
    pairs,
    pressure_share,
)

B, T, K, RATE = 64, 8000, 5, 16000


@pytest.fixture
def wave():
    level_B1 = torch.logspace(-2, 0, B)[torch.randperm(B, generator=generator(1))][:, None]
    return torch.randn((B, T), generator=generator(7)) * 0.1 * level_B1


@pytest.fixture
def spec():
    return torch.randn((B, 1, 40, 100), generator=generator(8))


@pytest.fixture
def target():
    return torch.eye(K)[torch.arange(B) % K]


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


def test_a_partner_is_any_example_of_another_class(target):
    small = target[:10]
    drawn = [pairs(small, generator(seed), 1.0)[0] for seed in range(200)]
    for partner_B in drawn:
        assert (small[partner_B].argmax(dim=1) != small.argmax(dim=1)).all()
    assert {int(p[0]) for p in drawn} == {row for row in range(10) if row % K != 0}


def test_parts_are_uniform_and_a_share_of_the_examples_stays_alone():
    target = torch.eye(2).repeat(500, 1)
    alone_B = pairs(target, generator(), 0.3)[1] == 1.0
    assert alone_B.float().mean() == pytest.approx(0.7, abs=0.05)
    ratio_B = pairs(target, generator(), 1.0)[1].sort().values
    torch.testing.assert_close(ratio_B, torch.linspace(0, 1, 1000), rtol=0, atol=0.05)


@pytest.mark.parametrize(
    ("gain_db", "part", "share"),
    [
        (0.0, 0.3, 0.3),  # equally loud: the part itself
        (0.0, 0.5, 0.5),
        (-20.0, 0.5, 10 / 11),  # the partner is 20 dB louder: ten times its amplitude
        (20.0, 0.5, 1 / 11),
        (6.0, 0.25, 1 / (1 + 10**0.3 * 3)),
        (40.0, 1.0, 1.0),
        (-40.0, 0.0, 0.0),
    ],
)
def test_the_share_is_that_of_the_paper(gain_db, part, share):
    first, second = torch.tensor([10 ** (gain_db / 10)]), torch.tensor([1.0])
    assert pressure_share(torch.tensor([part]), first, second).item() == pytest.approx(share, rel=1e-5)


def test_sounds_are_heard_in_the_ratio_of_their_targets():
    ratio_B = torch.rand(B, generator=generator(), dtype=torch.float64)
    loud_B, other_B = torch.logspace(-6, 0, B).double(), torch.logspace(0, -5, B).double()
    share_B = pressure_share(ratio_B, loud_B, other_B)
    heard_B, partner_B = share_B * loud_B.sqrt(), (1 - share_B) * other_B.sqrt()
    torch.testing.assert_close(heard_B / (heard_B + partner_B), ratio_B)


def gain_of_the_paper(sound, rate, n_fft):
    """`compute_gain` of the authors' code (bc_learning_sound, utils.py), its loudest frame in dB."""
    square = np.linspace(0, rate // 2, n_fft // 2 + 1) ** 2
    square[0] = 1.0
    curve = 2.0 + 20.0 * (
        2 * np.log10(12194) + 2 * np.log10(square) - np.log10(square + 12194**2) - np.log10(square + 20.6**2)
    )
    curve -= 10.0 * (np.log10(square + 107.7**2) + np.log10(square + 737.9**2))
    gains = []
    for i in range(0, len(sound) - n_fft + 1, n_fft // 2):
        spectrum = np.fft.rfft(np.hanning(n_fft + 1)[:-1] * sound[i : i + n_fft])
        gains.append(np.sum(np.abs(spectrum) ** 2 * 10 ** (np.maximum(curve, -80) / 10)))
    return 10 * np.log10(max(gains))


@pytest.mark.parametrize(("rate", "n_fft"), [(16000, 2048), (44100, 4096)])
def test_loudness_differs_between_clips_as_in_the_authors_code(wave, rate, n_fft):
    wave = wave[:8] * torch.linspace(0, 1, T)
    wave[0] = 0.1 * torch.sin(torch.arange(T) * 0.02)  # low: hardly heard
    ours_B = 10 * loudest(wave, rate).log10()
    paper_B = torch.tensor([gain_of_the_paper(sound, rate, n_fft) for sound in wave.double().numpy()])
    torch.testing.assert_close(ours_B - ours_B[-1], (paper_B - paper_B[-1]).float(), rtol=0, atol=0.01)


def test_a_steady_tone_at_1_khz_is_as_loud_as_its_mean_square():
    tone = torch.sin(2 * torch.pi * 1000 / RATE * torch.arange(T))[None]
    assert loudest(tone, RATE).item() == pytest.approx(0.5, rel=1e-3)


def test_a_clip_shorter_than_a_frame_has_a_loudness():
    assert loudest(torch.ones(2, 100), RATE).shape == (2,)
    assert loudest(torch.zeros(2, 5000), RATE).tolist() == [0.0, 0.0]


def test_mixed_waves_are_those_of_the_formula(wave, target):
    mixed_BT, soft_BK = between_waves(wave, target, generator(3), 1.0, RATE)
    partner_B, ratio_B = pairs(target, generator(3), 1.0)
    torch.testing.assert_close(
        soft_BK, ratio_B[:, None] * target + (1 - ratio_B)[:, None] * target[partner_B]
    )
    gain_B = torch.tensor([gain_of_the_paper(sound, RATE, 2048) for sound in wave.double().numpy()])
    p_B1 = 1 / (1 + 10 ** ((gain_B - gain_B[partner_B]) / 20) * (1 - ratio_B) / ratio_B)[:, None]
    expected = (p_B1 * wave + (1 - p_B1) * wave[partner_B]) / (p_B1**2 + (1 - p_B1) ** 2).sqrt()
    torch.testing.assert_close(mixed_BT, expected.float(), rtol=1e-3, atol=1e-4)


def test_mixed_bands_are_on_average_those_of_the_mixed_waves(wave, target):
    feature = LogMel(LogMelConfig(n_mels=16, n_fft=512, hop=256), RATE)
    power = feature.power(wave)
    bands, loud, soft = between_bands(feature.pool(power), feature.loudness(power), target, generator(3), 1.0)
    mixed, soft_of_waves = between_waves(wave, target, generator(3), 1.0, RATE)
    torch.testing.assert_close(soft, soft_of_waves)
    ratio_BM = bands[:, 0, 1:-1].mean(dim=1) / feature.band_power(mixed)[:, 0, 1:-1].mean(dim=1)
    # the loudest of shorter frames is not quite as much louder than the partner's
    assert ratio_BM.log10().mul(10).mean().abs() < 0.3
    assert ratio_BM.log10().mul(10).std() < 1.5
    torch.testing.assert_close(loud[:, 1:-1, 0].mean(1), mixed.square().mean(1), rtol=0.3, atol=0)


def test_a_batch_of_one_class_stays_as_it_is(wave, target):
    one = target[:1].expand(B, K)
    mixed, soft = between_waves(wave, one, generator(), 1.0, RATE)
    assert torch.equal(mixed, wave) and torch.equal(soft, one)
    bands, loud = torch.rand(B, 1, 10, 8), torch.rand(B, 10, 2)
    kept = between_bands(bands, loud, one, generator(), 1.0)
    assert all(torch.equal(a, b) for a, b in zip(kept, (bands, loud, one), strict=True))


def test_a_silent_partner_gives_no_nonsense(wave, target):
    wave[::2] = 0.0
    mixed, _ = between_waves(wave, target, generator(), 1.0, RATE)
    assert mixed.isfinite().all()
    mixed, loud, _ = between_bands(torch.zeros(B, 1, 4, 3), torch.zeros(B, 4, 2), target, generator(), 1.0)
    assert not mixed.any() and not loud.any()


def test_at_strength_zero_the_input_comes_back_and_nothing_is_drawn(wave, target):
    rng = generator()
    before = rng.get_state()
    assert mixup(wave, target, rng, 0.0) == (wave, target)
    assert between_waves(wave, target, rng, 0.0, RATE) == (wave, target)
    assert between_bands(wave, wave, target, rng, 0.0) == (wave, wave, target)
    assert torch.equal(rng.get_state(), before)
