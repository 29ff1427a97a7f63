"""Laws of the filter banks, and agreement with published figures, librosa, torchaudio and scipy's gammatone."""

import random
import warnings

import numpy as np
import pytest
import scipy.signal
import torch

from escmodels.banks import GammatoneBank, MelBank, Warp, a_weight, check_gammatone, check_mel, erb, erb_space

RATE, N_FFT = 22050, 1024
BANKS = [MelBank, GammatoneBank]


def warp(ratio=1.0, low=0.0, high=0.0, size=1) -> Warp:
    return Warp(*(torch.full((size,), float(value)) for value in (ratio, low, high)))


def line(hertz: float, bank) -> torch.Tensor:
    """Amplitude spectrum [1, 1, 1, F] of a pure tone, smooth as a Hann window shows it."""
    distance_F = (bank.freq_F - hertz) / bank.bin
    shape_F = torch.special.sinc(distance_F) / (1 - distance_F.square()).where(distance_F.abs() != 1, 0.5)
    return (shape_F.abs() * 100)[None, None, None]


@pytest.mark.parametrize(
    ("bands", "fmin", "fmax", "n_fft", "rate"),
    [
        (64, 0.0, 11025.0, 1024, 22050),
        (128, 50.0, 22050.0, 2048, 44100),
        (30, 300.0, 3000.0, 500, 8000),
        (5, 1500.0, 8000.0, 256, 16000),
    ],
)
def test_the_mel_bank_is_that_of_librosa_and_of_torchaudio(bands, fmin, fmax, n_fft, rate):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        librosa = pytest.importorskip("librosa")
        from torchaudio.functional import melscale_fbanks

        theirs_MF = librosa.filters.mel(sr=rate, n_fft=n_fft, n_mels=bands, fmin=fmin, fmax=fmax)
        other_FM = melscale_fbanks(n_fft // 2 + 1, fmin, fmax, bands, rate, "slaney", "slaney")
    ours_FM = MelBank(bands, fmin, fmax, n_fft, rate).bank_FM
    np.testing.assert_allclose(ours_FM.T, theirs_MF, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(ours_FM, other_FM, rtol=1e-3, atol=1e-6)


def test_bandwidths_are_the_published_ones():
    assert erb(torch.tensor(1000.0)) == pytest.approx(132.639, abs=1e-3)
    assert erb(torch.tensor(3000.0)) == pytest.approx(348.517, abs=1e-3)


def test_centres_are_those_of_slaneys_erb_space():
    low, high, bands = 100.0, 11025.0, 10
    offset = 9.26449 * 24.7
    published = [
        -offset + np.exp(k * (np.log(low + offset) - np.log(high + offset)) / bands) * (high + offset)
        for k in range(1, bands + 1)
    ]
    ours = erb_space(torch.tensor([[low]]).double(), torch.tensor([[high]]).double(), bands)[0]
    np.testing.assert_allclose(ours.flip(0), published, rtol=1e-9)
    assert ours[0] == pytest.approx(low) and ours[-1] < high
    rate = (9.26449 * (1 + ours / offset).log()).diff()  # the ERB-rate scale
    torch.testing.assert_close(rate, rate.mean().expand(9))


@pytest.mark.parametrize("band", [5, 20, 40, 55])
def test_the_gammatone_response_is_that_of_scipys_filter(band):
    bank = GammatoneBank(64, 50.0, 8000.0, 8192, RATE)
    centre = erb_space(torch.tensor([[50.0]]), torch.tensor([[8000.0]]), 64)[0, band].item()
    frequency, width = bank.freq_F.numpy(), 1.019 * (centre / 9.26449 + 24.7)
    near = np.abs(frequency - centre) < width
    # the filter's sampled impulse response: at low centres scipy's "iir" form loses its digits
    taps, _ = scipy.signal.gammatone(centre, "fir", numtaps=RATE // 5, fs=RATE)
    _, response = scipy.signal.freqz(taps, worN=frequency[near], fs=RATE)
    theirs = 20 * np.log10(np.abs(response) / np.abs(response).max())
    ours = 10 * np.log10(bank.bank_FM[near, band].numpy())
    np.testing.assert_allclose(ours - ours.max(), theirs, atol=0.06)


@pytest.mark.parametrize("bank", BANKS)
def test_every_band_has_unit_area(bank):
    bank = bank(64, 60.0, 8000.0, 4096, RATE)
    area_M = bank.bank_FM.double().sum(dim=0) * bank.bin
    torch.testing.assert_close(area_M, torch.ones(64).double(), atol=0.05, rtol=0)
    torch.testing.assert_close(area_M[20:], torch.ones(44).double(), atol=0.01, rtol=0)


@pytest.mark.parametrize("bank", BANKS)
def test_a_tone_at_the_centre_of_a_band_lights_that_band(bank):
    bank = bank(40, 100.0, 8000.0, N_FFT, RATE)
    none_1 = torch.zeros(1)
    centre_M, _, scale_M = (x[0] for x in bank.places(none_1, none_1))
    for band in range(5, 40):
        out_M = bank(line(centre_M[band].item(), bank).square())[0, 0, 0]
        assert (out_M / scale_M).argmax() == band


@pytest.mark.parametrize("bank", BANKS)
def test_a_warp_by_nothing_is_the_plain_bank(bank):
    """Through the nodes: exactly where each bin is one, and on the mean of noise; a tone loses 0.6 dB at most."""
    fine, wide = bank(64, 50.0, 8000.0, 128, RATE), bank(40, 50.0, 8000.0, N_FFT, RATE)
    power = torch.rand(3, 2, 5, 65, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(fine.warped(fine.thin(power), warp(size=3)), fine(power), rtol=1e-4, atol=1e-7)
    assert len(wide.node_G) < 0.5 * len(wide.freq_F)
    flat = torch.ones(3, 1, 1, N_FFT // 2 + 1)
    torch.testing.assert_close(wide.warped(wide.thin(flat), warp(size=3)), wide(flat), rtol=0.02, atol=0.0)
    tones = torch.eye(N_FFT // 2 + 1)[:, None, None]
    decibels = (
        10 * (wide.warped(wide.thin(tones), warp(size=len(tones))).amax(3) / wide(tones).amax(3)).log10()
    )
    heard = wide(tones).amax(3) > 0.2 * wide(tones).amax()
    assert -0.65 < decibels[heard].min() and decibels[heard].max() < 0.2


@pytest.mark.parametrize("bank", BANKS)
@pytest.mark.parametrize("semitones", [-12, -3, -0.5, 0.5, 3, 12])
def test_a_tone_through_a_warped_bank_is_the_shifted_tone_through_the_plain_one(bank, semitones):
    """A long FFT, so that the lobe of the window, which no warp moves, is narrow."""
    bank, ratio = bank(48, 60.0, 10000.0, 8192, RATE), 2 ** (semitones / 12)
    for hertz in (700.0, 1500.0, 4000.0):
        warped = bank.warped(bank.thin(line(hertz, bank).square()), warp(ratio))[0, 0, 0]
        shifted = bank(line(hertz * ratio, bank).square())[0, 0, 0]
        torch.testing.assert_close(warped, shifted, rtol=0.1, atol=0.05 * shifted.max().item())


@pytest.mark.parametrize("bank", BANKS)
def test_each_example_has_its_own_bank(bank):
    bank = bank(40, 50.0, 8000.0, N_FFT, RATE)
    thin = bank.thin(torch.rand(3, 1, 4, N_FFT // 2 + 1, generator=torch.Generator().manual_seed(0)))
    chosen = [(0.9, 0.0, 0.0), (1.3, 8.0, -500.0), (1.0, 0.0, -1500.0)]
    together = bank.warped(thin, Warp(*torch.tensor(chosen).T))
    alone = torch.cat([bank.warped(thin[i : i + 1], warp(*chosen[i])) for i in range(3)])
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize("bank", BANKS)
def test_moved_edges_are_those_of_a_bank_made_so(bank):
    moved = bank(40, 50.0, 8000.0, N_FFT, RATE).weights(warp(low=30.0, high=-1500.0))[0]
    torch.testing.assert_close(
        moved, bank(40, 80.0, 6500.0, N_FFT, RATE).bank_FM, rtol=1e-3, atol=1e-3 * moved.max().item()
    )


@pytest.mark.parametrize("bank", BANKS)
def test_no_band_goes_blind_however_far_the_bank_is_warped(bank):
    """Divided by two, the lowest of these bands are narrower than a bin."""
    bank = bank(160, 50.0, 8000.0, N_FFT, RATE)
    for ratio in (2.0, 1.5, 1.06):
        for low in (0.0, 3.0, 20.0):
            assert (bank.weights(warp(ratio, low, -3000.0))[0].sum(dim=0) * bank.bin).min() > 0.3


@pytest.mark.parametrize("bank", BANKS)
def test_half_of_the_range_always_remains(bank):
    bank = bank(20, 50.0, 4000.0, N_FFT, 8000)
    torch.testing.assert_close(
        bank.weights(warp(high=-4000.0)), bank.weights(warp(high=-1975.0)), rtol=1e-3, atol=1e-6
    )
    assert bank.weights(warp(low=5000.0, high=-4000.0)).isfinite().all()


def test_a_cut_spectrum_pools_as_a_whole_one():
    bank = MelBank(40, 300.0, 4000.0, N_FFT, RATE)
    power = torch.rand(2, 1, 3, N_FFT // 2 + 1, generator=torch.Generator().manual_seed(0))
    assert 0 < bank.first < bank.last < power.shape[-1]
    torch.testing.assert_close(bank(power[..., bank.first : bank.last], bank.first), bank(power))
    torch.testing.assert_close(bank(power), power @ bank.bank_FM)


def test_a_weighting_has_the_values_of_the_standard():
    """IEC 61672-1, table 3 (rounded to tenths of dB)."""
    table = [-39.4, -26.2, -16.1, -8.6, -3.2, 0.0, 1.2, 1.0, -1.1, -6.6]  # of the octaves around 1 kHz
    exact = 1000 * 10 ** (0.3 * torch.arange(-5.0, 5.0).double())  # 31.5 Hz is the name of 31.62 Hz
    np.testing.assert_allclose(10 * a_weight(exact).log10(), table, atol=0.06)
    assert a_weight(torch.zeros(1)) == 0


def test_the_check_for_empty_bands_agrees_with_the_bank_itself():
    rng, verdicts = random.Random(0), []
    for _ in range(300):
        rate, bands = rng.choice([8000, 16000, 22050, 44100]), rng.randrange(8, 200, 4)
        n_fft, fmin = rng.choice([256, 512, 1024, 2048]), rng.choice([0.0, 50.0])
        full = bool((MelBank(bands, fmin, rate / 2, n_fft, rate).bank_FM.amax(dim=0) > 1e-9).all())
        try:
            check_mel(bands, fmin, rate / 2, n_fft, rate)
            verdicts.append(True)
        except ValueError:
            verdicts.append(False)
        assert verdicts[-1] == full, (rate, bands, n_fft, fmin)
    assert 50 < sum(verdicts) < 250


def test_a_gammatone_band_below_one_bin_is_refused():
    check_gammatone(50.0, 1024, 22050)  # 30.7 Hz against 21.5 Hz
    with pytest.raises(
        ValueError, match="feature.fmin is 50.0 Hz: its band is 30.7 Hz wide, narrower than the 43.1"
    ):
        check_gammatone(50.0, 1024, 44100)
    check_gammatone(170.0, 1024, 44100)
