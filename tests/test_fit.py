"""Laws of training: chance is an argument, a stopped run is the beginning of the long one, it learns."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.nn import functional
from toys import CRNN, MEL, RAW, noises, recipe

from escmodels.chance import Chance
from escmodels.classifier import Classifier
from escmodels.features import LogMel
from escmodels.fit import Diverged, fit
from escmodels.schedule import rate
from escmodels.scores import accuracy, log_loss

TRAIN, VALID = noises(20, seed=1), noises(12, seed=2)
EVERYTHING = {
    "augment__gain_db": 6.0,
    "augment__roll": 0.5,
    "augment__noise_p": 0.5,
    "augment__speed": 0.2,
    "augment__time_mask": 0.2,
    "augment__mixup": 0.3,
    "optim__ema": 0.9,
    "optim__label_smoothing": 0.1,
    "optim__clip_norm": 1.0,
}


def losses(fitted):
    return [(score.train_loss, score.valid_loss) for score in fitted.scores]


@pytest.mark.parametrize("base", [MEL, RAW, CRNN], ids=["mel", "raw", "crnn"])
def test_the_same_seed_gives_the_same_losses_whatever_the_global_state(base):
    chosen = recipe(base, **EVERYTHING)
    torch.manual_seed(1)
    one = fit(chosen, TRAIN, VALID, epochs=3, seed=7, on_epoch=lambda score: torch.manual_seed(99))
    torch.manual_seed(2)
    before = torch.get_rng_state()
    two = fit(chosen, TRAIN, VALID, epochs=3, seed=7)
    assert torch.equal(torch.get_rng_state(), before)
    assert losses(one) == losses(two)
    np.testing.assert_array_equal(one.valid_probabilities, two.valid_probabilities)
    assert losses(one) != losses(fit(chosen, TRAIN, VALID, epochs=3, seed=8))


@pytest.mark.parametrize(
    "knob", ["model__dropout", "augment__gain_db", "augment__freq_mask", "augment__mixup"]
)
def test_each_stream_of_chance_hangs_on_the_seed(knob):
    """All else fixed (one batch, no shuffling to speak of), the knob alone changes the losses."""
    still = recipe(model__dropout=0.0, optim__batch=32)
    moved = recipe(**{"model__dropout": 0.0, "optim__batch": 32} | {knob: 0.5})
    assert losses(fit(still, TRAIN, None, epochs=2, seed=0)) != losses(
        fit(moved, TRAIN, None, epochs=2, seed=0)
    )


def test_no_two_streams_of_chance_are_alike():
    drawn = set()
    for seed in (0, 1):
        chance = Chance(seed, torch.device("cpu"))
        with chance.own():
            drawn.add(torch.rand(()).item())
        with chance.own():  # goes on where it was
            drawn.add(torch.rand(()).item())
        drawn |= {torch.rand((), generator=rng).item() for rng in (chance.order, chance.augment)}
    assert len(drawn) == 8


def test_the_average_is_judged_and_kept_and_does_not_touch_the_training():
    plain = fit(recipe(), TRAIN, VALID, epochs=3, seed=0)
    average = fit(recipe(optim__ema=0.99), TRAIN, VALID, epochs=3, seed=0)
    assert [s.train_loss for s in plain.scores] == [s.train_loss for s in average.scores]
    assert all(a.valid_loss != b.valid_loss for a, b in zip(plain.scores, average.scores, strict=True))
    np.testing.assert_array_equal(average.classifier.probabilities(VALID), average.valid_probabilities)


@pytest.mark.parametrize("base", [MEL, RAW], ids=["mel", "raw"])
def test_a_stopped_run_is_the_beginning_of_the_long_one(base):
    chosen = recipe(base, **EVERYTHING)
    seen = {}

    def note(score):
        seen[score.epoch] = score.train_loss

    whole = fit(chosen, TRAIN, VALID, epochs=5, seed=0, on_epoch=note)
    part = fit(chosen, TRAIN, VALID, epochs=5, stop_after=2, seed=0)
    assert losses(part) == losses(whole)[:2]
    assert [score.lr for score in part.scores] == [score.lr for score in whole.scores][:2]
    assert list(seen) == [1, 2, 3, 4, 5]
    assert losses(fit(chosen, TRAIN, VALID, epochs=2, seed=0)) != losses(
        part
    )  # a short run is something else


def test_validation_clips_change_nothing():
    chosen = recipe(**EVERYTHING)
    alone = fit(chosen, TRAIN, None, epochs=2, seed=0)
    watched = fit(chosen, TRAIN, VALID, epochs=2, seed=0)
    assert [s.train_loss for s in alone.scores] == [s.train_loss for s in watched.scores]
    assert alone.valid_probabilities is None and alone.scores[0].valid_accuracy is None
    np.testing.assert_array_equal(alone.classifier.probabilities(VALID), watched.valid_probabilities)


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_the_last_score_is_that_of_the_classifier(ema):
    fitted = fit(recipe(optim__ema=ema), TRAIN, VALID, epochs=2, seed=0)
    probabilities = fitted.classifier.probabilities(VALID)
    np.testing.assert_array_equal(probabilities, fitted.valid_probabilities)
    last = fitted.scores[-1]
    assert last.valid_loss == log_loss(probabilities, VALID.labels)
    assert last.valid_accuracy == accuracy(probabilities.argmax(1), VALID.labels)
    assert not fitted.classifier.net.training


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_the_losses_are_those_of_a_slow_plain_loop(name):
    """No augmentation, one batch an epoch: the fused, cached, channels-last loop against the obvious one."""
    knobs = {"optim__name": name, "optim__batch": 32, "model__dropout": 0.0, "optim__label_smoothing": 0.1}
    chosen = recipe(**knobs)
    fitted = fit(chosen, TRAIN, None, epochs=6, seed=3)
    first = int(np.random.SeedSequence(3).generate_state(3)[0])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(first)
        plain = Classifier.fresh(chosen, TRAIN.classes)
    wave = TRAIN.take(np.arange(20), 0, 4000).float() / 32768
    plain.feature.fit([plain.feature.band_power(wave)])
    x, label = plain.feature(wave), torch.from_numpy(TRAIN.labels)
    net = plain.net.to(memory_format=torch.contiguous_format)
    wide, flat = ([p for p in net.parameters() if (p.ndim > 1) is side] for side in (True, False))
    groups = [{"params": wide, "weight_decay": 1e-2}, {"params": flat, "weight_decay": 0.0}]
    if name == "adamw":
        slow = torch.optim.AdamW(groups, foreach=False)
    else:
        slow = torch.optim.SGD(groups, momentum=0.9, nesterov=True, foreach=False)
    for step, score in enumerate(fitted.scores):
        loss = functional.cross_entropy(net(x), label, label_smoothing=0.1)
        assert score.train_loss == pytest.approx(loss.item(), rel=2e-4)
        slow.zero_grad()
        loss.backward()
        for group in slow.param_groups:
            group["lr"] = 1e-2 * rate(chosen.schedule, step / 6, epochs=6)
        slow.step()


@pytest.mark.parametrize("base", [MEL, RAW, CRNN], ids=["mel", "raw", "crnn"])
def test_a_separable_toy_is_learned(base):
    train, valid = noises(48, seed=3), noises(40, seed=4)
    fitted = fit(recipe(base, augment__gain_db=3.0), train, valid, epochs=25, seed=0)
    assert fitted.scores[-1].valid_accuracy > 0.95
    assert fitted.scores[-1].train_loss < 0.5 * fitted.scores[0].train_loss


def test_features_kept_and_features_made_anew_are_the_same():
    """A gain of almost nothing forces the way through the wave; nothing else may differ."""
    kept = fit(recipe(), TRAIN, VALID, epochs=3, seed=0)
    anew = fit(recipe(augment__gain_db=1e-9), TRAIN, VALID, epochs=3, seed=0)
    np.testing.assert_allclose(losses(kept), losses(anew), rtol=1e-4)


def test_statistics_come_from_the_training_clips_alone():
    fitted = fit(recipe(), TRAIN, VALID, epochs=1, seed=0)
    plain = LogMel(recipe().feature, 8000)
    plain.fit([plain.band_power(TRAIN.take(np.arange(20), 0, 4000).float() / 32768)])
    for name, buffer in plain.state_dict().items():
        torch.testing.assert_close(fitted.classifier.feature.state_dict()[name], buffer)


def test_long_clips_are_cropped_at_random_and_judged_whole():
    train, valid = noises(20, seconds=1.3, seed=1, tail=0.2), noises(12, seconds=1.3, seed=2)
    for base in (MEL, RAW):
        one, two = (fit(recipe(base), train, valid, epochs=3, seed=seed) for seed in (0, 0))
        assert losses(one) == losses(two)
        assert one.valid_probabilities.shape == (12, 2)
        np.testing.assert_array_equal(one.valid_probabilities, one.classifier.probabilities(valid))


def test_short_clips_are_padded():
    for pad in ("zero", "tile"):
        assert fit(recipe(data__pad=pad, data__crop=0.8), TRAIN, VALID, epochs=1, seed=0).scores


def test_a_last_batch_of_one_clip_is_left_out():
    fitted = fit(recipe(model__blocks=6, optim__batch=4), TRAIN.subset(range(9)), None, epochs=1, seed=0)
    assert np.isfinite(fitted.scores[0].train_loss)


def test_the_rate_follows_the_schedule_and_is_that_of_the_last_step():
    chosen = recipe(schedule="cosine", schedule__warmup=0.25)
    fitted = fit(chosen, TRAIN, None, epochs=4, seed=0)  # 3 steps an epoch
    assert [s.lr for s in fitted.scores] == [
        1e-2 * rate(chosen.schedule, step / 12, epochs=4) for step in (2, 5, 8, 11)
    ]


def test_a_diverging_run_ends_with_its_epoch():
    """A decay of 10 x the weights a step turns them round and makes them 9 times as large, up to infinity."""
    wild = recipe(optim__name="sgd", optim__lr=10.0, optim__weight_decay=1.0, schedule="constant")
    finished = []
    with pytest.raises(Diverged, match="no finite number in epoch") as caught:
        fit(wild, TRAIN, VALID, epochs=60, seed=0, on_epoch=finished.append)
    assert caught.value.epoch == len(finished) + 1 > 2
    assert all(np.isfinite(score.train_loss) and np.isfinite(score.valid_loss) for score in finished)
    assert pickle.loads(pickle.dumps(caught.value)).epoch == caught.value.epoch


def test_what_on_epoch_raises_ends_the_training_and_leaves_chance_alone():
    def stop(score):
        raise SystemExit(score.epoch)

    before = torch.get_rng_state()
    with pytest.raises(SystemExit) as caught:
        fit(recipe(), TRAIN, VALID, epochs=5, seed=0, on_epoch=stop)
    assert caught.value.code == 1
    assert torch.equal(torch.get_rng_state(), before)


def test_what_cannot_be_trained_is_refused_in_a_sentence():
    for clips in (TRAIN.subset([]), TRAIN.subset([3])):
        with pytest.raises(ValueError, match="at least 2 clips"):
            fit(recipe(), clips, VALID, epochs=1, seed=0)
    with pytest.raises(ValueError, match="no validation clips"):
        fit(recipe(), TRAIN, VALID.subset([]), epochs=1, seed=0)
    with pytest.raises(ValueError, match="stop_after is 3, expected 1 to epochs = 2"):
        fit(recipe(), TRAIN, VALID, epochs=2, stop_after=3, seed=0)
    with pytest.raises(ValueError, match="clips at 8000 Hz, the recipe wants 16000 Hz"):
        fit(recipe(data__sample_rate=16000), TRAIN, VALID, epochs=1, seed=0)
    with pytest.raises(ValueError, match="validation classes"):
        fit(recipe(), TRAIN, noises(9, classes=3), epochs=1, seed=0)


def test_a_batch_in_parts_gives_the_losses_of_the_whole_batch():
    """For a net without batch norm; the last part of 20 = 3 x 6 + 2 is smaller than the others."""
    base = {k: v for k, v in MEL.items() if not k.startswith("model.")} | {"architecture": "piczak"}
    knobs = {"model__dropout": 0.0, "model__filters": 4, "model__hidden": 16, "optim__batch": 20}
    whole, parts = (
        fit(recipe(base, optim__accumulate=parts, **knobs), TRAIN, VALID, epochs=3, seed=0)
        for parts in (1, 3)
    )
    np.testing.assert_allclose(losses(whole), losses(parts), rtol=1e-4)


def test_a_plateau_lowers_the_rate_when_the_validation_loss_stalls_and_wants_validation_clips():
    stalled = recipe(
        schedule="plateau", schedule__patience=1, schedule__gamma=0.5, schedule__warmup=0.0, optim__lr=1e-8
    )
    fitted = fit(stalled, TRAIN, VALID, epochs=8, seed=0)
    assert [score.lr for score in fitted.scores][:2] == [1e-8, 1e-8]
    assert fitted.scores[-1].lr < 1e-8
    with pytest.raises(ValueError, match="schedule is 'plateau', which needs validation clips"):
        fit(stalled, TRAIN, None, epochs=2, seed=0)


def test_weights_are_averaged_over_the_last_part_of_the_run():
    plain = fit(recipe(), TRAIN, VALID, epochs=4, seed=0)
    swa = fit(recipe(optim__swa=0.5), TRAIN, VALID, epochs=4, seed=0)
    assert [s.train_loss for s in plain.scores] == [s.train_loss for s in swa.scores]
    assert [p.valid_loss == s.valid_loss for p, s in zip(plain.scores, swa.scores, strict=True)][0] is True
    assert plain.scores[-1].valid_loss != swa.scores[-1].valid_loss
    np.testing.assert_array_equal(swa.classifier.probabilities(VALID), swa.valid_probabilities)


def test_frozen_layers_stay_until_they_are_thawed():
    base = {k: v for k, v in MEL.items() if not k.startswith("model.")} | {"architecture": "resnet"}
    knobs = {
        "model__weights": "none",
        "model__width": 0.125,
        "model__freeze": "body",
        "optim__weight_decay": 0.0,
    }
    frozen = fit(recipe(base, **knobs), TRAIN, VALID, epochs=2, seed=0).classifier.net.state_dict()
    again = fit(
        recipe(base, **knobs), TRAIN, VALID, epochs=2, stop_after=1, seed=0
    ).classifier.net.state_dict()
    same = {name for name in frozen if torch.equal(frozen[name], again[name])}
    assert {name.split(".")[1] for name in frozen.keys() - same} == {"fc"}
    thawed = fit(
        recipe(base, model__unfreeze=1, **knobs), TRAIN, VALID, epochs=2, seed=0
    ).classifier.net.state_dict()
    assert not torch.equal(thawed["net.conv1.weight"], frozen["net.conv1.weight"])


def test_more_views_of_a_clip_are_judged():
    train, valid = noises(20, seconds=1.3, seed=1), noises(12, seconds=1.3, seed=2)
    few, many = (fit(recipe(data__views=n), train, valid, epochs=1, seed=0) for n in (1, 10))
    assert few.scores[0].train_loss == many.scores[0].train_loss
    assert few.scores[0].valid_loss != many.scores[0].valid_loss


def test_bfloat16_trains_nearly_the_same():
    half, full = (
        fit(recipe(optim__precision=p), TRAIN, VALID, epochs=2, seed=0) for p in ("bfloat16", "float32")
    )
    assert losses(half) != losses(full) == losses(fit(recipe(), TRAIN, VALID, epochs=2, seed=0))
    np.testing.assert_allclose(losses(half), losses(full), rtol=0.1)


def test_importing_fit_imports_no_heavy_library():
    code = "import sys, escmodels.fit; print([m for m in ('timm', 'torchvision', 'torchaudio') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
