"""Several objectives: reading them, what a trial is worth, the Pareto front."""

import math
import random

import pytest

from search.ledger import Ledger
from search.objectives import ACCURACY, COSTS, KNOWN, Objective, front, judged, no_dearer, parse, worth

THREE = parse("accuracy,-params,-latency")


def test_objectives_are_read_as_written() -> None:
    assert parse("accuracy") == parse("+accuracy") == ACCURACY
    assert THREE == (Objective("accuracy", 1), Objective("params", -1), Objective("latency", -1))
    assert parse(" accuracy , -loss ") == (Objective("accuracy", 1), Objective("loss", -1))
    assert set(COSTS) < KNOWN.keys()


@pytest.mark.parametrize("text", ["accuracy", "accuracy,-loss", "accuracy,-params,-latency,-loss"])
def test_what_was_read_is_written_the_same_way(text: str) -> None:
    assert ",".join(map(str, parse(text))) == text


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("-accuracy", "objective accuracy is maximised: write accuracy, not -accuracy"),
        ("accuracy,params", "objective params is minimised: write -params, not params"),
        ("accuracy,+params", "objective params is minimised: write -params, not [+]params"),
        ("accuracy,--params", "write -params, not --params"),
        ("accuracy,-size", "unknown objective '-size', known: accuracy, -loss, -params, -macs, -latency"),
        ("accuracy,", "unknown objective ''"),
        ("", "unknown objective ''"),
        ("accuracy,-params,-params", "objective params is named twice in 'accuracy,-params,-params'"),
        ("-params,accuracy", "must begin with accuracy: write accuracy,-params, not -params,accuracy"),
        ("-loss", "must begin with accuracy: write accuracy,-loss, not -loss"),
    ],
)
def test_a_wrong_objective_says_how_to_write_it(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        parse(text)


def test_worth_follows_the_order_of_the_objectives_in_their_own_units() -> None:
    costs = {"latency": 4.5, "params": 1200.0, "other": 0.0}
    assert worth(THREE, 0.8, 0.6, costs) == (0.8, 1200.0, 4.5)
    assert worth(parse("accuracy,-loss"), 0.8, 0.6, {}) == (0.8, 0.6)
    with pytest.raises(KeyError, match="params"):
        worth(THREE, 0.8, 0.6, {"latency": 4.5})


def better(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Whether `one` dominates `other`: said with the signs, slowly."""
    gains = [o.sign * (a - b) for o, a, b in zip(THREE, one, other, strict=True)]
    return min(gains) >= 0 and max(gains) > 0


@pytest.mark.parametrize("seed", range(20))
def test_nobody_on_the_front_is_dominated_and_everybody_off_it_is(seed: int) -> None:
    rng = random.Random(seed)
    points = {
        number: (rng.randrange(6) / 6, float(rng.randrange(6)), float(rng.randrange(6)))
        for number in rng.sample(range(100), 40)
    }  # few values: ties in each objective, and duplicates
    best = front(points, THREE)
    assert len(set(best)) == len(best) and best
    assert not any(better(points[a], points[b]) for a in points for b in best)
    for number in points.keys() - set(best):
        assert any(better(points[other], points[number]) for other in best)
    firsts = [points[number][0] for number in best]
    assert firsts == sorted(firsts, reverse=True)


@pytest.mark.parametrize("seed", range(5))
def test_the_order_in_which_trials_ended_does_not_change_the_front(seed: int) -> None:
    rng = random.Random(seed)
    points = {n: (rng.random(), rng.random(), rng.random()) for n in range(30)}
    shuffled = dict(rng.sample(sorted(points.items()), len(points)))
    assert front(shuffled, THREE) == front(points, THREE)


def test_duplicates_of_a_point_on_the_front_are_on_it() -> None:
    assert front({3: (0.9, 5.0, 1.0), 1: (0.9, 5.0, 1.0), 2: (0.9, 6.0, 1.0)}, THREE) == [1, 3]


def test_with_one_objective_the_front_are_the_best_ones() -> None:
    assert front({0: (0.5,), 1: (0.9,), 2: (0.9,), 3: (0.1,)}, ACCURACY) == [1, 2]
    assert front({}, ACCURACY) == []


def test_nan_has_no_place_on_a_front() -> None:
    with pytest.raises(ValueError, match="trial 7"):
        front({7: (math.nan,)}, ACCURACY)


def test_no_dearer_looks_at_the_costs_that_are_objectives() -> None:
    small, large = {"params": 10.0, "latency": 1.0}, {"params": 20.0, "latency": 0.5}
    assert no_dearer(small, small, THREE)
    assert not no_dearer(small, large, THREE) and not no_dearer(large, small, THREE)
    assert no_dearer(small, large, parse("accuracy,-params"))
    assert no_dearer({}, {}, ACCURACY) and no_dearer({}, {}, parse("accuracy,-loss"))
    assert not no_dearer({}, large, THREE), "an unknown cost is not known to be lower"


def test_a_trial_of_a_ledger_is_worth_something_once_everything_is_known(tmp_path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite", create=True)
    three = parse("accuracy,-loss,-params")
    ledger.open_trial(0, {})
    for split, loss in ((1, 0.25), (2, 0.75)):
        ledger.log_epoch(f"{split}", 1, {}, trial=0, phase="search", split=split, seed=0)
        ledger.finish_fold(f"{split}", score=0.5, loss=loss, epochs=1, seconds=1.0, predictions=b"")
    assert judged(ledger, ledger.trial(0), ACCURACY) is None
    ledger.close_trial(0, "complete", 0.6)
    assert judged(ledger, ledger.trial(0), ACCURACY) == (0.6,)
    assert judged(ledger, ledger.trial(0), three) is None
    ledger.write_costs(0, {"params": 10.0})
    assert judged(ledger, ledger.trial(0), three) == (0.6, 0.5, 10.0)
    ledger.close()
