"""Laws of a recipe's augmentation as a whole: what is refused, what is done where, that chance is an argument."""

import dataclasses

import pytest
import torch
from toys import generator

from escmodels.augment import LOW_JITTER, Augment, AugmentConfig
from escmodels.band_augment import stretch
from escmodels.features import LogMel, LogMelConfig, Waveform

B, T, K, RATE = 32, 4096, 4, 8000
OFF = AugmentConfig()
SPECTROGRAM = AugmentConfig(
    gain_db=6.0,
    roll=1.0,
    noise_p=0.5,
    noise_colour="any",
    stretch=0.2,
    pitch=2.0,
    speed=0.1,
    freq_jitter=500.0,
    freq_mask=0.3,
    time_mask=0.3,
    between_class=0.5,
)
WAVEFORM = dataclasses.replace(SPECTROGRAM, polarity=0.5, exact=True, freq_jitter=0.0, freq_mask=0.0)
ALL_ON = {
    "fast": (SPECTROGRAM, "spectrogram"),
    "exact": (dataclasses.replace(SPECTROGRAM, exact=True), "spectrogram"),
    "mixup": (dataclasses.replace(SPECTROGRAM, between_class=0.0, mixup=0.4), "spectrogram"),
    "wave": (WAVEFORM, "waveform"),
}


@pytest.fixture
def wave():
    return torch.rand((B, T), generator=generator(7)) - 0.5


@pytest.fixture
def target():
    return torch.eye(K)[torch.arange(B) % K]


@pytest.fixture(scope="module")
def logmel():
    return LogMel(LogMelConfig(n_mels=12, n_fft=256, hop=128), RATE)


def run(config, gives, wave, target, rng, logmel):
    """All that happens to a batch, from its samples to what the net sees."""
    augment = Augment(config, gives)
    wave, target = augment.wave(wave, target, rng, RATE)
    if gives == "waveform":
        x = wave[:, None]
    else:
        power = logmel.power(wave)
        warp, factor_B = augment.warp(B, rng, power)
        assert factor_B is None or factor_B.max() <= augment.reach
        assert (warp is not None) is augment.warps
        bands = logmel.pool(power) if warp is None else logmel.warped(logmel.thin(power), warp)
        if factor_B is not None:
            bands = stretch(bands, factor_B)
        x, target = augment.bands(bands, logmel.loudness(power), target, rng, logmel)
        x = logmel.finish(x)
    return augment.mix(augment.spec(x, rng), target, rng)


@pytest.mark.parametrize("name", ALL_ON)
def test_everything_together_keeps_shapes_and_targets(name, wave, target, logmel):
    config, gives = ALL_ON[name]
    x, soft = run(config, gives, wave, target, generator(), logmel)
    assert x.shape == ((B, 1, T) if gives == "waveform" else (B, *logmel.shape(T)))
    assert x.isfinite().all()
    torch.testing.assert_close(soft.sum(dim=1), torch.ones(B))
    assert soft.min() >= 0.0 and not torch.equal(soft, target)


@pytest.mark.parametrize("name", ALL_ON)
def test_the_same_seed_gives_the_same_result_whatever_the_global_state(name, wave, target, logmel):
    config, gives = ALL_ON[name]
    torch.manual_seed(1)
    first = run(config, gives, wave, target, generator(3), logmel)
    torch.manual_seed(2)
    again = run(config, gives, wave, target, generator(3), logmel)
    other = run(config, gives, wave, target, generator(4), logmel)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("name", ALL_ON)
def test_the_input_is_left_alone(name, wave, target, logmel):
    kept = wave.clone(), target.clone()
    run(*ALL_ON[name], wave, target, generator(), logmel)
    assert torch.equal(wave, kept[0]) and torch.equal(target, kept[1])


@pytest.mark.parametrize("gives", ["spectrogram", "waveform"])
def test_everything_off_is_identity_and_draws_nothing(gives, wave, target, logmel):
    augment, rng = Augment(OFF, gives), generator()
    before = rng.get_state()
    bands, loud = torch.rand(B, 1, 5, 3), torch.rand(B, 5, 2)
    assert augment.wave(wave, target, rng, RATE) == (wave, target)
    assert augment.warp(B, rng, wave) == (None, None)
    assert augment.bands(bands, loud, target, rng, logmel) == (bands, target)
    assert augment.spec(bands, rng) is bands
    assert augment.mix(bands, target, rng) == (bands, target)
    assert torch.equal(rng.get_state(), before)
    assert (augment.needs, augment.on_bands, augment.listens, augment.reach) == ("feature", False, False, 1.0)


