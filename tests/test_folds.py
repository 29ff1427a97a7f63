"""Laws of the protocols: who may see whom."""

import dataclasses

import numpy as np
import pytest

from escmodels.clips import ClipSet
from escmodels.folds import LeakageError, SearchSplit, check, held_out, inner, outer, rotating

FOLDS = [1, 2, 3, 4, 5] * 4


def clips(folds=FOLDS, sources=None) -> ClipSet:
    N = len(folds)
    count = np.arange(N)
    sources = count if sources is None else np.array(sources)
    names = tuple(f"clip{number}" for number in count)
    return ClipSet(
        np.zeros(N, np.int16), count, count * 0 + 1, count * 0, np.array(folds), sources, names, ("a",), 8000
    )


def test_every_fold_is_tested_once_and_validates_once():
    splits = rotating(FOLDS)
    assert [split.number for split in splits] == [1, 2, 3, 4, 5]
    assert sorted(split.test_fold for split in splits) == [1, 2, 3, 4, 5]
    assert sorted(split.valid_fold for split in splits) == [1, 2, 3, 4, 5]
    assert [(s.test_fold, s.valid_fold) for s in splits] == [(1, 2), (2, 3), (3, 4), (4, 5), (5, 1)]


@pytest.mark.parametrize("K", [3, 5, 10])
def test_the_parts_of_a_split_are_all_clips_without_overlap(K):
    folds = np.random.default_rng(0).permutation(np.arange(7 * K) % K + 1)
    for split in rotating(folds):
        assert sorted(split.train + split.valid + split.test) == list(range(7 * K))
        assert set(folds[list(split.test)]) == {split.test_fold}
        assert set(folds[list(split.valid)]) == {split.valid_fold}
        assert set(folds[list(split.train)]) == set(split.train_folds)


def test_what_a_search_gets_holds_no_test_row():
    for split in rotating(FOLDS):
        search = split.for_search()
        assert search == SearchSplit(split.number, split.train, split.valid)
        held = {
            value for field in dataclasses.fields(search) for value in np.ravel(getattr(search, field.name))
        }
        assert not set(split.test) & set(search.train + search.valid)
        assert held <= set(split.train) | set(split.valid) | {split.number}


def test_folds_that_are_missing_from_the_data_are_skipped():
    splits = rotating([1, 2, 4, 1, 2, 4])
    assert [(s.train_folds, s.valid_fold, s.test_fold) for s in splits] == [
        ((4,), 2, 1),
        ((1,), 4, 2),
        ((2,), 1, 4),
    ]


def test_too_few_folds_are_refused():
    with pytest.raises(ValueError, match="at least 3 folds"):
        rotating([1, 2, 1, 2])
    with pytest.raises(ValueError, match="numbered from 1, found 0"):
        rotating([0, 1, 2])


def test_honest_splits_pass_even_when_sources_repeat_inside_a_fold():
    for split in rotating(FOLDS):
        check(split, clips(sources=FOLDS))


def test_a_source_in_two_parts_is_leakage_unless_it_is_on_the_list():
    sources = list(range(20))
    sources[6] = sources[0] = 77  # folds 1 and 2
    leaky = [split for split in rotating(FOLDS)]
    for split in leaky:
        with_both = {1, 2} & {split.valid_fold, split.test_fold}
        if with_both:
            with pytest.raises(LeakageError, match=r"source 77 is in .*clip[06].* and in .*clip[06]"):
                check(split, clips(sources=sources))
        else:
            check(split, clips(sources=sources))  # both in train: no leak
        check(split, clips(sources=sources), frozenset({77}))


@pytest.mark.parametrize("part", ["train", "valid"])
def test_a_test_row_in_another_part_is_leakage(part):
    split = rotating(FOLDS)[0]
    bad = dataclasses.replace(split, **{part: getattr(split, part) + split.test[:1]})
    with pytest.raises(LeakageError, match=f"row 0 .*of fold 1 is in {part}"):
        check(bad, clips())


def test_a_row_twice_is_leakage_even_if_the_folds_agree():
    split = rotating(FOLDS)[0]
    same_fold = dataclasses.replace(split, valid_fold=1, valid=split.test[:1])
    with pytest.raises(LeakageError, match="fold 1 is in valid and in test"):
        check(same_fold, clips())
    bad = dataclasses.replace(split, train_folds=(2, 3, 4, 5))
    with pytest.raises(LeakageError, match="fold 2 is in train and in valid"):
        check(bad, clips())


def test_rows_beyond_the_data_are_refused():
    with pytest.raises(ValueError, match="the data have 10 clips"):
        check(rotating(FOLDS)[0], clips(FOLDS[:10]))


@pytest.mark.parametrize("K", [3, 5, 10])
def test_a_fold_that_is_held_out_is_tested_alone_and_the_others_validate_once(K):
    folds = np.random.default_rng(1).permutation(np.arange(7 * K) % K + 1)
    seen = np.flatnonzero(folds != 2)  # rows of a search are rows of what it may see
    splits = inner(folds[seen])
    assert [split.number for split in splits] == [k for k in range(1, K + 1) if k != 2]
    for split in splits:
        assert (split.valid_fold, split.test_fold, split.test) == (split.number, None, ())
        assert sorted(split.train + split.valid) == list(range(len(seen)))
        assert set(folds[seen][list(split.valid)]) == {split.valid_fold}
        assert not {2, split.valid_fold} & set(split.train_folds)
        assert len(split.train_folds) == K - 2
    exam = outer(folds, 2)
    assert (exam.number, exam.test_fold, exam.valid_fold, exam.valid) == (2, 2, None, ())
    assert sorted(exam.train + exam.test) == list(range(7 * K))
    assert set(folds[list(exam.test)]) == {2}


def test_the_splits_of_all_protocols_obey_the_laws():
    for split in (*inner([1, 2, 4] * 4), outer([1, 2, 4] * 4, 4)):
        check(split, clips([1, 2, 4] * 4))
    sources = list(range(12))
    sources[2] = sources[0]  # folds 4 and 1
    with pytest.raises(LeakageError, match="split 4: source 0 is in train .*clip0.* and in test .*clip2"):
        check(outer([1, 2, 4] * 4, 4), clips([1, 2, 4] * 4, sources))


def test_folds_that_cannot_be_held_out_are_refused():
    with pytest.raises(ValueError, match=r"no fold 6 to hold out, the data have \[1, 2, 3, 4, 5\]"):
        outer(FOLDS, 6)
    with pytest.raises(ValueError, match="at least 3 folds"):
        outer([1, 2], 1)
    with pytest.raises(ValueError, match="at least 2 folds"):
        inner([1, 1])


def test_a_protocol_says_which_fold_it_holds_out():
    assert [held_out(name) for name in ("rotating", "nested", "held-out 1", "held-out 12")] == [
        None,
        None,
        1,
        12,
    ]
    for bad in ("held-out", "held-out 0", "held-out -1", "held-out x", "random", ""):
        with pytest.raises(ValueError, match="unknown protocol"):
            held_out(bad)
