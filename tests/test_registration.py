"""Shipped models through the gate into a real registry, and killed on the way."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from memory_registry import Killed
from test_promote import EXAM, FEW, FIFTY, GOOD, told
from tiny_model import VALUES, trained

from escmodels.exams import Exam, OutOfFold
from search import bundle, model_log, predictions, registration, registry, rehearsal, reigns
from search.errors import UsageError
from search.ledger import Ledger, TrialRow
from search.mlflow_tracker import MlflowTracker
from search.pages import EXPERIMENT
from search.projection import StudyFacts, study_key
from search.promote import USUAL, Gate, Verdict
from search.registration import Shipped
from search.settings import Settings, resolve

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Made:
    """The winner of a study, with its exam and its model."""

    study: Any
    facts: StudyFacts
    exam: Exam
    folder: Path


class Place:
    """A home with a store, in which studies appear with their models."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.settings = resolve({"home": str(home)}, environment={}, directory=home)
        self.tracker = MlflowTracker(self.settings, EXPERIMENT)
        self.classifiers = [trained(seed) for seed in range(4)]

    def winner(
        self, name: str, found: OutOfFold, model: str, *, seed: int = 0, table: bool = True, **exam: Any
    ) -> Made:
        """A study whose trial 7 said this. seed: of its model; table: in the bundle; exam: other fields of its exam."""
        folder = self.home / name
        folder.mkdir()
        mean = float(np.average(found.correct_N, weights=found.weight_N))
        made = replace(EXAM, **{"mean": mean, **exam})
        ledger = Ledger(folder / "ledger.sqlite", create=True)
        ledger.open_trial(7, VALUES)
        ledger.close_trial(7, "complete", 0.8)
        record = {
            "exam": json.loads(made.to_json()),
            "values": VALUES,
            "classes": list(found.classes),
            "time": 1.0,
        }
        ledger.write_fact("exam/7", record)
        facts = StudyFacts(ledger.id, name, "hums", EXAM.data, "rotating", {}, (), False, {}, {})
        ledger.close()
        self.tracker.open(study_key(facts), name, None, {}, {}, 0)
        predictions.write(predictions.place(folder, 7), found)
        card = {
            "values": VALUES,
            "trial": 7,
            "params": 1000,
            "latency_ms": 1.5,
            "shipped": "refit on all folds",
        }
        more = {
            "git_commit": "abc",
            "versions": {"torch": "2.11.0"},
            "size_bytes": 123,
            "expected": "as said",
        }
        copy = predictions.place(folder, 7) if table else None
        bundle.write(self.classifiers[seed], folder / "model", card=card | more, predictions=copy)
        licence = {"licence": "CC BY-NC", "non_commercial": True, "synthetic": False}
        study = SimpleNamespace(
            folder=folder,
            ledger_path=folder / "ledger.sqlite",
            name=name,
            model_name=model,
            dataset=SimpleNamespace(name="hums", **licence),
        )
        return Made(study, facts, made, folder / "model")

    def register(self, made: Made, gate: Gate = USUAL) -> Shipped:
        row = TrialRow(7, VALUES, "complete", 0.8, "", 0, 0.0, 1.0)
        return registration.register(
            made.study, made.facts, self.settings, lambda: self.tracker, row, made.exam, made.folder, gate
        )

    def aliases(self, model: str) -> dict[str, int]:
        cards = registry.history(self.settings, model)
        return {alias: card.version for card in cards for alias in card.aliases}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("home"))


