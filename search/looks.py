"""How often a study has looked at its test folds: what was seen at one look may steer the search before the next."""

from escmodels.exams import Exam

from .ledger import Ledger

FACT = "looks"  # of the ledger: trials that had been tried at each look


def note(ledger: Ledger, tried: int) -> int:
    """Test folds are about to be opened: which look that is. An exam that is repeated without searching is the same."""
    known = ledger.fact(FACT, [])
    if tried not in known:
        known = [*known, tried]
        ledger.keep(FACT, known)
    return known.index(tried) + 1


def caution(exam: Exam) -> str:
    """What has to stand beside the figure of a later look than the first; empty for that."""
    if (exam.looks or 1) == 1:
        return ""
    return (
        f"the test folds were opened {exam.looks} times, with searching in between: what was seen before may have "
        "steered the search, and the figure is too high by as much"
    )
