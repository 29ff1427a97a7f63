"""Laws of the features, and agreement of the fast spectrograms with librosa's slow ones."""

import subprocess
import sys
import warnings
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from escmodels.banks import Warp
from escmodels.compress import FLOOR
from escmodels.feature_configs import GammatoneConfig, LogMelConfig, MfccConfig, WaveformConfig
from escmodels.features import FEATURES, LogMel, Mfcc, Waveform, build

RATE = 16000
SHAPES = [  # one of every form a spectrogram can take
    LogMelConfig(),
    LogMelConfig(compression="log", window=800, normalise="none"),
    LogMelConfig(compression="pcen", deltas=2),
    LogMelConfig(stack="resolutions", hop=256, fmax=5000.0),
    LogMelConfig(stack="bands", n_mels=48, normalise="clip"),
    GammatoneConfig(n_bands=48, deltas=1),
    GammatoneConfig(compression="pcen", stack="resolutions", hop=200),
    MfccConfig(deltas=2),
    MfccConfig(compression="log", n_mfcc=13, normalise="clip"),
]
named = pytest.mark.parametrize("config", SHAPES, ids=lambda config: type(config).__name__)


def sounds(clips=3, seconds=1.0, rate=RATE, seed=0) -> Tensor:
    """Noise with a falling envelope and a tone, each clip at its own level."""
    rng = torch.Generator().manual_seed(seed)
    time = torch.arange(round(seconds * rate)) / rate
    wave = torch.randn((clips, len(time)), generator=rng) * torch.exp(-3 * time)
    wave += torch.sin(2 * torch.pi * 440 * time)
    return wave * torch.logspace(-3, -0.7, clips)[:, None]


