"""A user's mistake: one sentence, the right exit code, no traceback, nothing left behind."""

import json
import subprocess
import sys

import pytest

from search.cli import main, parsed, parser
from search.datasets.synthetic import write_esc50_folder

HEAVY = ("torch", "ray", "mlflow", "optuna", "pandas", "matplotlib", "numpy", "sklearn")


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    return write_esc50_folder(tmp_path_factory.mktemp("data") / "sounds", sample_rate=8000, seconds=0.5)


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    """Call the command line with its home in `tmp_path`: (exit code, stdout, stderr)."""
    for name in ("ESCSEARCH_HOME", "MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)

    def call(*words):
        code = main([*map(str, words), "--home", str(tmp_path / "home")])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def refuses(outcome, code, *parts):
    got, stdout, stderr = outcome
    assert got == code, stderr
    last = stderr.strip().splitlines()[-1]
    assert last.startswith("escsearch: ")
    for part in parts:
        assert str(part) in last
    assert stdout == ""
    assert "Traceback" not in stderr


def space(tmp_path, text):
    path = tmp_path / "my.yaml"
    path.write_text(f"about: mine\nepochs: 1\nknobs:\n  architecture: mel_cnn\n{text}")
    return path


def local(space, data, *more):
    return ("run", space, "--data", data, "--runner", "local", "--trials", 1, *more)


@pytest.mark.parametrize(
    "words",
    [
        ("esc10", "a.ogg", "b.ogg", "--top", "3"),
        ("esc10", "--top", "3", "a.ogg", "b.ogg"),
        ("esc10", "a.ogg", "--top", "3", "b.ogg"),
        ("--top", "3", "esc10", "a.ogg", "b.ogg"),
        ("esc10", "a.ogg", "--top", "3", "--", "b.ogg"),
    ],
)
def test_files_may_stand_before_between_and_after_options(words):
    args = parsed(["predict", *words])
    assert (args.model, args.audio, args.top) == ("esc10", ["a.ogg", "b.ogg"], 3)


def test_a_file_whose_name_begins_with_a_dash_stands_behind_two_of_them():
    assert parsed(["predict", "esc10", "--top", "3", "--", "-a.wav"]).audio == ["-a.wav"]
    assert parsed(["predict", "esc10", "a.wav", "--top", "3", "--", "-b.wav"]).audio == ["a.wav", "-b.wav"]


@pytest.mark.parametrize("words", [("predict", "esc10", "a.ogg", "--tpo", "3"), ("status", "study", "more")])
def test_words_that_mean_nothing_are_refused(words, capsys):
    with pytest.raises(SystemExit) as caught:
        parsed(words)
    assert caught.value.code == 2 and "unrecognized arguments" in capsys.readouterr().err


def test_a_data_path_that_is_missing(run, tmp_path):
    refuses(run(*local("smoke", tmp_path / "nowhere")), 2, tmp_path / "nowhere", "no such folder")


def test_an_empty_folder(run, tmp_path):
    (tmp_path / "empty").mkdir()
    refuses(run(*local("smoke", tmp_path / "empty")), 2, "empty folder", "meta/esc50.csv")


def test_one_undecodable_file_is_named_and_leaves_no_study_behind(run, tmp_path):
    data = write_esc50_folder(tmp_path / "data", sample_rate=8000, seconds=0.5)
    bad = sorted((data / "audio").glob("*.wav"))[7]
    bad.write_bytes(b"not a sound at all")
    refuses(run(*local("smoke", data, "--study", "s")), 1, bad.stem, "--skip-bad")
    assert not (tmp_path / "home" / "s").exists()


@pytest.mark.slow
def test_with_skip_bad_it_is_left_out_by_name(run, tmp_path):
    data = write_esc50_folder(tmp_path / "data", sample_rate=8000, seconds=0.5)
    bad = sorted((data / "audio").glob("*.wav"))[7]
    bad.write_bytes(b"not a sound at all")
    space_file = space(
        tmp_path, "  data.sample_rate: 8000\n  data.crop: 0.5\n  model.width: 4\n  model.blocks: 2\n"
    )
    code, stdout, stderr = run(*local(space_file, data, "--study", "s", "--skip-bad", "--no-exam"))
    assert code == 0, stderr
    assert "399 clips" in stdout
    assert bad.stem in (tmp_path / "home" / "s" / "study.yaml").read_text()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("  optim.lrr: 0.1\n", ("my.yaml:5", "optim.lrr", "nearest known is 'optim.lr'")),
        (
            "  optim.lr: {type: float, low: 0.1, high: 0.01}\n",
            ("my.yaml:5", "range from 0.1 to 0.01 is empty"),
        ),
        (
            "  optim.lr: {type: float, low: 0.001, high: 0.01}\ndefaults: {optim.lr: 0.5}\n",
            ("my.yaml:6", "optim.lr is 0.5", "0.001 to 0.01"),
        ),
        ("  optim.batch: 1\n", ("optim.batch", "1")),
        ("  feature.hop: 4096\n", ("hop",)),
        (
            "  data.sample_rate: {type: int, low: 8000, high: 48000}\n",
            ("my.yaml:5", "40001 values", "categorical"),
        ),
    ],
)
@pytest.mark.parametrize("how", ["check", "run"])
def test_a_space_with_a_mistake(run, tmp_path, sounds, text, says, how):
    path = space(tmp_path, text)
    words = ("space", "check", path, "--no-timing") if how == "check" else local(path, sounds)
    refuses(run(*words), 2, *says)


