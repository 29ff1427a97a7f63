"""Laws of the warm start: what is taken over is what was found, and only where it means the same."""

import json
from dataclasses import replace

import pytest

from escmodels.recipe import flatten, parse
from search.errors import UsageError
from search.ledger import Ledger
from search.objectives import ACCURACY
from search.objectives import parse as parse_objectives
from search.projection import StudyFacts
from search.settings import resolve
from search.warm import read
from spaces.domains import Categorical, Float, Int
from spaces.limits import exceeded
from spaces.space import Level, Space, contains, fix

HERE = {"data": "d1", "epochs": 4, "protocol": "rotating", "order": [1, 2], "objectives": ACCURACY}
KNOBS = {
    "architecture": "mel_cnn",
    "optim.lr": Float(1e-4, 1e-1, log=True),
    "model.width": Categorical((4, 8, 16)),
}
SPACE = Space("old", "", 4, Level(KNOBS))
GROWN = Space("grown", "", 4, Level(KNOBS | {"augment.mixup": Float(0.0, 0.5), "model.blocks": Int(1, 4)}))


def values(lr, width=8):
    return {"architecture": "mel_cnn", "optim.lr": lr, "model.width": width}


TRIALS = [  # values, state, accuracy
    (values(1e-3), "complete", 0.6),
    (values(2e-3), "pruned", None),
    (values(3e-3), "complete", 0.9),
    (values(4e-3), "failed", None),
    (values(5e-3), "complete", 0.7),
    (values(6e-3), "infeasible", None),
    (values(7e-3), "complete", 0.8),
]


@pytest.fixture
def settings(tmp_path):
    return resolve({"home": str(tmp_path)}, {}, tmp_path)


@pytest.fixture
def older(settings):
    """A function that makes an older study of some trials and returns its open ledger."""
    opened = []

    def make(trials=TRIALS, **changes):
        folder = settings.study("older")
        folder.mkdir()
        (folder / "study.yaml").write_text("data_fingerprint: d1\n")
        ledger = Ledger(folder / "ledger.sqlite", create=True)
        opened.append(ledger)
        splits = {1: {"valid_fold": 2}, 2: {"valid_fold": 3}}
        facts = {"id": ledger.id, "name": "older", "data_name": "toy", "data": "d1", "protocol": "rotating"}
        facts |= {"splits": splits, "order": (1, 2), "synthetic": True, "params": {"epochs": 4}, "limits": {}}
        ledger.write_fact("study", StudyFacts(**(facts | changes)).to_json())
        for number, (point, state, accuracy) in enumerate(trials):
            ledger.open_trial(number, point)
            ledger.write_rung(number, 1, 2, 0.25)
            ledger.write_rung(number, 2, 4, 0.5)
            ledger.close_trial(number, state, accuracy)
        ledger.open_trial(len(trials), values(8e-3))  # still running
        return ledger

    yield make
    for ledger in opened:
        ledger.close()


def start(settings, space=SPACE, **changes):
    return read(settings, "older", space, **(HERE | changes))


def test_the_best_three_are_tried_best_first(older, settings):
    older()
    assert [point["optim.lr"] for point in start(settings).tries] == [3e-3, 7e-3, 5e-3]
    assert all(contains(SPACE, point) for point in start(settings).tries)


def test_every_ended_trial_is_history_with_what_is_known_of_it(older, settings):
    older()
    found = start(settings)
    assert found.remark == ""
    assert found.history == tuple(
        [point, state, None if accuracy is None else [accuracy], {"2": 0.25, "8": 0.5}]
        for point, state, accuracy in TRIALS
    )


LIMITED = replace(SPACE, limits={"params": 100.0})


def sized(ledger, *params):
    for number, count in enumerate(params):
        ledger.write_costs(number, {"params": count})


def test_what_costs_too_much_here_is_infeasible_and_not_tried(older, settings):
    ledger = older()
    sized(ledger, 50, 50, 900, 50, 50, 50, 90)
    found = start(settings, LIMITED)
    assert [point["optim.lr"] for point in found.tries] == [
        7e-3,
        5e-3,
        1e-3,
    ]  # the best one, 3e-3, is too large
    assert [outcome for _, outcome, *_ in found.history] == [
        "complete", "pruned", "infeasible", "failed", "complete", "infeasible", "complete",
    ]  # fmt: skip
    assert found.history[2][2:] == [None, {}]


def test_nothing_is_known_of_a_recipe_that_a_limit_kept_from_training_and_does_not_here(older, settings):
    ledger = older([*TRIALS[:5], (values(6e-3), "infeasible", None)])
    sized(ledger, 50, 50, 50, 50, 50, 90)
    ledger.close_trial(5, "infeasible", None, exceeded({"params": 80.0}, {"params": 90.0}))
    assert values(6e-3) in [
        point for point, *_ in start(settings, replace(SPACE, limits={"params": 80.0})).history
    ]
    assert values(6e-3) not in [point for point, *_ in start(settings, LIMITED).history]
    assert values(6e-3) not in [point for point, *_ in start(settings).history]


def test_results_of_recipes_whose_cost_is_not_known_do_not_count_under_limits(older, settings):
    older()
    found = start(settings, LIMITED)
    assert len(found.tries) == 3 and found.history == ()
    assert "what is limited was not measured" in found.remark


def test_it_survives_the_ledger_it_is_kept_in(older, settings):
    older()
    found = start(settings)
    assert json.loads(json.dumps(found.history)) == list(found.history)
    assert json.loads(json.dumps(found.tries)) == list(found.tries)


