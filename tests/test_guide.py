"""The commands of the guide, run in order on a small set, in place of a stranger who pastes them."""

import csv
import re
import shlex
import shutil
from pathlib import Path

import pytest

from search.cli import main
from search.datasets.synthetic import write_esc50_folder

GUIDE = (Path(__file__).resolve().parents[1] / "docs" / "guide.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```\w*\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
COMMANDS = [
    shlex.split(line)[1:] for block in BLOCKS for line in block.splitlines() if line.startswith("escsearch ")
]
WAITING = ("ui", "serve")  # servers that somebody has to end: tests of their own start them
SHORT = ["--runner", "local", "--epochs", "2"]  # where the guide's reader waits for minutes
CLASSES = 3


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with recordings, one folder a class, and the space file of the guide."""
    made = write_esc50_folder(tmp_path / "made", sample_rate=16000, seconds=0.5)
    with (made / "meta" / "esc50.csv").open() as table:
        rows = list(csv.DictReader(table))
    for label in ["bark", *sorted({row["category"] for row in rows} - {"bark"})[: CLASSES - 1]]:
        (tmp_path / "recordings" / label).mkdir(parents=True)
        for row in rows:
            if row["category"] == label:
                shutil.copy(made / "audio" / row["filename"], tmp_path / "recordings" / label)
    shutil.rmtree(made)
    (text,) = re.findall(r"^```yaml\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    (tmp_path / "mine.yaml").write_text(text)
    for name in ("ESCSEARCH_HOME", "MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_the_commands_of_the_guide_lead_to_a_model_that_labels_files(place, capsys):
    assert {words[0] for words in COMMANDS} >= {
        "data",
        "space",
        "run",
        "resume",
        "report",
        "predict",
        *WAITING,
    }
    said = {}
    for words in COMMANDS:
        if words[0] in WAITING:
            continue
        more = SHORT if words[0] == "run" else []
        assert main([*words, *more]) == 0, (words, capsys.readouterr().err)
        said[words[0]] = capsys.readouterr().out
    assert (place / "audit.html").is_file() and (place / "splits.json").is_file()
    assert (place / "runs" / "first" / "report.html").is_file()
    assert said["predict"].count(".wav") == 2 * 40  # two labels each
    assert "it is the champion already" in said["promote"]
