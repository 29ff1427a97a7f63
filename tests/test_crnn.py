"""The convolutional recurrent net: known nets as settings, and what each knob does."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from escmodels.architectures import NetContext, build, parameters
from escmodels.crnn import CrnnConfig

CONTEXT = NetContext(in_shape=(2, 24, 30), sample_rate=16000, n_classes=5)
PLAIN = CrnnConfig(width=4, hidden=6, dropout=0.0)
ACRNN = CrnnConfig(body="acrnn", cell="gru", hidden=256, layers=2, pool="attention", dropout=0.5)


def make(config, context=CONTEXT, seed=0):
    torch.manual_seed(seed)
    return build(config, context)


def examples(batch=3, frames=30):
    return torch.randn((batch, 2, 24, frames), generator=torch.Generator().manual_seed(0))


def test_attention_is_a_weighted_mean_over_frames():
    net, mean = make(replace(PLAIN, pool="attention")).eval(), make(PLAIN).eval()
    mean.load_state_dict({k: v for k, v in net.state_dict().items() if not k.startswith("attention")})
    assert not torch.allclose(net(examples()), mean(examples()))
    nn.init.zeros_(net.attention.weight)  # equal scores: attention is the mean
    torch.testing.assert_close(net(examples()), mean(examples()))


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("layers", [1, 2])
def test_last_is_the_state_in_which_each_direction_ends(cell, bidirectional, layers):
    config = replace(PLAIN, cell=cell, bidirectional=bidirectional, layers=layers, pool="last")
    net = make(config)
    x_BNH = torch.randn(3, 7, net.recurrent.input_size, generator=torch.Generator().manual_seed(1))
    output_BNH, state = net.recurrent(x_BNH)
    hidden = state[0] if cell == "lstm" else state  # [layers x directions, B, hidden]
    ends = hidden[-2:].transpose(0, 1).flatten(1) if bidirectional else hidden[-1]
    torch.testing.assert_close(net.sum_up(output_BNH), ends)


def test_acrnn_has_the_layers_of_its_table():
    net = build(ACRNN, NetContext((2, 128, 128), sample_rate=44100, n_classes=50))
    convs = [(m.out_channels, m.kernel_size) for m in net.body.modules() if isinstance(m, nn.Conv2d)]
    kernels = {32: (3, 5), 64: (3, 1), 128: (1, 5), 256: (3, 3)}
    assert convs == [(width, kernels[width]) for width in (32, 32, 64, 64, 128, 128, 256, 256)]
    pools = [m.kernel_size for m in net.body.modules() if isinstance(m, nn.MaxPool2d)]
    assert pools == [(4, 3), (4, 1), (1, 3), (2, 2)]
    recurrent = net.recurrent
    assert isinstance(recurrent, nn.GRU) and recurrent.bidirectional
    assert (recurrent.input_size, recurrent.hidden_size, recurrent.num_layers) == (256 * 4, 256, 2)


def test_acrnn_has_the_weights_of_its_layers():
    widths = [2, 32, 32, 64, 64, 128, 128, 256, 256]
    taps = [15, 15, 3, 3, 5, 5, 9, 9]
    convs = sum(a * b * t for a, b, t in zip(widths, widths[1:], taps, strict=False))
    norms = 2 * sum(widths[1:])
    gru = sum(2 * 3 * 256 * (inputs + 256 + 2) for inputs in (1024, 512))  # two directions, two biases
    with torch.device("meta"):  # shapes only
        net = build(ACRNN, NetContext((2, 128, 128), sample_rate=44100, n_classes=50))
    assert parameters(net) == convs + norms + gru + (512 + 1) + (512 + 1) * 50


def test_the_seed_s_conv_dense_lstm_lstm_is_a_setting():
    config = CrnnConfig(dense=64, layers=2, bidirectional=False, pool="last")
    net = make(config)
    (dense, _), recurrent = net.dense, net.recurrent
    assert (dense.in_features, dense.out_features) == (128 * 3, 64)
    assert isinstance(recurrent, nn.LSTM)
    assert (recurrent.input_size, recurrent.num_layers, recurrent.bidirectional) == (64, 2, False)
    assert net(examples()).shape == (3, 5)


def test_the_dense_layer_treats_every_frame_alike_and_cuts_below_zero():
    net = make(replace(PLAIN, dense=8))
    x_BNH = torch.randn(3, 7, 16 * 3, generator=torch.Generator().manual_seed(1))
    whole = net.dense(x_BNH)
    torch.testing.assert_close(whole, torch.stack([net.dense(x_BNH[:, n]) for n in range(7)], dim=1))
    assert whole.min() == 0 and whole.max() > 0


def test_a_gru_has_three_quarters_of_the_weights_of_an_lstm():
    lstm, gru = make(PLAIN).recurrent, make(replace(PLAIN, cell="gru")).recurrent
    assert parameters(gru) * 4 == parameters(lstm) * 3


def test_dropout_works_before_between_and_after_the_recurrent_layers_in_training_only():
    net = make(replace(PLAIN, layers=2, dropout=0.4))
    assert (net.dropout.p, net.recurrent.dropout) == (0.4, 0.4)
    assert not torch.equal(net(examples()), net(examples()))
    net.eval()
    torch.testing.assert_close(net(examples()), net(examples()), rtol=0, atol=0)


@pytest.mark.parametrize("body", ["plain", "acrnn"])
def test_one_band_and_one_frame_are_enough(body):
    context = NetContext((1, 1, 1), sample_rate=16000, n_classes=5)
    assert make(replace(PLAIN, body=body), context)(torch.ones(4, 1, 1, 1)).shape == (4, 5)


@pytest.mark.parametrize(
    "change",
    [
        {"width": 5},
        {"blocks": 4},
        {"body": "acrnn"},
        {"dense": 7},
        {"cell": "gru"},
        {"hidden": 7},
        {"layers": 2},
        {"bidirectional": False},
        {"pool": "last"},
        {"pool": "attention"},
        {"dropout": 0.5},
    ],
    ids=lambda change: "-".join(map(str, *change.items())),
)
def test_every_knob_makes_another_net(change):
    one, other = make(PLAIN)(examples()), make(replace(PLAIN, **change))(examples())
    assert not torch.allclose(one, other)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"pool": "max"}, "model.pool is 'max', expected one of 'mean', 'last', 'attention'"),
        ({"cell": "rnn"}, "model.cell is 'rnn', expected one of 'lstm', 'gru'"),
        ({"body": "deep"}, "model.body is 'deep', expected one of 'plain', 'acrnn'"),
        ({"dense": -1}, "model.dense is -1, expected a number from 0 to 4096"),
        ({"dropout": 1.0}, "model.dropout is 1.0, expected a number from 0.0 to 0.9"),
        ({"bidirectional": 2}, "model.bidirectional is 2, expected one of False, True"),
        (
            {"body": "acrnn", "blocks": 4},
            "model.blocks is 4, but model.body = 'acrnn' has its own 4 blocks; leave model.blocks at 3",
        ),
    ],
)
def test_nonsense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        CrnnConfig(**wrong)
