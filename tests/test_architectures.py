"""Laws every family must keep, and what is special to each."""

import subprocess
import sys
import time

import pytest
import safetensors.torch
import torch
from torch import nn

from escmodels import resnet
from escmodels.architectures import ARCHITECTURES, NetContext, build, name_of, parameters
from escmodels.crnn import CrnnConfig
from escmodels.mel_cnn import MelCnnConfig
from escmodels.raw_cnn import RawCnnConfig
from escmodels.resnet import ResnetConfig, WeightsUnavailable
from escmodels.schedule import ScheduleConfig

K = 7
SPECTROGRAM = NetContext(in_shape=(1, 40, 50), sample_rate=16000, n_classes=K)
WAVEFORM = NetContext(in_shape=(1, 8000), sample_rate=16000, n_classes=K)
NETS = {
    "mel_cnn": MelCnnConfig(width=8),
    "mel_cnn, two convolutions": MelCnnConfig(width=8, blocks=6, convs=2, hidden=16),
    "mel_cnn, flat": MelCnnConfig(width=8, blocks=3, head="flatten", hidden=32),
    "raw_cnn": RawCnnConfig(width=0.125),
    "crnn": CrnnConfig(width=8, hidden=8),
    "crnn, deep": CrnnConfig(width=4, blocks=6, hidden=16, layers=2, bidirectional=False, pool="attention"),
    "resnet": ResnetConfig(weights="none", width=0.125),
    "resnet, 3 channels": ResnetConfig(weights="none", width=0.125, channels=3, dropout=0.2),
}
EVERY_NET = pytest.mark.parametrize("config", NETS.values(), ids=NETS)


def context_of(config):
    return WAVEFORM if ARCHITECTURES[name_of(config)].takes == "waveform" else SPECTROGRAM


def make(config, seed=0):
    torch.manual_seed(seed)
    return build(config, context_of(config))


def examples(config, batch=3, length=None, seed=0):
    shape = context_of(config).in_shape
    shape = (*shape[:-1], length or shape[-1])
    return torch.randn((batch, *shape), generator=torch.Generator().manual_seed(seed))


@EVERY_NET
@pytest.mark.parametrize("length", [1, 33, 120])
def test_any_length_gives_one_logit_a_class(config, length):
    net = make(config).eval()
    assert net(examples(config, length=length)).shape == (3, K)


@EVERY_NET
def test_every_parameter_receives_gradient(config):
    net = make(config)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(
        2
    ):  # the residual branches of a fresh ResNet end in zeros: they hear of it in the second step
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(examples(config)), torch.tensor([0, 3, 6]))
        loss.backward()
        optimizer.step()
    deaf = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert not deaf


@EVERY_NET
def test_clips_of_a_batch_do_not_see_each_other(config):
    net = make(config).eval()
    x = examples(config)
    changed = x.clone()
    changed[1:] = 50.0
    torch.testing.assert_close(net(changed)[:1], net(x)[:1], atol=1e-4, rtol=1e-4)


@EVERY_NET
def test_the_memory_format_does_not_change_the_function(config):
    net = make(config).eval()
    x = examples(config)
    expected = net(x)
    if net.channels_last:
        net, x = net.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    torch.testing.assert_close(net(x), expected, atol=1e-4, rtol=1e-4)


@EVERY_NET
def test_the_same_seed_gives_the_same_net(config):
    one, two, other = make(config, 1).state_dict(), make(config, 1).state_dict(), make(config, 2).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


@EVERY_NET
def test_a_net_learns_three_clips_by_heart(config):
    net, x, labels = make(config), examples(config, batch=4), torch.tensor([0, 3, 6, 3])
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_config_knows_its_family(name):
    assert name_of(ARCHITECTURES[name].config()) == name


@pytest.mark.parametrize(
    ("config", "context", "message"),
    [
        (MelCnnConfig(), WAVEFORM, r"mel_cnn takes a spectrogram, the feature has shape \[1, 8000\]"),
        (ResnetConfig(), WAVEFORM, "resnet takes a spectrogram"),
        (RawCnnConfig(), SPECTROGRAM, r"raw_cnn takes a waveform, the feature has shape \[1, 40, 50\]"),
        (
            ScheduleConfig(),
            SPECTROGRAM,
            r"ScheduleConfig.* is no model config, known architectures: \['crnn'",
        ),
    ],
)
def test_a_config_in_the_wrong_family_is_refused(config, context, message):
    with pytest.raises(ValueError, match=message):
        build(config, context)


