"""Laws of ClipSet: what is cut out, where crops may lie, which windows are judged."""

import numpy as np
import pytest
import torch

from escmodels.clips import SILENCE, ClipSet, quantise


def make(*waves: np.ndarray, read_only: bool = False) -> ClipSet:
    samples = np.concatenate(waves).astype(np.int16)
    samples.flags.writeable = not read_only
    lengths = np.array([len(wave) for wave in waves])
    count = np.arange(len(waves))
    names = tuple(f"clip{number}" for number in count)
    return ClipSet(
        samples, np.cumsum(lengths) - lengths, lengths, count % 2, count + 1, count, names, ("a", "b"), 8000
    )


def ramp(length: int, first: int = 1000) -> np.ndarray:
    return np.arange(first, first + length, dtype=np.int16)


def slow_take(clips: ClipSet, rows: list[int], begins: list[int], length: int, pad: str) -> np.ndarray:
    out = np.zeros((len(rows), length), dtype=np.int16)
    for place, (row, begin) in enumerate(zip(rows, begins, strict=True)):
        clip = clips.samples[clips.starts[row] : clips.starts[row] + clips.lengths[row]]
        for t in range(length):
            if pad == "tile":
                out[place, t] = clip[(begin + t) % len(clip)]
            elif begin + t < len(clip):
                out[place, t] = clip[begin + t]
    return out


@pytest.mark.parametrize("pad", ["zero", "tile"])
def test_take_agrees_with_a_loop_over_samples(pad):
    clips = make(ramp(50), ramp(20, 3000), ramp(35, 5000))
    rng = np.random.default_rng(0)
    for length in (1, 7, 20, 33, 60, 130):
        rows = rng.integers(0, 3, 12)
        begins = [int(rng.integers(0, clips.lengths[row])) for row in rows]
        wave = clips.take(rows, begins, length, pad)
        assert wave.dtype == torch.int16
        np.testing.assert_array_equal(wave.numpy(), slow_take(clips, rows.tolist(), begins, length, pad))


def test_a_read_only_store_is_read_and_never_written_through():
    clips = make(ramp(30), ramp(30), read_only=True)
    wave = clips.take([0, 1], 0, 30)
    wave.zero_()
    assert clips.samples[0] == 1000


def test_a_subset_shares_the_samples_and_keeps_its_order():
    clips = make(ramp(10), ramp(12, 2000), ramp(14, 3000))
    part = clips.subset([2, 0])
    assert part.samples is clips.samples
    assert part.names == ("clip2", "clip0") and part.sources.tolist() == [2, 0]
    assert torch.equal(part.take([0, 1], 0, 10), clips.take([2, 0], 0, 10))


def test_crops_lie_inside_the_part_that_sounds():
    wave = np.zeros(500, dtype=np.int16)
    wave[100:300] = 900
    crops = make(wave, ramp(500)).random_crops(np.zeros(400, int), 80, torch.Generator().manual_seed(0))
    assert (crops == 900).all()


def test_crops_reach_both_ends_of_the_part_that_sounds():
    wave = np.zeros(100, dtype=np.int16)
    wave[40:60] = ramp(20)
    first = make(wave).random_crops(np.zeros(300, int), 16, torch.Generator().manual_seed(0))[:, 0]
    assert set(first.tolist()) == set(range(1000, 1005))


def test_a_crop_longer_than_the_sound_holds_all_of_it():
    wave = np.zeros(400, dtype=np.int16)
    wave[390:395] = 700
    crops = make(wave).random_crops(np.zeros(100, int), 64, torch.Generator().manual_seed(1))
    assert ((crops == 700).sum(1) == 5).all()
    assert len({tuple(crop.tolist()) for crop in crops}) > 1  # and it does not always stand at one place


def test_a_wholly_silent_clip_can_still_be_cropped():
    crops = make(np.zeros(50, dtype=np.int16)).random_crops([0, 0], 20, torch.Generator().manual_seed(0))
    assert crops.shape == (2, 20)


def test_a_clip_no_longer_than_the_crop_is_given_from_its_start():
    clips = make(ramp(30))
    rng = torch.Generator().manual_seed(0)
    assert torch.equal(clips.random_crops([0], 40, rng), clips.take([0], 0, 40))


