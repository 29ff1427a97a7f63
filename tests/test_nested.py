"""Laws of a nested study: each fold predicted without it, one figure, no model."""

import json
import shlex
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import soundfile
from test_sealing import FOLDS, Silent, Spy, places

from escmodels.exams import Exam, comparable, examine
from search import predictions
from search.cli import main, parser
from search.errors import Failure, Refused, UsageError
from search.inside import folds_of
from search.ledger import Ledger, sole_driver
from search.nested import (
    FoldResult,
    Nested,
    check_joinable,
    conclude,
    joined,
    recalled,
    results,
    stale,
)
from search.nested_run import examine_nested, resume_nested, run_nested, sync_nested
from search.nested_summary import as_json, boxed
from search.rerun import keep_label_map, run_command
from search.run import run_study
from search.spec import Spec
from search.studies import create, create_inside, mixed_of, recorded_of, reopen, reopen_nested
from search.tracker import MemoryTracker, TrackerDown

LOCAL = {"runner": "local"}


@pytest.fixture
def tracker(monkeypatch):
    tracker = MemoryTracker()
    monkeypatch.setattr("search.nested_projection.MlflowTracker", lambda settings, experiment: tracker)
    return tracker


@pytest.fixture
def place_of(tmp_path, monkeypatch, tracker):
    return places(tmp_path, monkeypatch)


def begin(where, examine=True, **asked):
    data, space, settings = where
    asked = {"protocol": "nested", "trials": 1, "epochs": 1, "pruner": "none", "finalists": 1} | asked
    return run_nested(Spec(str(data), **asked), space, settings, name="n", engine=LOCAL, examine=examine)


def written(where, **asked):
    """A nested study of which the folders are there, for fold 2 too, and nothing was searched."""
    data, space, settings = where
    outer = create(Spec(str(data), protocol="nested", **asked), space, settings, "n")
    outer.open_clips(settings, lambda title: nullcontext(lambda done, total: None))
    outer.write(LOCAL)
    inner = create_inside(outer, 2)
    inner.open_clips(settings, lambda title: nullcontext(lambda done, total: None))
    inner.write(LOCAL)
    outer.release(), inner.release()
    return outer


def refused(capsys, where, code, *words):
    """What a command that ends with a code says, in its one sentence."""
    capsys.readouterr()
    assert main([*words, "--home", str(where[2].home)]) == code
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    return printed.err


class Dying(Spy):
    """A runner whose process dies, the second time that it is to search."""

    searches = 0

    def search(self, conductor):
        Dying.searches += 1
        if Dying.searches == 2:
            raise KeyboardInterrupt
        super().search(conductor)


@pytest.mark.slow
def test_each_fold_is_predicted_by_a_study_that_never_saw_it(place_of):
    where = place_of()
    nested = begin(where, exam_seeds=2)
    folder = nested.study.folder
    assert [
        runner.loaded[0].folds.tolist().count(fold) for runner, fold in zip(Spy.made, FOLDS, strict=True)
    ] == [0] * 4
    assert [sorted({int(job.split) for job in runner.jobs}) for runner in Spy.made] == [
        [fold] for fold in FOLDS
    ]
    whole = Spy.made[0].loaded[1]
    found = predictions.read(folder / "exam" / "nested.csv")
    assert sorted(found.names) == sorted(whole.names) and found.seeds == (0, 1)
    at = {name: row for row, name in enumerate(whole.names)}
    rows = [at[name] for name in found.names]
    for name in ("folds", "labels", "sources"):
        assert np.array_equal(getattr(found, name), getattr(whole, name)[rows])
    for fold, result in zip(FOLDS, nested.folds, strict=True):
        inner = predictions.read(predictions.place(folder / f"fold-{fold}", result.winner))
        assert np.array_equal(found.prob_SNK[:, found.folds == fold], inner.prob_SNK)
        assert result.exam.protocol == f"held-out {fold}" and result.state == "done"
        assert nested.exam.folds[fold - 1] == pytest.approx(result.exam.mean)


