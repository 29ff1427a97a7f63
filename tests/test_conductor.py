"""Laws of the conductor, with a worker that trains nothing: a trial's accuracy is the value of its knob."""

import contextlib
from dataclasses import replace

import numpy as np
import pytest

from escmodels.folds import SearchSplit
from search.conductor import LOSSES, Conductor, Limits, halved
from search.errors import Failure
from search.ledger import Ledger, Unwritable
from search.objectives import ACCURACY, parse
from search.pruning import Policy
from search.trial import FoldResult, Plan, Report

EPOCHS, CLIPS = 3, 100
PLAN = Plan(tuple(SearchSplit(number, (0,), (1,)) for number in (1, 2, 3)), EPOCHS, seed=0)
LABELS = dict.fromkeys((1, 2, 3), np.zeros(CLIPS, np.int64))


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


def conductor(
    ledger,
    script,
    clock=lambda: 0.0,
    trials=None,
    hours=None,
    objectives=ACCURACY,
    plan=PLAN,
    code="c",
    **policy,
):
    usual = {"competitors": 2, "rungs": (1 / 3, 1.0), "queue": 0}
    limits = Limits(trials or len(script), hours, Policy(**(usual | policy)))
    proposer = Scripted(script)
    facts = {"labels": LABELS, "data": "d", "code": code, "objectives": objectives, "clock": clock}
    return Conductor(ledger, proposer, plan, limits, **facts), proposer


def answers(accuracy):
    """Predictions that are right for the first clips, so many as the accuracy says."""
    return (np.arange(CLIPS) >= accuracy * CLIPS).astype(np.int16).tobytes()


def reports(assignment):
    for split in PLAN.splits:
        if split.number in assignment.finished:
            continue
        for epoch in range(1, EPOCHS + 1):
            accuracy = assignment.values["x"]
            result = FoldResult(accuracy, 1.0, answers(accuracy), 0.1) if epoch == EPOCHS else None
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


def end_as_if_undisturbed(steady, broken, script, **policy):
    """Resume the broken study, and compare all that counts with the steady one."""
    resumed, proposer = conductor(broken, script, **policy)
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
    assert [(told[1], told[2]) for told in proposer.told] == [("complete", (0.25,)), ("complete", (0.5,))]
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


@pytest.mark.parametrize("queue", [0, 2, 8])
@pytest.mark.parametrize("killed_after", range(0, 19))
def test_a_killed_search_ends_as_if_it_had_not_been_killed(tmp_path, killed_after, queue):
    script = [0.5, 0.25, 0.75]
    steady, broken = (Ledger(tmp_path / name, create=True) for name in ("steady", "broken"))
    run(conductor(steady, script, queue=queue)[0])
    run(conductor(broken, script, queue=queue)[0], stop_after=killed_after)
    end_as_if_undisturbed(steady, broken, script, queue=queue)


def test_finished_fold_runs_are_not_assigned_again_after_a_kill(ledger):
    run(
        conductor(ledger, [0.5], pruner="none")[0], stop_after=EPOCHS + 1
    )  # one split done, one epoch of the next
    assignment = conductor(ledger, [0.5])[0].next()
    assert (assignment.trial, assignment.finished) == (0, frozenset({1}))


def test_a_resumed_search_tells_the_sampler_everything_that_happened(ledger):
    run(conductor(ledger, [0.5, 0.25])[0], stop_after=10)
    _, proposer = conductor(ledger, [0.5, 0.25, 0.75])
    assert proposer.replayed[0] == (0.5, "complete", (0.5,), {1: 0.5, 3: 0.5, 6: 0.5, 9: 0.5})
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
    assert {told[1] for told in proposer.told} == {
        "complete",
        "failed",
    }  # a repeated proposal teaches nothing


def test_a_failed_trial_is_failed_and_not_scored(ledger):
    c, proposer = conductor(ledger, [0.5, 0.75])
    assignment = c.next()
    assert not c.on_report(Report(assignment.trial, failed="diverged: loss is nan"))
    assert ledger.trial(0).state == "failed"
    assert ledger.trial(0).objective is None
    assert proposer.told == [(101, "infeasible", None, {})]  # that recipe shall not come back
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