def test_the_life_of_a_model(place: Place) -> None:
    old, luck = place.winner("old", told(*FIFTY), "m"), place.winner("luck", told(*FEW), "m", seed=1)
    good, other = (
        place.winner("good", told(*GOOD), "m", seed=2),
        place.winner("foreign", told(), "m", data="x"),
    )

    assert place.register(old).reason == "first champion: 75.0 % [79.0, 85.0]"
    assert place.register(old) == Shipped("m", 1, True, "it is the champion already")

    refused = place.register(luck)
    assert (refused.version, refused.champion) == (2, False) and "a tie at level 0.05" in refused.reason
    assert place.register(luck) == refused  # again: no other version
    assert place.aliases("m") == {"champion": 1, "challenger": 2}

    foreign = place.register(other)
    assert foreign.version is None and "cannot be compared" in foreign.reason

    better = place.register(good)
    assert better.champion and "p below 0.001 by recording" in better.reason
    assert place.aliases("m") == {"champion": 3, "previous": 1, "challenger": 2}

    reigns.rollback(place.settings, "m", reason="mistakes rain for fire")
    again = place.register(good)
    assert not again.champion and "was taken back (mistakes rain for fire)" in again.reason
    assert "rollback m --to 3" in again.reason
    assert place.aliases("m") == {"champion": 1, "challenger": 2}

    lucky = place.register(luck, Gate(accept_tie=True))
    assert lucky.champion and lucky.version == 2
    assert place.aliases("m") == {"champion": 2, "previous": 1}
    said = [(reign.version, reign.kind) for reign in reigns.log(place.settings, "m")]
    assert said == [(1, "promotion"), (3, "promotion"), (1, "rollback"), (2, "promotion")]

    worse = place.register(old)  # it was champion: its reason stays that for which it was
    assert (worse.champion, worse.version) == (False, 1)
    assert registry.find(place.settings, "m", "1").tags[registry.REASON_TAG].startswith("first champion")
    assert place.aliases("m") == {"champion": 2, "previous": 1}


def test_a_version_tells_where_it_comes_from(place: Place) -> None:
    place.register(place.winner("told", told(*GOOD), "tags"))
    tags = registry.find(place.settings, "tags").tags
    expected = {
        "study": "told",
        "trial": "7",
        "data": "hums",
        "data.fingerprint": EXAM.data,
        "licence": "CC BY-NC",
        "non_commercial": "true",
        "git_commit": "abc",
        "versions": '{"torch": "2.11.0"}',
        "params": "1000",
        "latency_ms": "1.5",
        "shipped": "refit on all folds",
        "expected": "as said",
        "gate": "promoted",
    }
    assert expected.items() <= tags.items()
    assert "architecture: mel_cnn" in tags["recipe"]


def test_a_long_recipe_is_cut_and_says_where_the_rest_is() -> None:
    text = registration._cut("x: y\n" * 10_000)
    assert len(text) == registry.LONGEST and text.endswith("card.json of the model's bundle, under 'values'")


def test_a_champion_without_a_table_is_judged_by_its_mean(place: Place) -> None:
    place.register(place.winner("bare", told(*FIFTY), "bare-m", table=False))
    shipped = place.register(place.winner("few", told(*FEW), "bare-m", seed=1))
    assert shipped.champion and "the champion has no table of predictions" in shipped.reason


def test_a_table_that_the_exam_run_has_serves_where_the_bundle_has_none(place: Place) -> None:
    made = place.winner("run", told(*FIFTY), "run-m", table=False)
    place.register(made)
    key = f"{study_key(made.facts)}/exam/t007"
    place.tracker.open(key, "exam", None, {}, {}, 0)
    place.tracker.attach(key, "predictions.csv", predictions.place(made.study.folder, 7).read_bytes())
    assert "a tie" in place.register(place.winner("few-2", told(*FEW), "run-m", seed=1)).reason


def test_another_model_of_the_same_trial_is_a_challenger_of_its_own(place: Place) -> None:
    made = place.winner("twice", told(*FIFTY), "twice-m")
    place.register(made)
    retrained = place.winner("twice-b", told(*FIFTY), "twice-m", seed=1)
    shipped = place.register(replace(made, folder=retrained.folder))
    assert (shipped.version, shipped.champion) == (2, False)


def hotter(made: Made, mean: float = 0.76) -> Made:
    """The same study examined again, with more seeds: other figures, another temperature, the same weights."""
    config = json.loads((made.folder / bundle.CONFIG).read_text())
    (made.folder / bundle.CONFIG).write_text(
        json.dumps(config | {"temperature": config["temperature"] + 0.5})
    )
    bundle.write_card(made.folder, bundle.read_card(made.folder) | {"expected": "anew"})
    return replace(made, exam=replace(made.exam, mean=mean, seeds=(0, 1)))


def strip(place: Place, name: str, version: int) -> None:
    """Take away what older versions do not say."""
    with registry.connected(place.settings) as client:
        for tag in (model_log.IDENTITY_TAG, model_log.WEIGHTS_TAG):
            client.delete_model_version_tag(name, str(version), tag)