STAGES = [  # knob, stage for a spectrogram, the same with `exact`, for a waveform
    ("gain_db", "bands", "bands", "wave"),
    ("polarity", None, None, "wave"),
    ("roll", "feature", "feature", "feature"),
    ("noise_p", "bands", "wave", "wave"),
    ("stretch", "bands", "wave", "wave"),
    ("pitch", "spectrum", "wave", "wave"),
    ("speed", "spectrum", "wave", "wave"),
    ("freq_jitter", "spectrum", "spectrum", None),
    ("freq_mask", "feature", "feature", None),
    ("time_mask", "feature", "feature", "feature"),
    ("mixup", "feature", "feature", "feature"),
    ("between_class", "bands", "wave", "wave"),
]


@pytest.mark.parametrize(("knob", "fast", "exact", "wave"), STAGES)
def test_what_may_be_kept_is_what_nothing_touches(knob, fast, exact, wave):
    config = AugmentConfig(**{knob: 0.5})
    slow = dataclasses.replace(config, exact=True)
    for stage, settings, gives in (
        (fast, config, "spectrogram"),
        (exact, slow, "spectrogram"),
        (wave, slow, "waveform"),
    ):
        if stage is None:
            with pytest.raises(ValueError, match=rf"augment\.{knob} is 0\.5, but a {gives} .*: set it to 0"):
                Augment(settings, gives)
        else:
            assert Augment(settings, gives).needs == stage
            assert Augment(settings, gives).on_bands == (stage in ("bands", "spectrum"))


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("knob", [row[0] for row in STAGES if row[1]])
def test_every_knob_changes_what_a_net_on_spectrograms_sees(knob, exact, wave, target, logmel):
    config = AugmentConfig(**{knob: 100.0 if knob == "freq_jitter" else 0.5}, exact=exact)
    plain, _ = run(OFF, "spectrogram", wave, target, generator(), logmel)
    changed, soft = run(config, "spectrogram", wave, target, generator(), logmel)
    assert not torch.allclose(plain, changed, atol=1e-3)
    assert torch.equal(soft, target) == (knob not in ("mixup", "between_class"))


@pytest.mark.parametrize("knob", [row[0] for row in STAGES if row[3]])
def test_every_knob_changes_what_a_net_on_waves_sees(knob, wave, target, logmel):
    config = AugmentConfig(**{knob: 0.5}, exact=True)
    changed, soft = run(config, "waveform", wave, target, generator(), logmel)
    assert not torch.allclose(wave[:, None], changed, atol=1e-3)
    assert torch.equal(soft, target) == (knob not in ("mixup", "between_class"))


def test_the_colour_and_the_ratio_of_noise_matter(wave, target, logmel):
    settings = [{}, {"noise_colour": "pink"}, {"noise_colour": "brown"}, {"noise_snr_db": 0.0}]
    for exact, gives in ((False, "spectrogram"), (True, "spectrogram"), (False, "waveform")):
        results = [
            run(AugmentConfig(noise_p=1.0, exact=exact, **more), gives, wave, target, generator(), logmel)[0]
            for more in settings
        ]
        for one, other in ((a, b) for a in range(4) for b in range(a)):
            assert not torch.allclose(results[one], results[other], atol=1e-3)


def test_speed_of_waves_has_an_exact_form(wave, target, logmel):
    fast, exact = (
        run(AugmentConfig(speed=0.2, exact=exact), "waveform", wave, target, generator(), logmel)[0]
        for exact in (False, True)
    )
    assert not torch.equal(fast, exact)
    smooth = torch.sin(torch.arange(T) * 0.05).repeat(B, 1)
    fast, exact = (
        run(AugmentConfig(speed=0.2, exact=exact), "waveform", smooth, target, generator(), logmel)[0]
        for exact in (False, True)
    )
    torch.testing.assert_close(fast[:, :, 50:3000], exact[:, :, 50:3000], rtol=0, atol=0.05)