def test_the_figure_is_that_of_the_joined_table_and_is_kept(place_of):
    nested = begin(place_of())
    objectives = [result.objective for result in nested.folds]
    found = predictions.read(nested.study.folder / "exam" / "nested.csv")
    again = examine(
        found, protocol="nested", data=nested.exam.data, validation=float(np.mean(objectives)), trials=4
    )
    assert again == nested.exam == recalled(nested.study.folder)
    record = json.loads((nested.study.folder / "exam" / "nested.json").read_text())
    assert np.sum(record["confusion"]) == len(found)
    assert [(fold["fold"], fold["study"]) for fold in record["folds"]] == [(f, f"n/fold-{f}") for f in FOLDS]
    with pytest.raises(ValueError, match="protocol 'nested' against 'held-out 1'"):
        comparable(nested.exam, nested.folds[0].exam)


@pytest.mark.slow
def test_a_study_that_was_cut_off_goes_on_and_doubles_nothing(place_of, monkeypatch):
    where = place_of()
    monkeypatch.setattr("search.session.make_runner", lambda engine, settings: Dying())
    monkeypatch.setattr(Dying, "searches", 0)
    with pytest.raises(KeyboardInterrupt):
        begin(where)
    folder = where[2].study("n")
    assert [result.state for result in results(folder)] == ["done", "interrupted", "not begun", "not begun"]
    assert recalled(folder) is None
    with pytest.raises(
        UsageError, match="study n is not through, n/fold-2 was cut off in its search; run '.* resume n"
    ):
        examine_nested("n", where[2])
    first = (folder / "fold-1" / "ledger.sqlite").stat().st_mtime_ns
    Spy.made.clear()
    nested = resume_nested("n", where[2])
    assert [result.state for result in nested.folds] == ["done"] * 4 and nested.exam is not None
    assert len(Spy.made) == 3  # the fold that was done is left alone
    assert (folder / "fold-1" / "ledger.sqlite").stat().st_mtime_ns == first
    for fold in FOLDS:
        assert nested.folds[fold - 1].trials == {"complete": 1}
    whole = begin(place_of("whole"))  # as if it had never been cut off
    assert whole.exam == nested.exam


@pytest.mark.slow
def test_more_trials_go_to_every_fold(place_of):
    where = place_of()
    begin(where, examine=False)
    assert [result.state for result in results(where[2].study("n"))] == ["searched"] * 4
    nested = resume_nested("n", where[2], trials=2)
    assert [result.trials for result in nested.folds] == [{"complete": 2}] * 4
    assert nested.exam.trials == 8
    assert reopen_nested("n", where[2]).spec.trials == 2


@pytest.mark.slow
def test_an_exam_with_other_seeds_makes_the_figure_anew(place_of):
    where = place_of()
    begin(where)
    nested = examine_nested("n", where[2], exam_seeds=2)
    assert nested.exam.seeds == (0, 1) == recalled(where[2].study("n")).seeds


def test_no_model_comes_out_of_it_and_the_command_for_one_is_named(place_of, capsys):
    where = place_of()
    begin(where, examine=False, fixed={"model.width": 4}, seed=3)
    home = ["--home", str(where[2].home)]
    capsys.readouterr()
    assert main(["promote", "n", *home]) == 4
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "study n is nested: it judges the procedure" in said
    words = f" --data {where[0]} --epochs 1 --set model.width=4 --seed 3 --trials 1 --pruner none --home "
    for word in words.split(" --"):
        assert word in said
    with pytest.raises(Refused):
        reopen("n", where[2])
    data, space, settings = where
    with pytest.raises(UsageError, match="run_nested"):
        run_study(Spec(str(data), protocol="nested"), space, settings)