def test_knobs_of_a_grown_space_take_the_values_the_trials_really_had(older, settings):
    older()
    found = start(settings, GROWN)
    really = flatten(parse(values(3e-3)))
    assert found.tries[0] == {knob: really[knob] for knob in (*KNOBS, "augment.mixup", "model.blocks")}
    assert all(
        flatten(parse(point)) == flatten(parse(old))
        for (point, *_), (old, *_) in zip(found.history, TRIALS, strict=True)
    )


def test_the_sampler_takes_all_of_it(older, settings):
    from search.suggest import Proposer

    older()
    found = start(settings, GROWN)
    proposer = Proposer(GROWN, seed=0, tries=found.tries)
    assert [proposer.ask()[1] for _ in range(3)] == list(found.tries)
    for point, outcome, worth, steps in found.history:
        assert proposer.learn(point, outcome, worth and tuple(worth), {int(k): v for k, v in steps.items()})


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"data": "d2"}, "data d1 there, d2 here"),
        ({"epochs": 9}, "epochs 4 there, 9 here"),
        ({"order": [2, 1]}, "order of splits [1, 2] there, [2, 1] here"),
    ],
)
def test_results_count_only_under_equal_conditions(older, settings, change, sentence):
    older()
    found = start(settings, **change)
    assert len(found.tries) == 3 and found.history == ()
    assert sentence in found.remark


def test_a_study_of_another_protocol_teaches_no_results(older, settings):
    older(protocol="held-out 2")
    found = start(settings)
    assert len(found.tries) == 3 and found.history == ()
    assert "protocol held-out 2 there, rotating here" in found.remark


@pytest.mark.parametrize(
    ("there", "why"),
    [
        ({}, "protocol rotating there, held-out 2 here"),
        ({"protocol": "held-out 1"}, "protocol held-out 1 there, held-out 2 here"),
        ({"protocol": "held-out 2", "data": "d0"}, "data d0 there, d1 here"),
    ],
)
def test_where_a_fold_is_held_out_nothing_that_may_have_seen_it_teaches(older, settings, there, why):
    older(**there)
    with pytest.raises(UsageError, match=f"may have seen fold 2, which is held out here .{why}.: begin with"):
        start(settings, protocol="held-out 2")


def test_a_study_that_held_the_same_fold_out_teaches_all_unless_its_data_changed(older, settings):
    ledger = older(protocol="held-out 2")
    assert len(start(settings, protocol="held-out 2").history) == 7
    ledger.write_fact("mixed", [{"what": "data", "before": "d0", "now": "d1", "time": 1.0}])
    with pytest.raises(UsageError, match="its data have changed on the way"):
        start(settings, protocol="held-out 2")


def test_a_knob_fixed_to_another_value_leaves_something_to_try_and_nothing_to_know(older, settings):
    older()
    found = start(settings, fix(SPACE, "model.width", 32))
    assert [(point["optim.lr"], point["model.width"]) for point in found.tries][0] == (3e-3, 32)
    assert found.history == () and "7 of 7 trials of study older do not count here" in found.remark


def test_a_knob_that_the_new_space_leaves_out_must_have_had_its_default(older, settings):
    default = parse({"architecture": "mel_cnn"}).model.width
    older([(values(1e-3, width=4), "complete", 0.9), (values(2e-3, width=default), "complete", 0.8)])
    narrow = Space("narrow", "", 4, Level({name: KNOBS[name] for name in ("architecture", "optim.lr")}))
    ((point, *_),) = start(settings, narrow).history
    assert point["optim.lr"] == 2e-3


def test_trials_outside_the_new_space_are_left_out_and_counted(older, settings):
    older()
    space = Space("low", "", 4, Level(KNOBS | {"optim.lr": Float(1e-4, 5e-3)}))
    found = start(settings, space)
    assert [point["optim.lr"] for point in found.tries] == [3e-3, 5e-3, 1e-3]
    assert len(found.history) == 5 and "2 of 7 trials" in found.remark


def test_costs_that_were_not_measured_keep_complete_trials_out_of_the_history(older, settings):
    ledger = older()
    ledger.write_costs(0, {"params": 10.0})
    found = start(settings, objectives=parse_objectives("accuracy,-params"))
    assert [worth for _, state, worth, _ in found.history if state == "complete"] == [[0.6, 10.0]]
    assert len(found.tries) == 3


def test_results_on_data_that_have_changed_since_do_not_count(older, settings):
    ledger = older()
    moment = ledger.trial(3).ended
    ledger.write_fact("mixed", [{"what": "data", "before": "d0", "now": "d1", "time": moment}])
    assert len(start(settings).history) == 4
    ledger.write_fact("mixed", [{"what": "code", "before": "c0", "now": "c1", "time": moment}])
    assert len(start(settings).history) == 7


def test_a_study_of_other_nets_is_of_no_use(older, settings):
    older()
    raw = Space("raw", "", 4, Level({"architecture": "raw_cnn", "optim.lr": KNOBS["optim.lr"]}))
    with pytest.raises(
        UsageError, match=r"no complete trial .* \(trial 0: architecture is mel_cnn, here raw_cnn\)"
    ):
        start(settings, raw)


def test_a_study_without_results_is_of_no_use(older, settings):
    older([])
    with pytest.raises(UsageError, match="study older has no complete trial to start from: run it further"):
        start(settings)


def test_a_study_that_is_not_there_is_named(settings):
    with pytest.raises(UsageError, match="no study 'older'"):
        start(settings)
