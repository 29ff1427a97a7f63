"""Laws of the compressions, and agreement of PCEN with librosa's."""

import math
import warnings

import numpy as np
import pytest
import torch
from torch import Tensor

from escmodels.compress import decibels, log, pcen, smooth, smoothing

RNG = torch.Generator().manual_seed(0)
BAND = torch.rand(2, 1, 300, 5, generator=RNG).square() * 10.0 ** torch.arange(-6, -1)
DEFAULTS = {"gain": 0.98, "bias": 2.0, "power": 0.5}


def slowly(band_BRNM: Tensor, s: float) -> Tensor:
    """The recursion as it is written."""
    levels, level = [], band_BRNM[..., 0, :].double()
    for frame in band_BRNM.double().unbind(dim=-2):
        level = (1 - s) * level + s * frame
        levels.append(level)
    return torch.stack(levels, dim=-2)


@pytest.mark.parametrize("block", [1, 7, 256, 1000])
@pytest.mark.parametrize("s", [0.003, 0.06, 0.9])
def test_the_smoother_is_the_recursion(block, s):
    torch.testing.assert_close(smooth(BAND, s, block).double(), slowly(BAND, s), rtol=1e-5, atol=0)


def test_a_steady_sound_has_no_onset():
    steady = torch.full((1, 1, 600, 2), 3.0)
    torch.testing.assert_close(smooth(steady, 0.05), steady)


@pytest.mark.parametrize("change", [{}, {"gain": 0.7}, {"bias": 10.0}, {"power": 0.25}, {"seconds": 0.06}])
def test_pcen_agrees_with_librosa(change):
    settings = {**DEFAULTS, "seconds": 0.4, **change}
    seconds = settings.pop("seconds")
    s, energy = smoothing(seconds, 22050, 512), BAND[0, 0].T.double().numpy() * 2.0**31
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of librosa's own dependencies
        librosa = pytest.importorskip("librosa")
        theirs = librosa.pcen(
            energy,
            sr=22050,
            hop_length=512,
            time_constant=seconds,
            eps=1e-6,
            zi=(1 - s) * energy[:, :1],
            **settings,
        )
    ours = pcen(BAND[:1], s, **settings)[0, 0].T
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


def test_the_smoothing_coefficient_is_librosas_figure():
    assert smoothing(0.4, 22050, 512) == pytest.approx(0.0564, abs=1e-4)
    assert smoothing(0.4, 16000, 160) == pytest.approx(0.0247, abs=1e-4)


def test_a_gain_of_one_makes_loudness_vanish():
    wholly, partly = ({**DEFAULTS, "gain": gain} for gain in (1.0, 0.5))
    torch.testing.assert_close(
        pcen(BAND * 100, 0.05, **wholly), pcen(BAND, 0.05, **wholly), rtol=1e-2, atol=1e-2
    )
    assert (pcen(BAND * 100, 0.05, **partly) > 2 * pcen(BAND, 0.05, **partly)).all()


def test_silence_is_zero_in_pcen_and_the_floor_elsewhere():
    silence = torch.zeros(1, 1, 4, 3)
    assert (pcen(silence, 0.05, **DEFAULTS) == 0).all()
    assert decibels(silence).unique().item() == pytest.approx(-100.0, abs=1e-4)
    assert log(silence).unique().item() == pytest.approx(math.log(1e-6), abs=1e-4)


def test_decibels_and_logarithm_are_what_they_say():
    torch.testing.assert_close(decibels(BAND), 10 * BAND.clamp(min=1e-10).log10())
    torch.testing.assert_close(log(BAND), (BAND.double() + 1e-6).log().float())


@pytest.mark.parametrize("compress", [decibels, log, lambda band: pcen(band, 0.05, **DEFAULTS)])
def test_the_input_stays_as_it_was(compress):
    before = BAND.clone()
    compress(BAND)
    assert torch.equal(BAND, before)
