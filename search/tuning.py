"""The conductor behind Ray Tune's interfaces: what Tune's searcher, scheduler and stopper do is ask it."""

from typing import Any

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from . import deaths
from .conductor import Conductor
from .errors import Failure
from .worker import REPORT


class _NotKept:
    """Tune pickles its parts to disk for a restore that we never ask for; nothing of ours goes there."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class ConductorSearch(_NotKept, Searcher):
    """Tune's searcher: what the conductor hands out."""

    def __init__(self, conductor: Conductor, concurrent: int) -> None:
        super().__init__()
        self._conductor, self._concurrent = conductor, concurrent
        self.running: dict[str, int] = {}  # Tune's trial id -> our trial

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]  # FINISHED is a str
        if len(self.running) >= self._concurrent:
            return None
        assignment = self._conductor.next()
        if assignment is None:
            # a running trial may lose its worker and have to be taken up again
            return None if self.running else Searcher.FINISHED
        self.running[trial_id] = assignment.trial
        return {
            "trial": assignment.trial,
            "values": dict(assignment.values),
            "finished": sorted(assignment.finished),
            "costs": dict(assignment.costs),
        }

    def set_search_properties(self, metric: str | None, mode: str | None, config: Any, **spec: Any) -> bool:
        return True  # nothing to set: the conductor knows the objective and the space

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        trial = self.running.pop(trial_id, None)
        if trial is not None:  # no effect on a trial that has ended, or whose death the scheduler has told
            self._conductor.on_lost(trial, "the worker died")

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a resumed study builds a new searcher on its ledger."""


class ConductorScheduler(_NotKept, FIFOScheduler):
    """Tune's scheduler: what the conductor says to a report, and what it hears of a death."""

    def __init__(self, conductor: Conductor, silence: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._conductor, self._silence = conductor, silence
        self.idle = False  # the search is to end, and no worker has a trial

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        letter = result[REPORT]
        go_on = all(
            self._conductor.on_report(news, more=place < len(letter))
            for place, news in enumerate(letter, start=1)
        )
        return TrialScheduler.CONTINUE if go_on else TrialScheduler.STOP

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        number = trial.config["trial"]
        death = deaths.of(trial)
        if death.refused:  # every trial that came to that node would end there
            self._conductor.give_up(Failure(f"{death.reason}; then resume"), number)
            return
        if not death.memory and self._conductor.silent_for(number) >= self._silence:
            death = deaths.Death(f"no report for {self._silence / 60:g} minutes")
        self._conductor.on_lost(number, death.reason, memory=death.memory)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        if self._conductor.stopping:
            live = tune_controller.get_live_trials()
            self.idle = not any(trial.status == Trial.RUNNING for trial in live)
        _forget_ended(tune_controller)
        return super().choose_trial_to_run(tune_controller)


class NobodyLeft(_NotKept, tune.Stopper):
    """Ends a search that is to end, though trials still wait for a node that may never come."""

    def __init__(self, scheduler: ConductorScheduler) -> None:
        self._scheduler = scheduler

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._scheduler.idle


class Silent(TrialProgressCallback):
    """In the place of Tune's own, which keeps every trial and its last result to print them."""

    def on_trial_result(self, *args: Any, **more: Any) -> None:
        """Nothing: what happens to a trial is in the ledger."""

    on_trial_error = on_trial_complete = on_trial_result


def _forget_ended(controller: Any) -> None:
    """Let go of Tune's trials that are over. It keeps them, some 30 kB each, for results that nobody asks it for."""
    for trial in [trial for trial in controller._trials if trial.is_finished()]:
        if trial not in controller._trial_to_actor:
            controller._trials.remove(trial)
            for kept in (controller._stopped_trials, controller._failed_trials, controller._trials_to_cache):
                kept.discard(trial)