def test_the_table_costs_no_heavy_import():
    code = (
        "import sys; import escmodels.architectures;"
        "sys.exit(any(name in sys.modules for name in ('timm', 'torchvision', 'torchaudio', 'huggingface_hub')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# one family at a time


def test_the_seed_net_is_a_setting_of_mel_cnn():
    config = MelCnnConfig(width=64, blocks=4, convs=1, head="flatten", hidden=1024, dropout=0.5)
    net = build(config, NetContext((1, 64, 64), 22050, 50))
    convs = [m.out_channels for m in net.modules() if isinstance(m, nn.Conv2d)]
    dense = [(m.in_features, m.out_features) for m in net.modules() if isinstance(m, nn.Linear)]
    assert convs == [64, 128, 256, 512]
    assert dense == [(512 * 4 * 4, 1024), (1024, 50)]


def test_relu_behind_the_pooling_is_the_same_function():
    block = make(NETS["mel_cnn"]).body[0]
    conv, norm, pool, relu = block
    x = examples(NETS["mel_cnn"])
    torch.testing.assert_close(block(x), pool(relu(norm(conv(x)))))


def test_acdnet_has_the_parameters_of_the_paper():
    net = build(RawCnnConfig(), NetContext((1, 30225), sample_rate=20000, n_classes=50))
    assert round(parameters(net) / 1e6, 2) == 4.74  # recipes: ACDNet, 20 kHz, 50 classes


@pytest.mark.parametrize("rate", [16000, 20000, 22050, 44100])
def test_the_front_end_of_acdnet_makes_frames_of_10_ms_and_swaps_them_into_an_image(rate):
    net = build(RawCnnConfig(width=0.25), NetContext((1, rate), sample_rate=rate, n_classes=K))
    seen = []
    net.body.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    net(torch.zeros(2, 1, 2 * rate))
    (shape,) = seen
    assert shape[:3] == (2, 1, 16)  # one channel, the filters are its rows
    assert abs(shape[3] - 200) <= 2


def test_a_wider_net_is_larger():
    for small, large in [
        (NETS["mel_cnn"], MelCnnConfig(width=16)),
        (NETS["raw_cnn"], RawCnnConfig(width=0.25)),
    ]:
        assert parameters(make(small)) < parameters(make(large))


def test_attention_is_a_weighted_mean_over_frames():
    net = make(CrnnConfig(width=8, hidden=8, pool="attention")).eval()
    x = examples(CrnnConfig())
    mean = make(CrnnConfig(width=8, hidden=8)).eval()
    mean.load_state_dict({k: v for k, v in net.state_dict().items() if not k.startswith("attention")})
    assert not torch.allclose(net(x), mean(x))
    nn.init.zeros_(net.attention.weight)  # equal scores: attention is the mean
    torch.testing.assert_close(net(x), mean(x))


# ResNet and its weights


@pytest.fixture(scope="module")
def reference():
    """A ResNet-18 of timm with 1000 classes and 3 channels, as a stand-in for the ImageNet one."""
    import timm

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
    net = build(ResnetConfig(weights=str(weight_file), channels=3), SPECTROGRAM).net
    own, theirs = net.state_dict(), reference.state_dict()
    assert own["fc.weight"].shape[0] == K
    assert all(torch.equal(own[name], theirs[name]) for name in theirs if not name.startswith("fc."))


def test_one_channel_is_the_same_function_as_three_equal_ones(reference, tmp_path):
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(reference.state_dict(), path)
    one = build(ResnetConfig(weights=str(path), channels=1), SPECTROGRAM).eval()
    three = build(ResnetConfig(weights=str(path), channels=3), SPECTROGRAM).eval()
    x = examples(ResnetConfig())
    torch.testing.assert_close(
        one.net.forward_features(x), three.net.forward_features(x.expand(-1, 3, -1, -1))
    )
    torch.testing.assert_close(one.net.conv1.weight, reference.conv1.weight.sum(dim=1, keepdim=True))


def test_weights_for_one_channel_fit_three_as_the_same_function(tmp_path):
    small = build(ResnetConfig(weights="none", channels=1), SPECTROGRAM).eval()
    torch.save(small.net.state_dict(), tmp_path / "one.pt")
    three = build(ResnetConfig(weights=str(tmp_path / "one.pt"), channels=3), SPECTROGRAM).eval()
    x = examples(ResnetConfig())
    torch.testing.assert_close(three(x), small(x))  # as many classes: the head came along


def test_torchvision_names_and_missing_counters_fit(reference, tmp_path):
    import torchvision

    old = {k: v for k, v in torchvision.models.resnet18().state_dict().items() if "num_batches" not in k}
    assert old.keys() < reference.state_dict().keys()
    torch.save({"state_dict": old}, tmp_path / "old.pth")
    net = build(ResnetConfig(weights=str(tmp_path / "old.pth"), channels=3), SPECTROGRAM).net
    assert torch.equal(net.layer4[1].conv2.weight, old["layer4.1.conv2.weight"])


def test_another_net_s_weights_are_refused_in_one_sentence(weight_file):
    with pytest.raises(
        WeightsUnavailable, match=r"does not fit resnet34: \d+ tensors are missing, .* first 'layer"
    ):
        build(ResnetConfig(name="resnet34", weights=str(weight_file)), SPECTROGRAM)


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_a_file_that_is_no_state_dict_is_refused_in_one_sentence(suffix, tmp_path):
    path = tmp_path / f"weights.{suffix}"
    with pytest.raises(WeightsUnavailable, match="no such file"):
        build(ResnetConfig(weights=str(path)), SPECTROGRAM)
    path.write_text("these are not weights")
    with pytest.raises(WeightsUnavailable, match="which is no state dict"):
        build(ResnetConfig(weights=str(path)), SPECTROGRAM)


class Surprise:
    def __reduce__(self):
        return (print, ("arbitrary code",))


def test_a_pickle_that_would_run_code_is_refused(tmp_path, capsys):
    torch.save({"conv1.weight": Surprise()}, tmp_path / "weights.pt")
    with pytest.raises(WeightsUnavailable, match="which is no state dict"):
        build(ResnetConfig(weights=str(tmp_path / "weights.pt")), SPECTROGRAM)
    assert not capsys.readouterr().out


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No cache, and a hub nobody listens at."""
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")


def test_offline_is_one_sentence_with_both_remedies_at_once_and_silently(offline, capfd):
    began = time.perf_counter()
    with pytest.raises(WeightsUnavailable) as caught:
        build(ResnetConfig(), SPECTROGRAM)
    assert time.perf_counter() - began < resnet.PATIENCE
    text = str(caught.value)
    assert "timm/resnet18.a1_in1k" in text and "\n" not in text
    assert "model.weights to the PATH" in text and "or to none" in text
    assert capfd.readouterr() == ("", "")


def test_unpacking_never_touches_weight_files(offline):
    for weights in ("imagenet", "gone.safetensors"):
        net = build(ResnetConfig(weights=weights), SPECTROGRAM, pretrained=False)
        assert net.eval()(examples(ResnetConfig())).shape == (3, K)


def test_width_scales_every_stage():
    net = make(ResnetConfig(weights="none", width=0.25)).net
    assert [m.out_channels for m in (net.layer1[0].conv1, net.layer4[0].conv1)] == [16, 128]


@pytest.mark.parametrize(
    ("config", "wrong", "message"),
    [
        (MelCnnConfig, {"head": "mean"}, "model.head is 'mean', expected one of 'pool', 'flatten'"),
        (MelCnnConfig, {"convs": 3}, "model.convs is 3, expected one of 1, 2"),
        (MelCnnConfig, {"blocks": 0}, "model.blocks is 0, expected a number from 1 to 6"),
        (RawCnnConfig, {"variant": "m5"}, "model.variant is 'm5', expected one of 'acdnet'"),
        (RawCnnConfig, {"width": 0.0}, "model.width is 0.0, expected a number from 0.125 to 2.0"),
        (CrnnConfig, {"pool": "max"}, "model.pool is 'max', expected one of 'mean', 'attention'"),
        (CrnnConfig, {"dropout": 1.0}, "model.dropout is 1.0, expected a number from 0.0 to 0.9"),
        (ResnetConfig, {"name": "resnet101"}, "model.name is 'resnet101', expected one of 'resnet18'"),
        (ResnetConfig, {"channels": 2}, "model.channels is 2, expected one of 1, 3"),
        (ResnetConfig, {"weights": ""}, "model.weights is empty"),
        (ResnetConfig, {"width": 0.5}, "model.width is 0.5, expected 1.0 with model.weights = 'imagenet'"),
    ],
)
def test_a_config_refuses_nonsense_and_says_what_is_allowed(config, wrong, message):
    with pytest.raises(ValueError, match=message):
        config(**wrong)
