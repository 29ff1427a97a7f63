"""What must not grow with a study, counted and not timed: statements, tables read whole, what is remembered."""

import importlib
import sys
import tracemalloc
from contextlib import contextmanager
from pathlib import Path

import pytest

from search.conductor import Conductor, Limits
from search.glance import Glance
from search.guide import SLACK
from search.ledger import Ledger
from search.objectives import parse
from search.samplers import SHOWN
from search.standing import Follower
from search.suggest import Proposer
from spaces.load import load

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))  # benchmarks are scripts that import each other by name
made, queueing = (importlib.import_module(name) for name in ("made", "queueing"))
sys.path.remove(str(BENCHMARKS))

FEW, MANY = 5, 25
BOTH = parse("accuracy,-loss")


@contextmanager
def statements(ledger):
    """The SQL that a ledger runs inside."""
    found = []
    ledger._db.set_trace_callback(found.append)
    try:
        yield found
    finally:
        ledger._db.set_trace_callback(None)


def kinds(found):
    """What the statements do, without their values: the length of what is compared."""
    return [text.split("WHERE")[0].split("VALUES")[0].strip() for text in found]


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """Number of trials -> a study with so many."""
    folder = tmp_path_factory.mktemp("filled")
    return {count: made.fill(folder / str(count), count, "smoke") for count in (FEW, MANY, 2 * MANY)}


@pytest.fixture
def opened(filled, tmp_path):
    """Opens a copy of a study that may be written to."""
    ledgers = []

    def open_copy(count):
        path = tmp_path / f"{count}-{len(ledgers)}.sqlite"
        path.write_bytes(filled[count].read_bytes())
        ledgers.append(Ledger(path))
        return ledgers[-1]

    yield open_copy
    for ledger in ledgers:
        ledger.close()


def going_on(ledger, trials=10**6):
    return made.resumed(ledger, Proposer(load("smoke"), seed=0, sampler="random"), trials)


def heard(ledger, epochs):
    """The statements of each of the first reports of a new trial."""
    conductor, found = going_on(ledger), []
    assignment = conductor.next()
    reports = made.Made(3).reports(assignment)
    for report, _ in zip(reports, range(epochs), strict=False):
        with statements(ledger) as one:
            goes_on = conductor.on_report(report)
        found.append(one)
        if not goes_on:
            break
    return found


def test_a_report_takes_as_many_statements_in_a_large_study_as_in_a_small_one(opened):
    few, many = (heard(opened(count), 4) for count in (FEW, MANY))
    assert len(few) == len(many) == 4
    assert [kinds(one) for one in few] == [kinds(one) for one in many]
    assert (
        len(few[1]) <= 8
    )  # a plain report: look up the trial and its fold run, write the epoch, nothing else


