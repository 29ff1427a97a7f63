"""Laws of the features, and agreement of the fast log-mel with librosa's slow one."""

import random
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from torch import Tensor

from escmodels.features import FEATURES, FLOOR, LogMel, LogMelConfig, Waveform, WaveformConfig, build

RATE = 16000


def sounds(clips=3, seconds=1.0, rate=RATE, seed=0) -> Tensor:
    """Noise with a falling envelope and a tone, each clip at its own level."""
    rng = torch.Generator().manual_seed(seed)
    time = torch.arange(round(seconds * rate)) / rate
    wave = torch.randn((clips, len(time)), generator=rng) * torch.exp(-3 * time)
    wave += torch.sin(2 * torch.pi * 440 * time)
    return wave * torch.logspace(-3, -0.7, clips)[:, None]


@pytest.mark.parametrize(
    ("config", "rate"),
    [
        (LogMelConfig(), 22050),
        (LogMelConfig(n_mels=40, n_fft=2048, hop=441, fmin=0.0, fmax=8000.0), 22050),
        (LogMelConfig(n_mels=128, n_fft=2048, hop=512), 44100),
        (LogMelConfig(n_mels=30, n_fft=500, hop=500), 8000),
    ],
)
def test_log_mel_agrees_with_librosa(config, rate):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of librosa's own dependencies
        librosa = pytest.importorskip("librosa")
        wave = sounds(rate=rate)
        theirs = librosa.feature.melspectrogram(
            y=wave.numpy(),
            sr=rate,
            n_fft=config.n_fft,
            hop_length=config.hop,
            n_mels=config.n_mels,
            fmin=config.fmin,
            fmax=config.fmax or None,
            pad_mode="constant",
        )
    module = LogMel(config, rate)
    ours = module.power(wave).transpose(1, 2).numpy()
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-9)
    decibels = module.decibels(wave).transpose(1, 2).numpy()
    np.testing.assert_allclose(decibels, 10 * np.log10(np.maximum(theirs, FLOOR)), atol=0.005)


@pytest.mark.parametrize("normalise", ["dataset", "clip"])
def test_a_loud_neighbour_changes_nothing(normalise):
    wave = sounds()
    loud = wave.clone()
    loud[1:] *= 1000.0
    module = LogMel(LogMelConfig(normalise=normalise), RATE)
    module.fit([wave])
    torch.testing.assert_close(module(loud)[:1], module(wave[:1]))


def test_clips_in_one_batch_or_one_by_one_are_the_same():
    wave = sounds(clips=9, seconds=5.0)  # more than one chunk of the cache
    module = LogMel(LogMelConfig(), RATE)
    torch.testing.assert_close(
        module(wave), torch.cat([module(one) for one in wave.split(1)]), atol=1e-3, rtol=0
    )


def test_gain_is_an_offset_in_decibels():
    module, wave = LogMel(LogMelConfig(), RATE), sounds(clips=1) * 100
    torch.testing.assert_close(module(wave * 0.1), module(wave) - 20.0, atol=1e-2, rtol=0)


def test_normalised_by_clip_gain_is_nothing():
    module, wave = LogMel(LogMelConfig(normalise="clip"), RATE), sounds(clips=1) * 100
    torch.testing.assert_close(module(wave * 0.1), module(wave), atol=1e-3, rtol=0)
    assert module(wave).mean().abs() < 1e-4
    assert module(wave).std() == pytest.approx(1.0, abs=1e-3)


def test_a_tone_lights_the_band_around_it():
    config = LogMelConfig(n_mels=40, fmin=0.0)
    tone = torch.sin(2 * torch.pi * 1000 * torch.arange(RATE) / RATE)[None]
    band = LogMel(config, RATE)(tone)[0, 0, :, 10].argmax().item()
    # 1000 Hz is mel 15, 8000 Hz is mel 45.2: band k is centred at mel 45.2 (k + 1) / 41
    assert band == round(15 / 45.245 * 41) - 1


def test_silence_sits_at_the_floor_and_stays_finite():
    silence = torch.zeros(2, RATE)
    assert (LogMel(LogMelConfig(), RATE)(silence) == -100.0).all()
    by_clip = LogMel(LogMelConfig(normalise="clip"), RATE)(silence)
    assert by_clip.isfinite().all() and by_clip.abs().max() < 1e-3
    assert not Waveform(WaveformConfig(normalise="clip"), RATE)(silence).any()


def test_fitted_training_clips_have_mean_zero_and_deviation_one_in_every_band():
    module = LogMel(LogMelConfig(), RATE)
    batches = [sounds(seed=1), sounds(seed=2, clips=2)]
    module.fit(iter(batches))
    out_BMN = torch.cat([module(batch) for batch in batches])[:, 0]
    assert out_BMN.mean(dim=(0, 2)).abs().max() < 1e-4
    torch.testing.assert_close(out_BMN.std(dim=(0, 2), correction=0), torch.ones(64), atol=1e-3, rtol=0)