@pytest.mark.parametrize("old", [False, True])
def test_a_champion_that_is_examined_again_stays_and_has_new_figures(place: Place, old: bool) -> None:
    made = place.winner(f"again-{old}", told(*FIFTY), f"again-m-{old}")
    name = made.study.model_name
    place.register(made)
    if old:
        strip(place, name, 1)
    more = hotter(made)
    assert place.register(more) == Shipped(name, 1, True, "it is the champion already")
    tags = registry.find(place.settings, name).tags
    assert (tags["test_accuracy"], tags["expected"]) == ("0.7600", "anew")
    place.register(place.winner(f"better-{old}", told(*GOOD), name, seed=1))
    reigns.rollback(place.settings, name)
    assert place.aliases(name) == {"champion": 1}


def test_what_was_taken_back_stays_so_when_it_is_examined_again(place: Place) -> None:
    place.register(place.winner("first", told(*FIFTY), "back"))
    good = place.winner("second", told(*GOOD), "back", seed=1)
    place.register(good)
    reigns.rollback(place.settings, "back")
    assert "was taken back" in place.register(hotter(good, 0.97)).reason
    assert place.aliases("back") == {"champion": 1}


def test_a_challenger_that_is_examined_again_is_registered_with_its_new_temperature(place: Place) -> None:
    place.register(place.winner("holder", told(*FIFTY), "warm"))
    luck = place.winner("warmer", told(*FEW), "warm", seed=1)
    place.register(luck)
    shipped = place.register(hotter(luck, 0.9))
    assert (shipped.version, shipped.champion) == (3, True)
    assert place.register(hotter(luck, 0.91)).version == 3  # it is the champion now


def test_an_older_champion_is_not_taken_for_a_model_that_was_trained_again(place: Place) -> None:
    made = place.winner("untold", told(*FIFTY), "untold-m")
    place.register(made)
    strip(place, "untold-m", 1)
    other = place.winner("untold-b", told(*FIFTY), "untold-m", seed=1)
    shipped = place.register(replace(made, folder=other.folder))
    assert (shipped.version, shipped.champion) == (2, False)


def test_an_older_champion_whose_files_are_gone_is_another_model(place: Place) -> None:
    made = place.winner("lost", told(*FIFTY), "lost-m")
    place.register(made)
    strip(place, "lost-m", 1)
    card = registry.find(place.settings, "lost-m")
    assert model_log.identity_of(place.settings, card) == model_log.identity(made.folder)
    (files,) = place.home.rglob(card.source.rpartition("/")[2])
    shutil.rmtree(files)
    assert model_log.identity_of(place.settings, card) is None


def test_another_name_is_that_of_the_call_alone(place: Place) -> None:
    made = place.winner("named", told(*FIFTY), "own-name")
    row = TrialRow(7, VALUES, "complete", 0.8, "", 0, 0.0, 1.0)
    shipped = registration.register(
        *(made.study, made.facts, place.settings, lambda: place.tracker, row, made.exam, made.folder, USUAL),
        name="other-name",
    )
    assert shipped.name == "other-name" and "own-name" not in registry.names(place.settings)


