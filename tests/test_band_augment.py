"""Laws of what is done to band power: each fast form agrees with what the same change of the wave would give."""

import math

import pytest
import torch
from toys import generator

from escmodels import wave_augment
from escmodels.band_augment import NOISE_RANGE_DB, frames_at, gain, noise, stretch
from escmodels.draws import chosen, factors, product
from escmodels.features import GammatoneConfig, LogMel, LogMelConfig, build

B, N, M, RATE = 8, 60, 16, 16000


@pytest.fixture
def band():
    return torch.rand((B, 1, N, M), generator=generator(7)) + 0.1


@pytest.fixture
def loud():
    return torch.ones(B, N, 2)


def test_whole_positions_pick_frames_and_wrap_round(band):
    position_BN = torch.arange(3.0, 3.0 + N).expand(B, N)
    assert torch.equal(frames_at(band, position_BN), band.roll(-3, dims=2))
    assert torch.equal(frames_at(band, position_BN + 5 * N), band.roll(-3, dims=2))


def test_a_position_between_frames_is_their_weighted_mean(band):
    middle = frames_at(band, torch.full((B, 1), 4.25))
    torch.testing.assert_close(middle[:, :, 0], 0.75 * band[:, :, 4] + 0.25 * band[:, :, 5])
    seam = frames_at(band, torch.full((B, 1), N - 0.5))
    torch.testing.assert_close(seam[:, :, 0], 0.5 * band[:, :, -1] + 0.5 * band[:, :, 0])


def test_each_example_and_all_its_resolutions_are_read_at_its_own_positions(band):
    three, position_BN = (
        band.repeat(1, 3, 1, 1) * torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1),
        torch.rand(B, 7) * N,
    )
    together = frames_at(three, position_BN)
    assert together.shape == (B, 3, 7, M)
    for row in range(B):
        torch.testing.assert_close(
            together[row : row + 1], frames_at(three[row : row + 1], position_BN[row : row + 1])
        )
    torch.testing.assert_close(together[:, 2], 3 * together[:, 0])
    torch.testing.assert_close(
        frames_at(three[:, 0], position_BN), together[:, 0]
    )  # loudness has no resolutions


def test_a_ramp_is_stretched_by_its_factor():
    ramp = torch.arange(float(N)).view(1, 1, N, 1).expand(3, 1, N, 2)
    out = stretch(ramp, torch.tensor([0.5, 1.0, 2.0]))
    torch.testing.assert_close(out[0, 0, :, 0], torch.arange(N) * 0.5)
    assert torch.equal(out[1], ramp[1])
    torch.testing.assert_close(out[2, 0, :, 0], (torch.arange(N) * 2.0) % N)


def test_stretched_bands_are_those_of_the_same_sound_at_another_tempo():
    feature = LogMel(LogMelConfig(n_mels=24, n_fft=512, hop=128), RATE)

    def sound(tempo):  # two tones that swell and fade, not in step
        second_T = torch.arange(2 * RATE) / RATE
        swell_2T = 1 + 0.9 * torch.sin(tempo * second_T * torch.tensor([[9.0], [14.0]]))
        return (swell_2T * torch.sin(second_T * torch.tensor([[3000.0], [20000.0]]))).sum(dim=0)[None]

    for value in (0.8, 1.25):
        fast = stretch(feature.band_power(sound(1.0)), torch.tensor([value]))
        slow = feature.band_power(sound(value))
        part = slice(4, int(slow.shape[2] / max(1.0, value)) - 4)
        heard = slow[:, :, part] > 1e-2 * slow.amax()
        error_db = 10 * (fast[:, :, part] / slow[:, :, part])[heard].log10()
        assert error_db.abs().max() < 0.5
        assert (
            10 * (feature.band_power(sound(1.0))[:, :, part] / slow[:, :, part])[heard].log10()
        ).abs().max() > 10


def test_gain_scales_each_clip_within_its_decibels(band):
    many = band.repeat(16, 1, 1, 1)
    db = 10 * (gain(many, generator(), 6.0) / many).log10()
    torch.testing.assert_close(db, db[:, :, :1, :1].expand_as(db), rtol=0, atol=1e-4)
    assert 5.0 < db.max() <= 6.0 + 1e-4 and -6.0 - 1e-4 <= db.min() < -5.0


def ones(colours=1):
    return torch.ones(colours, 1, M)


def test_noise_hits_its_range_of_ratios(band, loud):
    freedom = torch.full((1, M), 1e9)  # no chance: the mean itself
    many, louder = band.repeat(64, 1, 1, 1), 4 * loud.repeat(64, 1, 1)
    added = (noise(many, louder, generator(), 1.0, 10.0, ones(), freedom) - many).mean(dim=(1, 2, 3))
    ratio_B = 10 * (4 / added).log10()
    assert 10.0 - 0.1 <= ratio_B.min() < 11.0
    assert 10.0 + NOISE_RANGE_DB - 1.0 < ratio_B.max() <= 10.0 + NOISE_RANGE_DB + 0.1


def test_noise_takes_its_share_of_the_clips_and_leaves_the_rest_alone(band, loud):
    many, louder = band.repeat(10, 1, 1, 1), loud.repeat(10, 1, 1)
    out = noise(many, louder, generator(), 0.25, 0.0, ones(), torch.full((1, M), 3.0))
    assert (out != many).flatten(1).any(dim=1).sum() == 20