@pytest.mark.slow
def test_status_tells_of_every_fold(place_of, capsys):
    where = place_of()
    begin(where, examine=False)
    home = ["--home", str(where[2].home)]
    assert main(["status", "n", *home]) == 0
    text = capsys.readouterr().out
    assert "nested study n: interrupted, 0 of 4 folds done; go on with:" in text
    assert all(f"n/fold-{fold}" in text for fold in FOLDS)
    assert main(["exam", "n", "--json", *home]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["protocol"] == "nested" and told["model"] is None and told["run"].count(" run ") == 1
    assert main(["status", "n", "--json", *home]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [fold["state"] for fold in document["folds"]] == ["searched"] * 4
    assert document["exam"] == told["exam"] and document["exam"]["protocol"] == "nested"
    assert main(["status", "n", *home]) == 0
    assert "exam      accuracy" in capsys.readouterr().out
    assert main(["stop", "n", *home]) == 1
    assert "nobody runs study n; go on with it" in capsys.readouterr().err


@pytest.mark.slow
def test_a_nested_study_teaches_no_other_as_a_whole(place_of):
    data, space, settings = where = place_of()
    begin(where, examine=False)
    with pytest.raises(UsageError, match="--warm-start n is a nested study.* such as n/fold-1"):
        create(Spec(str(data), warm_start="n"), space, settings, "t")


@pytest.mark.slow
def test_folds_that_have_to_be_made_are_the_same_in_every_study(place_of):
    data, space, settings = place_of()
    data.write_text("\n".join(line.rpartition(",")[0] for line in data.read_text().splitlines()) + "\n")
    nested = begin((data, space, settings), examine=False, folds=3)
    listed = [
        json.loads((nested.study.folder / at / "splits.json").read_text())["folds"]
        for at in (".", "fold-1", "fold-3")
    ]
    assert listed[0] == listed[1] == listed[2] and folds_of(nested.study.folder) == [1, 2, 3]
    again = parser().parse_args(
        shlex.split(run_command(nested.study, settings))[3:]
    )  # after python -m search
    assert again.splits == nested.study.folder / "splits.json" and again.folds is None and not again.nested


def test_the_command_for_a_model_repeats_what_was_asked(place_of):
    data, space, settings = place_of()
    asked = {
        "classes": ["buzz", "hiss"],
        "fixed": {"optim.batch": 4},
        "tries": [{"optim.lr": 0.01, "model.width": 8}],
        "seed": 2,
        "sampler": "random",
        "objective": "accuracy,-params",
        "rungs": (0.5, 1.0),
        "queue": 0,
        "exam_seeds": 3,
        "accept_similar": True,
        "label_map": {"hum": "buzz", "hiss": "hiss"},
        "trials": 7,
    }
    study = create(Spec(str(data), protocol="nested", **asked), space, settings, "n")
    study.folder.mkdir(parents=True)
    (study.folder / "space.yaml").write_bytes(study.space_file.read_bytes())
    line = run_command(study, settings)
    assert not (study.folder / "label_map.json").exists()  # to name a command writes nothing
    keep_label_map(study)
    again = parser().parse_args(shlex.split(line)[3:])
    assert again.classes == "buzz,hiss" and again.fixed == ["optim.batch=4"]
    assert again.tries == ["optim.lr=0.01,model.width=8"]
    assert (again.seed, again.sampler, again.objective) == (2, "random", "accuracy,-params")
    assert (again.rungs, again.queue, again.exam_seeds, again.trials) == ([0.5, 1.0], 0, 3, 7)
    assert again.accept_similar and json.loads(Path(again.label_map).read_text()) == {
        "hum": "buzz",
        "hiss": "hiss",
    }
    assert Path(again.space) == study.folder / "space.yaml" and again.data == str(data)


def result(fold, **changes):
    facts = dict(
        protocol=f"held-out {fold}", data="d", seeds=(0,), folds=(0.5,), mean=0.5, low=0.4, high=0.6,
        macro_f1=0.5, validation=0.5, trials=3, clips=8,
    )  # fmt: skip
    exam = Exam(**(facts | changes))
    return FoldResult(fold, f"n/fold-{fold}", "done", {"complete": 3}, 0, 0.5, {}, exam), exam


def test_exams_of_different_data_protocols_or_seeds_are_never_joined():
    check_joinable([result(1), result(2)])
    with pytest.raises(Failure, match=r"n/fold-1 and n/fold-2 are of different data \(d and e\)"):
        check_joinable([result(1), result(2, data="e")])
    with pytest.raises(Failure, match="are of different seeds .* hold all exams again"):
        check_joinable([result(1), result(2, seeds=(0, 1))])
    with pytest.raises(Failure, match="n/fold-2 was examined by the protocol 'rotating'"):
        check_joinable([result(1), result(2, protocol="rotating")])


def test_a_clip_in_two_tables_is_refused(place_of):
    nested = begin(place_of())
    table = predictions.read(nested.study.folder / "exam" / "nested.csv")
    with pytest.raises(Failure, match="is in the exams of two folds"):
        joined([table, table])


def test_a_fold_without_an_exam_is_named(place_of):
    where = place_of()
    nested = begin(where, examine=False)
    with pytest.raises(Failure, match="the winner of study n/fold-1 was not examined; run '.* exam n"):
        conclude(nested.study, where[2])


def test_what_waits_for_mlflow_is_that_of_all_folds(place_of, monkeypatch):
    where = place_of()
    begin(where, examine=False)
    monkeypatch.setattr("search.run.ProjectorThread", Silent)
    assert sync_nested("n", where[2]) > 4 * 3


def test_the_figure_stands_in_the_tracker_with_its_table(place_of, tracker):
    where = place_of()
    nested = begin(where)
    ((key, run),) = [(key, run) for key, run in tracker.runs.items() if run.tags["esc.level"] == "nested"]
    assert key.startswith("n@") and run.name.startswith("nested n ") and run.status == "FINISHED"
    assert run.tags["protocol"] == "nested" and run.tags["data.fingerprint"] == nested.exam.data
    assert run.tags["folds"] == "n/fold-1 n/fold-2 n/fold-3 n/fold-4"
    assert {point.metric: point.value for point in run.points}["test_accuracy"] == nested.exam.mean
    table = (nested.study.folder / "exam" / "nested.csv").read_bytes()
    assert run.files["predictions.csv"] == table and run.files["confusion.png"].startswith(b"\x89PNG")
    examine_nested("n", where[2])
    assert [run for run in tracker.runs.values() if run.tags["esc.level"] == "nested"] == [run]


def test_a_tracker_that_is_away_does_not_hold_up_the_figure(place_of, tracker, monkeypatch, capsys):
    def away(*args, **kwargs):
        raise TrackerDown("it sleeps")

    monkeypatch.setattr(tracker, "open", away)
    assert begin(place_of()).exam is not None
    assert "the figure of n is not in MLflow (it sleeps); send it later with: " in capsys.readouterr().err


def cut_off(monkeypatch, call):
    """Let the process die in the second search of a call."""
    with monkeypatch.context() as patch:
        patch.setattr("search.session.make_runner", lambda engine, settings: Dying())
        patch.setattr(Dying, "searches", 0)
        with pytest.raises(KeyboardInterrupt):
            call()


@pytest.mark.slow
def test_a_resume_with_more_trials_that_was_cut_off_is_carried_to_every_fold(place_of, monkeypatch):
    where = place_of()
    begin(where)
    folder = where[2].study("n")
    cut_off(monkeypatch, lambda: resume_nested("n", where[2], trials=2))
    assert [found.state for found in results(folder)] == ["done", "interrupted", "done", "done"]
    assert [recorded_of(folder / f"fold-{fold}")["trials"] for fold in FOLDS] == [2, 2, 1, 1]
    assert recalled(folder) is None and stale(folder)
    with pytest.raises(UsageError, match="n/fold-2 was cut off in its search; run '.* resume n .*' first"):
        examine_nested("n", where[2])
    nested = resume_nested("n", where[2])  # the limits are those of the study, not of this command
    assert [found.trials for found in nested.folds] == [{"complete": 2}] * 4
    assert nested.exam == recalled(folder) and nested.exam.trials == 8


def test_a_fold_with_another_budget_is_not_examined_with_the_rest(place_of):
    where = place_of()
    begin(where, examine=False)
    (path,) = where[2].study("n").glob("study.yaml")
    path.write_text(path.read_text().replace("trials: 1\n", "trials: 2\n"))
    with pytest.raises(UsageError, match="n/fold-1 was searched with trials 1 and not 2; run '.* resume n"):
        examine_nested("n", where[2])


def test_exams_after_searches_with_other_limits_or_code_are_never_joined():
    def asked(fold, **asked):
        found, exam = result(fold)
        return replace(found, asked=asked), exam

    check_joinable([asked(1, trials=3, model="a"), asked(2, trials=3, model="b")])
    with pytest.raises(Failure, match=r"fold-1 and n/fold-2 had different limits \(trials 3; and trials 4\)"):
        check_joinable([asked(1, trials=3), asked(2, trials=4)])
    codes = [asked(1, code_fingerprint="a"), asked(2, code_fingerprint="b")]
    with pytest.raises(Failure, match=r"were run by different code \(a and b\).* --accept-changed"):
        check_joinable(codes)
    with pytest.raises(Failure, match="different code"):
        check_joinable(codes, [{"what": "code", "before": "a", "now": "c"}])
    check_joinable(codes, [{"what": "code", "before": "a", "now": "b"}])


@pytest.mark.slow
def test_folds_that_were_not_begun_mix_nothing_in_unless_that_is_accepted_once(place_of, monkeypatch):
    where = place_of()
    cut_off(monkeypatch, lambda: begin(where))
    folder = where[2].study("n")
    before = recorded_of(folder)["code_fingerprint"]
    shutil.rmtree(folder / "fold-2")  # as if it had been cut off between two folds
    sound = where[0].parent / "hum-1-0.wav"
    kept = sound.read_bytes()
    soundfile.write(sound, np.zeros(2400), 8000)
    with pytest.raises(Failure, match="the data at .* have changed since study n began .* --accept-changed"):
        resume_nested("n", where[2])
    sound.write_bytes(kept)
    monkeypatch.setattr("search.study.code_fingerprint", lambda: "other")
    with pytest.raises(Failure, match="escsearch or torch have changed since study n began"):
        resume_nested("n", where[2])
    assert [found.state for found in results(folder)] == ["done", *["not begun"] * 3]
    assert mixed_of(folder) == ()
    asked = []
    nested = resume_nested("n", where[2], accept=lambda sentence: asked.append(sentence) or True)
    (change,) = mixed_of(folder)
    assert (change["what"], change["before"], change["now"]) == ("code", before, "other")
    assert len(asked) == 1 and nested.exam == recalled(folder)
    assert f"caution   code of n changed from {before} to other" in boxed(nested, where[2])[1]
    resume_nested("n", where[2], trials=2)  # neither asked again for the fold that was begun before


def test_a_fold_is_neither_resumed_nor_promoted_by_itself(place_of, capsys):
    where = place_of()
    written(where)
    for words in (["resume"], ["exam"], ["promote"], ["promote", "--dry-run"]):
        said = refused(capsys, where, 4, words[0], "n/fold-2", *words[1:])
        assert "study n/fold-2 is one fold of the nested study n, whose folds all go on together" in said
        assert " resume n --home" in said
    inside = replace(where[2], home=where[2].study("n"))
    assert reopen("fold-2", inside).spec.protocol == "held-out 2"  # to be read, as a report does


def test_a_nested_study_is_resumed_without_a_name_for_a_model_too(place_of, capsys):
    where = place_of()
    written(where)
    said = "a nested study makes no model, so that --model m means nothing; leave it out"
    assert said in refused(capsys, where, 2, "resume", "n", "--model", "m")
    assert recorded_of(where[2].study("n"))["model"] is None


def test_a_figure_that_is_older_than_what_the_folds_are_is_called_so(place_of, capsys):
    where = place_of()
    nested = begin(where)
    folder = nested.study.folder
    ledger = Ledger(folder / "fold-3" / "ledger.sqlite")
    record = ledger.fact("exam/0")
    later = record["time"] + 1
    for changed in ({"time": later}, {"values": {**record["values"], "optim.lr": 0.5}}):
        ledger.write_fact("exam/0", record | changed)
        assert recalled(folder) is None and stale(folder)
    ledger.write_fact("exam/0", record)
    assert recalled(folder) == nested.exam and not stale(folder)
    ledger.write_fact("mixed", [{"what": "code", "before": "a", "now": "b", "time": later}])
    assert recalled(folder) is None and stale(folder)
    ledger.write_fact("mixed", [])
    assert recalled(folder) == nested.exam and not stale(folder)
    ledger.open_trial(1, {"optim.lr": 0.1})
    ledger.close()
    assert recalled(folder) is None and stale(folder)
    now = Nested(nested.study, results(folder), None)
    assert "exam      out of date, the folds have changed since it was held" in boxed(now, where[2])[1]
    assert as_json(now, where[2])["exam_outdated"]
    capsys.readouterr()
    assert main(["status", "n", "--home", str(where[2].home)]) == 0
    told = capsys.readouterr().out
    assert "exam      out of date" in told and "exam      accuracy" not in told


def test_the_figure_is_sent_once_and_by_nobody_beside_who_runs_the_study(place_of, tracker, monkeypatch):
    where = place_of()
    with monkeypatch.context() as patch:
        patch.setattr(tracker, "open", Mock(side_effect=TrackerDown("it sleeps")))
        begin(where)
    monkeypatch.setattr("search.nested_run.sync_study", lambda name, settings: 0)
    monkeypatch.setattr("search.ledger.PATIENCE", 1)
    with sole_driver(where[2].study("n")), pytest.raises(Failure, match="n is running in another process"):
        sync_nested("n", where[2])
    assert [sync_nested("n", where[2]) for _ in range(2)] == [1, 0]
    assert recalled(where[2].study("n")) is not None
