"""Laws of the conductor, with a worker that trains nothing: a trial's accuracy is the value of its knob."""

import contextlib

import pytest

from escmodels.folds import SearchSplit
from search.conductor import LOSSES, Conductor, Limits
from search.ledger import Ledger
from search.trial import FoldResult, Plan, Report

EPOCHS = 3
PLAN = Plan(tuple(SearchSplit(number, (0,), (1,)) for number in (1, 2, 3)), EPOCHS, seed=0)


class Scripted:
    """A proposer that goes through a list, and writes down what it is told."""

    def __init__(self, script):
        self.script, self.asked = list(script), 0
        self.told, self.replayed = [], []

    def ask(self):
        value = self.script[min(self.asked, len(self.script) - 1)]
        self.asked += 1
        return 100 + self.asked, {"x": value}

    def tell(self, proposal, outcome, value, intermediate):
        self.told.append((proposal, outcome, value, dict(intermediate)))

    def replay(self, values, outcome, value, intermediate):
        self.replayed.append((values["x"], outcome, value, dict(intermediate)))
        return 1000 + len(self.replayed)


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite", create=True)
    yield ledger
    ledger.close()


def conductor(ledger, script, clock=lambda: 0.0, **limits):
    limits = {"trials": len(script), "minimum": 2} | limits
    proposer = Scripted(script)
    return Conductor(ledger, proposer, PLAN, Limits(**limits), data="d", code="c", clock=clock), proposer


def reports(assignment):
    for split in PLAN.splits:
        if split.number in assignment.finished:
            continue
        for epoch in range(1, EPOCHS + 1):
            accuracy = assignment.values["x"]
            result = FoldResult(accuracy, 1.0, b"\0\0", 0.1) if epoch == EPOCHS else None
            yield Report(assignment.trial, split.number, epoch, {"valid_accuracy": accuracy}, result)


def run(conductor, stop_after=None):
    """Work through everything; with stop_after, vanish after so many reports, as a killed process does."""
    sent = 0
    while (assignment := conductor.next()) is not None:
        for report in reports(assignment):
            if sent == stop_after:
                return
            sent += 1
            if not conductor.on_report(report):
                break


def states(ledger):
    return [(row.values["x"], row.state) for row in ledger.trials()]


def end_as_if_undisturbed(steady, broken, script):
    """Resume the broken study, and compare all that counts with the steady one."""
    resumed, proposer = conductor(broken, script)
    proposer.asked = broken.count_trials()  # the sampler goes on where it stood
    run(resumed)
    assert states(broken) == states(steady)
    assert [(f.key, f.score, f.state) for f in broken.folds()] == [
        (f.key, f.score, f.state) for f in steady.folds()
    ]
    assert broken.rungs() == steady.rungs()
    for ledger in (steady, broken):
        ledger.close()


def test_without_pruning_every_trial_runs_all_splits_and_is_told_its_mean(ledger):
    c, proposer = conductor(ledger, [0.25, 0.5], pruner="none")
    run(c)
    assert states(ledger) == [(0.25, "complete"), (0.5, "complete")]
    assert [(told[1], told[2]) for told in proposer.told] == [("complete", 0.25), ("complete", 0.5)]
    assert [fold.state for fold in ledger.folds()] == ["finished"] * 6


def test_a_trial_that_is_behind_is_pruned_and_told_as_pruned_with_what_it_had(ledger):
    c, proposer = conductor(ledger, [0.5, 0.25])
    run(c)
    assert states(ledger) == [(0.5, "complete"), (0.25, "pruned")]
    assert proposer.told[1] == (102, "pruned", None, {1: 0.25})
    assert ledger.trial(1).objective is None
    assert "split 1, epoch 1" in ledger.trial(1).reason


def test_a_better_latecomer_is_not_pruned(ledger):
    c, _ = conductor(ledger, [0.25, 0.5, 0.75])
    run(c)
    assert [state for _, state in states(ledger)] == ["complete"] * 3


@pytest.mark.parametrize("killed_at", range(1, 39))
def test_a_search_killed_at_any_write_ends_as_if_it_had_not_been_killed(tmp_path, monkeypatch, killed_at):
    script = [0.5, 0.25, 0.75]
    steady, broken = (Ledger(tmp_path / name, create=True) for name in ("steady", "broken"))
    run(conductor(steady, script)[0])

    class Killed(BaseException):
        pass

    writes = 0

    def count(name):
        original = getattr(Ledger, name)

        def write(self, *args, **kwargs):
            nonlocal writes
            if self is broken:
                writes += 1
                if writes == killed_at:
                    raise Killed
            return original(self, *args, **kwargs)

        return write

    names = ("open_trial", "log_epoch", "finish_fold", "write_rung", "close_trial")
    with monkeypatch.context() as patch:
        for name in names:
            patch.setattr(Ledger, name, count(name))
        with contextlib.suppress(Killed):
            run(conductor(broken, script)[0])
    assert writes == killed_at  # it was killed, and before its end
    end_as_if_undisturbed(steady, broken, script)


