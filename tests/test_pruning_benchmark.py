"""The replay of recorded curves: what every policy has to fulfil, whatever the curves say."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from search.pruning import Policy
from spaces.load import load as load_space
from spaces.space import contains

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))  # benchmarks are scripts that import each other by name
curves, orders, replays = (importlib.import_module(name) for name in ("curves", "orders", "replay"))
sys.path.remove(str(BENCHMARKS))

WORKERS = (1, 4, 16)


@pytest.fixture(scope="module")
def table():
    return curves.load()


@pytest.fixture(scope="module")
def few(table):
    return table.some(range(20))


def played(known, policy, seed=0, workers=1, *, queue=0, oracle=False):
    judge = replays.Oracle(known, policy) if oracle else replays.Engine(known, policy)
    return replays.replay(known, judge, orders.Shuffled(known, seed), workers, queue=queue)


def test_the_table_is_whole(table):
    recipes, splits, epochs = table.shape
    assert recipes >= 60 and splits == 5 and epochs == 24
    assert table.right_RSN.shape[:2] == (recipes, splits) and (table.seconds_RS > 0).all()
    assert np.allclose(
        table.curve_RSE[:, :, -1], table.right_RSN.mean(axis=2)
    )  # the last epoch is the result
    space = load_space(BENCHMARKS / "pruning.yaml")
    assert all(contains(space, values) for values in table.recipes)


def test_the_table_is_small_and_says_how_it_was_made():
    assert curves.TABLE.stat().st_size < 200_000
    assert "benchmarks/pruning.py record" in curves.TABLE.read_text(encoding="utf-8").splitlines()[0]


def test_a_table_with_a_missing_row_is_refused(tmp_path):
    lines = curves.TABLE.read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "curves.csv").write_text("".join(lines[:-1]), encoding="utf-8")
    with pytest.raises(ValueError, match="expected one row for each of"):
        curves.load(tmp_path / "curves.csv")


@pytest.mark.parametrize("workers", WORKERS)
def test_who_stops_nobody_pays_for_all_and_finds_the_best(few, workers):
    ended = played(few, Policy(pruner="none"), workers=workers)
    assert (ended.cost, ended.regret) == (1, 0)
    assert 0 < ended.reached <= 1


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("queue", [0, 3, 99])
@pytest.mark.parametrize("pruner", ["asha", "race", "both"])
def test_stopping_never_costs_more_than_the_full_search(few, pruner, queue, workers):
    for seed in range(3):
        ended = played(few, Policy(pruner=pruner), seed, workers, queue=queue)
        first = 1.0 if pruner == "race" else min(Policy().rungs)
        floor = (first + (5 - first) / 20) / 5  # all recipes to where they are first judged, one to its end
        assert floor - 1e-9 <= ended.cost < 1
        assert ended.regret >= 0
        assert ended.near is (ended.regret <= 1 + 1e-6)
        assert ended.reached is None or ended.reached <= ended.cost


def test_nobody_is_stopped_who_has_no_rivals(table):
    assert played(table.some([3]), Policy()) == replays.Replay(1, 0, 1)


@pytest.mark.parametrize("queue", [0, 3, 99])
def test_the_same_seed_gives_the_same_replay(few, queue):
    assert played(few, Policy(), 7, 4, queue=queue) == played(few, Policy(), 7, 4, queue=queue)


@pytest.mark.parametrize("workers", WORKERS)
def test_the_oracle_finds_the_best_at_less_than_others_who_do_not_wait(few, workers):
    for pruner in ("asha", "both"):
        known = [
            (
                played(few, Policy(), seed, workers, oracle=True),
                played(few, Policy(pruner=pruner), seed, workers),
            )
            for seed in range(8)
        ]
        assert all(oracle.regret == 0 for oracle, _ in known)
        assert np.mean([oracle.cost for oracle, _ in known]) < np.mean([other.cost for _, other in known])


def test_splits_in_another_order_are_the_same_search_without_stopping(few):
    turned = few.in_order([4, 2, 0, 1, 3])
    assert np.allclose(turned.objective_R, few.objective_R)
    assert (turned.right_RSN[:, 0] == few.right_RSN[:, 4]).all()
    assert played(turned, Policy(pruner="none")).regret == 0


@pytest.mark.parametrize("workers", [1, 4])
def test_the_order_of_tpe_tries_every_recipe_once(table, workers):
    known, tried = table.some(range(14)), []

    class Watched(orders.Proposed):
        def next(self):
            recipe = super().next()
            tried.append(recipe)
            return recipe

    order = Watched(known, 3, load_space(BENCHMARKS / "pruning.yaml"))
    ended = replays.replay(known, replays.Engine(known, Policy(pruner="none")), order, workers)
    assert sorted(recipe for recipe in tried if recipe is not None) == list(range(14))
    assert (ended.cost, ended.regret) == (1, 0)


def test_a_recipe_is_the_nearest_to_itself(few):
    order = orders.Proposed(few, 0, load_space(BENCHMARKS / "pruning.yaml"))
    for recipe, values in enumerate(few.recipes):
        apart_R = order._apart(values)
        assert apart_R[recipe] == 0 and (np.delete(apart_R, recipe) > 0).all()


def test_who_waits_goes_on_only_after_all_were_begun(few):
    seen = []

    class Watched(replays.Engine):
        def stops(self, recipe, point):
            seen.append((recipe, point))
            return super().stops(recipe, point)

    policy = Policy()
    replays.replay(few, Watched(few, policy), orders.Shuffled(few, 0), 1, queue=99)
    later = next(place for place, (_, (split, _)) in enumerate(seen) if split > 1)
    assert len({recipe for recipe, _ in seen[:later]}) == 20