def slow(config: LogMelConfig | MfccConfig, wave: Tensor, rate: int):
    """librosa, and its mel power [B, M, N] for the same settings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of librosa's own dependencies
        librosa = pytest.importorskip("librosa")
        return librosa, librosa.feature.melspectrogram(
            y=wave.numpy(),
            sr=rate,
            n_fft=config.n_fft,
            win_length=config.window or None,
            hop_length=config.hop,
            n_mels=config.n_mels,
            fmin=config.fmin,
            fmax=config.fmax or None,
            pad_mode="constant",
        )


@pytest.mark.parametrize(
    ("config", "rate"),
    [
        (LogMelConfig(), 22050),
        (LogMelConfig(n_mels=40, n_fft=2048, hop=441, fmin=0.0, fmax=8000.0), 22050),
        (LogMelConfig(n_mels=128, n_fft=2048, hop=512), 44100),
        (LogMelConfig(n_mels=30, n_fft=500, hop=500), 8000),
        (LogMelConfig(n_mels=40, n_fft=1024, window=600, hop=300), 16000),
    ],
)
def test_log_mel_agrees_with_librosa(config, rate):
    wave = sounds(rate=rate)
    _, theirs = slow(config, wave, rate)
    module = LogMel(replace(config, normalise="none"), rate)
    ours = module.band_power(wave)[:, 0].transpose(1, 2).numpy()
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-9)
    np.testing.assert_allclose(module(wave)[:, 0], 10 * np.log10(np.maximum(theirs, FLOOR)), atol=0.005)
    natural = LogMel(replace(config, normalise="none", compression="log"), rate)
    np.testing.assert_allclose(natural(wave)[:, 0], np.log(theirs + 1e-6), atol=0.002)


@pytest.mark.parametrize(("n_mfcc", "rate"), [(20, 22050), (13, 16000), (64, 44100)])
def test_mfcc_agrees_with_librosa(n_mfcc, rate):
    config, wave = MfccConfig(n_mfcc=n_mfcc, n_fft=2048, normalise="none"), sounds(rate=rate)
    librosa, mel = slow(config, wave, rate)
    theirs = librosa.feature.mfcc(S=10 * np.log10(np.maximum(mel, FLOOR)), n_mfcc=n_mfcc)
    ours = Mfcc(config, rate)(wave)[:, 0].numpy()
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=0.02)
    assert np.linalg.norm(ours - theirs) <= 1e-4 * np.linalg.norm(theirs)


def test_pcen_of_the_module_agrees_with_librosa():
    config = LogMelConfig(compression="pcen", pcen_time=0.1, pcen_power=0.3, normalise="none")
    module, wave = LogMel(config, RATE), sounds(clips=1)
    librosa, mel = slow(config, wave, RATE)
    energy = mel[0].astype(np.float64) * 2.0**31
    frames = 0.1 * RATE / config.hop
    s = (np.sqrt(1 + 4 * frames**2) - 1) / (2 * frames**2)
    settings = {"time_constant": 0.1, "power": 0.3, "zi": (1 - s) * energy[:, :1]}
    theirs = librosa.pcen(energy, sr=RATE, hop_length=config.hop, **settings)
    np.testing.assert_allclose(module(wave)[0, 0], theirs, rtol=1e-3, atol=1e-4)


@named
def test_stages_and_the_short_way_give_the_same(config):
    module, wave = build(config, RATE), sounds()
    power = module.power(wave)
    windows = 3 if config.stack == "resolutions" else 1
    assert power.shape == (3, windows, module.frames(RATE), config.n_fft // 2 + 1)
    band = module.band_power(wave)
    torch.testing.assert_close(module.pool(power), band, rtol=1e-3, atol=1e-9)
    plain = Warp(torch.ones(3), torch.zeros(3), torch.zeros(3))
    torch.testing.assert_close(module.warped(module.thin(power), plain), band, rtol=0.2, atol=1e-9)
    assert torch.equal(module.finish(band), module(wave))
    assert module.noise("pink").shape == module.freedom_RM.shape == band.shape[1::2]


@named
def test_a_loud_neighbour_changes_nothing(config):
    wave = sounds()
    loud = wave.clone()
    loud[1:] *= 1000.0
    module = build(config, RATE)
    module.fit([module.band_power(wave)])
    torch.testing.assert_close(module(loud)[:1], module(wave[:1]), atol=1e-4, rtol=1e-4)


@named
def test_nothing_is_changed_in_place(config):
    module, wave = build(config, RATE), sounds()
    power, band = module.power(wave), module.band_power(wave)
    thin = module.thin(power)
    before = [x.clone() for x in (wave, power, thin, band)]
    module.warped(thin, Warp(torch.full((3,), 1.1), torch.ones(3), -torch.ones(3)))
    module.loudness(power), module.pool(power), module.fit([band]), module.finish(band), module(wave)
    assert all(torch.equal(x, y) for x, y in zip((wave, power, thin, band), before, strict=True))


def test_clips_in_one_batch_or_one_by_one_are_the_same():
    wave = sounds(clips=9, seconds=5.0)  # more than one chunk of the cache
    module = LogMel(LogMelConfig(), RATE)
    torch.testing.assert_close(
        module(wave), torch.cat([module(one) for one in wave.split(1)]), atol=1e-3, rtol=0
    )


def test_gain_is_an_offset_in_decibels():
    module, wave = LogMel(LogMelConfig(), RATE), sounds(clips=1) * 100
    torch.testing.assert_close(module(wave * 0.1), module(wave) - 20.0, atol=1e-2, rtol=0)


@pytest.mark.parametrize("deltas", [0, 2])
def test_normalised_by_clip_gain_is_nothing_and_every_channel_is_standard(deltas):
    module = LogMel(LogMelConfig(normalise="clip", deltas=deltas), RATE)
    wave = sounds(clips=1) * 100
    torch.testing.assert_close(module(wave * 0.1), module(wave), atol=1e-3, rtol=0)
    assert module(wave).mean(dim=(2, 3)).abs().max() < 1e-4
    torch.testing.assert_close(module(wave).std(dim=(2, 3)), torch.ones(1, 1 + deltas), atol=1e-3, rtol=0)


def test_a_tone_lights_the_band_around_it():
    tone = torch.sin(2 * torch.pi * 1000 * torch.arange(RATE) / RATE)[None]
    band = LogMel(LogMelConfig(n_mels=40, fmin=0.0), RATE)(tone)[0, 0, :, 10].argmax().item()
    # 1000 Hz is mel 15, 8000 Hz is mel 45.2: band k is centred at mel 45.2 (k + 1) / 41
    assert band == round(15 / 45.245 * 41) - 1


def test_noise_and_tone_have_the_same_level_in_all_resolutions():
    module = LogMel(LogMelConfig(stack="resolutions", n_mels=20, hop=256, normalise="none"), RATE)
    time = torch.arange(4 * RATE) / RATE
    tone, noise = torch.sin(2 * torch.pi * 5300 * time), torch.randn(4 * RATE, generator=torch.manual_seed(0))
    level = module(torch.stack((tone, noise)))[..., 4:-4].mean(dim=-1)
    band = int(level[0, 2].argmax())
    assert (level[0, :, band] - level[0, 2, band]).abs().max() < 0.5  # dB
    assert (level[1] - level[1, 2]).abs().median() < 0.5


def test_the_short_window_sees_a_click_in_fewer_frames():
    click = torch.zeros(1, RATE)
    click[0, 8000] = 0.5
    frames = (LogMel(LogMelConfig(stack="resolutions", hop=64, normalise="none"), RATE)(click) > -80).any(
        dim=2
    )
    short, middle, long = frames[0].sum(dim=1).tolist()
    assert short < middle < long and long > 3 * short


def test_stacked_bands_are_the_thirds_of_the_plain_feature():
    config, wave = LogMelConfig(n_mels=48, normalise="none"), sounds()
    plain, stacked = LogMel(config, RATE)(wave), LogMel(replace(config, stack="bands"), RATE)(wave)
    assert torch.equal(stacked.flatten(1, 2), plain[:, 0])


def test_silence_sits_at_the_floor_and_stays_finite():
    silence = torch.zeros(2, RATE)
    torch.testing.assert_close(LogMel(LogMelConfig(), RATE)(silence), torch.full((2, 1, 64, 32), -100.0))
    for config in SHAPES:
        module = build(config, RATE)
        module.fit([module.band_power(silence)])
        assert module(silence).isfinite().all()
    by_clip = LogMel(LogMelConfig(normalise="clip"), RATE)(silence)
    assert by_clip.abs().max() < 1e-3
    assert not Waveform(WaveformConfig(normalise="clip"), RATE)(silence).any()


@named
def test_fitted_training_clips_have_mean_zero_and_deviation_one_in_every_channel_and_row(config):
    module = build(config, RATE)
    waves = [sounds(seed=1), sounds(seed=2, clips=2)]
    module.fit(module.band_power(wave) for wave in waves)
    out_BCHN = torch.cat([module(wave) for wave in waves])
    assert out_BCHN.is_contiguous()
    if config.normalise == "dataset":
        assert out_BCHN.mean(dim=(0, 3)).abs().max() < 1e-3
        deviation_CH = out_BCHN.std(dim=(0, 3), correction=0)
        torch.testing.assert_close(deviation_CH, torch.ones_like(deviation_CH), atol=1e-3, rtol=0)
    else:
        fresh = build(config, RATE)
        assert torch.equal(fresh(waves[0]), module(waves[0]))


def test_the_statistics_do_not_depend_on_the_batches():
    whole, parts = LogMel(LogMelConfig(deltas=1), RATE), LogMel(LogMelConfig(deltas=1), RATE)
    band = whole.band_power(sounds(clips=4))
    whole.fit([band])
    parts.fit(band.split(1))
    torch.testing.assert_close(parts.mean_CH, whole.mean_CH)
    torch.testing.assert_close(parts.std_CH, whole.std_CH, atol=1e-3, rtol=0)


@named
def test_only_the_statistics_travel_with_the_weights(config):
    module, twin = build(config, RATE), build(config, RATE)
    module.fit([module.band_power(sounds())])
    assert set(module.state_dict()) == {"mean_CH", "std_CH"}
    twin.load_state_dict(module.state_dict())
    assert torch.equal(twin(sounds()), module(sounds()))


@pytest.mark.parametrize("samples", [1, 100, 511, 512, 1023, 1024, 5000])
def test_any_length_gives_frames_and_the_shape_that_was_promised(samples):
    for config in (*SHAPES, WaveformConfig()):
        module = build(config, RATE)
        out = module(torch.ones(2, samples))
        assert out.shape[1:] == module.shape(samples)
        assert out.isfinite().all()


def test_loudness_is_the_mean_square_and_hears_little_of_low_tones():
    module = LogMel(LogMelConfig(hop=256), RATE)
    time = torch.arange(4 * RATE) / RATE
    rng = torch.Generator().manual_seed(0)
    waves = [torch.sin(2 * torch.pi * hertz * time) for hertz in (1000, 100)]
    wave = 0.3 * torch.stack([*waves, torch.randn(4 * RATE, generator=rng)])
    loud_BN2 = module.loudness(module.power(wave))
    assert loud_BN2.shape == (3, module.frames(4 * RATE), 2)
    torch.testing.assert_close(loud_BN2[..., 0].mean(dim=1), wave.square().mean(dim=1), rtol=0.02, atol=0)
    weight_B = loud_BN2[:2, 4:-4].mean(dim=1)
    torch.testing.assert_close(
        10 * (weight_B[:, 1] / weight_B[:, 0]).log10(), torch.tensor([0, -19.1]), atol=0.2, rtol=0
    )
    stacked = LogMel(LogMelConfig(hop=256, stack="resolutions"), RATE)
    torch.testing.assert_close(stacked.loudness(stacked.power(wave)), loud_BN2)


def test_expected_noise_is_the_band_power_of_noise():
    for config in (LogMelConfig(hop=256, stack="resolutions"), GammatoneConfig()):
        module = build(config, RATE)
        noise = torch.randn(4, 8 * RATE, generator=torch.Generator().manual_seed(0))
        measured = module.band_power(noise)[:, :, 4:-4]
        torch.testing.assert_close(measured.mean(dim=(0, 2)), module.noise("white"), rtol=0.25, atol=0)
        assert (measured.mean(dim=(0, 2)) / module.noise("white")).mean() == pytest.approx(1.0, abs=0.02)
        slope = (module.noise("brown") / module.noise("pink")).diff(dim=1)
        assert (slope[:, 5:] < 0).all()


def test_gradients_reach_the_wave():
    wave = sounds(clips=1).requires_grad_()
    LogMel(LogMelConfig(), RATE)(wave).sum().backward()
    assert wave.grad.isfinite().all() and wave.grad.abs().max() > 0


def test_a_waveform_is_itself_unless_normalised():
    wave = sounds()
    assert torch.equal(Waveform(WaveformConfig(), RATE)(wave)[:, 0], wave)
    unit = Waveform(WaveformConfig(normalise="clip"), RATE)(wave + 0.1)[:, 0]
    assert unit.mean(dim=1).abs().max() < 1e-4
    torch.testing.assert_close(unit.std(dim=1), torch.ones(3), atol=1e-3, rtol=0)


def test_every_feature_gives_what_its_row_says():
    for kind in FEATURES.values():
        module = build(kind.config(), RATE)
        assert isinstance(module, kind.build)
        assert module(torch.zeros(2, 2000)).dim() == {"spectrogram": 4, "waveform": 3}[kind.gives]
    assert [kind.gives for kind in FEATURES.values()].index("spectrogram") == list(FEATURES).index("logmel")


@pytest.mark.parametrize(
    ("config", "wrong", "message"),
    [
        (LogMelConfig, {"hop": 2048}, "feature.hop is 2048, expected at most feature.n_fft = 1024"),
        (MfccConfig, {"window": 400}, "feature.hop is 512, expected at most feature.window = 400"),
        (GammatoneConfig, {"window": 1025}, "feature.window is 1025, expected a number from 0 to 1024"),
        (LogMelConfig, {"window": 7, "hop": 16}, "feature.window is 7, expected at least 16 samples"),
        (
            LogMelConfig,
            {"fmin": 900.0, "fmax": 300.0},
            "feature.fmax is 300.0 Hz, expected 0 or more than feature.fmin = 900.0",
        ),
        (LogMelConfig, {"n_fft": 1025}, "feature.n_fft is 1025, expected an even number"),
        (LogMelConfig, {"n_mels": 1}, "feature.n_mels is 1, expected a number from 4 to 512"),
        (
            LogMelConfig,
            {"normalise": "batch"},
            "feature.normalise is 'batch', expected one of 'dataset', 'clip'",
        ),
        (MfccConfig, {"compression": "pcen"}, "feature.compression is 'pcen', expected one of 'db', 'log'$"),
        (MfccConfig, {"n_mfcc": 65}, "feature.n_mfcc is 65, expected at most feature.n_mels = 64"),
        (LogMelConfig, {"deltas": 3}, "feature.deltas is 3, expected one of 0, 1, 2"),
        (
            LogMelConfig,
            {"deltas": 1, "stack": "bands", "n_mels": 60},
            "feature.deltas is 1 with feature.stack",
        ),
        (
            LogMelConfig,
            {"stack": "bands"},
            "feature.stack 'bands' cuts three equal parts, the feature has 64",
        ),
        (
            GammatoneConfig,
            {"stack": "resolutions"},
            "feature.hop is 512, expected at most feature.n_fft / 4 = 256 samples",
        ),
        (
            LogMelConfig,
            {"stack": "resolutions", "window": 1000, "hop": 100},
            "feature.window is 1000, but feature.stack 'resolutions' sets its own windows",
        ),
        *(
            (LogMelConfig, {name: 0.3}, f"feature.{name} is 0.3 but feature.compression is 'db'; only 'pcen'")
            for name in ("pcen_time", "pcen_gain", "pcen_bias", "pcen_power")
        ),
    ],
)
def test_a_config_refuses_nonsense_and_says_what_is_allowed(config, wrong, message):
    with pytest.raises(ValueError, match=message):
        config(**wrong)


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
        (GammatoneConfig(fmin=3300.0), 8000, "feature.fmin is 3300.0 Hz, expected less than 0.8 of half"),
        (
            LogMelConfig(n_mels=96, n_fft=256, hop=128),
            16000,
            "feature.n_mels is 96, too many for feature.n_fft = 256",
        ),
        (
            MfccConfig(n_mels=96, n_fft=256, hop=128),
            16000,
            "feature.n_mels is 96, too many for feature.n_fft = 256",
        ),
        (
            GammatoneConfig(),
            44100,
            "feature.fmin is 50.0 Hz: its band is 30.7 Hz wide, narrower than the 43.1 Hz",
        ),
    ],
)
def test_what_the_sample_rate_cannot_give_is_refused_by_config_and_module(config, rate, message):
    with pytest.raises(ValueError, match=message):
        config.check(rate)
    with pytest.raises(ValueError, match=message):
        build(config, rate)


CHANGES = {
    **{"n_fft": 2048, "window": 700, "hop": 250, "fmin": 90.0, "fmax": 6000.0, "compression": "log"},
    **{"deltas": 1, "normalise": "clip", "n_mels": 63, "n_bands": 63, "n_mfcc": 12, "stack": "resolutions"},
    **{"pcen_time": 0.1, "pcen_gain": 0.5, "pcen_bias": 9.0, "pcen_power": 0.2},
}


@pytest.mark.parametrize("name", FEATURES)
def test_every_knob_changes_the_feature(name):
    kind, wave = FEATURES[name], sounds()
    for field in (field.name for field in fields(kind.config)):
        base = {"hop": 256} if kind.gives == "spectrogram" else {}
        if field.startswith("pcen"):
            base["compression"] = "pcen"
        plain = build(kind.config(**base), RATE)(wave)
        changed = build(kind.config(**{**base, field: CHANGES[field]}), RATE)(wave)
        assert plain.shape != changed.shape or not torch.allclose(plain, changed, atol=1e-3), field


def test_nobody_pays_for_torchaudio():
    code = (
        "import sys; import escmodels.features as f; f.Waveform(f.WaveformConfig(), 16000);"
        "f.LogMel(f.LogMelConfig(), 16000); sys.exit('torchaudio' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
