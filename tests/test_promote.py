"""The gate: a pure function of two candidates."""

from dataclasses import replace

import numpy as np
import pytest

from escmodels.exams import Exam, OutOfFold
from search.promote import Candidate, Gate, decide

EXAM = Exam(
    protocol="rotating",
    data="0123456789abcdef",
    seeds=(0,),
    folds=(0.8, 0.84),
    mean=0.82,
    low=0.79,
    high=0.85,
    macro_f1=0.81,
    validation=0.83,
    trials=20,
    clips=400,
)
CLIPS, SOURCES = 200, 40


def told(*wrong: int, order: np.ndarray | None = None) -> OutOfFold:
    """A table of 200 clips from 40 recordings in two folds, in which these clips are wrong."""
    row_N = np.arange(CLIPS) if order is None else order
    label_N = row_N % 2
    said_N = np.where(np.isin(row_N, wrong), 1 - label_N, label_N)
    return OutOfFold(
        names=tuple(f"clip{row}" for row in row_N),
        folds=1 + (row_N % SOURCES) // (SOURCES // 2),
        labels=label_N,
        sources=row_N % SOURCES,
        classes=("noise", "tone"),
        seeds=(0,),
        prob_SNK=np.eye(2, dtype=np.float32)[said_N][None],
    )


def candidate(found: OutOfFold, **costs: float) -> Candidate:
    return Candidate(replace(EXAM, mean=float(np.mean(found.correct_N))), found, **costs)


def by_mean(mean: float) -> Candidate:
    return Candidate(replace(EXAM, mean=mean))


FIFTY = range(50)
FEW = tuple(row for row in FIFTY if row % SOURCES != 7)  # one recording better: 2 clips
GOOD = range(8)  # 42 clips better, of 40 recordings
DOWN = range(60)


@pytest.mark.parametrize(
    ("challenger", "champion", "gate", "promote", "said"),
    [
        # the first champion needs no gain
        (by_mean(0.10), None, Gate(), True, "first champion: 10.0 %"),
        (candidate(told(*GOOD)), None, Gate(), True, "first champion"),
        # by means alone, where there is a table of neither
        (by_mean(0.90), by_mean(0.82), Gate(), True, "the challenger has no table"),
        (by_mean(0.815), by_mean(0.81), Gate(), True, "gain +0.5"),  # though 0.815 - 0.81 < 0.005 in floats
        (by_mean(0.8249), by_mean(0.82), Gate(), False, "needs +0.5"),
        (by_mean(0.82), by_mean(0.82), Gate(), False, "gain +0.0"),
        (by_mean(0.70), by_mean(0.82), Gate(), False, "gain -12.0"),
        (by_mean(0.82), by_mean(0.82), Gate(min_gain=0), True, "needed +0.0"),
        (by_mean(0.8199), by_mean(0.82), Gate(min_gain=0), False, "needs +0.0"),
        # with tables
        (candidate(told(*GOOD)), candidate(told(*FIFTY)), Gate(), True, "p below 0.001 by recording"),
        (candidate(told(*FEW)), candidate(told(*FIFTY)), Gate(), False, "a tie at level 0.05"),
        (candidate(told(*FEW)), candidate(told(*FIFTY)), Gate(accept_tie=True), True, "was accepted"),
        (candidate(told(*FEW)), candidate(told(*FIFTY)), Gate(level=0.6), True, "needed +0.5"),
        (candidate(told(*FEW)), candidate(told(*FIFTY)), Gate(0.02, accept_tie=True), False, "needs +2.0"),
        (candidate(told(*FIFTY)), candidate(told(*FIFTY)), Gate(), False, "gain +0.0"),
        (candidate(told(*FIFTY)), candidate(told(*FIFTY)), Gate(min_gain=0), False, "a tie"),
        (candidate(told(*DOWN)), candidate(told(*FIFTY)), Gate(accept_tie=True), False, "gain -5.0"),
        (candidate(told(*GOOD)), by_mean(0.75), Gate(), True, "the champion has no table of predictions"),
        (by_mean(0.755), candidate(told(*FIFTY)), Gate(), True, "the challenger has no table of predictions"),
        # limits, which hold for the first champion too
        (
            candidate(told(*GOOD), params=1001),
            None,
            Gate(max_params=1000),
            False,
            "1,001 parameters, more than",
        ),
        (candidate(told(*GOOD), params=1000), None, Gate(max_params=1000), True, "first champion"),
        (candidate(told(*GOOD)), None, Gate(max_params=1000), False, "nobody knows how many parameters"),
        (candidate(told(*GOOD), latency_ms=12.34), None, Gate(max_latency_ms=12), False, "12.3 ms a clip"),
        (candidate(told(*GOOD), latency_ms=12.0), None, Gate(max_latency_ms=12), True, "first champion"),
        (
            candidate(told(*GOOD), latency_ms=99.0),
            candidate(told(*FIFTY), latency_ms=999.0),
            Gate(max_latency_ms=12),
            False,
            "takes 99 ms a clip, more than --max-latency 12",
        ),
    ],
)
def test_the_table_of_decisions(
    challenger: Candidate, champion: Candidate | None, gate: Gate, promote: bool, said: str
) -> None:
    verdict = decide(challenger, champion, gate)
    assert (verdict.promote, verdict.comparable) == (promote, True), verdict.reason
    assert said in verdict.reason


