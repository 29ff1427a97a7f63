"""Laws of the ensemble: it says the mean of what its members say, and what is packed comes back bit for bit."""

import numpy as np
import pytest
from toys import MEL, noises, recipe

from escmodels.calibration import apply_temperature
from escmodels.classifier import Classifier
from escmodels.ensemble import Ensemble, unpack
from escmodels.fit import fit

CLIPS = noises(6, seconds=1.2, seed=5)


def member(seed: int, **knobs) -> Classifier:
    clips = noises(12, seed=seed)  # other clips: other statistics of the feature
    return fit(recipe(MEL, **knobs), clips, None, epochs=1, seed=seed).classifier


@pytest.fixture(scope="module")
def members() -> list[Classifier]:
    return [member(seed) for seed in range(3)]


def wave(row: int) -> np.ndarray:
    return CLIPS.take([row], 0, int(CLIPS.lengths[row]))[0].numpy().astype(np.float32) / 32768


def test_it_says_the_mean_of_its_members(members):
    ensemble = Ensemble(members)
    mean = np.mean([each.probabilities(CLIPS) for each in members], axis=0)
    np.testing.assert_allclose(ensemble.probabilities(CLIPS), mean, rtol=1e-5)
    judged = ensemble.judge([wave(0), wave(4)])
    np.testing.assert_allclose(judged[1].clip_K, mean[4], rtol=1e-4)
    alone = [each.judge([wave(0)])[0].prob_WK for each in members]
    np.testing.assert_allclose(judged[0].prob_WK, np.mean(alone, axis=0), rtol=1e-4)
    assert ensemble.probabilities(CLIPS).dtype == np.float32
    assert (ensemble.classes, ensemble.recipe) == (members[0].classes, members[0].recipe)


def test_one_classifier_is_an_ensemble_of_itself(members):
    np.testing.assert_array_equal(Ensemble(members[:1]).probabilities(CLIPS), members[0].probabilities(CLIPS))


def test_the_order_of_the_members_does_not_matter(members):
    np.testing.assert_allclose(
        Ensemble(members).probabilities(CLIPS), Ensemble(members[::-1]).probabilities(CLIPS), atol=1e-7
    )


def test_the_temperature_comes_after_the_mean(members):
    plain = Ensemble(members).probabilities(CLIPS)
    np.testing.assert_array_equal(Ensemble(members, 2.0).probabilities(CLIPS), apply_temperature(plain, 2.0))
    np.testing.assert_array_equal(Ensemble(members, 1.0).probabilities(CLIPS), plain)


def test_what_is_packed_comes_back_bit_for_bit(members, tmp_path):
    ensemble = Ensemble(members, 1.3)
    ensemble.pack(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "weights.safetensors"]
    other = unpack(tmp_path)
    assert isinstance(other, Ensemble) and (len(other.members), other.temperature) == (3, 1.3)
    np.testing.assert_array_equal(other.probabilities(CLIPS), ensemble.probabilities(CLIPS))
    for each, before in zip(other.members, members, strict=True):  # without the ensemble's temperature
        np.testing.assert_array_equal(each.probabilities(CLIPS), before.probabilities(CLIPS))
    with pytest.raises(ValueError, match="holds 3 classifiers, expected one"):
        Classifier.unpack(tmp_path)


def test_a_single_classifier_comes_back_as_one(members, tmp_path):
    members[1].pack(tmp_path)
    other = unpack(tmp_path)
    assert isinstance(other, Classifier)
    np.testing.assert_array_equal(other.probabilities(CLIPS), members[1].probabilities(CLIPS))


def test_members_that_do_not_belong_together_are_refused(members):
    with pytest.raises(ValueError, match="at least one classifier"):
        Ensemble([])
    with pytest.raises(ValueError, match="one recipe and the same classes"):
        Ensemble([members[0], member(0, model__width=8)])
