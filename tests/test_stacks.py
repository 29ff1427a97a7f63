"""Laws of the channels, and agreement of the derivatives with librosa's."""

import warnings

import numpy as np
import pytest
import torch

from escmodels.banks import MelBank
from escmodels.stacks import deltas, freedom, noise_power, thirds, windows

RNG = torch.Generator().manual_seed(0)


@pytest.mark.parametrize("frames", [1, 5, 9, 40])
def test_derivatives_agree_with_librosa(frames):
    x = torch.randn(2, 1, frames, 6, generator=RNG)
    ours = deltas(x, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of librosa's own dependencies
        librosa = pytest.importorskip("librosa")
        for order in (1, 2):
            theirs = librosa.feature.delta(x[:, 0].numpy(), order=order, axis=1, mode="nearest")
            np.testing.assert_allclose(ours[:, order], theirs, atol=1e-5)
    assert torch.equal(ours[:, :1], x)
    assert torch.equal(deltas(x, 1), ours[:, :2])


def test_no_derivatives_is_the_input_itself():
    x = torch.randn(1, 1, 5, 3)
    assert deltas(x, 0) is x


def test_derivatives_of_a_parabola_are_a_line_and_a_constant():
    time = torch.arange(30.0)
    out = deltas((time**2 / 2)[None, None, :, None].double(), 2)[0, :, 4:-4, 0]
    torch.testing.assert_close(out[1], time[4:-4].double())
    torch.testing.assert_close(out[2], torch.ones(22).double())


def test_thirds_are_low_middle_and_high():
    x = torch.arange(12.0)[None, None, :, None].expand(2, 1, 12, 4)
    out = thirds(x)
    assert out.shape == (2, 3, 4, 4)
    assert out[0, :, :, 0].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


def test_windows_have_their_lengths_sit_in_the_middle_and_share_one_energy():
    window_RW = windows(1024, 0, "resolutions")
    assert [(row > 0).sum().item() + 1 for row in window_RW] == [
        256,
        512,
        1024,
    ]  # a periodic Hann begins with 0
    assert window_RW.argmax(dim=1).tolist() == [512, 512, 512]
    energy_R = window_RW.square().sum(dim=1)
    torch.testing.assert_close(energy_R, energy_R[-1:].expand(3))
    torch.testing.assert_close(window_RW[2], torch.hann_window(1024).double(), atol=1e-6, rtol=0)
    one = windows(1024, 400, "none")
    torch.testing.assert_close(one[0, 312:712], torch.hann_window(400).double(), atol=1e-6, rtol=0)
    assert one[0].sum() == one[0, 312:712].sum()


@pytest.mark.parametrize("slope", [0, 1, 2])
def test_expected_noise_is_the_mean_of_coloured_noise(slope):
    """Noise made in another way: long, coloured in the frequency domain, of unit variance."""
    rate, n_fft, samples = 16000, 512, 2**20
    window_RW = windows(n_fft, 0, "resolutions")
    spectrum = torch.fft.rfft(torch.randn(samples, generator=torch.Generator().manual_seed(slope)).double())
    wave = torch.fft.irfft(
        spectrum * torch.fft.rfftfreq(samples, 1 / rate).clamp(min=20.0) ** (-slope / 2), samples
    )
    frames = (wave / wave.std()).unfold(0, n_fft, n_fft // 4)
    for window_W, expected_F in zip(window_RW, noise_power(window_RW, rate, slope), strict=True):
        measured_F = torch.fft.rfft(frames * window_W).abs().square().mean(dim=0)
        ratio_F = (measured_F / expected_F)[2:-1]
        assert ratio_F.mean() == pytest.approx(1.0, abs=0.02)
        assert ratio_F.std() < 0.06


def test_freedom_of_one_bin_is_one_and_of_neighbours_less_than_their_number():
    window_RW = windows(256, 0, "none")
    bank_FM = torch.zeros(129, 3)
    bank_FM[20, 0], bank_FM[20:22, 1], bank_FM[20:120, 2] = 1.0, 1.0, 1.0
    one, two, many = freedom(window_RW, bank_FM)[0].tolist()
    assert one == pytest.approx(1.0)
    assert two == pytest.approx(4 / (2 + 2 * (2 / 3) ** 2))
    assert many == pytest.approx(100**2 / (100 + 2 * 99 * (2 / 3) ** 2 + 2 * 98 * (1 / 6) ** 2))


def test_freedom_is_mean_over_deviation_of_the_power_of_noise():
    window_RW = windows(512, 0, "resolutions")
    bank_FM = MelBank(20, 200.0, 7000.0, 512, 16000).bank_FM
    noise = torch.randn(20000, 512, generator=torch.Generator().manual_seed(0)).double()
    for window_W, freedom_M in zip(window_RW, freedom(window_RW, bank_FM), strict=True):
        power_KM = torch.fft.rfft(noise * window_W).abs().square() @ bank_FM.double()
        measured_M = power_KM.mean(dim=0).square() / power_KM.var(dim=0)
        torch.testing.assert_close(measured_M, freedom_M, rtol=0.1, atol=0)
