"""What a report says of a study, on a study whose every figure is known."""

import json
import re
import webbrowser
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile
import yaml

from escmodels.exams import OutOfFold, examine
from escmodels.scores import confusion
from search import nested as nesting
from search import predictions
from search.cli import main
from search.datasets.dataset import open_dataset
from search.datasets.splits import document
from search.errors import Failure, UsageError
from search.ledger import Ledger
from search.projection import StudyFacts
from search.report import charts, importance, leaderboard, page, recipe, sounds, svg, tables
from search.report.facts import read
from search.settings import resolve
from spaces.load import load

CLASSES, FOLDS, RATE, EPOCHS = ("dog", "rain"), 3, 8000, 4
SPACE = """about: A space of one net
epochs: 4
knobs:
  data.sample_rate: 8000
  data.crop: 0.5
  feature.n_mels: 16
  feature.n_fft: 256
  feature.hop: 128
  optim.lr: {type: float, low: 1e-3, high: 1e-1, log: true}
  schedule: {type: categorical, choices: [cosine, constant]}
  architecture:
    type: categorical
    choices:
      mel_cnn: {feature: logmel, model.blocks: 2, model.width: {type: categorical, choices: [4, 8]}}
      crnn: {feature: logmel, model.blocks: 2, model.width: 4, model.hidden: 8}
"""


def values(number):
    """Of a trial: odd ones are of another family; the rate alone says how good it is."""
    rate = 10 ** (-3 + 2 * ((7 * number) % 13) / 12)
    shared = {"data.sample_rate": RATE, "data.crop": 0.5, "feature.n_mels": 16, "feature.n_fft": 256}
    shared |= {"feature.hop": 128, "optim.lr": rate, "schedule": ("cosine", "constant")[number % 2]}
    own = {"model.width": (4, 8)[number % 2], "architecture": "mel_cnn"}
    if number % 4 == 3:
        own = {"model.width": 4, "architecture": "crnn", "model.hidden": 8}
    return shared | own | {"feature": "logmel", "model.blocks": 2}


def objective(number):
    return round(0.5 + 0.02 * ((7 * number) % 13), 4)


def predicted(dataset, wrong, seed=0):
    """An out-of-fold table in which so many clips are wrong, the first one most surely."""
    clips = dataset.clips
    labels = np.array([dataset.classes.index(clip.label) for clip in clips])
    sure_N = np.full(len(clips), 0.9)
    sure_N[:wrong] = np.linspace(0.01, 0.4, wrong)
    prob_NK = np.stack([np.where(labels == k, sure_N, 1 - sure_N) for k in range(len(CLASSES))], axis=1)
    folds = np.array([clip.fold for clip in clips])
    sources = np.arange(len(clips))
    names = tuple(clip.name for clip in clips)
    return OutOfFold(
        names, folds, labels, sources, dataset.classes, (seed,), prob_NK[None].astype(np.float32)
    )


