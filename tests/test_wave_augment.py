"""Laws of what is done to waves, and agreement of the exact forms with librosa's."""

import math

import pytest
import torch
from toys import generator

from escmodels.band_augment import NOISE_RANGE_DB
from escmodels.spectrograms import COLOURS
from escmodels.wave_augment import exact, gain, noise, polarity, read, resample, speed, vocoder

B, T, RATE = 64, 4000, 16000


@pytest.fixture
def wave():
    return torch.rand((B, T), generator=generator(7)) - 0.5


@pytest.fixture(scope="module")
def sound():
    """Two seconds of a chirp, clicks and some noise, [T] at `RATE`."""
    seconds = torch.arange(2 * RATE, dtype=torch.float64) / RATE
    chirp = 0.3 * torch.sin(2 * torch.pi * (200 + 900 * seconds) * seconds).float()
    chirp[::4000] += 0.3
    return chirp + 0.003 * torch.randn(len(chirp), generator=generator())


def tone(hertz, seconds=1.0):
    return torch.sin(
        2 * torch.pi * hertz * torch.arange(int(seconds * RATE), dtype=torch.float64) / RATE
    ).float()


def peak(wave_BT):
    """The loudest frequency of each clip in Hz."""
    window = torch.hann_window(wave_BT.shape[1])
    return torch.fft.rfft(wave_BT * window).abs().argmax(dim=1) * RATE / wave_BT.shape[1]


def test_gain_scales_each_clip_within_its_decibels(wave):
    ratio_BT = gain(wave, generator(), 6.0) / wave
    db_B = 20 * ratio_BT.mean(dim=1).log10()
    torch.testing.assert_close(ratio_BT, ratio_BT[:, :1].expand(-1, T), rtol=1e-4, atol=0)
    assert db_B.abs().max() <= 6.0
    assert db_B.max() > 4.0 and db_B.min() < -4.0


def test_polarity_turns_whole_clips_and_its_share_of_them(wave):
    sign_BT = polarity(wave, generator(), 0.25) / wave
    assert torch.equal(sign_BT, sign_BT[:, :1].expand(-1, T))
    assert 0.1 < (sign_BT[:, 0] == -1).float().mean() < 0.4
    assert torch.equal(polarity(wave, generator(), 1.0), -wave)


@pytest.mark.parametrize("colour", [*COLOURS, "any"])
def test_noise_hits_the_ratio_that_was_asked(wave, colour):
    loud = wave * torch.linspace(0.01, 1.0, B)[:, None]
    added = noise(loud, generator(), 1.0, 10.0, colour, RATE) - loud
    ratio_B = 10 * (loud.square().mean(dim=1) / added.square().mean(dim=1)).log10()
    assert 10.0 - 0.01 < ratio_B.min() < 12.0
    assert 10.0 + NOISE_RANGE_DB - 2.0 < ratio_B.max() < 10.0 + NOISE_RANGE_DB + 0.01


@pytest.mark.parametrize("colour", COLOURS)
def test_noise_has_its_colour_and_is_flat_below_20_hz(colour):
    rate = 500
    wave = torch.ones(B, 4096)
    added = noise(wave, generator(), 1.0, 0.0, colour, rate) - wave
    unit = added / added.square().mean(dim=1, keepdim=True).sqrt()
    power_F = torch.fft.rfft(unit).abs().square().mean(dim=0)[1:-1]
    hertz_F = torch.fft.rfftfreq(4096, 1 / rate)[1:-1]
    expected_F = hertz_F.clamp(min=20) ** -float(COLOURS[colour])
    ratio_16 = torch.stack([part.mean() for part in (power_F / expected_F).chunk(16)])
    assert (ratio_16 / ratio_16.mean() - 1).abs().max() < 0.07


def test_any_colour_draws_each_of_them(wave):
    added = noise(wave, generator(), 1.0, 0.0, "any", RATE) - wave
    power_BF = torch.fft.rfft(added).abs().square()
    fall_B = (power_BF[:, 20:200].mean(dim=1) / power_BF[:, 400:].mean(dim=1)).log10()
    assert ((fall_B < 0.4).sum() > 10) and ((fall_B > 1.6).sum() > 10)
    assert ((fall_B > 0.4) & (fall_B < 1.6)).sum() > 10


