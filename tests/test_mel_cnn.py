"""The mel CNN: published nets as settings, and what each knob does."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from escmodels.architectures import NetContext, build, parameters
from escmodels.mel_cnn import MelCnnConfig, conv_block

CNN6 = MelCnnConfig(
    width=64, kernel=5, pooling="avg", hidden=512, dropout=0.5, block_dropout=0.2, norm_input=True
)
CNN10 = replace(CNN6, convs=2, kernel=3)
PLAIN = MelCnnConfig(width=4, blocks=2, dropout=0.0)
TWO = NetContext(in_shape=(2, 24, 30), sample_rate=16000, n_classes=5)


def make(config, context=TWO, seed=0):
    torch.manual_seed(seed)
    return build(config, context)


def examples(context=TWO, batch=4, seed=0):
    return torch.randn((batch, *context.in_shape), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("config", "published"), [(CNN6, 4_837_455), (CNN10, 5_219_279)])
def test_the_nets_of_panns_have_the_weights_of_the_paper(config, published):
    with torch.device("meta"):  # shapes only
        net = build(config, NetContext((1, 64, 1001), sample_rate=32000, n_classes=527))
    assert parameters(net) == published


def panns(weights, x_B1MN, convs):
    """The forward pass of PANNs' CNN6 and CNN10 in evaluation, written out layer by layer."""

    def norm(x, name):
        return functional.batch_norm(
            x, *(weights[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        )

    x = norm(x_B1MN.transpose(1, 2), "norm").transpose(1, 2)  # bands as channels
    for block in (0, 2, 4, 6):  # dropouts between them
        for conv in range(convs):
            kernel = weights[f"body.{block}.{3 * conv}.weight"]
            x = functional.conv2d(x, kernel, padding=kernel.shape[-1] // 2)
            x = functional.relu(norm(x, f"body.{block}.{3 * conv + 1}"))
        x = functional.avg_pool2d(x, 2)
    x = x.mean(dim=2)
    x = x.max(dim=2).values + x.mean(dim=2)
    x = functional.relu(functional.linear(x, weights["head.1.weight"], weights["head.1.bias"]))
    return functional.linear(x, weights["head.4.weight"], weights["head.4.bias"])


@pytest.mark.parametrize("config", [CNN6, CNN10], ids=["CNN6", "CNN10"])
def test_the_nets_of_panns_are_the_function_of_the_paper(config):
    context = NetContext((1, 32, 48), sample_rate=32000, n_classes=7)
    net, x = make(replace(config, width=8, hidden=16), context), examples(context)
    net(3 * x + 1)  # running statistics that are not 0 and 1
    net.eval()
    torch.testing.assert_close(net(x), panns(net.state_dict(), x, config.convs))


def test_the_seed_net_is_a_setting():
    config = MelCnnConfig(width=64, blocks=4, convs=1, head="flatten", hidden=1024, dropout=0.5)
    net = build(config, NetContext((1, 64, 64), 22050, 50))
    convs = [m.out_channels for m in net.modules() if isinstance(m, nn.Conv2d)]
    dense = [(m.in_features, m.out_features) for m in net.modules() if isinstance(m, nn.Linear)]
    assert convs == [64, 128, 256, 512]
    assert dense == [(512 * 4 * 4, 1024), (1024, 50)]


def test_relu_behind_the_max_pooling_is_the_same_function():
    block = make(PLAIN).body[0]
    conv, norm, pool, relu = block
    torch.testing.assert_close(block(examples()), pool(relu(norm(conv(examples())))))


@pytest.mark.parametrize("pooling", ["max", "avg"])
def test_pooling_a_constant_map_of_odd_size_gives_the_constant(pooling):
    block = conv_block(1, 1, 1, (2, 2), pooling=pooling).eval()
    block[0] = nn.Identity()
    x = torch.full((1, 1, 5, 7), 3.0)
    torch.testing.assert_close(block(x), torch.full((1, 1, 3, 4), 3.0), rtol=1e-4, atol=0.0)


@pytest.mark.parametrize("kernel", [3, 5])
def test_a_convolution_sees_as_many_bands_and_frames_as_its_kernel(kernel):
    conv = make(replace(PLAIN, kernel=kernel)).body[0][0]
    x = torch.zeros(1, *TWO.in_shape)
    x[0, 0, 12, 15] = 1.0
    touched = conv(x)[0].abs().sum(dim=0) > 0
    assert touched.any(dim=1).sum() == touched.any(dim=0).sum() == kernel


@pytest.mark.parametrize(("norm_input", "blind"), [(True, True), (False, False)])
def test_norm_input_makes_the_level_of_each_band_of_each_channel_irrelevant(norm_input, blind):
    net, x = make(replace(PLAIN, norm_input=norm_input)), examples(batch=8)
    rng = torch.Generator().manual_seed(1)
    gain = 1 + torch.rand((1, 2, 24, 1), generator=rng)
    offset = torch.randn((1, 2, 24, 1), generator=rng)
    same = torch.allclose(net(x * gain + offset), net(x), atol=1e-3)
    assert same == blind


def test_norm_input_leaves_bands_and_channels_where_they_are():
    plain, normed = make(PLAIN).eval(), make(replace(PLAIN, norm_input=True)).eval()
    normed.load_state_dict(plain.state_dict(), strict=False)  # a fresh norm has seen mean 0 and deviation 1
    torch.testing.assert_close(normed(examples()), plain(examples()), rtol=1e-4, atol=1e-4)


def test_block_dropout_silences_its_share_of_what_a_block_gives_in_training_only():
    net = make(replace(PLAIN, block_dropout=0.4))
    assert [type(m) for m in net.body] == [nn.Sequential, nn.Dropout] * 2
    ones = torch.ones(4, 8, 24, 30)
    share = (net.body[1](ones) == 0).float().mean().item()
    assert abs(share - 0.4) < 0.02
    assert not torch.equal(net(examples()), net(examples()))
    net.eval()
    torch.testing.assert_close(net(examples()), net(examples()), rtol=0, atol=0)


@pytest.mark.parametrize(
    "change",
    [
        {"width": 5},
        {"blocks": 3},
        {"convs": 2},
        {"kernel": 5},
        {"pooling": "avg"},
        {"head": "flatten"},
        {"hidden": 6},
        {"dropout": 0.5},
        {"block_dropout": 0.5},
        {"norm_input": True},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_knob_makes_another_net(change):
    assert set(change) <= set(PLAIN.__dataclass_fields__)
    torch.manual_seed(3)
    one = make(PLAIN)(examples())
    other = make(replace(PLAIN, **change))(examples())
    assert not torch.allclose(one, other)


@pytest.mark.parametrize(
    "config", [replace(CNN10, blocks=6, width=4), replace(PLAIN, head="flatten", blocks=6)]
)
def test_one_band_and_one_frame_are_enough(config):
    context = NetContext((1, 1, 1), sample_rate=16000, n_classes=5)
    assert make(config, context)(examples(context)).shape == (4, 5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"head": "mean"}, "model.head is 'mean', expected one of 'pool', 'flatten'"),
        ({"convs": 3}, "model.convs is 3, expected one of 1, 2"),
        ({"blocks": 0}, "model.blocks is 0, expected a number from 1 to 6"),
        ({"kernel": 4}, "model.kernel is 4, expected one of 3, 5"),
        ({"pooling": "mean"}, "model.pooling is 'mean', expected one of 'max', 'avg'"),
        ({"block_dropout": 0.95}, "model.block_dropout is 0.95, expected a number from 0.0 to 0.9"),
        ({"norm_input": "yes"}, "model.norm_input is 'yes', expected one of False, True"),
        ({"hidden": -1}, "model.hidden is -1, expected a number from 0 to 8192"),
    ],
)
def test_nonsense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        MelCnnConfig(**wrong)
