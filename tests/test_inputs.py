"""Laws of the batches: whatever is kept between epochs, the batches are those that the waves would give."""

import numpy as np
import pytest
import torch
from toys import MEL, RATE, RAW, noises, recipe

from escmodels import inputs
from escmodels.chance import Chance
from escmodels.classifier import Classifier, waves
from escmodels.inputs import Inputs
from escmodels.resident import Resident, reader

CLIPS = noises(12, seed=1)
LONG = noises(12, seconds=1.25, seed=2)
ROWS = torch.tensor([3, 0, 7, 7, 11])
STAGES = {
    "feature": {},
    "bands": {"augment__gain_db": 6.0},
    "spectrum": {"augment__pitch": 2.0},
    "wave": {"augment__pitch": 2.0, "augment__exact": True},
}


def make(clips=CLIPS, seed=0, base=MEL, **changes) -> Inputs:
    chosen = recipe(base, **changes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Classifier.fresh(chosen, clips.classes)
    return Inputs(model, clips, Chance(seed, torch.device("cpu")))


def targets(source: Inputs, rows: torch.Tensor = ROWS) -> torch.Tensor:
    return torch.eye(2)[torch.from_numpy(source.train.labels)[rows]]


def batch(source: Inputs, rows: torch.Tensor = ROWS) -> tuple[torch.Tensor, torch.Tensor]:
    return source.batch(rows, targets(source, rows))


@pytest.mark.parametrize("stage", STAGES)
def test_the_latest_stage_that_no_augmentation_changes_is_kept(stage):
    assert make(**STAGES[stage]).keeps == stage
    assert make(LONG, **STAGES[stage]).keeps == ("bands" if stage == "feature" else stage)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"augment__gain_db": 6.0},
        {"augment__noise_p": 1.0, "augment__stretch": 0.3},
        {"augment__pitch": 3.0, "augment__freq_jitter": 500.0},
        {
            "augment__speed": 0.2,
            "augment__between_class": 1.0,
            "augment__freq_mask": 0.2,
            "augment__roll": 1.0,
        },
        {
            "feature": "gammatone",
            "feature__fmin": 100.0,
            "feature__compression": "pcen",
            "augment__pitch": 2.0,
        },
        {"feature__deltas": 2, "augment__mixup": 0.3, "augment__gain_db": 3.0},
    ],
    ids=lambda changes: "+".join(changes) or "none",
)
def test_what_is_kept_gives_the_batches_that_the_waves_give(changes, monkeypatch):
    base = {k: v for k, v in MEL.items() if k != "feature.n_mels" or "feature" not in changes}
    kept = make(base=base, **changes)
    monkeypatch.setattr(inputs, "KEEP", 0)
    anew = make(base=base, **changes)
    assert kept.keeps != "wave" and anew.keeps == "wave"
    for (x, target), (y, wanted) in [(batch(kept), batch(anew)), (batch(kept), batch(anew))]:
        torch.testing.assert_close(x, y, rtol=1e-2, atol=2e-2)
        torch.testing.assert_close(target, wanted)


def test_an_augmentation_of_almost_nothing_gives_the_plain_feature():
    plain, _ = batch(make())
    for knob in ("gain_db", "stretch", "pitch", "speed", "freq_jitter"):
        almost, _ = batch(make(**{f"augment__{knob}": 1e-6}))
        slack = 0.1 if knob in ("pitch", "speed", "freq_jitter") else 0.01  # nodes of the bank stand for bins
        torch.testing.assert_close(almost, plain, rtol=slack, atol=slack, msg=knob)


