"""The gate: a pure function of two exams."""

from dataclasses import replace

import pytest

from escmodels.exams import Exam
from search.promote import decide

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


@pytest.mark.parametrize(
    ("mean", "champion", "min_gain", "promote"),
    [
        (0.10, None, 0.005, True),  # the first champion needs no gain
        (0.90, 0.82, 0.005, True),
        (0.815, 0.81, 0.005, True),  # exactly the gain, though 0.815 - 0.81 < 0.005 in floats
        (0.8249, 0.82, 0.005, False),
        (0.82, 0.82, 0.005, False),  # tied
        (0.70, 0.82, 0.005, False),
        (0.82, 0.82, 0.0, True),
        (0.8199, 0.82, 0.0, False),
    ],
)
def test_promotes_a_gain_of_at_least_the_minimum(
    mean: float, champion: float | None, min_gain: float, promote: bool
) -> None:
    holder = None if champion is None else replace(EXAM, mean=champion)
    assert decide(replace(EXAM, mean=mean), holder, min_gain).promote is promote


@pytest.mark.parametrize("field", ["protocol", "data"])
def test_never_compares_figures_of_another_protocol_or_other_data(field: str) -> None:
    better = replace(EXAM, mean=0.99, **{field: "other"})
    verdict = decide(better, EXAM)
    assert not verdict.promote
    for said in ("cannot be compared", field, "'other'", "99.0 %", "82.0 %", "--model"):
        assert said in verdict.reason


def test_the_reason_carries_both_figures_the_gain_and_what_was_needed() -> None:
    reason = decide(replace(EXAM, mean=0.83), EXAM, 0.02).reason
    for said in ("83.0 %", "82.0 %", "+1.0 points", "+2.0", "[79.0, 85.0]"):
        assert said in reason
    assert "82.0 %" in decide(EXAM, None).reason