def test_only_losses_without_progress_count_against_a_trial(ledger):
    c, _ = conductor(ledger, [0.5], pruner="none")
    assignment = c.next()
    for split in PLAN.splits:
        for losses in range(1, LOSSES):
            c.on_lost(0, "its node was lost")
            assert ledger.trial(0).losses == losses
            assignment = c.next()
        for report in reports(assignment):
            if report.split == split.number:
                c.on_report(report)
        assert ledger.trial(0).losses == 0
    assert states(ledger) == [(0.5, "complete")]


def test_giving_up_lets_all_trials_wait_and_counts_no_loss(ledger):
    c, proposer = conductor(ledger, [0.5, 0.75], pruner="none")
    first, second = c.next(), c.next()
    c.give_up(Failure("a node has other code"), first.trial)
    c.give_up(Failure("the same of another node"))
    assert str(c.trouble) == "a node has other code"
    assert c.next() is None
    assert not c.on_report(next(reports(second)))
    c.give_up(Failure("late news"), second.trial)
    assert [(row.state, row.losses) for row in ledger.trials()] == [("waiting", 0)] * 2
    assert proposer.told == []
    run(conductor(ledger, [0.5, 0.75], pruner="none")[0])
    assert states(ledger) == [(0.5, "complete"), (0.75, "complete")]


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


@pytest.mark.parametrize("bad", [{"trials": 0}, {"hours": -1.0}])
def test_limits_that_cannot_be_are_refused(bad):
    with pytest.raises(ValueError, match="must be"):
        Limits(**({"trials": 1} | bad))


# the race


def test_a_trial_that_halving_lets_through_is_dropped_by_the_race(ledger):
    c, _ = conductor(ledger, [0.5, 0.4], competitors=9)
    run(c)
    assert states(ledger) == [(0.5, "complete"), (0.4, "pruned")]
    assert "behind trial 0 after split 1" in ledger.trial(1).reason


@pytest.mark.parametrize(("pruner", "epochs"), [("none", 9), ("race", 3), ("asha", 1), ("both", 1)])
def test_each_pruner_stops_where_it_says(ledger, pruner, epochs):
    run(conductor(ledger, [0.5, 0.25], pruner=pruner)[0])
    assert sum(fold.epochs for fold in ledger.folds(1)) == epochs


def test_weights_that_are_an_average_are_judged_by_their_last_epoch(ledger):
    c, _ = conductor(ledger, [0.5], pruner="none")
    a = c.next()
    for epoch, accuracy in enumerate((0.0, 0.3, 0.9), start=1):
        result = FoldResult(accuracy, 1.0, answers(accuracy), 0.1) if epoch == EPOCHS else None
        c.on_report(Report(a.trial, 1, epoch, {"valid_accuracy": accuracy}, result))
    assert ledger.rungs() == [(0, 1, 3, pytest.approx(0.4))]


# the queue


NEAR = [0.5, 0.52, 0.54, 0.56, 0.58, 0.6]  # so near to one another that no test tells them apart


def order_of_ends(ledger):
    """Trials in the order in which they ended."""
    rows = [row for row in ledger.trials() if row.ended is not None]
    return [row.number for row in sorted(rows, key=lambda row: row.ended)]


def test_nobody_waits_without_a_queue(ledger):
    run(conductor(ledger, NEAR, pruner="race", level=1e-9)[0])
    assert order_of_ends(ledger) == [0, 1, 2, 3, 4, 5]


def test_all_wait_after_the_first_split_then_the_best_go_on_first(ledger):
    run(conductor(ledger, NEAR, pruner="race", level=1e-9, queue=9)[0])
    assert order_of_ends(ledger) == [5, 4, 3, 2, 1, 0]
    assert [state for _, state in states(ledger)] == ["complete"] * 6