def test_a_faster_clip_is_the_same_whether_its_bands_are_kept_or_not(monkeypatch):
    kept = make(LONG, augment__stretch=0.5, feature__normalise="none")
    monkeypatch.setattr(inputs, "KEEP", 0)
    anew = make(LONG, augment__stretch=0.5, feature__normalise="none")
    assert (kept.keeps, anew.keeps) == ("bands", "wave") and kept.reads == anew.reads > kept.length
    begins = Inputs._begins  # on the grid of frames, where both begin alike
    monkeypatch.setattr(Inputs, "_begins", lambda *args: begins(*args) // 128 * 128)
    (x, _), (y, _) = batch(kept), batch(anew)
    torch.testing.assert_close(x[..., 2:-2], y[..., 2:-2], rtol=1e-2, atol=0.1)


@pytest.mark.parametrize("stage", ["feature", "bands", "spectrum"])
def test_a_random_crop_of_what_is_kept_is_the_feature_of_a_crop_of_the_wave(stage):
    """But for the frames at its ends, which hear what is beside the crop."""
    tiny = {knob: value if value is True else 1e-9 for knob, value in STAGES[stage].items()}
    source = make(LONG, feature__normalise="none", **tiny)
    feature, hop, length = source.feature, source.feature.hop, source.length
    begins = LONG.random_begins(ROWS.numpy(), length, Chance(0, torch.device("cpu")).order) // hop * hop
    cut = feature(waves(LONG.take(ROWS.numpy(), begins, length), "cpu"))
    edge = -(-feature.config.n_fft // 2 // hop)
    x, _ = batch(source)
    torch.testing.assert_close(x[..., edge:-edge], cut[..., edge:-edge], rtol=1e-2, atol=0.1)
    assert x.shape == cut.shape


def test_a_faster_clip_takes_more_of_a_long_recording_and_wraps_round_in_a_short_one():
    for clips in (LONG, CLIPS):
        source = make(clips, augment__stretch=0.5)
        assert batch(source)[0].shape == (len(ROWS), 1, 16, 1 + 4000 // 128)
    assert make(LONG, augment__stretch=0.5).reads >= 6000 > make(CLIPS, augment__stretch=0.5).reads == 4000


def test_the_statistics_do_not_hear_the_silence_around_long_sounds():
    quiet = noises(12, seconds=2.0, seed=2, tail=1.2)
    found = make(quiet).feature.mean_CH
    torch.testing.assert_close(found, make(quiet, **STAGES["wave"]).feature.mean_CH)
    whole = waves(quiet.take(np.arange(12), 0, 16000), "cpu")
    feature = Classifier.fresh(recipe(), quiet.classes).feature
    feature.fit([feature.band_power(whole)])
    assert (found - feature.mean_CH).min() > 10.0  # dB


def test_the_statistics_do_not_depend_on_what_is_kept(monkeypatch):
    found = [make(LONG, **changes).feature.mean_CH for changes in STAGES.values()]
    monkeypatch.setattr(inputs, "LONG", 0.7)  # nothing of a longer clip is kept
    found.append(make(LONG).feature.mean_CH)
    for mean in found[1:]:
        torch.testing.assert_close(mean, found[0])


def test_clips_of_unequal_length_are_kept_whole():
    rng = np.random.default_rng(0)
    lengths = np.array([4000, 9000, 2500, 9000, 4600, 20000])
    samples = rng.integers(-9000, 9000, lengths.sum(), dtype=np.int16)
    count = np.arange(6)
    uneven = type(CLIPS)(
        samples, np.cumsum(lengths) - lengths, lengths, count % 2, count + 1, count,
        tuple(map(str, count)), ("a", "b"), RATE,
    )  # fmt: skip
    source = make(uneven, augment__gain_db=1e-9, feature__normalise="none")
    assert source.keeps == "bands"
    assert source.frames.counts.tolist() == [1 + max(n, 4000) // 128 for n in lengths]
    for row, length in enumerate(np.maximum(lengths, 4000)):
        whole = source.feature.band_power(waves(uneven.take([row], 0, int(length)), "cpu"))
        first, n = int(source.frames.firsts[row]), int(source.frames.counts[row])
        torch.testing.assert_close(source.frames.values_SRX[first : first + n].transpose(0, 1), whole[0])


@pytest.mark.parametrize("pad", ["zero", "tile"])
def test_samples_on_the_device_are_cut_as_on_the_host(pad):
    part = LONG.subset([5, 2, 9])
    there = Resident(part, torch.device("cpu"))
    rows, begins = [0, 2, 1, 1], [0, 9990, 400, 3]
    assert torch.equal(there.take(rows, begins, 700, pad), part.take(rows, begins, 700, pad))
    assert reader(part, torch.device("cpu")) is part
    with pytest.raises(ValueError, match="unknown pad"):
        there.take(rows, begins, 700, "mirror")


def test_a_wave_net_hears_what_happens_to_the_wave():
    plain, _ = batch(make(base=RAW))
    assert torch.equal(plain[:, 0], waves(CLIPS.take(ROWS.numpy(), 0, 4000), "cpu"))
    for changes in ({"augment__polarity": 1.0}, {"augment__speed": 0.2}, {"augment__noise_p": 1.0}):
        assert not torch.equal(batch(make(base=RAW, **changes))[0], plain)
    assert torch.equal(batch(make(base=RAW, augment__polarity=1.0))[0], -plain)
