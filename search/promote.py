"""Whether a model becomes champion: a pure decision. The act is in `registry.py`.

Shape letters: N clips.
"""

from dataclasses import dataclass

import numpy as np

from escmodels.evidence import Difference, paired_bootstrap
from escmodels.exams import Exam, OutOfFold, comparable
from spaces.limits import above

ROUNDING = 1e-9  # a gain of exactly `min_gain` passes, however the means were rounded


@dataclass(frozen=True)
class Candidate:
    """A model before the gate: its exam, what it said about every clip, what it costs. None: not known."""

    exam: Exam
    found: OutOfFold | None = None
    params: int | None = None  # numbers that it learned
    latency_ms: float | None = None  # for one clip, on one thread

    @property
    def table(self) -> OutOfFold | None:
        """Its predictions, if they are those of its exam: a table of an older exam would be of another figure."""
        if self.found is None or self.found.seeds != self.exam.seeds:
            return None
        mean = np.average(self.found.correct_N, weights=self.found.weight_N)
        return self.found if abs(mean - self.exam.mean) < 1e-6 else None


@dataclass(frozen=True)
class Gate:
    """What a challenger has to show. Raises ValueError for what no challenger can."""

    min_gain: float = 0.005  # accuracy (0..1) by which it has to be better
    level: float = 0.05  # p of the paired bootstrap from which on the two are tied
    max_params: int | None = None
    max_latency_ms: float | None = None
    accept_tie: bool = False  # a gain that may be luck is enough

    def __post_init__(self) -> None:
        if not -1 <= self.min_gain < 1:
            raise ValueError(
                f"--min-gain is a share of all clips, from -1 to 1 (0.005), got {self.min_gain:g}"
            )
        if not 0 < self.level < 1:
            raise ValueError(f"--level is a probability between 0 and 1, got {self.level:g}")
        if self.max_params is not None and self.max_params < 1:
            raise ValueError(f"--max-params must be at least 1 parameter, got {self.max_params}")
        if self.max_latency_ms is not None and not self.max_latency_ms > 0:
            raise ValueError(f"--max-latency must be above 0 milliseconds, got {self.max_latency_ms:g}")


USUAL = Gate()  # of `run` and `resume`


def options(gate: Gate, how: str, model: str | None) -> list[str]:
    """The options of `promote` that ask for this once more; how, model: as for `run.promote_study`."""
    asked = {
        "--model": model,
        "--ship": how if how != "refit" else None,
        "--min-gain": gate.min_gain if gate.min_gain != USUAL.min_gain else None,
        "--level": gate.level if gate.level != USUAL.level else None,
        "--max-params": gate.max_params,
        "--max-latency": gate.max_latency_ms,
    }
    words = [
        f"{option}={value}" for option, value in asked.items() if value is not None
    ]  # = : it may be negative
    return [*words, *(["--accept-tie"] if gate.accept_tie else [])]


@dataclass(frozen=True)
class Verdict:
    """What was decided, and the sentence with the figures that says why."""

    promote: bool
    reason: str
    comparable: bool = (
        True  # False: of another protocol or other data than the champion's, no challenger of its
    )


def decide(challenger: Candidate, champion: Candidate | None, gate: Gate = USUAL) -> Verdict:
    """Judge a challenger.

    Without a champion it wins if it keeps within the limits. Against one it needs the gain, and a paired bootstrap
    over whole recordings must not call the gain luck; where one of the two has no table of predictions the means
    decide alone, and the reason says so.
    """
    if champion is not None:
        try:
            comparable(challenger.exam, champion.exam)
        except ValueError as error:
            figures = f"challenger {figure(challenger.exam)}, champion {figure(champion.exam)}"
            return Verdict(
                False, f"{error} ({figures}); promote it under another --model NAME", comparable=False
            )
    if over := _over(challenger, gate):
        return Verdict(False, f"{figure(challenger.exam)}, but {over}")
    if champion is None:
        return Verdict(True, f"first champion: {figure(challenger.exam)}")
    gain = challenger.exam.mean - champion.exam.mean
    enough = gain >= gate.min_gain - ROUNDING
    shown, asked = _points(gain, gate.min_gain, enough)
    found = f"{figure(challenger.exam)} against the champion's {figure(champion.exam)}: gain {shown} points"
    needs = f"{'needed' if enough else 'needs'} {asked}"
    difference = _difference(challenger, champion)
    if difference is None:
        return Verdict(enough, f"{found}, {needs}; by means alone: {_missing(challenger, champion)}")
    found += f" [{100 * difference.low:+.1f}, {100 * difference.high:+.1f}]"
    p = f"{difference.p:.2g}" if difference.p >= 0.001 else "below 0.001"  # of 2000 draws
    evidence = f"p {p} by recording"
    if not enough or difference.p < gate.level:
        return Verdict(enough, f"{found}, {needs}; {evidence}")
    tie = f"{evidence}, a tie at level {gate.level:g}"
    if gate.accept_tie:
        return Verdict(True, f"{found}, {needs}; {tie}, which was accepted")
    return Verdict(
        False, f"{found}; {tie} (take it with --accept-tie, or repeat the exams with more --seeds)"
    )


def figure(exam: Exam) -> str:
    """The score of an exam as it is quoted: `83.2 % [79.5, 86.4]`."""
    return f"{100 * exam.mean:.1f} % [{100 * exam.low:.1f}, {100 * exam.high:.1f}]"


def _points(gain: float, needed: float, enough: bool) -> tuple[str, str]:
    """Both in points, with as many digits as show that it is, or is not, enough."""
    for digits in range(1, 10):
        shown, asked = f"{100 * gain:+.{digits}f}", f"{100 * needed:+.{digits}f}"
        if (float(shown) >= float(asked)) is enough:
            break
    return shown, asked


def _over(challenger: Candidate, gate: Gate) -> str:
    """Which limit it does not keep; empty if it keeps all that are set."""
    rows = (
        ("--max-params", challenger.params, gate.max_params, "has", "parameters"),
        ("--max-latency", challenger.latency_ms, gate.max_latency_ms, "takes", "ms a clip"),
    )
    for option, value, limit, verb, unit in rows:
        if limit is not None and value is None:
            return f"nobody knows how many {unit} it {verb}, and {option} {limit:,.15g} asks"
        if limit is not None and value is not None and value > limit:
            return f"it {verb} {above(value, limit)} {unit}, more than {option} {limit:,.15g}"
    return ""


def _difference(challenger: Candidate, champion: Candidate) -> Difference | None:
    """The paired test by source; None where the two do not have tables of the same clips."""
    first, second = challenger.table, champion.table
    if first is None or second is None or not _same_clips(first, second):
        return None
    at = {name: row for row, name in enumerate(second.names)}
    second_N = second.correct_N[[at[name] for name in first.names]]
    return paired_bootstrap(first.correct_N, second_N, first.sources, first.weight_N)


def _same_clips(first: OutOfFold, second: OutOfFold) -> bool:
    return _clips(first) == _clips(second)


def _clips(found: OutOfFold) -> list[tuple[str, int, str]]:
    rows = zip(found.names, found.folds.tolist(), found.labels.tolist(), strict=True)
    return sorted((name, fold, found.classes[label]) for name, fold, label in rows)


def _missing(challenger: Candidate, champion: Candidate) -> str:
    for who, candidate in (("the challenger", challenger), ("the champion", champion)):
        if candidate.found is None:
            return f"{who} has no table of predictions"
        if candidate.table is None:
            return f"{who}'s table of predictions is of another exam"
    return "their tables of predictions hold other clips"
