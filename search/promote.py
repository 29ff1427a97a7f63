"""Whether a model becomes champion: a pure decision. The act is in `registry.py`."""

from dataclasses import dataclass

from escmodels.exams import Exam, comparable

ROUNDING = 1e-9  # a gain of exactly `min_gain` passes, however the means were rounded


@dataclass(frozen=True)
class Verdict:
    """What was decided, and the sentence with the figures that says why."""

    promote: bool
    reason: str


def decide(challenger: Exam, champion: Exam | None, min_gain: float = 0.005) -> Verdict:
    """Judge two exams on the same data and protocol.

    min_gain: accuracy (0..1) by which the challenger has to be better. Without a champion the challenger wins.
    """
    if champion is None:
        return Verdict(True, f"first champion: {figure(challenger)}")
    try:
        comparable(challenger, champion)
    except ValueError as error:
        return Verdict(
            False,
            f"{error} (challenger {figure(challenger)}, champion {figure(champion)}); "
            "promote it under another --model NAME",
        )
    gain = challenger.mean - champion.mean
    promote = gain >= min_gain - ROUNDING
    return Verdict(
        promote,
        f"{figure(challenger)} against the champion's {figure(champion)}: "
        f"gain {100 * gain:+.1f} points, {'needed' if promote else 'needs'} {100 * min_gain:+.1f}",
    )


def figure(exam: Exam) -> str:
    """The score of an exam as it is quoted: `83.2 % [79.5, 86.4]`."""
    return f"{100 * exam.mean:.1f} % [{100 * exam.low:.1f}, {100 * exam.high:.1f}]"