def make(home, trials=13, exams=(12, 6), tables=True, synthetic=False):
    """A study of `trials` trials in `home`/known: every fifth pruned, the last one failed."""
    sound = home / "sounds"
    sound.mkdir(parents=True)
    lines, rng = ["path,label,fold,source"], np.random.default_rng(0)
    for number in range(12):
        soundfile.write(sound / f"c{number}.wav", 0.1 * rng.standard_normal(RATE // 2), RATE)
        lines.append(f"c{number}.wav,{CLASSES[number % 2]},{1 + number // 4},s{number}")
    (sound / "clips.csv").write_text("\n".join(lines))
    dataset = open_dataset(sound / "clips.csv")
    folder = home / "known"
    folder.mkdir()
    asked = {
        "data": str(sound / "clips.csv"),
        "space": "one",
        "data_fingerprint": "d",
        "code_fingerprint": "c",
    }
    asked |= {"trials": trials, "sampler": "tpe", "seed": 0, "pruner": "both", "objective": "accuracy"}
    (folder / "study.yaml").write_text(yaml.safe_dump(asked))
    (folder / "space.yaml").write_text(SPACE)
    (folder / "splits.json").write_text(json.dumps(document(dataset)))
    ledger = Ledger(folder / "ledger.sqlite", create=True)
    folds = {"train_folds": [3], "valid_fold": 2, "test_fold": 1}
    splits = dict.fromkeys((1, 2, 3), folds)
    study = StudyFacts("x", "known", "twelve", "d", "rotating", splits, (1, 2, 3), synthetic, {}, {})
    with ledger.transaction():
        ledger.write_fact("study", study.to_json())
        session = {"trials": trials, "epochs": EPOCHS, "splits": [1, 2, 3], "objectives": ["accuracy"]}
        ledger.write_fact("asked", session)
        known = {"labels": [n % 2 for n in range(12)], "sources": list(range(12)), "classes": list(CLASSES)}
        ledger.write_fact("clips", known | {"valid": {}})
        for number in range(trials):
            one_trial(ledger, number, last=number == trials - 1 and trials > 1)
        for place, number in enumerate(exams):
            found = predicted(dataset, 2 + 2 * place)
            exam = examine(found, protocol="rotating", data="d", validation=objective(number), trials=trials)
            said = found.prob_SNK[0].argmax(axis=1)
            record = {"exam": json.loads(exam.to_json()), "values": values(number), "classes": list(CLASSES)}
            record |= {"confusion": confusion(said, found.labels, 2).tolist(), "stop_after": 3, "time": 1e10}
            ledger.write_fact(f"exam/{number}", record, change="exam")
            if tables:
                predictions.write(predictions.place(folder, number), found)
    ledger.set_state("done")
    ledger.close()
    return folder


def one_trial(ledger, number, last):
    ledger.open_trial(number, values(number))
    if last and number != 12:
        ledger.close_trial(number, "failed", None, "the loss is NaN")
        return
    for split in (1, 2, 3):
        for epoch in range(1, EPOCHS + 1):
            metrics = {"valid_accuracy": 0.1 * epoch, "train_loss": 1 / epoch, "valid_loss": 1.2 / epoch}
            ledger.log_epoch(
                f"{number}-{split}", epoch, metrics, trial=number, phase="search", split=split, seed=0
            )
            if number % 5 == 4 and epoch == 2:
                ledger.write_rung(number, 1, 2, 0.2)
                ledger.close_trial(number, "pruned", None, "behind")
                return
        ledger.finish_fold(
            f"{number}-{split}",
            score=objective(number),
            loss=0.5,
            epochs=EPOCHS,
            seconds=1.0,
            predictions=b"",
        )
    ledger.close_trial(number, "complete", objective(number))


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Costs are measured as they are, only not as often."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("escmodels.costs.MOST", 2)
        patch.setattr("escmodels.costs.LEAST", 1)
        yield


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    return make(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def report(known):
    return page.collect(known, settings_of(known), quiet)


def settings_of(folder):
    return resolve({"home": str(folder.parent)}, {}, folder.parent)


class quiet:
    """Progress that nobody wants to see."""

    def __init__(self, label):
        pass

    def __enter__(self):
        return lambda done, total: None

    def __exit__(self, *_):
        pass


class Tags(HTMLParser):
    """What a page would fetch, and its text."""

    def __init__(self, text):
        super().__init__()
        self.addresses, self.text, self.ids = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in ("src", "href", "srcset", "data", "action"):
                self.addresses.append(value)
            if name == "id":
                self.ids.add(value)

    def handle_data(self, data):
        self.text.append(data)


def words(text):
    return re.sub(r"\s+", " ", " ".join(Tags(text).text)).replace("\xa0", " ")


# what is read


def test_facts_are_those_of_the_ledger(report):
    facts = report.facts
    assert facts.counts == {"complete": 11, "pruned": 2} and len(facts.rows) == 13
    assert [row.number for row in facts.complete][:2] == [11, 7]
    assert facts.spent == 11 * 12 + 2 * 2 and facts.full == 13 * 12
    assert facts.saved == pytest.approx(1 - facts.spent / facts.full)
    assert facts.chance == 0.5 and facts.reached[4] == 0.2


def test_the_winner_is_the_examined_trial_with_the_best_objective(report):
    numbers = [one.row.number for one in report.facts.exams]
    assert numbers == sorted((12, 6), key=lambda number: -objective(number))
    assert report.facts.winner.number == numbers[0]
    assert [curve.split for curve in report.facts.curves] == [1, 2, 3]
    assert report.facts.curves[0].valid_accuracy.tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])


def test_a_large_study_is_read_by_few_statements(known, tmp_path):
    from search.glance import Glance

    counts = []
    for trials in (6, 26):
        folder = make(tmp_path / str(trials), trials=trials, exams=())
        statements = []
        glance = Glance(folder / "ledger.sqlite")
        glance._db.set_trace_callback(statements.append)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("search.report.facts.Glance", lambda path, kept=glance: kept)
            read(folder)
        counts.append(len(statements))
    assert counts[0] == counts[1]


def test_there_is_no_report_of_what_is_no_study(tmp_path):
    with pytest.raises(UsageError, match=r"no study at .*: there is no study.yaml in it"):
        read(tmp_path)
    (tmp_path / "study.yaml").write_text("- 1")
    with pytest.raises(Failure, match=r"study.yaml cannot be read: expected a mapping"):
        read(tmp_path)
    (tmp_path / "study.yaml").write_text("{}")
    with pytest.raises(UsageError, match=r"there is no ledger.sqlite in it"):
        read(tmp_path)


def test_an_exam_of_other_data_is_named_and_not_shown(tmp_path):
    folder = make(tmp_path)
    ledger = Ledger(folder / "ledger.sqlite")
    record = ledger.fact("exam/6")
    record["exam"]["data"] = "other"
    ledger.write_fact("exam/6", record)
    ledger.write_fact("exam/0", {"exam": {"mean": 1.0}, "time": 1e10})
    ledger.close()
    facts = read(folder)
    assert len(facts.exams) == 1
    assert any("cannot be compared" in text for text in facts.odd)
    assert any("exam of trial 0 cannot be read" in text for text in facts.odd)


# what is computed


def test_importances_say_on_how_many_trials_they_rest(report):
    over_all = report.importances[0]
    assert (over_all.about, over_all.used, over_all.of) == ("all architectures", 11, 11)
    shares = dict(over_all.shares)
    assert next(iter(shares)) == "optim.lr" and shares["optim.lr"] > 0.5
    assert sum(shares.values()) == pytest.approx(1)
    assert "data.crop" not in shares  # never varied


def test_too_few_trials_have_no_importances(tmp_path):
    folder = make(tmp_path, trials=8, exams=(6,))
    assert importance.importances(read(folder)) == []
    text = words(page.html(page.collect(folder, settings_of(folder), quiet), settings_of(folder)))
    assert "complete trials are there, 10 are needed" in text and "resume known" in text
    assert "the loss is NaN" in text


def test_costs_are_measured_for_the_rows_that_are_shown(report, monkeypatch):
    shown = {entry.row.number for entry in report.entries}
    assert len(shown) == 10 + (0 if any(e.family == "crnn" for e in report.entries[:10]) else 1)
    for entry in report.entries:
        assert set(entry.costs) == {"params", "macs", "latency"} and min(entry.costs.values()) > 0
    front = leaderboard.pareto(list(report.entries), "params")
    cost = [entry.costs["params"] for entry in front]
    assert cost == sorted(cost)
    assert [e.row.objective for e in front] == sorted(e.row.objective for e in front)
    measured = []
    monkeypatch.setattr(leaderboard, "BEST", 2)
    monkeypatch.setattr(leaderboard, "costs", lambda *facts: measured.append(facts[0]) or {"latency": 1.0})
    assert len(leaderboard.leaderboard(report.facts, 1.0)) == 3  # and the best of the other family


def test_the_most_confused_clip_comes_first_and_right_ones_do_not_come(report):
    found = sounds.confused(predicted(report.dataset, 5))
    assert [one.name for one in found[:1]] == [report.dataset.clips[0].name]
    assert found[0].sure == pytest.approx(0.99, abs=1e-6) and found[0].knew == pytest.approx(0.01, abs=1e-6)
    assert all(one.truth != one.said for one in found)
    pairs = [(one.truth, one.said) for one in found]
    assert max(pairs.count(pair) for pair in pairs) <= sounds.ALIKE
    assert sounds.confused(predicted(report.dataset, 0)) == []


def test_per_class_figures(report):
    one = report.facts.exams[0]
    rows = {row.name: row for row in tables.per_class(one, CLASSES)}
    assert rows["dog"].clips == rows["rain"].clips == 6
    for place, name in enumerate(CLASSES):
        assert rows[name].recall == pytest.approx(one.confusion_KK[place, place] / 6)
    f1 = [row.f1 for row in tables.per_class(one, CLASSES)]
    assert f1 == sorted(f1)


def test_the_recipe_is_a_space_that_holds_the_winner_alone(report, tmp_path):
    (tmp_path / "recipe.yaml").write_text(recipe.recipe_yaml(report.facts))
    space = load(tmp_path / "recipe.yaml")
    from spaces.space import complete, size

    assert size(space) == 1 and space.epochs == EPOCHS
    assert complete(space, {}) == report.facts.winner.values


def test_the_rerun_has_the_options_of_the_data(report):
    line = recipe.rerun_command(report.facts, settings_of(report.facts.folder))
    assert "run recipe.yaml --data" in line and "--trials 1" in line and "--held-out" not in line
    asked = {
        **report.facts.asked,
        "protocol": "held-out 5",
        "folds": 3,
        "skip_bad": True,
        "classes": ["a", "b"],
    }
    line = recipe.rerun_command(replace(report.facts, asked=asked), settings_of(report.facts.folder))
    assert (
        "--held-out 5" in line and "splits.json" in line and "--skip-bad" in line and "--classes a,b" in line
    )


def test_the_rerun_has_the_seeds_of_the_exam(report):
    settings, one = settings_of(report.facts.folder), report.facts.exams[0]
    assert "--seeds" not in recipe.rerun_command(report.facts, settings)
    thrice = replace(one, exam=replace(one.exam, seeds=(0, 1, 2)))
    line = recipe.rerun_command(replace(report.facts, exams=(thrice,)), settings)
    assert "--seeds 3" in line
    unexamined = replace(report.facts, exams=(), asked={**report.facts.asked, "exam_seeds": 2})
    assert "--seeds 2" in recipe.rerun_command(unexamined, settings)


def test_a_plateau_that_was_settled_is_rerun_to_about_the_same(report):
    facts = report.facts
    searched = tuple(
        replace(row, values={**row.values, "schedule": "plateau"})
        if row.number == facts.winner.number
        else row
        for row in facts.rows
    )
    settings = settings_of(facts.folder)
    same = words(page.html(report, settings))
    assert "it gives the same figure:" in same and "about the same" not in same
    text = words(page.html(replace(report, facts=replace(facts, rows=searched)), settings))
    assert "it gives about the same figure" in text and "schedule plateau" in text


def test_the_page_names_no_password(report):
    home = str(report.facts.folder.parent)
    for key in ("tracking_uri", "registry_uri"):
        uri = {key: "https://joe:se@cret@tracker.org/runs"}
        text = page.html(report, resolve({"home": home, **uri}, {}, report.facts.folder.parent))
        assert f"--{key.replace('_', '-')} https://tracker.org/runs" in text
        assert "cret@" not in text and "joe:" not in text


def test_a_fold_that_is_held_out_counts_among_the_data_and_in_what_guessing_gives(tmp_path):
    folder = make(tmp_path, exams=())
    ledger = Ledger(folder / "ledger.sqlite")
    sealed = {"labels": [0, 1, 0, 1, 0, 1, 0, 1], "sources": list(range(8)), "classes": list(CLASSES)}
    ledger.write_fact("clips", sealed | {"valid": {}})
    ledger.close()
    written = folder / "study.yaml"
    written.write_text(yaml.safe_dump({**yaml.safe_load(written.read_text()), "protocol": "held-out 3"}))
    found = page.collect(folder, settings_of(folder), quiet)
    assert dict(tables.asked(found.facts, found.dataset))["data"] == (
        "twelve: 12 clips of 2 classes, cut from 12 recordings"
    )
    assert dict(tables.asked(found.facts, None))["data"].endswith(
        "8 clips of 2 classes, cut from 8 recordings, beside those of fold 3, which was held out"
    )
    skipped = replace(found.facts, asked={**found.facts.asked, "skipped": {found.dataset.clips[0].name: "x"}})
    assert "11 clips" in dict(tables.asked(skipped, found.dataset))["data"]


def test_guessing_is_about_the_clips_that_were_tested(report):
    one = report.facts.exams[0]
    tested = replace(one, confusion_KK=np.array([[2, 1], [0, 1]]))
    assert replace(report.facts, exams=(tested,)).chance == 0.75
    assert replace(report.facts, exams=(), label_N=np.array([0, 1, 1, 1, 1])).chance == 0.8


def test_counts_over_several_seeds_say_so(report):
    one = report.facts.exams[0]
    thrice = replace(
        one, confusion_KK=3 * one.confusion_KK, exam=replace(one.exam, seeds=(0, 1, 2), seed_means=None)
    )
    once, rows = tables.per_class(one, CLASSES), tables.per_class(thrice, CLASSES)
    assert [row.clips for row in rows] == [row.clips for row in once] == [6, 6]
    mistaken = [row.mistaken for row in rows if row.mistaken]
    assert mistaken and all(text.endswith("of 18 over 3 seeds)") for text in mistaken)
    assert not any("seeds" in row.mistaken for row in once)
    drawn = page.figures(replace(report, facts=replace(report.facts, exams=(thrice,))))["confusion"][0].svg()
    assert "3 seeds" in drawn and "seeds" not in page.figures(report)["confusion"][0].svg()


def test_a_recipe_that_cannot_be_measured_costs_its_cells_and_not_the_page(report, monkeypatch):
    def broken(*facts):
        raise RuntimeError("Kernel size can't be greater than actual input size")

    monkeypatch.setattr(leaderboard, "costs", broken)
    entries = leaderboard.leaderboard(report.facts, 1.0)
    assert entries and all(entry.costs == {} for entry in entries)
    text = words(page.html(replace(report, entries=tuple(entries)), settings_of(report.facts.folder)))
    assert label_of(report) in text


def label_of(report):
    return charts.label(report.facts.winner.number)


def test_trees_that_find_no_difference_have_no_importances(report, monkeypatch):
    def flat(*args, **named):
        raise RuntimeError("Encountered zero total variance in all trees.")

    monkeypatch.setattr("optuna.importance.get_param_importances", flat)
    assert importance.importances(report.facts) == []


# what is drawn


def test_axes_have_round_ticks_inside_their_ends():
    for values in ([0.31, 0.58], [3, 250], [0.5, 0.5], [-2, 7], []):
        axis = svg.linear(values)
        assert (
            all(axis.low - 1e-9 <= tick <= axis.high + 1e-9 for tick, _ in axis.ticks) and len(axis.ticks) > 1
        )
        assert all(0 <= axis.share(value) <= 1 for value in values)
    axis = svg.logarithmic([1e3, 1e6])
    assert axis.share(1e3) < axis.share(1e4) < axis.share(1e6)
    assert [writing for _, writing in axis.ticks] == ["1000", "10 k", "100 k", "1 M"]


def test_every_chart_is_well_formed_xml_and_escapes_what_it_writes(report):
    from xml.etree import ElementTree

    for made in page.figures(report).values():
        for chart in made:
            ElementTree.fromstring(chart.svg())
    chart = svg.Chart(100, 100, 'a "quoted" <about>')
    chart.text(1, 1, "<script>&")
    assert [e.text for e in ElementTree.fromstring(chart.svg()).iter() if e.text] == ["<script>&"]


def test_every_section_has_its_charts(report):
    made = {section: len(found) for section, found in page.figures(report).items()}
    assert made["exam"] == made["history"] == made["confusion"] == 1
    assert made["cost"] == made["curves"] == 2 and made["importance"] >= 1
    assert 3 <= made["slices"] <= page.SLICES


def test_a_confusion_matrix_of_many_classes_has_a_cell_for_each_pair():
    classes = [f"class {number}" for number in range(50)]
    drawn = charts.confusion_chart(np.eye(50, dtype=int), classes).svg()
    assert drawn.count("<rect") == 2500 and drawn.count("<title>") == 50


def test_pictures_are_svg_files_that_stand_alone(known):
    found = page.pictures(page.collect(known, settings_of(known), quiet))
    assert {"exam.svg", "history.svg", "confusion.svg", "cost-1.svg", "curves-1.svg"} <= found.keys()
    for content in found.values():
        assert (
            content.startswith(b"<svg")
            and b"prefers-color-scheme" in content
            and b"http:" not in (content.replace(b"http://www.w3.org/2000/svg", b""))
        )


# the page


def test_the_page_says_what_was_asked_what_came_out_and_how_sure_it_is(report):
    text = words(page.html(report, settings_of(report.facts.folder)))
    exam = report.facts.exams[0].exam
    for told in (
        f"{100 * exam.mean:.1f} % of twelve recognised",
        "Study known tried 13 recipes to tell 2 classes of sound apart",
        "95 % interval",
        "Guessing would give 50.0 %",
        "Protocol rotating",
        "2 of 13 trials were stopped early",
        "better in validation than the winner shown here, but was not examined",
        "Functional ANOVA by Optuna",
        "11 complete trials",
        "taken for",
        "run recipe.yaml --data",
        "architecture: mel_cnn",
        "The sounds:",
    ):
        assert told in text, told
    assert "tied" in text or "is ahead of" in text


def test_the_page_fetches_nothing_and_its_links_lead_somewhere(report):
    tags = Tags(page.html(report, settings_of(report.facts.folder)))
    for address in tags.addresses:
        assert address.startswith(("data:", "#")), address
        assert not address.startswith("#") or address[1:] in tags.ids
    assert sum(address.startswith("data:audio/mpeg") for address in tags.addresses) == len(report.confused)


def test_synthetic_sounds_are_named(tmp_path):
    folder = make(tmp_path, synthetic=True)
    text = words(page.html(page.collect(folder, settings_of(folder), quiet), settings_of(folder)))
    assert "made by a generator" in text and "synthetic sounds" in text


def test_without_tables_and_without_data_the_report_says_so(tmp_path):
    folder = make(tmp_path, tables=False)
    (tmp_path / "sounds" / "clips.csv").unlink()
    found = page.collect(folder, settings_of(folder), quiet)
    text = words(page.html(found, settings_of(folder)))
    assert "there are no tables of their predictions" in text
    assert "the confused clips cannot be named" in text
    assert "The licence of the sounds is not known here" in text


def test_where_the_sounds_are_gone_the_confused_clips_are_named(tmp_path):
    folder = make(tmp_path)
    for path in (tmp_path / "sounds").glob("*.wav"):
        path.write_bytes(b"")
    found = page.collect(folder, settings_of(folder), quiet)
    text = words(page.html(found, settings_of(folder)))
    assert found.confused and "cannot be played here" in text and found.confused[0].name in text


@pytest.mark.parametrize("trials", [0, 1, 5])
def test_a_study_that_has_just_begun_has_a_report(tmp_path, trials):
    folder = make(tmp_path, trials=trials, exams=())
    found = page.collect(folder, settings_of(folder), quiet)
    text = words(page.html(found, settings_of(folder)))
    told = "None of them has been trained to its end" if trials == 0 else "the exam has not been held"
    assert told in text
    assert ("hold the exam" in text.lower()) == (trials > 0)


def nested(home):
    """A nested study of two folds, of which the second was not begun; the figure of both is there all the same."""
    whole = make(home / "parts")
    folder = home / "parts" / "all"
    folder.mkdir()
    asked = yaml.safe_load((whole / "study.yaml").read_text())
    (folder / "study.yaml").write_text(yaml.safe_dump({**asked, "protocol": "nested"}))
    splits = json.loads((whole / "splits.json").read_text())
    (folder / "splits.json").write_text(json.dumps({**splits, "exam": [{"test_fold": 1}, {"test_fold": 2}]}))
    (folder / "space.yaml").write_text(SPACE)
    whole.rename(folder / "fold-1")
    return folder


def test_a_nested_study_is_reported_as_a_whole(tmp_path):
    folder = nested(tmp_path)
    text = words(page.html(page.collect(folder, settings_of(folder), quiet), settings_of(folder)))
    assert "Not all folds have been examined yet" in text and "report all/fold-1" in text
    assert "not begun" in text
    dataset = open_dataset(tmp_path / "parts" / "sounds" / "clips.csv")
    found = predicted(dataset, 3)
    exam = examine(found, protocol="nested", data="d", validation=0.7, trials=26)
    folds = [nesting._origin(one) for one in nesting.results(folder)]  # what the figure was made of
    record = {"exam": json.loads(exam.to_json()), "classes": list(CLASSES), "folds": folds, "time": 1.0}
    record["confusion"] = confusion(found.prob_SNK[0].argmax(axis=1), found.labels, 2).tolist()
    predictions.write(folder / "exam" / "nested.csv", found)
    (folder / "exam" / "nested.json").write_text(json.dumps(record))
    report = page.collect(folder, settings_of(folder), quiet)
    text = words(page.html(report, settings_of(folder)))
    assert "75.0 % of twelve recognised" in text and "No single model comes out" in text
    assert "taken for" in text and "Save it as recipe.yaml" not in text and len(report.confused) > 0


def test_the_study_of_one_fold_is_called_by_its_whole_name(tmp_path):
    folder = nested(tmp_path) / "fold-1"
    settings = settings_of(folder.parent)
    text = words(page.html(page.collect(folder, settings, quiet), settings))
    assert "Study all/fold-1 tried" in text and "promote" not in text


# the command


def test_the_command_writes_the_page_and_says_where(known, tmp_path, capsys):
    place = tmp_path / "deep" / "mine.html"
    assert main(["report", "known", "--home", str(known.parent), "--out", str(place)]) == 0
    assert str(place) in capsys.readouterr().out and place.stat().st_size < 4e6
    assert place.read_text().startswith("<!doctype html>")


def test_json_holds_the_figures(known, tmp_path, capsys):
    place = tmp_path / "r.html"
    assert main(["report", "known", "--home", str(known.parent), "--out", str(place), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["path"] == str(place) and told["bytes"] == place.stat().st_size
    assert told["exams"][0]["mean"] == pytest.approx(10 / 12)
    assert told["importances"][0]["trials"] == 11 and told["leaderboard"][0]["macs"] > 0
    assert yaml.safe_load(told["recipe"])["knobs"]["architecture"] == "mel_cnn"


def test_open_starts_a_browser_or_says_that_there_is_none(known, tmp_path, monkeypatch, capsys):
    opened = []
    words = ["report", "known", "--home", str(known.parent), "--out", str(tmp_path / "r.html"), "--open"]
    monkeypatch.setattr(webbrowser, "open", lambda address: bool(opened.append(address)) or True)
    assert main(words) == 0 and opened == [(tmp_path / "r.html").as_uri()]
    monkeypatch.setattr(webbrowser, "open", lambda address: False)
    assert main(words) == 1 and "no browser could be started here; open" in capsys.readouterr().err


def test_an_unknown_study_and_a_page_that_cannot_be_written_are_one_sentence(known, tmp_path, capsys):
    assert main(["report", "nothing", "--home", str(known.parent)]) == 2
    assert "no study 'nothing'" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    place = tmp_path / "file" / "r.html"
    assert main(["report", "known", "--home", str(known.parent), "--out", str(place)]) == 1
    assert "the report cannot be written to" in capsys.readouterr().err.splitlines()[-1]