def test_a_space_that_is_not_there(run, sounds):
    refuses(run(*local("esc11", sounds)), 2, "esc11", "nearest known is 'esc10'")


def test_a_study_name_that_exists(run, tmp_path, sounds):
    (tmp_path / "home" / "taken").mkdir(parents=True)
    refuses(run(*local("smoke", sounds, "--study", "taken")), 2, "study taken exists", "resume taken")


@pytest.mark.parametrize("name", ["", "a/b", "..", "-x", "a b"])
def test_a_study_name_that_is_no_name(run, sounds, name):
    refuses(run(*local("smoke", sounds, f"--study={name}")), 2, repr(name))


def test_a_study_that_does_not_exist(run):
    for verb in ("resume", "status", "stop", "exam", "promote", "sync"):
        refuses(run(verb, "nope"), 2, "'nope'", "known: none")


def test_an_mlflow_store_that_can_never_be(run, tmp_path, sounds):
    refuses(run(*local("smoke", sounds, "--tracking-uri", "relative/folder")), 2, "relative/folder", "sqlite")
    assert not (tmp_path / "home").exists() or not list((tmp_path / "home").glob("*/study.yaml"))


def test_an_mlflow_that_is_not_there_costs_a_search_nothing(run, sounds):
    words = ("--tracking-uri", "http://127.0.0.1:9", "--no-exam", "--trials", 1, "--epochs", 1, "--json")
    code, stdout, stderr = run(*local("smoke", sounds, *words))
    assert code == 0
    assert "MLflow does not answer at http://127.0.0.1:9" in stderr
    assert "escsearch sync" in stderr
    told = json.loads(stdout)
    assert told["trials"]["complete"] == 1
    assert told["backlog"] > 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--trials", 0), "trials must be at least 1"),
        (("--set", "optim.lr"), "must be KNOB=VALUE"),
        (("--set", "optim.lr=77"), "optim.lr is 77"),
        (("--set", "nonsense=1"), "nonsense"),
        (("--hours", -1), "hours must be positive"),
        (("--gpus-per-trial", 0.3), "must be 0, 1/n or a whole number"),
        (("--workers", 0), "workers must be at least 1"),
        (("--finalists", 0), "finalists and seeds must be at least 1"),
        (("--eta", 1), "eta"),
        (("--workers", 2), "one recipe at a time"),
        (("--model", "a/b"), "model name 'a/b'"),
        (("--epochs", 0), "epochs must be at least 1"),
        (("--format", "mp4"), "mp4"),
        (("--folds", 2), "need at least 3 folds"),
        (("--folds", 4), "official folds"),
    ],
)
def test_arguments_that_cannot_be(run, sounds, words, says):
    refuses(run("run", "smoke", "--data", sounds, "--runner", "local", *words), 2, says)


def test_every_command_has_help_with_an_example(capsys):
    commands = next(action for action in parser()._actions if hasattr(action, "choices") and action.choices)
    for name, command in commands.choices.items():
        nested = [
            action
            for action in command._actions
            if hasattr(action, "choices") and isinstance(action.choices, dict)
        ]
        for one in nested[0].choices.values() if nested else [command]:
            assert "example: escsearch" in one.format_help(), name


def test_help_imports_nothing_heavy():
    code = (
        "import sys; sys.argv = ['escsearch', '--help']\n"
        "from search.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_status_as_json_is_one_document(run, tmp_path):
    from search.ledger import Ledger

    folder = tmp_path / "home" / "s"
    folder.mkdir(parents=True)
    ledger = Ledger(folder / "ledger.sqlite", create=True)
    ledger.open_trial(0, {"architecture": "mel_cnn"})
    ledger.close()
    (folder / "study.yaml").write_text("data: here\n")
    code, stdout, _ = run("status", "s", "--json")
    assert code == 0
    assert json.loads(stdout)["trials"][0]["state"] == "running"


def test_recipes_over_a_limit_cost_no_epoch_and_no_failure(run, tmp_path):
    sounds = write_esc50_folder(tmp_path / "sounds", sample_rate=8000, seconds=0.5)
    (tmp_path / "small.yaml").write_text(
        "epochs: 1\nlimits: {params: 2000}\nknobs:\n  architecture: mel_cnn\n  data.sample_rate: 8000\n"
        "  data.crop: 0.5\n  model.blocks: 2\n"
        "  model.width: {type: categorical, choices: [64, 4]}\n"
        "defaults: [{model.width: 64}, {model.width: 4}]\n"
    )
    words = (
        "run",
        "small.yaml",
        "--data",
        sounds,
        "--runner",
        "local",
        "--trials",
        2,
        "--study",
        "s",
        "--no-exam",
    )
    code, _, stderr = run(*words)
    assert code == 0, stderr
    code, stdout, _ = run("status", "s", "--json")
    big, small = json.loads(stdout)["trials"]
    assert (big["state"], small["state"]) == ("infeasible", "complete")
    assert big["reason"].startswith("over the limits: ") and big["reason"].endswith(
        "parameters, at most 2,000"
    )