@pytest.mark.parametrize("field", ["protocol", "data"])
def test_never_compares_figures_of_another_protocol_or_other_data(field: str) -> None:
    better = replace(EXAM, mean=0.99, **{field: "other"})
    verdict = decide(Candidate(better), Candidate(EXAM), Gate(accept_tie=True))
    assert not verdict.promote and not verdict.comparable
    for said in ("cannot be compared", field, "'other'", "99.0 %", "82.0 %", "--model"):
        assert said in verdict.reason


def test_the_reason_carries_both_figures_the_gain_and_what_was_needed() -> None:
    reason = decide(by_mean(0.83), Candidate(EXAM), Gate(min_gain=0.02)).reason
    for said in ("83.0 %", "82.0 %", "+1.0 points", "+2.0", "[79.0, 85.0]"):
        assert said in reason


@pytest.mark.parametrize(
    ("costs", "gate", "said"),
    [
        ({"latency_ms": 12.004}, Gate(max_latency_ms=12), "12.004 ms a clip, more than --max-latency 12"),
        (
            {"latency_ms": 1234.51},
            Gate(max_latency_ms=1234.5),
            "1,235 ms a clip, more than --max-latency 1,234.5",
        ),
        (
            {"params": 20_000_001},
            Gate(max_params=20_000_000),
            "20,000,001 parameters, more than --max-params 20,000,000",
        ),
    ],
)
def test_what_is_over_a_limit_reads_so(costs: dict[str, float], gate: Gate, said: str) -> None:
    assert said in decide(candidate(told(), **costs), None, gate).reason


def test_a_gain_that_is_not_enough_does_not_read_as_if_it_were() -> None:
    reason = decide(by_mean(0.82496), by_mean(0.82)).reason
    assert "gain +0.496 points" in reason and "needs +0.500" in reason


def test_the_order_of_clips_changes_nothing() -> None:
    shuffled = np.random.default_rng(0).permutation(CLIPS)
    champion = candidate(told(*FIFTY))
    mixed = candidate(told(*FIFTY, order=shuffled))
    for challenger in (candidate(told(*GOOD)), candidate(told(*FEW))):
        assert decide(challenger, mixed) == decide(challenger, champion)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (replace(told(*FIFTY), seeds=(7,)), "the champion's table of predictions is of another exam"),
        (told(*range(49)), "the champion's table of predictions is of another exam"),  # of another mean
        (replace(told(*FIFTY), names=tuple(map(str, range(CLIPS)))), "hold other clips"),
    ],
)
def test_a_table_that_is_not_of_this_exam_or_these_clips_is_not_compared(table: OutOfFold, said: str) -> None:
    champion = Candidate(candidate(told(*FIFTY)).exam, table)
    verdict = decide(candidate(told(*FEW)), champion)
    assert verdict.promote and said in verdict.reason  # by means alone there is no tie


def test_a_gain_in_two_recordings_may_be_luck_and_the_same_gain_in_six_is_not() -> None:
    champion = candidate(told(*range(100)))
    two = candidate(told(*(row for row in range(100) if row % SOURCES not in (0, 1))))
    six = candidate(told(*range(6, 100)))
    assert two.exam == six.exam
    assert [decide(found, champion).promote for found in (two, six)] == [False, True]


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"min_gain": 5.0}, "--min-gain"),
        ({"level": 0.0}, "--level"),
        ({"level": 1.0}, "--level"),
        ({"max_params": 0}, "--max-params"),
        ({"max_latency_ms": -1.0}, "--max-latency"),
        ({"max_latency_ms": float("nan")}, "--max-latency"),
        ({"min_gain": float("nan")}, "--min-gain"),
    ],
)
def test_a_gate_that_nothing_could_pass_is_refused(limits: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Gate(**limits)