def test_a_speed_change_moves_time_and_pitch_by_the_same_factor():
    warp, factor_B = Augment(AugmentConfig(speed=0.25), "spectrogram").warp(2000, generator(), torch.zeros(0))
    assert torch.equal(warp.ratio_B, factor_B)
    assert 0.8 <= factor_B.min() < 0.802 and 1.248 < factor_B.max() <= 1.25
    assert not warp.low_B.any() and not warp.high_B.any()


def test_stretch_leaves_the_bank_alone_and_pitch_the_tempo():
    warp, factor_B = Augment(AugmentConfig(stretch=0.5), "spectrogram").warp(
        2000, generator(), torch.zeros(0)
    )
    assert warp is None and factor_B.min() < 0.67 and factor_B.max() > 1.49
    warp, factor_B = Augment(AugmentConfig(pitch=3.0), "spectrogram").warp(2000, generator(), torch.zeros(0))
    semitone_B = 12 * warp.ratio_B.log2()
    assert factor_B is None
    torch.testing.assert_close(semitone_B.sort().values, torch.linspace(-3, 3, 2000), rtol=0, atol=0.2)


def test_jitter_narrows_the_bank_from_both_sides_within_its_range():
    config = AugmentConfig(freq_jitter=2000.0)
    warp, factor_B = Augment(config, "spectrogram").warp(
        2000, generator(), torch.zeros(0, dtype=torch.float16)
    )
    assert factor_B is None and (warp.ratio_B == 1).all()
    assert -2000 <= warp.high_B.min() < -1990 and -10 < warp.high_B.max() <= 0
    assert 0 <= warp.low_B.min() < 0.1 and 9.9 < warp.low_B.max() <= 2000 / LOW_JITTER
    assert warp.high_B.dtype == torch.float32


@pytest.mark.parametrize("knob", ["noise_p", "between_class"])
def test_loudness_is_asked_for_where_it_is_used(knob):
    assert Augment(AugmentConfig(**{knob: 0.5}), "spectrogram").listens
    assert not Augment(AugmentConfig(**{knob: 0.5}), "waveform").listens
    assert not Augment(AugmentConfig(**{knob: 0.5}, exact=True), "spectrogram").listens


@pytest.mark.parametrize("knob", ["pitch", "stretch"])
def test_a_waveform_takes_pitch_and_stretch_only_exactly(knob):
    with pytest.raises(
        ValueError, match=rf"augment\.{knob} is 0\.5, but a waveform needs augment\.exact = True"
    ):
        AugmentConfig(**{knob: 0.5}).check(Waveform.gives)
    AugmentConfig(**{knob: 0.5}, exact=True).check(Waveform.gives)


def test_two_ways_to_mix_at_once_are_refused():
    with pytest.raises(ValueError, match=r"augment\.mixup is 0\.2 and augment\.between_class is 0\.5"):
        AugmentConfig(mixup=0.2, between_class=0.5)


def test_exact_alone_is_no_error():
    assert Augment(AugmentConfig(exact=True), "spectrogram").needs == "feature"
    assert Augment(AugmentConfig(exact=True), "waveform").needs == "feature"


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("gain_db", -1.0),
        ("polarity", 1.1),
        ("roll", 1.5),
        ("noise_p", 2.0),
        ("stretch", 1.5),
        ("pitch", 13.0),
        ("speed", -0.1),
        ("freq_jitter", 5000.0),
        ("freq_mask", 1.0),
        ("masks", 0),
        ("mixup", float("nan")),
        ("between_class", 2.0),
    ],
)
def test_a_config_refuses_nonsense_and_says_what_is_allowed(knob, value):
    with pytest.raises(ValueError, match=rf"augment\.{knob} is {value}, expected a number from .* to .*"):
        AugmentConfig(**{knob: value})


def test_unknown_words_are_refused():
    with pytest.raises(
        ValueError, match=r"augment\.noise_colour is 'green', expected one of 'white', 'pink', .*'any'"
    ):
        AugmentConfig(noise_colour="green")
    with pytest.raises(ValueError, match=r"augment\.exact is 'yes', expected one of False, True"):
        AugmentConfig(exact="yes")