def test_a_short_queue_lets_its_best_go_on_before_others_begin(ledger):
    run(conductor(ledger, NEAR, pruner="race", level=1e-9, queue=2)[0])
    assert order_of_ends(ledger) == [1, 2, 3, 4, 5, 0]


def test_who_waits_is_judged_again_by_what_has_come_since(ledger):
    run(conductor(ledger, [0.5, 0.9], pruner="race", queue=9)[0])
    assert states(ledger) == [(0.5, "pruned"), (0.9, "complete")]
    assert "behind trial 1 after split 1" in ledger.trial(0).reason
    assert sum(fold.epochs for fold in ledger.folds(0)) == EPOCHS


def test_who_waits_is_a_stopped_trial_to_the_sampler_until_it_ends(ledger):
    c, proposer = conductor(ledger, [0.5, 0.6], pruner="race", level=1e-9, queue=9)
    run(c)
    assert [(number, outcome, worth) for number, outcome, worth, _ in proposer.told] == [
        (101, "pruned", None),
        (102, "complete", (0.6,)),
        (101, "complete", (0.5,)),
    ]


def test_trials_in_the_queue_are_queued_again_by_a_resumed_search(ledger):
    c, _ = conductor(ledger, NEAR, pruner="race", level=1e-9, queue=9)
    run(c, stop_after=2 * EPOCHS)
    assert [row.state for row in ledger.trials()] == ["queued", "queued", "running"]
    resumed, proposer = conductor(ledger, NEAR, pruner="race", level=1e-9, queue=9)
    assert [outcome for _, outcome, _, _ in proposer.replayed] == ["pruned", "pruned", "running"]
    proposer.asked = 3
    run(resumed)
    assert order_of_ends(ledger) == [5, 4, 3, 2, 1, 0]


def test_the_queue_is_carried_on_when_no_time_is_left_for_new_trials(ledger):
    now = [0.0]
    c, _ = conductor(ledger, NEAR, clock=lambda: now[0], hours=1.0, pruner="race", level=1e-9, queue=9)
    for _ in range(2):
        for report in reports(c.next()):
            if not c.on_report(report):
                break
    now[0] = 3601.0
    run(c)
    assert states(ledger) == [(0.5, "complete"), (0.52, "complete")]


@pytest.mark.parametrize("resumed", [False, True])
@pytest.mark.parametrize("end", ["failed", "memory"])
def test_a_leader_that_fails_leads_no_more_and_whom_it_had_beaten_comes_back(
    ledger, end, resumed, monkeypatch
):
    """Trial 0 is far ahead in split 1 and then cannot be trained; trial 1 had been dropped because of it."""
    monkeypatch.setattr("search.conductor.halved", lambda values: None)  # its batch cannot be halved
    script = [0.9, 0.5, 0.55]
    c, proposer = conductor(ledger, script, pruner="race")
    first, second = c.next(), c.next()
    for report in list(reports(first))[:EPOCHS]:
        c.on_report(report)
    for report in reports(second):
        if not c.on_report(report):
            break
    assert ledger.trial(1).state == "pruned"
    c.on_report(Report(0, **{end: "diverged"}))
    assert ledger.trial(0).state == {"failed": "failed", "memory": "infeasible"}[end]
    if resumed:
        c, proposer = conductor(ledger, script, pruner="race")
        proposer.asked = 2
    run(c)
    assert [state for _, state in states(ledger)][1:] == ["complete", "complete"]


# memory


FITS = {"architecture": "mel_cnn", "optim.batch": 16}


class Recipes(Scripted):
    """A proposer of recipes that can be parsed."""

    def ask(self):
        proposal, values = super().ask()
        return proposal, FITS | {"optim.lr": values["x"]}

    def replay(self, values, *ending):
        return super().replay({"x": values["optim.lr"]}, *ending)


def recipes(ledger, *rates):
    limits = Limits(len(rates), None, Policy("none"))
    return Conductor(ledger, Recipes(rates), PLAN, limits, labels=LABELS, data="d", code="c")


