"""Laws of the nets on samples, and what the papers say of each."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from escmodels.architectures import NetContext, build, parameters
from escmodels.envnet import grid, shortest_wave
from escmodels.raw_cnn import VARIANTS, RawCnn, RawCnnConfig

K = 7
CONTEXT = NetContext(in_shape=(1, 8000), sample_rate=16000, n_classes=K)
NETS = {
    **{name: RawCnnConfig(name, width=0.125) for name in VARIANTS},
    "acdnet, separable": RawCnnConfig("acdnet", width=0.125, separable=True),
    "aclnet, separable": RawCnnConfig("aclnet", width=0.125, separable=True),
    "plain, short and wide": RawCnnConfig("plain", width=0.25, blocks=4, kernel=25),
    "plain, deep": RawCnnConfig("plain", width=0.25, blocks=6, kernel=3),
}
EVERY_NET = pytest.mark.parametrize("config", NETS.values(), ids=NETS)


def make(config, context=CONTEXT, seed=0):
    torch.manual_seed(seed)
    return build(config, context)


def waves(batch=3, length=8000, seed=0):
    return torch.randn((batch, 1, length), generator=torch.Generator().manual_seed(seed))


def convolutions(net):
    return [module for module in net.modules() if isinstance(module, nn.Conv2d)]


def shapes(net, modules, samples):
    """Shapes that the modules give for one clip of so many samples."""
    seen = []
    for module in modules:
        module.register_forward_hook(lambda _, inputs, output: seen.append(tuple(output.shape[1:])))
    net.eval()(torch.zeros(1, 1, samples))
    return seen


def contiguous(net):
    """The same net with every weight in plain memory, fed without the channels_last format."""
    for weight in net.parameters():
        weight.data = weight.data.clone(memory_format=torch.contiguous_format)
    return lambda wave: net.head(net.body(net.front(wave.unsqueeze(2))))


@EVERY_NET
@pytest.mark.parametrize("length", [1, 33, 8000, 12345])
def test_any_length_gives_one_logit_a_class(config, length):
    assert make(config).eval()(waves(length=length)).shape == (3, K)


@EVERY_NET
def test_a_wave_too_short_for_the_net_is_followed_by_silence(config):
    net = make(config).eval()
    short, long = waves(length=3), torch.zeros(3, 1, net.shortest)
    long[:, :, :3] = short
    torch.testing.assert_close(net(short), net(long))


@EVERY_NET
def test_every_parameter_receives_gradient(config):
    net = make(config)
    functional.cross_entropy(net(waves()), torch.tensor([0, 3, 6])).backward()
    assert not [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]


@EVERY_NET
def test_clips_of_a_batch_do_not_see_each_other(config):
    net, x = make(config).eval(), waves()
    changed = x.clone()
    changed[1:] = 50.0
    torch.testing.assert_close(net(changed)[:1], net(x)[:1], atol=1e-4, rtol=1e-4)


@EVERY_NET
def test_the_memory_format_does_not_change_the_function(config):
    net, plainly = make(config).eval(), contiguous(make(config).eval())
    torch.testing.assert_close(net(waves()), plainly(waves()), atol=1e-4, rtol=1e-4)


@EVERY_NET
def test_every_map_lies_in_channels_last_memory(config):
    net, seen = make(config), []
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.MaxPool2d):
            module.register_forward_hook(
                lambda _, inputs, output: seen.append(output.is_contiguous(memory_format=torch.channels_last))
            )
    net(waves())
    assert all(seen)


@EVERY_NET
def test_a_net_learns_four_clips_by_heart(config):
    net, x, labels = make(config), waves(batch=4, length=4000), torch.tensor([0, 3, 6, 3])
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = functional.cross_entropy(net(x), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert min(losses[-4:]) < 0.7 * losses[0]


@EVERY_NET
def test_the_seed_decides_the_first_weights(config):
    one, two, other = (make(config, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("variant", VARIANTS)
def test_dropout_acts_in_training_only(variant):
    net, plainly = (make(RawCnnConfig(variant, width=0.125, dropout=rate)) for rate in (0.5, 0.0))
    assert not torch.allclose(net(waves()), plainly(waves()))
    net.load_state_dict(plainly.state_dict())
    torch.testing.assert_close(net.eval()(waves()), plainly.eval()(waves()))


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_wider_net_is_larger(variant):
    small, large = (parameters(make(RawCnnConfig(variant, width=width))) for width in (0.125, 0.25))
    assert small < large


# what the papers say


@pytest.mark.parametrize(
    ("config", "rate", "samples", "classes", "millions", "digits"),
    [
        (RawCnnConfig("acdnet"), 20000, 30225, 50, 4.74, 2),  # arXiv 2103.03483
        (RawCnnConfig("aclnet", width=1.5), 44100, 66150, 50, 10.6, 1),  # arXiv 1811.06669
        (RawCnnConfig("aclnet", width=0.75), 16000, 16000, 53, 2.7, 1),  # Open Model Zoo
        (RawCnnConfig("envnet_v2"), 44100, 66650, 50, 101, 0),  # arXiv 1711.10282
    ],
)
def test_a_net_has_the_parameters_of_its_paper(config, rate, samples, classes, millions, digits):
    with torch.device("meta"):
        net = RawCnn(config, NetContext((1, samples), rate, classes))
    assert round(parameters(net) / 1e6, digits) == millions


def test_separable_aclnet_has_the_size_of_its_paper():
    net = make(RawCnnConfig("aclnet", width=0.5, separable=True), NetContext((1, 66150), 44100, 50))
    assert parameters(net) == pytest.approx(155e3, rel=0.01)  # abstract of arXiv 1811.06669: 155k


def test_acdnet_is_aclnet_and_a_connected_layer():
    nets = [make(RawCnnConfig(variant, width=0.25)) for variant in ("acdnet", "aclnet")]
    assert parameters(nets[0]) - parameters(nets[1]) == K * K + K


@pytest.mark.parametrize(
    ("variant", "depth", "millions", "digits"),
    [("m3", 3, 0.221, 3), ("m5", 5, 0.559, 3), ("m11", 11, 1.79, 2), ("m18", 18, 3.68, 2)],
)
def test_an_m_net_has_the_depth_and_the_parameters_of_its_paper(variant, depth, millions, digits):
    net = make(RawCnnConfig(variant), NetContext((1, 32000), sample_rate=8000, n_classes=10))
    convs = convolutions(net)
    biases = sum(
        conv.out_channels for conv in convs
    )  # the paper counts them; before batch norm they do nothing
    assert round((parameters(net) + biases) / 1e6, digits) == millions
    assert len(convs) + 1 == depth


@pytest.mark.parametrize("variant", ["m5", "m11", "m18"])
def test_an_m_net_has_the_frames_of_its_paper(variant):
    net = make(RawCnnConfig(variant, width=0.125), NetContext((1, 32000), 8000, 10))
    pools = [module for module in net.modules() if isinstance(module, nn.MaxPool2d)]
    assert [shape[-1] for shape in shapes(net, pools, 32000)] == [2000, 500, 125, 32]
    assert shapes(net, convolutions(net)[:1], 32000)[0][-1] == 8000


def test_the_same_m_net_takes_any_sample_rate():
    nets = [make(RawCnnConfig("m5", width=0.25), NetContext((1, rate), rate, K)) for rate in (8000, 44100)]
    assert parameters(nets[0]) == parameters(nets[1])


def test_envnet_v2_has_the_maps_of_its_paper():
    net = make(RawCnnConfig("envnet_v2", width=0.125), NetContext((1, 66650), 44100, K))
    assert shapes(net, [net.front, net.body], 66650) == [(1, 64, 260), (32, 10, 8)]  # 256 channels at width 1


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_the_grid_of_envnet_v2_is_what_its_layers_leave(rate):
    net = make(RawCnnConfig("envnet_v2", width=0.125), NetContext((1, rate), rate, K))
    pool = round(64 * rate / 44100)
    for samples in (net.shortest, rate, 2 * rate + 17):
        assert shapes(net, [net.body], samples)[-1] == (32, *grid(samples, pool))
    assert net.shortest == shortest_wave(pool)


@pytest.mark.parametrize("variant", ["acdnet", "aclnet"])
@pytest.mark.parametrize("rate", [8000, 16000, 20000, 22050, 44100])
def test_the_front_end_makes_frames_of_10_ms_and_swaps_them_into_an_image(variant, rate):
    net = make(RawCnnConfig(variant, width=0.25), NetContext((1, rate), sample_rate=rate, n_classes=K))
    ((channels, rows, frames),) = shapes(net, [net.front], 2 * rate)
    assert (channels, rows) == (1, 16)  # one channel, the filters are its rows
    assert abs(frames - 200) <= 4  # the pooling is a whole number of samples


def test_acdnet_agrees_with_its_layers_written_out():
    net = make(RawCnnConfig("acdnet", width=0.25, dropout=0.0)).double()
    weights, norms = iter(convolutions(net)), iter(m for m in net.modules() if isinstance(m, nn.BatchNorm2d))

    def normed(x):
        norm = next(norms)
        return functional.batch_norm(x, None, None, norm.weight, norm.bias, training=True)

    x = wave = waves(length=9000).double()
    for stride, padding in ((2, 4), (2, 2)):
        x = normed(functional.conv1d(x, next(weights).weight[:, :, 0], stride=stride, padding=padding)).relu()
    x = functional.max_pool1d(x, 40, ceil_mode=True).unsqueeze(1)  # 10 ms of every fourth sample at 16 kHz
    for convs in (1, 2, 2, 2, 2):
        for _ in range(convs):
            x = normed(functional.conv2d(x, next(weights).weight, padding=1)).relu()
        x = functional.max_pool2d(x, 2, ceil_mode=True)
    x = normed(functional.conv2d(x, next(weights).weight)).relu().mean(dim=(2, 3))
    torch.testing.assert_close(net(wave), functional.linear(x, net.head[-1].weight, net.head[-1].bias))


def test_the_first_stride_of_aclnet_follows_the_sample_rate():
    strides = [
        [
            conv.stride[1]
            for conv in convolutions(make(RawCnnConfig("aclnet"), NetContext((1, rate), rate, K)))[:2]
        ]
        for rate in (16000, 44100)
    ]
    assert strides == [[2, 4], [5, 4]]


def test_separable_convolutions_look_at_one_channel_and_then_at_one_cell():
    net, whole = (make(RawCnnConfig("acdnet", separable=separable)) for separable in (True, False))
    first, depthwise, pointwise, image, *rest = convolutions(net)
    assert first.in_channels == image.in_channels == 1  # a single channel has nothing to separate
    for deep, point in zip([depthwise, *rest[:-1:2]], [pointwise, *rest[1:-1:2]], strict=True):
        assert deep.groups == deep.in_channels == deep.out_channels
        assert point.kernel_size == (1, 1) and point.groups == 1
    assert [conv.out_channels for conv in (pointwise, image, *rest[1:-1:2])] == [
        conv.out_channels for conv in convolutions(whole)[1:-1]
    ]
    assert parameters(net) < parameters(whole) / 8


def test_blocks_and_kernel_shape_the_plain_stack():
    convs = convolutions(make(RawCnnConfig("plain")))
    assert [conv.out_channels for conv in convs] == [16, 32, 64, 128, 256]
    assert {conv.kernel_size for conv in convs} == {(1, 9)}
    long = NetContext((1, 4**8), 16000, K)
    convs = convolutions(make(RawCnnConfig("plain", width=0.5, blocks=8, kernel=3), long))
    assert [conv.out_channels for conv in convs] == [8, 16, 32, 64, 128, 256, 256, 256]
    assert {conv.kernel_size for conv in convs} == {(1, 3)}


# what is refused


@EVERY_NET
def test_a_crop_that_the_net_cannot_use_is_refused_in_one_sentence(config):
    shortest = make(config).shortest
    make(config, NetContext((1, shortest), 16000, K))
    with pytest.raises(
        ValueError, match=rf"{config.variant!r} needs {shortest} samples .* a crop has {shortest - 1}"
    ):
        make(config, NetContext((1, shortest - 1), 16000, K))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"variant": "m34"}, "model.variant is 'm34', expected one of 'acdnet', 'aclnet', 'envnet_v2', 'm3'"),
        ({"width": 0.0}, "model.width is 0.0, expected a number from 0.125 to 2.0"),
        ({"dropout": 1.0}, "model.dropout is 1.0, expected a number from 0.0 to 0.9"),
        (
            {"variant": "m5", "separable": True},
            "model.separable is True, expected False with model.variant 'm5'; only acdnet and aclnet",
        ),
        ({"blocks": 5}, "model.blocks is 5, expected 0 with model.variant 'acdnet'; only plain can have it"),
        ({"variant": "m5", "kernel": 9}, "model.kernel is 9, expected 0 with model.variant 'm5'; only plain"),
        ({"variant": "plain", "blocks": 9}, "model.blocks is 9, expected one of 0, 4, 5, 6, 7, 8"),
        ({"variant": "plain", "kernel": 8}, "model.kernel is 8, expected one of 0, 3, 5, 7"),
    ],
)
def test_a_config_refuses_nonsense_and_says_what_is_allowed(wrong, message):
    with pytest.raises(ValueError, match=message):
        RawCnnConfig(**wrong)