def test_crops_follow_the_generator_alone():
    clips = make(ramp(1000))
    one = clips.random_crops([0] * 8, 10, torch.Generator().manual_seed(3))
    torch.rand(5)
    assert torch.equal(one, clips.random_crops([0] * 8, 10, torch.Generator().manual_seed(3)))
    assert not torch.equal(one, clips.random_crops([0] * 8, 10, torch.Generator().manual_seed(4)))


@pytest.mark.parametrize("length", [5, 9, 10, 11, 15, 16, 20, 21, 37])
def test_windows_cover_every_sample_and_end_flush(length):
    clips = make(ramp(length))
    rows, begins = clips.windows(10, 5)
    covered = {sample for begin in begins for sample in range(begin, begin + 10)}
    assert rows.tolist() == [0] * len(begins) and len(set(begins.tolist())) == len(begins)
    assert set(range(length)) <= covered
    assert begins[-1] == max(length - 10, 0) and (np.diff(begins) <= 5).all()


def test_a_few_samples_too_many_make_no_second_window():
    clips = make(ramp(100), ramp(102), ramp(103), ramp(152), ramp(153))
    rows, begins = clips.windows(100, 50)
    assert rows.tolist() == [0, 1, 2, 2, 3, 3, 4, 4, 4]
    assert begins.tolist() == [0, 1, 0, 3, 0, 52, 0, 50, 53]
    assert clips.longer(100).tolist() == [False, False, True, True, True]


def test_a_centre_crop_lies_in_the_middle_of_the_sound():
    wave = np.zeros(500, dtype=np.int16)
    wave[100:300] = ramp(200)
    clips = make(wave, ramp(30), ramp(52))
    assert clips.centre_crops([0], 50)[0].tolist() == list(range(1075, 1125))
    assert clips.centre_crops([1, 2], 50)[:, 0].tolist() == [1000, 1001]


def test_silent_windows_are_left_out():
    wave = np.zeros(60, dtype=np.int16)
    wave[22] = -SILENCE
    wave[41] = SILENCE - 1  # below the bound: dither
    rows, begins = make(wave, ramp(10)).windows(10, 10)
    assert rows.tolist() == [0, 1] and begins.tolist() == [20, 0]


def test_the_loudest_negative_sample_is_not_silence():
    wave = np.zeros(40, dtype=np.int16)
    wave[35] = -32768
    assert make(wave).windows(10, 10)[1].tolist() == [30]


def test_a_clip_with_nothing_but_silence_keeps_its_windows():
    rows, begins = make(np.zeros(30, dtype=np.int16), ramp(20)).windows(10, 10)
    assert rows.tolist() == [0, 0, 0, 1, 1] and begins.tolist() == [0, 10, 20, 0, 10]


def test_quantise_clips_and_inverts():
    wave = np.array([-2.0, -1.0, 0.0, 0.25, 1.0], dtype=np.float32)
    assert quantise(wave).tolist() == [-32768, -32768, 0, 8192, 32767]
    every = np.arange(-32768, 32768).astype(np.int16)
    np.testing.assert_array_equal(quantise(every.astype(np.float32) / 32768), every)


def test_nonsense_is_refused():
    clips = make(ramp(10))
    with pytest.raises(ValueError, match="unknown pad 'mirror'"):
        clips.take([0], 0, 5, "mirror")
    with pytest.raises(ValueError, match="at least one sample"):
        clips.windows(10, 0)
    with pytest.raises(ValueError, match="outside the 10 samples"):
        ClipSet(
            clips.samples,
            *(np.array([4]), np.array([7]), np.array([0]), np.array([1]), np.array([0])),
            ("x",),
            ("a",),
            8000,
        )
    with pytest.raises(ValueError, match="must be int16"):
        ClipSet(clips.samples.astype(float), *(np.zeros(0, int) for _ in range(5)), (), ("a",), 8000)


def test_more_windows_are_evenly_spaced_from_end_to_end():
    clips = make(ramp(100), ramp(40), ramp(300))
    rows, begins = clips.windows(40, 20, least=10)
    assert np.bincount(rows).tolist() == [
        10,
        1,
        14,
    ]  # never fewer than half a window apart, one for a short clip
    spaced = np.diff(begins[rows == 0])
    assert begins[rows == 0][0] == 0 and begins[rows == 0][-1] == 60 and spaced.min() >= spaced.max() - 1
    assert clips.windows(40, 20, least=1)[1].tolist() == clips.windows(40, 20)[1].tolist()
    assert len(make(ramp(42)).windows(40, 20, least=10)[0]) == 3  # not more windows than places
