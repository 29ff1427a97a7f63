"""Laws of the image nets: what they load, what they take, what they freeze. Nothing is fetched from anywhere."""

import time

import pytest
import safetensors.torch
import timm
import torch
from timm.models import adapt_input_conv
from torch.nn.modules.batchnorm import _BatchNorm

from escmodels import weights
from escmodels.architectures import NetContext, build, parameters
from escmodels.resnet import Resnet, ResnetConfig, WeightsUnavailable

K = 7
ONE, TWO, THREE = (NetContext((C, 40, 50), 22050, K) for C in (1, 2, 3))
SMALL = {"weights": "none", "width": 0.125}
TINY = ("test_convnext", "test_vit", "test_efficientnet", "test_nfnet")  # timm's own miniatures


def examples(context=ONE, size=3):
    return torch.randn(size, *context.in_shape, generator=torch.Generator().manual_seed(0))


def make(context=ONE, **fields) -> Resnet:
    torch.manual_seed(3)
    return build(ResnetConfig(**(SMALL | fields)), context)


def trained(net):
    """Names of the weights that get a gradient from a step (zero at first behind a norm that timm starts at 0)."""
    net.zero_grad(set_to_none=True)
    net.train()(examples()).logsumexp(1).sum().backward()
    return {name for name, p in net.named_parameters() if p.grad is not None}


# shape and size


@pytest.mark.parametrize(("name", "count"), [("resnet18", 11.69), ("resnet34", 21.80), ("resnet50", 25.56)])
def test_the_published_nets_have_the_published_size(name, count):
    """Millions of weights with 1000 classes, torchvision's table."""
    with torch.device("meta"):
        net = build(ResnetConfig(name=name, weights="none"), NetContext((3, 40, 50), 22050, 1000))
    assert parameters(net) / 1e6 == pytest.approx(count, abs=0.005)


def test_width_scales_every_stage():
    net = make(width=0.25).net
    assert [m.out_channels for m in (net.layer1[0].conv1, net.layer4[0].conv1)] == [16, 128]


def test_a_net_takes_as_many_channels_as_the_feature_has():
    for context in (ONE, TWO, THREE):
        net = make(context).eval()
        assert net.net.conv1.in_channels == context.in_shape[0]
        assert net(examples(context)).shape == (3, K)


def test_replicate_shows_the_one_channel_three_times():
    net = make(channels="replicate").eval()
    assert net.net.conv1.in_channels == 3
    torch.testing.assert_close(net(examples()), net.net(examples().repeat(1, 3, 1, 1)))


def test_replicate_refuses_more_than_one_channel():
    with pytest.raises(ValueError, match="model.channels is 'replicate', but the feature has 2 channels"):
        make(TWO, channels="replicate")


def test_dropout_lies_before_the_head():
    net, x = make(dropout=0.5).train(), examples()
    for module in net.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
    torch.manual_seed(0)
    assert not torch.equal(net(x), net(x))
    body = [net.net.forward_features(x) for _ in range(2)]
    assert torch.equal(*body)


@pytest.mark.parametrize("name", TINY)
def test_any_backbone_of_timm_learns_from_a_spectrogram(name):
    net = make(TWO, name=name, width=1.0)
    logits = net.train()(examples(TWO))
    logits.logsumexp(1).sum().backward()
    assert logits.shape == (3, K) and len(net.layers()) == len(net.lr_factors) >= 2
    assert sum(p.numel() for layer in net.layers() for p in layer) == parameters(net)
    assert sum(p.numel() for p in net.layers()[-1]) == K * net.net.num_features + K  # the head


def test_a_net_of_one_input_size_sees_the_whole_clip_stretched():
    net = make(name="test_vit", width=1.0).eval()
    assert net(examples()).shape == (3, K)
    still = net.net(torch.nn.functional.interpolate(examples(), net.size, mode="bilinear"))
    torch.testing.assert_close(net(examples()), still)


def test_a_backbone_that_cannot_take_the_shape_says_so_when_it_is_built():
    with pytest.raises(
        ValueError, match=r"'inception_v3', which cannot take a spectrogram of shape \[1, 40, 50\]"
    ):
        make(name="inception_v3", width=1.0)


# weights


@pytest.fixture(scope="module")
def reference():
    """A ResNet-18 of timm with 1000 classes and 3 channels, as a stand-in for the ImageNet one."""
    torch.manual_seed(5)
    return timm.create_model("resnet18", num_classes=1000)


@pytest.fixture(params=["safetensors", "pt"])
def weight_file(request, reference, tmp_path):
    path = tmp_path / f"weights.{request.param}"
    if request.param == "safetensors":
        safetensors.torch.save_file(reference.state_dict(), path)
    else:
        torch.save(reference.state_dict(), path)
    return path