def test_any_colour_draws_each_of_them(band, loud):
    noise_CRM = torch.tensor([1.0, 100.0, 10000.0]).view(3, 1, 1).expand(3, 1, M)
    many = band.repeat(32, 1, 1, 1)
    added = (
        noise(many, loud.repeat(32, 1, 1), generator(), 1.0, 0.0, noise_CRM, torch.full((1, M), 1e9)) - many
    )
    level_B = added.mean(dim=(1, 2, 3)).log10()
    counts = torch.histc(level_B, bins=3, min=-2.0, max=4.0)
    assert (counts > 50).all()


@pytest.mark.parametrize("snr_db", [30.0, 0.0, -15.0])
def test_noisy_bins_have_the_moments_of_complex_ones(snr_db):
    """Three equal bins: |X + Z|^2 with Z complex normal, simulated; ratios in a range of 20 dB on both sides."""
    k, draws, power = 3, 40000, 10 ** (-snr_db / 10)
    x = torch.tensor([0.5, 1.0, 1.5])
    z = torch.randn(draws, k, dtype=torch.complex64, generator=generator()) * math.sqrt(power / k)
    exact = (x / x.square().sum().sqrt() + z).abs().square().sum(dim=1)
    clean = torch.ones(1, 1, draws, 1)
    rng = generator(1)
    drawn_db = -NOISE_RANGE_DB * torch.rand(1, generator=_after_choice(rng)).item()
    loud, freedom = torch.ones(1, draws, 2), torch.full((1, 1), float(k))
    fast = noise(clean, loud, generator(1), 1.0, snr_db + drawn_db, torch.ones(1, 1, 1), freedom)
    assert fast.mean() == pytest.approx(exact.mean().item(), rel=0.02)
    assert fast.std() == pytest.approx(exact.std().item(), rel=0.05)


def _after_choice(rng):
    """The generator as it is when `noise` draws the ratio of a single clip."""
    chosen(1, 1.0, rng)
    return rng


@pytest.mark.parametrize("colour", ["white", "pink", "brown"])
@pytest.mark.parametrize(
    "config", [LogMelConfig(n_mels=24), GammatoneConfig(n_bands=24)], ids=["mel", "gammatone"]
)
def test_noisy_bands_look_like_the_bands_of_a_noisy_wave(config, colour):
    feature = build(config, RATE)
    tone = 0.05 * torch.sin(2 * torch.pi * 700 * torch.arange(4 * RATE) / RATE)
    wave = (tone + 0.02 * torch.randn(16, 4 * RATE, generator=generator())).contiguous()
    rng, twin = generator(1), generator(1)
    slow = feature.band_power(wave_augment.noise(wave, rng, 1.0, 0.0, colour, RATE))
    power = feature.power(wave)
    loud = feature.loudness(power)
    fast = noise(feature.pool(power), loud, twin, 1.0, 0.0, feature.noise(colour)[None], feature.freedom_RM)
    fast_db, slow_db = (10 * x[:, 0, 2:-2].log10() for x in (fast, slow))
    torch.testing.assert_close(fast_db.mean(dim=(0, 1)), slow_db.mean(dim=(0, 1)), rtol=0, atol=1.0)
    torch.testing.assert_close(
        fast_db.std(dim=1).mean(dim=0), slow_db.std(dim=1).mean(dim=0), rtol=0, atol=1.2
    )


def test_a_silent_clip_stays_silent():
    silent = noise(
        torch.zeros(B, 1, N, M), torch.zeros(B, N, 2), generator(), 1.0, 0.0, ones(), torch.ones(1, M)
    )
    assert not silent.any()


def test_a_louder_neighbour_changes_nothing(band, loud):
    louder = band.clone()
    louder[0] *= 1000
    for change in (
        lambda x: noise(x, loud, generator(), 0.5, 0.0, ones(), torch.ones(1, M)),
        lambda x: gain(x, generator(), 6.0),
        lambda x: stretch(x, torch.full((B,), 1.1)),
    ):
        assert torch.equal(change(band)[1:], change(louder)[1:])


def test_the_input_is_left_alone_and_strength_zero_draws_nothing(band, loud):
    rng, kept = generator(), (band.clone(), loud.clone())
    before = rng.get_state()
    assert gain(band, rng, 0.0) is band
    assert noise(band, loud, rng, 0.0, 0.0, ones(), torch.ones(1, M)) is band
    assert factors(B, 0.0, rng, band) is None
    assert torch.equal(rng.get_state(), before)
    noise(gain(band, rng, 6.0), loud, rng, 1.0, 0.0, ones(), torch.ones(1, M))
    noise(band, loud, rng, 1.0, 0.0, ones(), torch.ones(1, M))
    stretch(band, torch.full((B,), 1.3))
    assert torch.equal(band, kept[0]) and torch.equal(loud, kept[1])


def test_factors_are_uniform_in_their_logarithm_up_to_both_ends():
    share_B = factors(4000, 0.25, generator(), torch.zeros(0)).log().sort().values / math.log(1.25)
    torch.testing.assert_close(share_B, torch.linspace(-1, 1, 4000), rtol=0, atol=0.05)


def test_a_missing_factor_counts_as_one():
    two = torch.full((3,), 2.0)
    assert product(None, None) is None
    assert product(two, None) is two and product(None, two) is two
    assert product(two, two).tolist() == [4.0] * 3


@pytest.mark.parametrize(("size", "p"), [(30, 0.1), (7, 0.3), (1, 0.5), (16, 1.0), (5, 1e-3)])
def test_each_example_is_chosen_with_its_probability(size, p):
    rng, times = generator(), torch.zeros(size)
    for _ in range(2000):
        rows, counts = chosen(size, p, rng)
        assert math.floor(p * size + 1e-9) <= counts.sum() <= math.ceil(p * size - 1e-9)
        times.index_add_(0, rows, counts)
    torch.testing.assert_close(times / 2000, torch.full((size,), p), rtol=0, atol=0.06)
