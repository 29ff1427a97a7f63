"""Which knobs mattered: Optuna's functional ANOVA over the complete trials of a study.

Hutter, Hoos & Leyton-Brown 2014 ("An efficient approach for assessing hyperparameter importance"): a random forest
learns the objective from the knobs; the importance of a knob is the share of the forest's variance that it explains
alone. Only knobs that every one of the trials has can be compared, so that each architecture is also judged alone.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from spaces.space import PointError, Space, complete

from ..ledger import TrialRow
from ..parameters import Parameters
from .facts import Facts, family

LEAST = 10  # complete trials below which nothing is said
MOST = 300  # trials that are used: the forest takes a second for some 100
PATH = ", "  # in names of parameters that differ from arm to arm


@dataclass(frozen=True)
class Importances:
    """Shares of the variance by knob, the greatest first."""

    about: str  # whose trials
    shares: tuple[tuple[str, float], ...]
    used: int  # trials
    of: int  # complete trials there are


def importances(facts: Facts) -> list[Importances]:
    """Of all complete trials, and of those of the winner's architecture where there are others too.

    Empty where there are fewer than 10 complete trials, or no space to read them by.
    """
    if facts.space is None or facts.winner is None:
        return []
    rows, own = facts.complete, family(facts.winner)
    of_family = [row for row in rows if family(row) == own]
    found = [_of("all architectures", rows, facts.space)]
    if len({family(row) for row in rows}) > 1:
        found.append(_of(f"{own} alone", of_family, facts.space))
    else:
        found = [_of("all trials", rows, facts.space)]
    return [one for one in found if one is not None]


def _of(about: str, rows: Sequence[TrialRow], space: Space) -> Importances | None:
    """None where the trials are too few, no knob varies over them, or no tree of the forest finds a difference."""
    if len(rows) < LEAST:
        return None
    import optuna
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances
    from optuna.trial import create_trial

    parameters, trials = Parameters(space), []
    for row in random.Random(0).sample(list(rows), min(MOST, len(rows))):
        try:
            params = parameters.of(complete(space, row.values))
        except PointError:  # tried with other values than the space has now
            continue
        distributions = {name: parameters.distributions[name] for name in params}
        trials.append(create_trial(params=params, distributions=distributions, value=row.objective))
    common = [name for name in (trials[0].params if trials else ()) if all(name in t.params for t in trials)]
    varied = [name for name in common if len({trial.params[name] for trial in trials}) > 1]
    if len(trials) < LEAST or not varied or len({trial.value for trial in trials}) < 2:
        return None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    study.add_trials(trials)
    try:
        shares = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0), params=varied)
    except (RuntimeError, ValueError):  # Optuna's: no variance in any tree, nothing that can be evaluated
        return None
    short = {name: name.rsplit(PATH, 1)[-1] for name in shares}
    return Importances(
        about, tuple((short[name], float(share)) for name, share in shares.items()), len(trials), len(rows)
    )