def told_of_a_crash(conductor, trial):
    """Out of memory, by a worker's last words or by its death."""
    if trial % 2:
        conductor.on_lost(trial, "killed", memory=True)
    else:
        assert not conductor.on_report(Report(trial, memory="CUDA out of memory"))


@pytest.mark.parametrize("trial", [0, 1])
def test_a_trial_without_memory_is_tried_once_more_in_halves_then_infeasible(ledger, trial):
    c = recipes(ledger, 0.001, 0.002)
    c.next(), c.next()
    told_of_a_crash(c, trial)
    row = ledger.trial(trial)
    assert (row.state, row.rescue, row.losses) == ("waiting", {"optim.accumulate": 2}, 0)
    again = c.next()
    assert (again.trial, again.values) == (trial, row.values | {"optim.accumulate": 2})
    told_of_a_crash(c, trial)
    assert ledger.trial(trial).state == "infeasible"
    assert c._proposer.told[-1][1] == "infeasible"


def test_fold_runs_of_before_the_rescue_do_not_count(ledger):
    c = recipes(ledger, 0.001)
    a = c.next()
    result = FoldResult(0.5, 1.0, answers(0.5), 0.1)
    for epoch in range(1, EPOCHS + 1):
        c.on_report(Report(0, 1, epoch, {"valid_accuracy": 0.5}, result if epoch == EPOCHS else None))
    c.on_report(Report(0, memory="CUDA out of memory"))
    assert [fold.state for fold in ledger.folds()] == ["stale"]
    assert c.next().finished == a.finished == frozenset()


def test_a_batch_that_cannot_be_halved_is_infeasible_at_once():
    assert halved(FITS | {"optim.batch": 2}) is None
    assert halved(FITS | {"optim.batch": 8, "optim.accumulate": 2}) == {"optim.accumulate": 4}
    assert halved(FITS | {"optim.compile": "graphs"}) is None


# stopping


def test_stopping_suspends_each_trial_at_its_next_report_and_loses_nothing(ledger):
    c, _ = conductor(ledger, [0.5, 0.75], pruner="none")
    news = [list(reports(c.next())) for _ in range(2)]
    for report in news[0][:EPOCHS]:
        assert c.on_report(report)
    c.stop()
    assert c.next() is None
    assert not c.on_report(news[0][EPOCHS])
    assert not c.on_report(news[1][0])
    assert [row.state for row in ledger.trials()] == ["waiting", "waiting"]
    run(conductor(ledger, [0.5, 0.75], pruner="none")[0])
    assert states(ledger) == [(0.5, "complete"), (0.75, "complete")]


def test_a_trial_that_ends_while_stopping_has_ended(ledger):
    c, _ = conductor(ledger, [0.5], pruner="none")
    *most, last = reports(c.next())
    for report in most:
        c.on_report(report)
    c.stop()
    c.on_report(last)
    assert ledger.trial(0).state == "complete"


def test_another_process_can_stop_a_search(ledger):
    c, _ = conductor(ledger, [0.5])
    c.next()
    assert not c.stopping
    ledger.write_fact("stop", True)
    assert c.stopping
    assert c.next() is None


def test_a_ledger_that_takes_no_more_ends_the_search_and_loses_nothing(tmp_path):
    script = [0.3 + 0.02 * trial for trial in range(12)]
    steady, broken = (Ledger(tmp_path / name, create=True) for name in ("steady", "broken"))
    run(conductor(steady, script)[0])
    pages = broken._db.execute("PRAGMA page_count").fetchone()[0]
    broken._db.execute(f"PRAGMA max_page_count = {pages}")  # as a full disk: "database or disk is full"
    c, _ = conductor(broken, script)
    run(c)
    assert isinstance(c.trouble, Unwritable)
    assert "free some space" in str(c.trouble)
    broken._db.execute("PRAGMA max_page_count = 1000000")
    end_as_if_undisturbed(steady, broken, script)


def test_silence_counts_from_the_last_report(ledger):
    now = [0.0]
    c, _ = conductor(ledger, [0.5], clock=lambda: now[0])
    first = next(reports(c.next()))
    now[0] = 50.0
    assert c.silent_for(0) == 50.0
    c.on_report(first)
    assert c.silent_for(0) == 0.0


