"""Laws of what happens to finished features: rotation in time, hidden bands and frames."""

import pytest
import torch
from toys import generator

from escmodels.spec_augment import roll, spec_augment

B, T = 64, 4000


@pytest.fixture
def wave():
    return torch.rand((B, T), generator=generator(7)) - 0.5


@pytest.fixture
def spec():
    return torch.randn((B, 1, 40, 100), generator=generator(8))


def test_roll_only_moves_samples(wave):
    moved = roll(wave, generator(), 1.0)
    assert (moved != wave).any(dim=1).float().mean() > 0.9
    assert torch.equal(moved.sort(dim=1).values, wave.sort(dim=1).values)


def test_roll_moves_whole_frames_of_a_spectrogram(spec):
    moved = roll(spec, generator(), 1.0)
    for before, after in zip(spec, moved, strict=True):
        shift = next(n for n in range(before.shape[-1]) if torch.equal(before.roll(n, -1), after))
        assert 0 <= shift < before.shape[-1]
    assert not torch.equal(moved, spec)


def test_roll_keeps_the_order_and_the_reach():
    ramp = torch.arange(float(T)).expand(B, T)
    start_B = roll(ramp, generator(), 0.2)[:, 0].long()
    shift_B = torch.where(start_B > T // 2, T - start_B, -start_B)
    assert torch.equal(roll(ramp, generator(), 0.2), (ramp + start_B[:, None]) % T)
    assert shift_B.abs().max() <= 0.1 * T
    assert shift_B.max() > 0.05 * T and shift_B.min() < -0.05 * T


@pytest.mark.parametrize("masks", [1, 2, 3])
@pytest.mark.parametrize("share", [0.1, 0.35])
def test_masks_never_hide_more_than_their_share(spec, share, masks):
    for seed in range(5):
        hidden_BMN = spec_augment(spec, generator(seed), share, share, masks)[:, 0] == 0
        bands_B = hidden_BMN.all(dim=2).float().mean(dim=1)
        frames_B = hidden_BMN.all(dim=1).float().mean(dim=1)
        assert 0 < bands_B.max() <= share
        assert 0 < frames_B.max() <= share
        stripes = hidden_BMN.all(dim=2)[:, :, None] | hidden_BMN.all(dim=1)[:, None, :]
        assert torch.equal(hidden_BMN, stripes)  # whole bands and whole frames, nothing else


def test_masks_reach_every_place_and_differ_between_examples(spec):
    hidden_BN = (spec_augment(spec.repeat(4, 1, 1, 1), generator(), 0.0, 0.3)[:, 0] == 0).all(dim=1)
    assert hidden_BN.any(dim=0).all()
    assert len({tuple(row.tolist()) for row in hidden_BN}) > B


def test_all_channels_are_hidden_alike(spec):
    hidden = spec_augment(spec.repeat(1, 3, 1, 1), generator(), 0.3, 0.3) == 0
    assert torch.equal(hidden[:, 0], hidden[:, 2])


def test_a_waveform_gets_time_masks_only(wave):
    out = spec_augment(wave[:, None], generator(), 0.5, 0.0)
    assert torch.equal(out, wave[:, None])
    assert (spec_augment(wave[:, None], generator(), 0.5, 0.2) == 0).any()


def test_at_strength_zero_the_input_comes_back_and_nothing_is_drawn(spec):
    rng = generator()
    before = rng.get_state()
    assert roll(spec, rng, 0.0) is spec
    assert spec_augment(spec, rng, 0.0, 0.0) is spec
    assert torch.equal(rng.get_state(), before)