class TestRehearsal:
    @pytest.fixture
    def rehearse(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Verdict]:
        """Judge a study as `promote --dry-run` does; nothing in its home may change, but for SQLite's own files."""

        def act(made: Made, gate: Gate = USUAL, how: str = "refit") -> Verdict:
            monkeypatch.setattr(rehearsal, "reopen", lambda name, settings, model: made.study)
            before = self.files(place)
            name, verdict = rehearsal.rehearse(made.study.name, place.settings, gate, model=None, how=how)
            assert self.files(place) == before and name == made.study.model_name
            return verdict

        return act

    def files(self, place: Place) -> dict[Path, int]:
        paths = [path for path in place.home.rglob("*") if path.is_file() and "sqlite-" not in path.name]
        return {path: path.stat().st_mtime_ns for path in paths}

    def test_it_says_what_promoting_then_does(self, place: Place, rehearse: Callable[..., Verdict]) -> None:
        old, luck = place.winner("d-old", told(*FIFTY), "d"), place.winner("d-luck", told(*FEW), "d", seed=1)
        good = place.winner("d-good", told(*GOOD), "d", seed=2)
        for made in (old, luck, good, old, good):
            said = rehearse(made)
            done = place.register(made)
            assert (said.promote, said.reason) == (done.champion, done.reason)
        reigns.rollback(place.settings, "d")
        assert "was taken back" in rehearse(good).reason

    def test_a_model_that_is_not_trained_yet_is_known_by_what_it_would_be(
        self, place: Place, rehearse: Callable[..., Verdict]
    ) -> None:
        made = place.winner("e", told(*GOOD), "e")
        place.register(made)
        shutil.rmtree(made.folder)
        assert rehearse(made).reason == "it is the champion already"
        assert rehearse(made, how="ensemble").reason.startswith("96.0 %")

    def test_a_repeated_exam_makes_no_stranger_of_the_champion(
        self, place: Place, rehearse: Callable[..., Verdict]
    ) -> None:
        made = place.winner("h", told(*GOOD), "h")
        place.register(made)
        assert rehearse(hotter(made)).reason == "it is the champion already"

    def test_costs_are_those_of_a_net_that_is_folded_as_a_shipped_one_is(
        self, place: Place, rehearse: Callable[..., Verdict], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = place.winner("i", told(*GOOD), "i")
        shutil.rmtree(made.folder)
        seen: list[Any] = []

        def measured(model: Any, folder: Path) -> dict[str, Any]:
            seen.extend(getattr(model, "members", [model]))
            return {"params": 1, "latency_ms": 1.0}

        monkeypatch.setattr(bundle, "measured", measured)
        for how in ("refit", "ensemble"):
            rehearse(made, Gate(max_params=9), how)
        assert len(seen) == 3 and all(model._folded is not None for model in seen)

    def test_costs_are_measured_where_nothing_is_trained_yet(
        self, place: Place, rehearse: Callable[..., Verdict]
    ) -> None:
        made = place.winner("f", told(*GOOD), "f")
        shutil.rmtree(made.folder)
        params = sum(parameter.numel() for parameter in place.classifiers[0].net.parameters())
        assert rehearse(made, Gate(max_params=params)).promote
        assert not rehearse(made, Gate(max_params=params - 1)).promote
        assert rehearse(made, Gate(max_params=2 * params), "ensemble").promote  # of two folds
        assert "takes" in rehearse(made, Gate(max_latency_ms=1e-6)).reason

    def test_a_winner_that_was_not_examined_is_a_sentence(
        self, place: Place, rehearse: Callable[..., Verdict]
    ) -> None:
        made = place.winner("g", told(*GOOD), "g")
        ledger = Ledger(made.study.ledger_path)
        ledger.open_trial(8, VALUES | {"model.width": 8})
        ledger.close_trial(8, "complete", 0.9)
        ledger.close()
        with pytest.raises(UsageError, match="trial 8, was not examined; run .* exam g"):
            rehearse(made)


class Mortal:
    """MLflow's clients of one process, which dies after so many calls that change something."""

    def __init__(self, left: int) -> None:
        self.left = left
        self._connected, self._client = registry.connected, None

    @contextmanager
    def connected(self, settings: Settings) -> Iterator["Mortal"]:
        with self._connected(settings) as self._client:
            yield self

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self._client, name)
        if not name.startswith(("set_", "create_", "delete_")):
            return call
        if self.left == 0:
            raise Killed
        self.left -= 1
        return call


def test_killed_anywhere_and_called_again_it_ends_the_same(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, good = place.winner("before", told(*FIFTY), "k"), place.winner("after", told(*GOOD), "k", seed=1)
    for left in range(100):
        model = f"k{left}"
        old.study.model_name = good.study.model_name = model
        place.register(old)
        mortal = Mortal(left)
        with monkeypatch.context() as patch:
            patch.setattr(registry, "connected", mortal.connected)
            patch.setattr(model_log, "connected", mortal.connected)
            try:
                place.register(good)
            except Killed:
                pass
            else:
                break
        shipped = place.register(good)
        assert (shipped.champion, shipped.version) == (True, 2), left
        assert place.aliases(model) == {"champion": 2, "previous": 1}, left
        first, second = reigns.log(place.settings, model)
        assert (first.version, second.version, second.kind) == (1, 2, "promotion"), left
        assert "p below 0.001" in second.reason, left
    assert 8 <= left < 99