def test_local_weights_are_loaded_and_a_foreign_head_is_not(weight_file, reference):
    net = build(ResnetConfig(weights=str(weight_file), channels="replicate"), ONE).net
    own, theirs = net.state_dict(), reference.state_dict()
    assert own["fc.weight"].shape[0] == K
    assert all(torch.equal(own[name], theirs[name]) for name in theirs if not name.startswith("fc."))


def test_one_channel_is_the_same_function_as_three_equal_ones(reference, tmp_path):
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(reference.state_dict(), path)
    one = build(ResnetConfig(weights=str(path)), ONE).eval()
    three = build(ResnetConfig(weights=str(path), channels="replicate"), ONE).eval()
    x = examples()
    torch.testing.assert_close(
        one.net.forward_features(x), three.net.forward_features(x.expand(-1, 3, -1, -1))
    )


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_the_first_convolution_is_adapted_as_timm_does(channels):
    weight = torch.randn(8, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    before = weight.clone()
    torch.testing.assert_close(
        weights.adapt(weight, channels), adapt_input_conv(channels, weight.clone()), rtol=1e-6, atol=1e-6
    )
    assert torch.equal(weight, before)


def test_weights_for_one_channel_fit_three_as_the_same_function(tmp_path):
    small = build(ResnetConfig(weights="none"), ONE).eval()
    torch.save(small.net.state_dict(), tmp_path / "one.pt")
    three = build(ResnetConfig(weights=str(tmp_path / "one.pt"), channels="replicate"), ONE).eval()
    x = examples()
    torch.testing.assert_close(three(x), small(x))  # as many classes: the head came along


@pytest.mark.parametrize("name", TINY[:3])  # nfnet scales each kernel by its own deviation: another function
def test_weights_of_any_backbone_fit_other_channels_and_classes(name, tmp_path):
    torch.manual_seed(6)
    theirs = timm.create_model(name, num_classes=11).eval()
    torch.save(theirs.state_dict(), tmp_path / "weights.pt")
    one = build(ResnetConfig(name=name, weights=str(tmp_path / "weights.pt")), ONE).eval()
    x = torch.randn(2, 1, *(one.size or (64, 64)), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        one.net.forward_features(x), theirs.forward_features(x.expand(-1, 3, -1, -1)), rtol=1e-3, atol=1e-4
    )


def test_torchvision_names_and_missing_counters_fit(reference, tmp_path):
    import torchvision

    old = {k: v for k, v in torchvision.models.resnet18().state_dict().items() if "num_batches" not in k}
    assert old.keys() < reference.state_dict().keys()
    torch.save({"state_dict": old}, tmp_path / "old.pth")
    net = build(ResnetConfig(weights=str(tmp_path / "old.pth")), THREE).net
    assert torch.equal(net.layer4[1].conv2.weight, old["layer4.1.conv2.weight"])


def test_another_net_s_weights_are_refused_in_one_sentence(weight_file):
    with pytest.raises(
        WeightsUnavailable, match=r"does not fit resnet34: \d+ tensors are missing, .* first 'layer"
    ):
        build(ResnetConfig(name="resnet34", weights=str(weight_file)), ONE)


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_a_file_that_is_no_state_dict_is_refused_in_one_sentence(suffix, tmp_path):
    path = tmp_path / f"weights.{suffix}"
    with pytest.raises(WeightsUnavailable, match="no such file"):
        build(ResnetConfig(weights=str(path)), ONE)
    path.write_text("these are not weights")
    with pytest.raises(WeightsUnavailable, match="which is no state dict"):
        build(ResnetConfig(weights=str(path)), ONE)


class Surprise:
    def __reduce__(self):
        return (print, ("arbitrary code",))


def test_a_pickle_that_would_run_code_is_refused(tmp_path, capsys):
    torch.save({"conv1.weight": Surprise()}, tmp_path / "weights.pt")
    with pytest.raises(WeightsUnavailable, match="which is no state dict"):
        build(ResnetConfig(weights=str(tmp_path / "weights.pt")), ONE)
    assert not capsys.readouterr().out


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No cache, and a hub nobody listens at."""
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("name", "repo"), [("resnet18", "resnet18.a1_in1k"), ("test_convnext", "test_convnext.r160_in1k")]
)
def test_offline_is_one_sentence_with_both_remedies_at_once_and_silently(offline, capfd, name, repo):
    config = ResnetConfig(name=name)
    began = time.perf_counter()
    with pytest.raises(WeightsUnavailable) as caught:
        build(config, ONE)
    assert time.perf_counter() - began < weights.PATIENCE
    text = str(caught.value)
    assert f"timm/{repo}" in text and "\n" not in text
    assert "model.weights to the PATH" in text and "or to none" in text
    assert capfd.readouterr() == ("", "")


def test_unpacking_never_touches_weight_files(offline):
    for source in ("imagenet", "gone.safetensors"):
        net = build(ResnetConfig(weights=source), ONE, pretrained=False)
        assert net.eval()(examples()).shape == (3, K)


# what is trained


def test_body_trains_the_head_alone():
    assert trained(make(freeze="body")) == {"net.fc.weight", "net.fc.bias"}


@pytest.mark.parametrize("groups", [1, 2, 3, 4])
def test_a_number_freezes_the_stem_and_that_many_stages(groups):
    names = trained(make(freeze=str(groups)))
    frozen = ("net.conv1", "net.bn1", *(f"net.layer{stage}" for stage in range(1, groups + 1)))
    every = {name for name, _ in make().named_parameters()}
    assert names == {name for name in every if not name.startswith(frozen)}
    assert "net.fc.weight" in names


def test_without_freezing_every_weight_is_trained():
    net = make()
    assert trained(net) == {name for name, _ in net.named_parameters()}


@pytest.mark.parametrize("freeze", ["body", "2"])
def test_frozen_batch_norms_keep_their_statistics_and_the_others_do_not(freeze):
    net = make(freeze=freeze)
    before = {name: value.clone() for name, value in net.named_buffers() if "running" in name}
    trained(net)
    held = {
        name for name, value in net.named_buffers() if name in before and torch.equal(value, before[name])
    }
    stages = 4 if freeze == "body" else 2
    frozen = ("net.bn1", *(f"net.layer{stage}." for stage in range(1, stages + 1)))
    assert held == {name for name in before if name.startswith(frozen)}
    assert not net.eval().training and not any(module.training for module in net.modules())


def test_after_so_many_epochs_all_is_trained():
    net = make(freeze="body", unfreeze=2)
    every = {name for name, _ in net.named_parameters()}
    for epoch in (1, 2, 3, 4):
        net.thaw(epoch)
        assert trained(net) == (every if epoch > 2 else {"net.fc.weight", "net.fc.bias"})
        norms = [module.training for module in net.modules() if isinstance(module, _BatchNorm)]
        assert set(norms) == {epoch > 2}


def test_without_unfreezing_nothing_thaws():
    net = make(freeze="body")
    net.thaw(500)
    assert trained(net) == {"net.fc.weight", "net.fc.bias"}


def test_layers_run_from_the_input_to_the_head_and_hold_every_weight_once():
    net = make(freeze="body")
    layers = net.layers()
    assert len(layers) == 5 and layers[0][0] is net.net.conv1.weight and layers[-1][-1] is net.net.fc.bias
    ids = [id(p) for layer in layers for p in layer]
    assert len(set(ids)) == len(ids) and set(ids) == {id(p) for p in net.parameters()}


def test_a_layer_learns_at_a_share_of_the_rate_of_the_next():
    assert make(lr_decay=0.5).lr_factors == [0.0625, 0.125, 0.25, 0.5, 1.0]
    assert make().lr_factors == [1.0] * 5


def test_a_net_without_layer_groups_is_a_body_and_a_head():
    net = make(name="pit_ti_224", width=1.0, lr_decay=0.5)
    assert net.lr_factors == [0.5, 1.0]
    with pytest.raises(
        ValueError, match="model.freeze is '2', but pit_ti_224 has 1 layer groups before its head"
    ):
        make(name="pit_ti_224", width=1.0, freeze="2")


# nonsense


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": "resnet81"}, "'resnet81', expected a backbone of timm; the nearest are .*resnet18"),
        ({"name": "resnet18.nonsense"}, "expected a backbone of timm; the nearest are"),
        ({"name": "halonet_h1"}, "'imagenet', but timm has none of halonet_h1: expected 'none' or the path"),
        ({"channels": "3"}, "model.channels is '3', expected one of 'feature', 'replicate'"),
        ({"weights": ""}, "model.weights is empty"),
        ({"width": 0.5}, "model.width is 0.5, expected 1.0 with model.weights = 'imagenet'"),
        (
            {"width": 0.5, "weights": "none", "name": "test_vit"},
            "with model.name = 'test_vit': only resnet18",
        ),
        ({"freeze": "5"}, "model.freeze is '5', expected one of 'none', 'body', '1'"),
        ({"unfreeze": 3}, "model.unfreeze is 3, expected 0 with model.freeze: none"),
        ({"unfreeze": -1}, "model.unfreeze is -1"),
        ({"lr_decay": 0.0}, "model.lr_decay is 0.0, expected a number from 0.1 to 1.0"),
        ({"dropout": 1.0}, "model.dropout is 1.0"),
    ],
)
def test_a_config_refuses_nonsense_and_says_what_is_allowed(wrong, message):
    with pytest.raises(ValueError, match=message):
        ResnetConfig(**wrong)


def test_a_backbone_that_the_hub_has_no_weights_of_takes_a_local_file(tmp_path):
    path = tmp_path / "weights.pt"
    config = ResnetConfig(name="botnet50ts_256", weights=str(path))
    with pytest.raises(WeightsUnavailable, match="no such file"):
        build(config, NetContext((1, 256, 256), 22050, 3))
    with pytest.raises(ValueError, match="timm has none of botnet50ts_256"):
        ResnetConfig(name="botnet50ts_256", weights="imagenet")
