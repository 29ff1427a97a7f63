"""What the final box and its JSON say of exams: scores, seeds, and who is tied with the winner."""

import dataclasses
import json
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from escmodels.exams import OutOfFold, examine
from search import predictions
from search.commands import flags
from search.ledger import TrialRow
from search.session import Outcome
from search.settings import Settings, resolve
from search.summary import as_json, boxed

CLIPS = 200


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return resolve({}, environment={"ESCSEARCH_HOME": str(tmp_path)}, directory=tmp_path)


class Labels:
    classes = ("a", "b", "c", "d")

    def __len__(self) -> int:
        return CLIPS


def table(hits: slice, seeds: int = 1) -> OutOfFold:
    """Two folds, two clips a recording, right on these clips; later seeds miss ten more."""
    labels = np.arange(CLIPS) % 4
    prob_SNK = np.full((seeds, CLIPS, 4), 0.1, np.float32)
    for seed, prob_NK in enumerate(prob_SNK):
        right = np.zeros(CLIPS, bool)
        right[hits.start : hits.stop - 10 * seed] = True
        prob_NK[np.arange(CLIPS), np.where(right, labels, (labels + 1) % 4)] = 0.7
    names = tuple(f"clip{number}" for number in range(CLIPS))
    sources, folds = np.arange(CLIPS) // 2, np.arange(CLIPS) // 2 % 2 + 1
    return OutOfFold(names, folds, labels, sources, ("a", "b", "c", "d"), tuple(range(seeds)), prob_SNK)


def outcome(folder: Path, tables: dict[int, OutOfFold], protocol: str = "rotating") -> Outcome:
    """A study whose finalists, the winner first, predicted this."""
    clips = [SimpleNamespace(path=str(folder / "clip.wav"))] * CLIPS
    dataset = SimpleNamespace(name="here", synthetic=False, skipped={}, clips=clips, classes=Labels.classes)
    study = SimpleNamespace(
        folder=folder / "study",
        name="study",
        folds=(1, 2),
        dataset=dataset,
        data="0123456789abcdef",
        labels=Labels(),
        splits=(1, 2),
        similar=0,
        optuna_path=folder / "none",
        model_name="esc-here",
        spec=SimpleNamespace(objective="accuracy"),
    )
    exams = []
    for trial, found in tables.items():
        row = TrialRow(trial, {"architecture": "mel_cnn"}, "complete", 0.9, "", 0, time.time(), time.time())
        exams.append((row, examine(found, protocol=protocol, data=study.data, validation=0.9, trials=20)))
        predictions.write(predictions.place(study.folder, trial), found)
    return Outcome(study, [row for row, _ in exams], exams)


def line(text: str, name: str) -> str:
    """The line of the box with this label."""
    found = [line for line in text.splitlines() if line.split(" ")[0] == name]
    return found[0] if found else ""


def test_the_box_says_who_is_tied_with_the_winner_and_who_is_behind(settings, tmp_path):
    said = outcome(
        tmp_path,
        {7: table(slice(0, 160)), 13: table(slice(2, 162)), 8: table(slice(4, 162)), 3: table(slice(0, 90))},
    )
    _, text = boxed(said, settings)
    tests = "(McNemar by clip, bootstrap by source, level 0.05)"
    assert line(text, "ties") == (
        f"ties      t013 and t008 are statistically tied with it; t003 is behind it {tests}"
    )
    ties = as_json(said, settings)["ties"]
    assert [(one["trial"], one["verdict"]) for one in ties["trials"]] == [
        (13, "tied"),
        (8, "tied"),
        (3, "behind"),
    ]
    assert ties["level"] == 0.05 and ties["trouble"] is None
    assert ties["trials"][2]["lost"] == 70 and ties["trials"][2]["by_source"]["mean"] == pytest.approx(0.35)
    json.dumps(ties)


def test_a_runner_up_that_does_better_is_named_with_the_reason_why_it_is_not_the_winner(settings, tmp_path):
    _, text = boxed(outcome(tmp_path, {1: table(slice(0, 90)), 2: table(slice(0, 160))}), settings)
    assert line(text, "ties").startswith(
        "ties      t002 is ahead of it on the test folds: the winner is chosen by"
    )


