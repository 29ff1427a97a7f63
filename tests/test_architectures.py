"""Laws every family must keep, and what is special to each."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from escmodels.architectures import ARCHITECTURES, NetContext, build, name_of, parameters
from escmodels.crnn import CrnnConfig
from escmodels.mel_cnn import MelCnnConfig
from escmodels.piczak import PiczakConfig
from escmodels.raw_cnn import RawCnnConfig
from escmodels.resnet import ResnetConfig
from escmodels.schedule import ScheduleConfig

K = 7
SPECTROGRAM = NetContext(in_shape=(1, 40, 50), sample_rate=16000, n_classes=K)
WAVEFORM = NetContext(in_shape=(1, 8000), sample_rate=16000, n_classes=K)
NETS = {
    "mel_cnn": MelCnnConfig(width=8),
    "mel_cnn, two convolutions": MelCnnConfig(width=4, blocks=6, convs=2, hidden=16),
    "mel_cnn, flat": MelCnnConfig(width=8, blocks=3, head="flatten", hidden=32),
    "mel_cnn, CNN6": MelCnnConfig(
        width=8, kernel=5, pooling="avg", hidden=64, dropout=0.2, block_dropout=0.1, norm_input=True
    ),
    "piczak": PiczakConfig(filters=8, hidden=64, dropout=0.1),
    "raw_cnn": RawCnnConfig(width=0.125),
    "crnn": CrnnConfig(width=8, hidden=8),
    "crnn, deep": CrnnConfig(width=4, blocks=6, hidden=16, layers=2, bidirectional=False, pool="attention"),
    "crnn, dense and last": CrnnConfig(width=4, dense=16, layers=2, bidirectional=False, pool="last"),
    "crnn, ACRNN": CrnnConfig(
        width=4, body="acrnn", cell="gru", hidden=16, layers=2, pool="attention", dropout=0.1
    ),
    "resnet": ResnetConfig(weights="none", width=0.125),
    "resnet, replicated": ResnetConfig(weights="none", width=0.125, channels="replicate", dropout=0.2),
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
def test_half_the_precision_is_nearly_the_same_function(config):
    net = make(config).eval()
    expected = net(examples(config))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = net(examples(config)).float()
    assert (rough - expected).abs().max() < 0.1 * expected.abs().max()


@EVERY_NET
def test_a_batch_is_not_changed(config):
    net, x = make(config), examples(config)
    net(x)
    assert torch.equal(x, examples(config))


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


# ACDNet


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