def test_the_statistics_do_not_depend_on_the_batches():
    whole, parts = LogMel(LogMelConfig(), RATE), LogMel(LogMelConfig(), RATE)
    wave = sounds(clips=4)
    whole.fit([wave])
    parts.fit(wave.split(1))
    torch.testing.assert_close(parts.mean_M, whole.mean_M)
    torch.testing.assert_close(parts.std_M, whole.std_M, atol=1e-3, rtol=0)


def test_only_the_statistics_travel_with_the_weights():
    module, twin = LogMel(LogMelConfig(), RATE), LogMel(LogMelConfig(), RATE)
    module.fit([sounds()])
    assert set(module.state_dict()) == {"mean_M", "std_M"}
    twin.load_state_dict(module.state_dict())
    assert torch.equal(twin(sounds()), module(sounds()))


@pytest.mark.parametrize("samples", [1, 100, 511, 512, 1023, 1024, 5000])
def test_any_length_gives_frames_and_the_shape_that_was_promised(samples):
    for module in (LogMel(LogMelConfig(n_mels=20), RATE), Waveform(WaveformConfig(), RATE)):
        out = module(torch.ones(2, samples))
        assert out.shape[1:] == module.shape(samples)
        assert out.isfinite().all()


def test_a_waveform_is_itself_unless_normalised():
    wave = sounds()
    assert torch.equal(Waveform(WaveformConfig(), RATE)(wave)[:, 0], wave)
    unit = Waveform(WaveformConfig(normalise="clip"), RATE)(wave + 0.1)[:, 0]
    assert unit.mean(dim=1).abs().max() < 1e-4
    torch.testing.assert_close(unit.std(dim=1), torch.ones(3), atol=1e-3, rtol=0)


def test_every_feature_gives_what_its_row_says():
    for kind in FEATURES.values():
        module = build(kind.config(), RATE)
        axes = {"spectrogram": 4, "waveform": 3}[kind.gives]
        assert module(torch.zeros(2, 2000)).dim() == axes
        module.fit([torch.zeros(2, 2000)])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"hop": 2048}, "feature.hop is 2048, expected at most feature.n_fft = 1024"),
        (
            {"fmin": 900.0, "fmax": 300.0},
            "feature.fmax is 300.0 Hz, expected 0 or more than feature.fmin = 900.0",
        ),
        ({"n_fft": 1025}, "feature.n_fft is 1025, expected an even number"),
        ({"n_mels": 1}, "feature.n_mels is 1, expected a number from 4 to 512"),
        ({"normalise": "batch"}, "feature.normalise is 'batch', expected one of 'dataset', 'clip'"),
    ],
)
def test_a_config_refuses_nonsense_and_says_what_is_allowed(wrong, message):
    with pytest.raises(ValueError, match=message):
        LogMelConfig(**wrong)


@pytest.mark.parametrize(
    ("config", "rate", "message"),
    [
        (
            LogMelConfig(fmax=9000.0),
            16000,
            "feature.fmax is 9000.0 Hz, expected at most half the sample rate, 8000.0",
        ),
        (
            LogMelConfig(fmin=4000.0),
            8000,
            "feature.fmin is 4000.0 Hz, expected less than half the sample rate",
        ),
        (
            LogMelConfig(n_mels=96, n_fft=256, hop=128),
            16000,
            "feature.n_mels is 96, too many for feature.n_fft = 256",
        ),
    ],
)
def test_what_the_sample_rate_cannot_give_is_refused_by_config_and_module(config, rate, message):
    with pytest.raises(ValueError, match=message):
        config.check(rate)
    with pytest.raises(ValueError, match=message):
        LogMel(config, rate)


def test_the_check_for_empty_bands_agrees_with_the_bank_itself():
    rng, verdicts = random.Random(0), []
    for _ in range(300):
        rate = rng.choice([8000, 16000, 22050, 44100])
        config = LogMelConfig(
            n_mels=rng.randrange(8, 200, 4),
            n_fft=rng.choice([256, 512, 1024, 2048]),
            hop=128,
            fmin=rng.choice([0.0, 50.0]),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torchaudio's own word on empty bands
            from torchaudio.functional import melscale_fbanks

            bank_FM = melscale_fbanks(
                config.n_fft // 2 + 1, config.fmin, rate / 2, config.n_mels, rate, "slaney", "slaney"
            )
        full = bool((bank_FM.amax(dim=0) > 0).all())
        try:
            config.check(rate)
            verdicts.append(True)
        except ValueError:
            verdicts.append(False)
        assert verdicts[-1] == full, (config, rate)
    assert 50 < sum(verdicts) < 250


def test_raw_nets_do_not_pay_for_torchaudio():
    code = (
        "import sys; import escmodels.features as f; f.Waveform(f.WaveformConfig(), 16000);"
        "sys.exit('torchaudio' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
