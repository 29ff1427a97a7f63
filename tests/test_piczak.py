"""Piczak's net: the layers of the paper, and the sizes it takes."""

from dataclasses import replace

import pytest
import torch

from escmodels.architectures import NetContext, build, parameters
from escmodels.piczak import PiczakConfig

PAPER = NetContext(in_shape=(2, 60, 41), sample_rate=22050, n_classes=50)
SMALL = PiczakConfig(filters=4, hidden=16, dropout=0.0)


def make(config=SMALL, context=PAPER):
    torch.manual_seed(0)
    return build(config, context)


def examples(channels=2, bands=60, frames=41):
    return torch.randn((3, channels, bands, frames), generator=torch.Generator().manual_seed(0))


def test_the_paper_s_net_has_the_weights_of_its_layers():
    convolutions = (2 * 57 * 6 + 1) * 80 + (80 * 3 + 1) * 80
    wide = (80 * 3 + 1) * 5000 + (5000 + 1) * 5000 + (5000 + 1) * 50
    with torch.device("meta"):  # shapes only
        assert parameters(build(PiczakConfig(), PAPER)) == convolutions + wide
    assert round((convolutions + wide) / 1e6, 1) == 26.5  # recipes, section 2.5.1


def test_the_maps_between_the_layers_are_those_of_the_paper():
    x, shapes = examples(), []
    for layer in make(replace(SMALL, filters=80)).body:
        x = layer(x)
        shapes.append(tuple(x.shape[1:]))
    assert list(dict.fromkeys(shapes)) == [(80, 4, 36), (80, 1, 12), (80, 1, 10), (80, 1, 3)]


def test_the_first_convolution_spans_all_but_three_bands():
    for bands in (8, 60, 128):
        context = replace(PAPER, in_shape=(2, bands, 41))
        assert make(context=context).body[0].kernel_size == (bands - 3, 6)


@pytest.mark.parametrize("frames", [20, 41, 101, 216])
def test_any_spectrogram_of_8_bands_and_20_frames_is_large_enough(frames):
    net = make(context=replace(PAPER, in_shape=(1, 8, frames)))
    assert net(examples(1, 8, frames)).shape == (3, 50)


@pytest.mark.parametrize("shape", [(2, 60, 19), (2, 7, 41)])
def test_a_smaller_one_is_refused_in_one_sentence(shape):
    with pytest.raises(ValueError, match=rf"at least 8 bands and 20 frames.* has {shape[1]} and {shape[2]};"):
        make(context=replace(PAPER, in_shape=shape))


def test_a_clip_too_short_for_the_net_is_filled_with_zeros():
    net, x = make().eval(), examples(frames=5)
    filled = torch.zeros(3, 2, 60, 20)
    filled[..., :5] = x
    torch.testing.assert_close(net(x), net(filled))


@pytest.mark.parametrize("change", [{"filters": 5}, {"hidden": 17}, {"dropout": 0.5}])
def test_every_knob_makes_another_net(change):
    assert not torch.allclose(make()(examples()), make(replace(SMALL, **change))(examples()))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"filters": 2}, "model.filters is 2, expected a number from 4 to 512"),
        ({"hidden": 0}, "model.hidden is 0, expected a number from 16 to 8192"),
        ({"dropout": 0.95}, "model.dropout is 0.95, expected a number from 0.0 to 0.9"),
    ],
)
def test_nonsense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        PiczakConfig(**wrong)