def test_noise_takes_its_share_of_the_clips_and_leaves_the_rest_alone(wave):
    changed_B = (noise(wave, generator(), 0.25, 10.0, "white", RATE) != wave).any(dim=1)
    assert changed_B.sum() == 0.25 * B


@pytest.mark.parametrize("colour", ["white", "pink"])
def test_a_silent_clip_stays_silent(colour):
    assert not noise(torch.zeros(4, T), generator(), 1.0, 0.0, colour, RATE).any()


@pytest.mark.parametrize("value", [0.5, 0.8, 1.0, 1.25, 2.0])
@pytest.mark.parametrize("way", [speed, resample])
def test_speed_moves_the_pitch_and_the_clicks(way, value):
    wave = tone(1000)[None].clone()
    clicks = torch.zeros(1, RATE)
    clicks[0, [2000, 6000]] = 1.0

    def fast(x):
        factor_B = torch.tensor([value])
        return read(x, factor_B, RATE, 2.0) if way is speed else resample(x, factor_B, RATE, 2.0)

    cut = int(RATE / max(1.0, value))
    assert peak(fast(wave)[:, :cut]).item() == pytest.approx(1000 * value, abs=RATE / cut)
    first, second = (fast(clicks)[0, : int(k / value)].abs().argmax().item() for k in (4000, 8000))
    assert (
        first == pytest.approx(2000 / value, abs=1)
        and (fast(clicks)[0, int(6000 / value) - 1 :][:3]).max() > 0.3
    )
    assert second in (first, pytest.approx(6000 / value, abs=1))


def test_a_faster_clip_is_followed_by_itself():
    ramp = torch.arange(float(T)).repeat(2, 1)
    out = read(ramp, torch.tensor([2.0, 1.0]), T, 2.0)
    torch.testing.assert_close(out[0], torch.arange(0.0, 2 * T, 2) % T)
    assert torch.equal(out[1], ramp[1])
    short = read(ramp[:1, :7], torch.tensor([1.5]), 8, 2.0)[0]
    torch.testing.assert_close(short, torch.tensor([0.0, 1.5, 3.0, 4.5, 6.0, 0.5, 2.0, 3.5]))


@pytest.mark.parametrize("samples", [1, 3, 100, 4000])
def test_clips_of_any_length_can_be_read(samples):
    x = torch.rand(3, samples)
    assert torch.equal(read(x, torch.ones(3), samples, 2.0), x)
    for stretch in (0.0, 0.5):
        out = exact(x, generator(), stretch, 3.0, 0.2, RATE)
        assert out.shape == x.shape and out.isfinite().all()


def test_a_long_clip_is_read_where_it_should_be():
    ramp = torch.arange(500_000.0)[None]
    factor = 1.2345678
    out = read(ramp, torch.tensor([factor], dtype=torch.float64), 400_000, 1.5)[0].double()
    assert (out - torch.arange(400_000, dtype=torch.float64) * factor).abs().max() < 0.05


@pytest.mark.parametrize("hertz", [500, 2000, 5000])
def test_a_resampled_tone_is_the_tone_at_its_new_pitch(hertz):
    ours = resample(tone(hertz)[None], torch.tensor([1.1]), RATE, 1.25)[0, :14000]
    assert (ours - tone(1.1 * hertz)[:14000]).abs().max() < 0.025


def test_resampling_does_not_alias():
    high = tone(7000)[None]  # at 1.5 times the speed it would come to lie above half the rate
    assert resample(high, torch.tensor([1.5]), RATE, 1.5)[:, 200 : int(RATE / 1.5) - 200].abs().max() < 0.02
    assert read(high, torch.tensor([1.5]), RATE, 1.5).abs().max() > 0.5


@pytest.mark.slow
@pytest.mark.parametrize("value", [0.7, 0.9, 1.0, 1.1, 1.4])
def test_the_vocoder_agrees_with_librosa(sound, value):
    librosa = pytest.importorskip("librosa")
    theirs = torch.from_numpy(librosa.effects.time_stretch(sound.numpy(), rate=value))
    ours = vocoder(sound[None], torch.tensor([value]), len(sound), RATE)[0]
    kept = min(len(theirs), len(ours)) - 4096  # they pad the end, we go on with the start
    error = (ours[:kept] - theirs[:kept]).square().mean() / theirs[:kept].square().mean()
    assert 10 * error.log10() < -35.0