def test_killed_drivers_are_not_counted_as_lost_workers(ledger):
    for _ in range(LOSSES + 1):
        run(conductor(ledger, [0.5])[0], stop_after=1)
    run(conductor(ledger, [0.5])[0])
    assert (ledger.trial(0).state, ledger.trial(0).losses) == ("complete", 0)


def test_late_news_of_a_trial_that_has_ended_changes_nothing(ledger):
    c, _ = conductor(ledger, [0.5], pruner="none")
    first = next(reports(c.next()))
    run_on = conductor(ledger, [0.5], pruner="none")[0]
    run(run_on)
    before = ledger.folds()
    assert not run_on.on_report(first)
    assert ledger.folds() == before


@pytest.mark.parametrize("killed_after", range(0, 19))
def test_a_killed_search_ends_as_if_it_had_not_been_killed(tmp_path, killed_after):
    script = [0.5, 0.25, 0.75]
    steady, broken = (Ledger(tmp_path / name, create=True) for name in ("steady", "broken"))
    run(conductor(steady, script)[0])
    run(conductor(broken, script)[0], stop_after=killed_after)
    end_as_if_undisturbed(steady, broken, script)


def test_finished_fold_runs_are_not_assigned_again_after_a_kill(ledger):
    run(
        conductor(ledger, [0.5], pruner="none")[0], stop_after=EPOCHS + 1
    )  # one split done, one epoch of the next
    assignment = conductor(ledger, [0.5])[0].next()
    assert (assignment.trial, assignment.finished) == (0, frozenset({1}))


def test_a_resumed_search_tells_the_sampler_everything_that_happened(ledger):
    run(conductor(ledger, [0.5, 0.25])[0], stop_after=10)
    _, proposer = conductor(ledger, [0.5, 0.25, 0.75])
    assert proposer.replayed[0] == (0.5, "complete", 0.5, {1: 0.5, 3: 0.5, 6: 0.5})
    assert proposer.replayed[1][:2] in {(0.25, "pruned"), (0.25, "running")}


def test_more_trials_can_be_asked_for(ledger):
    run(conductor(ledger, [0.5, 0.25])[0])
    c, proposer = conductor(ledger, [0.5, 0.25, 0.75])
    proposer.asked = 2
    run(c)
    assert states(ledger) == [(0.5, "complete"), (0.25, "pruned"), (0.75, "complete")]


def test_identical_values_are_never_trained_twice_and_a_small_space_ends(ledger):
    c, proposer = conductor(ledger, [0.5, 0.5, 0.5, 0.75], trials=9, pruner="none")
    run(c)
    assert states(ledger) == [(0.5, "complete"), (0.75, "complete")]
    assert c.exhausted
    assert {told[1] for told in proposer.told} == {"complete", "failed"}


def test_a_failed_trial_is_failed_and_not_scored(ledger):
    c, proposer = conductor(ledger, [0.5, 0.75])
    assignment = c.next()
    assert not c.on_report(Report(assignment.trial, failed="diverged: loss is nan"))
    assert ledger.trial(0).state == "failed"
    assert ledger.trial(0).objective is None
    assert proposer.told == [(101, "failed", None, {})]
    run(c)
    assert states(ledger)[1] == (0.75, "complete")


def test_a_trial_whose_worker_is_lost_is_taken_up_again_a_few_times(ledger):
    c, proposer = conductor(ledger, [0.5])
    for losses in range(LOSSES):
        assignment = c.next()
        assert assignment.trial == 0
        assert ledger.trial(0).losses == losses
        c.on_lost(0, "killed")
    assert c.next() is None
    assert ledger.trial(0).state == "failed"
    assert "lost 3 workers" in ledger.trial(0).reason
    assert proposer.told[-1][1] == "failed"


def test_losing_the_worker_of_a_trial_that_has_ended_changes_nothing(ledger):
    c, _ = conductor(ledger, [0.5])
    run(c)
    c.on_lost(0, "late news")
    assert states(ledger) == [(0.5, "complete")]


def test_no_trial_is_begun_after_the_hours_asked_for(ledger):
    now = [0.0]
    c, _ = conductor(ledger, [0.25, 0.5, 0.75], clock=lambda: now[0], hours=1.0, pruner="none")
    assignment = c.next()
    now[0] = 3601.0
    for report in reports(assignment):
        assert c.on_report(report)
    assert c.next() is None
    assert states(ledger) == [(0.25, "complete")]


@pytest.mark.parametrize("bad", [{"trials": 0}, {"hours": -1.0}, {"pruner": "median"}])
def test_limits_that_cannot_be_are_refused(bad):
    with pytest.raises(ValueError, match="must be|known"):
        Limits(**({"trials": 1} | bad))
