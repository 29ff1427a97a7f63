"""How often a study has looked at its test folds: what was seen at one look may steer the search before the next."""

import hashlib
import json

from escmodels.exams import Exam

from .ledger import Ledger

FACT = "looks"  # of the ledger: where the search stood at each look


def note(ledger: Ledger) -> int:
    """Test folds are about to be opened: which look that is. An exam that is repeated without searching is the same."""
    known: list[str] | None = ledger.fact(FACT)
    if known is None:  # a study of before looks were counted: its exams say how many trials there were
        tried = ledger.count_trials()
        known = [str(other) for other in sorted({exam.trials for exam in _exams(ledger)} - {tried})]
    stand = _stand(ledger)
    if stand not in known:
        known = [*known, stand]
        ledger.keep(FACT, known)
    return known.index(stand) + 1


def _stand(ledger: Ledger) -> str:
    """What a search has come to so far, as a short hash: another trial, or another end of one, is another stand."""
    rows = [(row.number, row.state, row.objective) for row in ledger.trials()]
    return hashlib.sha256(repr(rows).encode()).hexdigest()[:16]


def _exams(ledger: Ledger) -> list[Exam]:
    kept = (ledger.fact(f"exam/{row.number}") for row in ledger.trials())
    return [Exam.from_json(json.dumps(fact["exam"])) for fact in kept if fact is not None]


def caution(exam: Exam) -> str:
    """What has to stand beside the figure of a later look than the first; empty for that."""
    if (exam.looks or 1) == 1:
        return ""
    return (
        f"the test folds were opened {exam.looks} times, with searching in between: what was seen before may have "
        "steered the search, and the figure is too high by as much"
    )