def test_no_plain_report_reads_a_whole_table(opened):
    ledger = opened(MANY)
    for found in heard(ledger, made.EPOCHS // 3 - 1):
        for text in found:
            if text.startswith(("SELECT", "UPDATE", "DELETE")):
                for *_, detail in ledger._db.execute(f"EXPLAIN QUERY PLAN {text}"):
                    assert not detail.startswith("SCAN"), text


@pytest.mark.parametrize("table", ["folds", "rungs"])
def test_what_belongs_to_one_trial_is_found_by_an_index(opened, table):
    ledger = opened(FEW)
    with statements(ledger) as found:
        assert getattr(ledger, table)(1)
    (text,) = found
    plan = [detail for *_, detail in ledger._db.execute(f"EXPLAIN QUERY PLAN {text}")]
    assert any(detail.startswith("SEARCH") for detail in plan)
    assert not any(detail.startswith("SCAN") for detail in plan)


def test_what_belongs_to_one_trial_is_what_all_trials_have_of_it(opened):
    ledger = opened(FEW)
    for trial in range(FEW):
        assert ledger.folds(trial) == [fold for fold in ledger.folds() if fold.trial == trial]
        for phase in ("search", "exam"):
            assert ledger.folds(trial, phase) == [f for f in ledger.folds(trial) if f.phase == phase]
        assert ledger.rungs(trial) == [rung for rung in ledger.rungs() if rung[0] == trial]


def test_taking_up_a_study_takes_as_many_statements_for_each_trial(opened):
    counts = []
    for count in (FEW, MANY, 2 * MANY):
        ledger = opened(count)
        with statements(ledger) as found:
            going_on(ledger)
        counts.append(len(found))
    each = (counts[1] - counts[0]) / (MANY - FEW)
    assert (counts[2] - counts[1]) / MANY == each
    assert each <= 2 + made.SPLITS * 2


def test_a_trial_on_the_way_to_the_front_is_compared_with_the_front_alone(opened):
    counts = []
    for count in (FEW, MANY):
        ledger = opened(count)
        conductor = Conductor(
            ledger,
            Proposer(load("smoke"), seed=0, sampler="random", objectives=BOTH),
            made.PLAN,
            Limits(10**6),
            labels=made.ANSWERS,
            data=made.DATA,
            code=made.CODE,
            objectives=BOTH,
        )
        conductor._complete(
            ledger.trial(1), ledger.folds(1, "search")
        )  # the first one sorts out all that are known
        row = ledger.trial(0)
        with statements(ledger) as found:
            conductor._complete(row, ledger.folds(0, "search"))
        counts.append(len(found))
    assert counts[0] == counts[1]


def test_a_second_look_reads_what_has_changed(opened):
    looks = []
    for count in (FEW, MANY):
        ledger = opened(count)
        conductor = going_on(ledger)
        assignment = conductor.next()
        reports = made.Made(3).reports(assignment)
        glance = Glance(ledger.path)
        follower = Follower(glance, "reader")
        follower.read()
        counts = []
        for _ in range(3):
            conductor.on_report(next(reports))
            with statements(glance) as found:
                follower.read()
            counts.append(kinds(found))
        with statements(glance) as found:
            follower.read()
        looks.append((counts, kinds(found)))
        glance.close()
    assert looks[0] == looks[1]
    assert len(looks[0][1]) < len(looks[0][0][0])  # where nothing has changed there is little to read


def grown(path, epochs, monkeypatch):
    """Bytes that the conductor keeps of each trial, of trials with so many epochs that all end as they began."""
    monkeypatch.setattr(made, "EPOCHS", epochs)
    ledger = Ledger(path, create=True)
    plan = made.Plan(made.PLAN.splits, epochs, 0)
    monkeypatch.setattr(made, "PLAN", plan)
    conductor = made.resumed(ledger, Proposer(load("smoke"), seed=0, sampler="random"), 40)
    reports, sizes = made.Made(), {}
    tracemalloc.start()
    try:
        while (assignment := conductor.next()) is not None:
            for report in reports.reports(assignment):
                if not conductor.on_report(report):
                    break
            if ledger.count_trials() in (20, 40):
                sizes[ledger.count_trials()] = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
        ledger.close()
    return (sizes[40] - sizes[20]) / 20


def test_what_is_remembered_of_a_trial_does_not_grow_with_its_epochs(tmp_path, monkeypatch):
    short, long = (grown(tmp_path / str(epochs), epochs, monkeypatch) for epochs in (6, 24))
    assert long < 1.3 * short + 1000
    assert long < 20_000


def test_the_study_that_the_sampler_sees_is_bounded():
    proposer, most = Proposer(load("smoke"), seed=0, sampler="random"), 0
    for turn in range(2 * SHOWN["random"]):
        number, _ = proposer.ask()
        proposer.tell(number, "complete", (turn / 1000,), {1: 0.5})
        if proposer._guide._study is not None:
            most = max(most, len(proposer._guide._study.get_trials(deepcopy=False)))
    assert SHOWN["random"] < most <= SHOWN["random"] + SLACK + 1


# workers in virtual time


def waited(cost, workers, length):
    costs = {"report": [cost], "verdict": [cost], "proposal": [0.0], "tune": [0.0]}
    return queueing.simulate(costs, workers, length, [24, 48], reports=6000)


def test_nobody_waits_for_a_driver_that_takes_no_time():
    assert waited(0.0, 16, 1.0).idle == 0
    assert waited(0.0, 16, 1.0).busy == 0


def test_workers_share_a_driver_that_is_busy_all_the_time():
    counted = waited(0.1, 64, 1.0)  # it answers ten reports a second
    assert counted.busy / counted.span == pytest.approx(1, abs=0.02)
    assert (counted.trained + counted.waited) / counted.span == pytest.approx(64, rel=0.1)
    assert counted.trained / counted.span == pytest.approx(10, rel=0.2)  # one second for each report


def test_more_workers_wait_longer():
    shares = [waited(0.02, workers, 1.0).idle for workers in (4, 16, 64)]
    assert shares == sorted(shares)
    assert waited(0.02, 16, 10.0).idle < shares[1]