# other data or code


def test_what_was_trained_by_other_code_is_history_but_no_competitor(ledger):
    run(conductor(ledger, [0.9], code="old")[0])
    c, proposer = conductor(ledger, [0.9, 0.5], code="new")
    proposer.asked = 1
    run(c)
    assert states(ledger) == [(0.9, "complete"), (0.5, "complete")]
    assert proposer.replayed[0][:3] == (0.9, "complete", (0.9,))


def test_a_waiting_trial_begins_anew_under_other_code(ledger):
    run(conductor(ledger, [0.5], code="old")[0], stop_after=EPOCHS + 1)
    ledger.suspend_trial(0)
    ledger.set_aside()
    c, _ = conductor(ledger, [0.5], code="new")
    run(c)
    assert [fold.state for fold in ledger.folds()].count("finished") == 3
    assert list(ledger.scores(0)) == [1, 2, 3]


# limits


def test_a_recipe_over_a_limit_is_infeasible_and_no_failure(ledger):
    c, proposer = conductor(
        ledger, [0.9, 0.5], plan=replace(PLAN, costs=("params",), limits={"params": 100.0})
    )
    a = c.next()
    assert c.on_report(Report(a.trial, costs={"params": 101.0}))
    assert not c.on_report(Report(a.trial, over="over the limits: 101 parameters, at most 100"))
    row = ledger.trial(a.trial)
    assert (row.state, row.reason, row.costs) == (
        "infeasible",
        "over the limits: 101 parameters, at most 100",
        {"params": 101.0},
    )
    assert proposer.told[-1][1] == "infeasible"
    run(c)
    assert [state for _, state in states(ledger)] == ["infeasible", "complete"]


# several objectives


SMALL = parse("accuracy,-params")


def sized(ledger, *trials, objectives=SMALL):
    """Trials (accuracy, number of parameters) one after the other."""
    plan = replace(PLAN, costs=("params",))
    c, proposer = conductor(ledger, [accuracy for accuracy, _ in trials], objectives=objectives, plan=plan)
    for _, params in trials:
        a = c.next()
        if c.on_report(Report(a.trial, costs={"params": params})):
            for report in reports(a):
                if not c.on_report(report):
                    break
    return proposer


def test_what_is_smaller_than_all_that_is_better_is_not_stopped(ledger):
    proposer = sized(ledger, (0.9, 1000.0), (0.5, 10.0), (0.4, 2000.0), (0.8, 10.0))
    assert [state for _, state in states(ledger)] == ["complete", "complete", "pruned", "complete"]
    assert proposer.told[1][1:3] == ("complete", (0.5, 10.0))


def test_a_cost_that_is_only_limited_does_not_protect_from_pruning(ledger):
    sized(ledger, (0.9, 1000.0), (0.5, 10.0), objectives=ACCURACY)
    assert [state for _, state in states(ledger)] == ["complete", "pruned"]


def test_the_front_is_in_the_ledger(ledger):
    sized(ledger, (0.9, 1000.0), (0.5, 10.0), (0.8, 10.0), (0.95, 500.0))
    assert ledger.fact("front") == [3, 2]


def test_with_one_objective_there_is_no_front(ledger):
    run(conductor(ledger, [0.5])[0])
    assert ledger.fact("front") is None


def test_a_stop_keeps_all_that_came_in_one_letter(ledger):
    c, _ = conductor(ledger, [0.5], pruner="none")
    letter = list(reports(c.next()))[: EPOCHS + 1]  # the whole first split, and an epoch of the second
    c.stop()
    answers = [c.on_report(news, more=place < len(letter)) for place, news in enumerate(letter, start=1)]
    assert answers == [True] * EPOCHS + [False]
    first, second = ledger.folds(0)
    assert (first.state, first.epochs) == ("finished", EPOCHS)
    assert ledger.trial(0).state == "waiting" and second.state != "finished"
