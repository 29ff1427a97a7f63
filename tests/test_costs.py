"""Laws of the costs: the size and speed of a net, known before it is trained."""

import time

import pytest
import torch
from toys import CRNN, MEL, RAW, noises, recipe

from escmodels import costs as module
from escmodels.classifier import Classifier, Views
from escmodels.costs import costs
from escmodels.fit import fit
from search.objectives import COSTS

CLIPS = noises(6)


@pytest.mark.parametrize("base", [MEL, RAW, CRNN], ids=["mel", "raw", "crnn"])
def test_size_is_known_before_training(base):
    trained = fit(recipe(base), CLIPS, None, epochs=1, seed=0).classifier
    count = sum(weights.numel() for weights in trained.net.parameters())
    assert costs(recipe(base), CLIPS, "cpu", ["params"]) == {"params": count}


def test_frozen_layers_are_shipped_too_and_need_no_weight_file():
    body = {name: value for name, value in MEL.items() if not name.startswith("model.")}
    body |= {"architecture": "resnet", "model.weights": "imagenet"}
    free, frozen = (
        costs(recipe(body | {"model.freeze": freeze}), CLIPS, "cpu", ["params"])
        for freeze in ("none", "body")
    )
    assert free == frozen


def test_a_longer_way_takes_longer():
    quick = costs(recipe(MEL), CLIPS, "cpu", COSTS)
    slow = costs(recipe(MEL, model__width=64, model__blocks=4), CLIPS, "cpu", COSTS)
    assert 0 < quick["latency"] < slow["latency"] and quick["params"] < slow["params"]


def test_work_is_what_can_be_counted_by_hand():
    """Windows x frames x (input + hidden) x gates for the recurrent layer, kernels for the others."""
    plain, more = recipe(CRNN), recipe(CRNN | {"model.hidden": 2 * CRNN.get("model.hidden", 64)})
    model = Classifier.fresh(plain, CLIPS.classes)
    products = []

    def note(module, given, out):
        if isinstance(module, torch.nn.Conv2d):
            products.append(out[0].numel() * module.weight[0].numel())
        elif isinstance(module, torch.nn.Linear):
            products.append(out[0].numel() * module.in_features)
        elif isinstance(module, torch.nn.LSTM | torch.nn.GRU):
            weights = [w.numel() for name, w in module.named_parameters() if name.startswith("weight")]
            products.append(given[0].shape[1] * sum(weights))

    for layer in model.net.modules():
        layer.register_forward_hook(note)
    with torch.inference_mode():
        model.net.eval()(torch.zeros(1, *model.feature.shape(plain.data.crop_samples)))
    work = costs(plain, CLIPS, "cpu", ["macs"])["macs"]
    windows = len(Views(CLIPS, plain, model.feature, model.device).rows) / len(CLIPS)
    assert work == pytest.approx(sum(products) * windows, rel=0.02)
    assert costs(more, CLIPS, "cpu", ["macs"])["macs"] > work


def test_latency_is_in_milliseconds_of_one_clip(monkeypatch):
    def sleepy(*facts):
        assert len(facts[2]) == 1 and torch.get_num_threads() == 1
        began = time.perf_counter()
        time.sleep(0.005)
        return time.perf_counter() - began

    monkeypatch.setattr(module, "_classify", sleepy)
    assert costs(recipe(MEL), CLIPS, "cpu", ["latency"])["latency"] == pytest.approx(5, abs=2)


def test_measuring_leaves_chance_and_threads_as_they_were():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        before = torch.get_rng_state()
        costs(recipe(RAW), CLIPS, "cpu", COSTS)
        assert torch.equal(torch.get_rng_state(), before)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_only_what_is_wanted_is_measured(monkeypatch):
    assert costs(recipe(MEL), CLIPS, "cpu", []) == {}
    monkeypatch.setattr(Classifier, "fresh", None)  # not even a net is built
    assert costs(recipe(MEL), CLIPS, "cpu", ()) == {}


def test_every_cost_of_the_objectives_is_measured():
    assert tuple(costs(recipe(MEL), CLIPS, "cpu", COSTS)) == COSTS


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(ValueError, match="unknown cost 'energy', known: params, macs, latency"):
        costs(recipe(MEL), CLIPS, "cpu", ["params", "energy"])
    with pytest.raises(ValueError, match="at least one clip, got none"):
        costs(recipe(MEL), CLIPS.subset([]), "cpu", ["latency"])
    with pytest.raises(ValueError, match="at least one clip, got none"):
        costs(recipe(MEL), CLIPS.subset([]), "cpu", ["macs"])
    with pytest.raises(ValueError, match="clips at 8000 Hz, the recipe wants 22050 Hz"):
        costs(recipe({}), CLIPS, "cpu", ["latency"])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_size_and_a_time():
    before = torch.cuda.get_rng_state()
    found = costs(recipe(MEL), CLIPS, "cuda", COSTS)
    assert found["params"] == costs(recipe(MEL), CLIPS, "cpu", COSTS)["params"]
    assert found["latency"] > 0 and torch.equal(torch.cuda.get_rng_state(), before)