def test_without_tables_nothing_is_said_and_a_damaged_one_is_told(settings, tmp_path):
    said = outcome(tmp_path, {1: table(slice(0, 160)), 2: table(slice(0, 150))})
    place = predictions.place(said.study.folder, 2)
    place.write_text("clip,fold\n")
    _, text = boxed(said, settings)
    assert (
        line(text, "ties").startswith("ties      not known: the table of predictions") and str(place) in text
    )
    assert "damaged" in as_json(said, settings)["ties"]["trouble"]
    predictions.write(place, dataclasses.replace(table(slice(0, 150)), names=tuple(map(str, range(CLIPS)))))
    assert "cannot be paired" in line(boxed(said, settings)[1], "ties")
    place.unlink()
    assert line(boxed(said, settings)[1], "ties") == "" and as_json(said, settings)["ties"] is None


def test_the_box_says_how_sure_probabilities_are_and_what_seeds_differ_by(settings, tmp_path):
    said = outcome(tmp_path, {1: table(slice(0, 160), seeds=2)})
    exam = said.exams[0][1]
    _, text = boxed(said, settings)
    assert (
        line(text, "seeds") == "seeds     accuracy of each 0.800 0.750: 0.050 between the best and the worst"
    )
    scores = line(text, "scores")
    assert f"log loss {exam.log_loss:.3f} nats, calibration error {exam.calibration_error:.3f}" in scores
    assert f"temperature {exam.temperature:.2f}, with which they are {exam.calibrated_log_loss:.3f}" in scores
    assert as_json(said, settings)["exams"][0]["temperature"] == exam.temperature


def test_an_exam_of_one_fold_has_a_temperature_that_nothing_measures(settings, tmp_path):
    found = dataclasses.replace(table(slice(0, 160)), folds=np.full(CLIPS, 5))
    _, text = boxed(outcome(tmp_path, {1: found}, protocol="held-out 5"), settings)
    assert line(text, "scores").endswith(f"temperature {said_temperature(found):.2f}")
    assert line(text, "protocol").startswith("protocol  held-out 5 (that fold was in no split of the search)")


def said_temperature(found: OutOfFold) -> float:
    exam = examine(found, protocol="p", data="d", validation=0.9, trials=1)
    assert exam.temperature is not None
    return exam.temperature


def test_an_exam_of_an_older_version_is_shown_as_it_was(settings, tmp_path):
    said = outcome(tmp_path, {1: table(slice(0, 160))})
    row, exam = said.exams[0]
    older = dict.fromkeys(("log_loss", "calibration_error", "top3", "temperature", "seed_means"))
    said.exams[0] = (row, dataclasses.replace(exam, **older))
    _, text = boxed(said, settings)
    assert line(text, "scores") == line(text, "seeds") == "" and line(text, "exam").startswith(
        "exam      accuracy 0.800"
    )


def test_the_clips_are_those_of_the_set_also_where_a_fold_is_still_sealed(settings, tmp_path):
    said = outcome(tmp_path, {})
    said.study.labels = range(CLIPS // 2)  # what a search that holds half of them out may see
    assert line(boxed(said, settings)[1], "data").startswith(
        f"data      here: {CLIPS} clips, 4 classes, 2 folds"
    )


def test_what_is_kept_of_the_summary_names_no_password_and_what_is_shown_does(tmp_path, capsys):
    uri = "https://joe:secret@tracker.org/runs"
    settings = resolve({"home": str(tmp_path), "tracking_uri": uri}, {}, tmp_path)
    said = outcome(tmp_path, {})
    said.study.folder.mkdir()
    flags.show(said, SimpleNamespace(json=False), settings)
    kept = (said.study.folder / "predict.txt").read_text()
    assert "--tracking-uri https://tracker.org/runs" in kept and "secret" not in kept and "joe" not in kept
    assert "secret" in capsys.readouterr().out  # can be pasted here