@pytest.mark.slow
@pytest.mark.parametrize("semitones", [-5, -1, 2, 4])
def test_pitch_shift_agrees_with_librosa(sound, semitones):
    ratio = 2 ** (semitones / 12)
    librosa = pytest.importorskip("librosa")
    theirs = torch.from_numpy(librosa.effects.pitch_shift(sound.numpy(), sr=RATE, n_steps=semitones))
    stretched = vocoder(sound[None], torch.tensor([1 / ratio]), math.ceil(len(sound) * 1.5), RATE)
    ours = resample(stretched, torch.tensor([ratio]), len(sound), 1.5)[0]
    error = (ours - theirs)[:-4096].square().mean() / theirs[:-4096].square().mean()
    assert 10 * error.log10() < -28.0


def test_exact_pitch_keeps_the_tempo_and_exact_stretch_keeps_the_pitch():
    bursts = (tone(1000, 2.0) * (torch.arange(2 * RATE) % 8000 < 4000)).repeat(8, 1)
    shifted = exact(bursts, generator(), 0.0, 4.0, 0.0, RATE)
    part_8T = shifted.unflatten(1, (4, 8000)).square().mean(dim=1)
    assert (part_8T[:, 1000:3000].mean(dim=1) > 10 * part_8T[:, 5000:7000].mean(dim=1)).all()
    semitones = 12 * (peak(shifted) / 1000).log2()
    assert semitones.abs().max() <= 4.05 and semitones.max() - semitones.min() > 2.0
    stretched = exact(bursts, generator(), 0.3, 0.0, 0.0, RATE)
    assert (peak(stretched) - 1000).abs().max() < 5.0
    assert not torch.allclose(stretched, bursts, atol=0.1)


def test_speed_and_pitch_reach_both_ends_of_their_range():
    many = tone(1000).repeat(200, 1)
    for sped, reach in (
        (speed(many, generator(), 0.25), 1.25),
        (exact(many, generator(), 0, 0, 0.25, RATE), 1.25),
    ):
        share_B = (peak(sped[:, :12000]) / 1000).log() / math.log(reach)
        assert share_B.min() == pytest.approx(-1, abs=0.06) and share_B.max() == pytest.approx(1, abs=0.06)
        torch.testing.assert_close(share_B.sort().values, torch.linspace(-1, 1, 200), rtol=0, atol=0.2)


def test_clips_of_a_batch_do_not_see_each_other(wave):
    louder = wave.clone()
    louder[0] *= 1000
    for change in (
        lambda x: noise(x, generator(), 1.0, 10.0, "pink", RATE),
        lambda x: speed(x, generator(), 0.2),
        lambda x: exact(x, generator(), 0.2, 2.0, 0.2, RATE),
    ):
        torch.testing.assert_close(change(louder)[1:], change(wave)[1:], rtol=0, atol=1e-5)


def test_the_input_is_left_alone_and_strength_zero_draws_nothing(wave):
    rng, kept = generator(), wave.clone()
    before = rng.get_state()
    assert gain(wave, rng, 0.0) is wave
    assert polarity(wave, rng, 0.0) is wave
    assert noise(wave, rng, 0.0, 10.0, "any", RATE) is wave
    assert speed(wave, rng, 0.0) is wave
    assert exact(wave, rng, 0.0, 0.0, 0.0, RATE) is wave
    assert torch.equal(rng.get_state(), before)
    for colour in ("white", "any"):
        noise(wave, rng, 0.5, 10.0, colour, RATE)
    exact(speed(polarity(gain(wave, rng, 6.0), rng, 0.5), rng, 0.1), rng, 0.1, 1.0, 0.1, RATE)
    exact(speed(wave, rng, 0.1), rng, 0.1, 1.0, 0.1, RATE)
    exact(wave, rng, 0.1, 1.0, 0.1, RATE)
    assert torch.equal(wave, kept)
