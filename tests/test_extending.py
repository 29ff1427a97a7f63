"""The examples of docs/extending.md, put where the page says into a copy of the project: they are complete."""

import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from search.datasets.synthetic import write_esc50_folder

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
PACKAGES = ("escmodels", "search", "spaces")
CLASSES = 3


def pieces():
    """(file, kind, text) of each block of the page; a block belongs to the file named last before it."""
    place = ""
    for name, kind, text in re.findall(
        r"^`([\w/.]+)`:$|^```(\w*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL
    ):
        place = name or place
        if not name:
            yield place, kind, text


def changed(source: str, diff: str) -> str:
    """A file after a change whose lines begin with " ", "-" or "+". The place must be there once."""
    before = "".join(line[1:] for line in diff.splitlines(keepends=True) if line[0] in " -")
    after = "".join(line[1:] for line in diff.splitlines(keepends=True) if line[0] in " +")
    assert source.count(before) == 1, f"the place of this change is not in the file:\n{diff}"
    return source.replace(before, after)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project with all examples in it, and sounds beside a table of labels."""
    project = tmp_path_factory.mktemp("project")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, project / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file, kind, text in pieces():
        if kind in ("python", "yaml"):
            assert not (project / file).exists()
            (project / file).write_text(text, encoding="utf-8")
        elif kind == "diff":
            (project / file).write_text(
                changed((project / file).read_text(encoding="utf-8"), text), encoding="utf-8"
            )
    made = write_esc50_folder(project / "made", sample_rate=8000, seconds=0.5)
    with (made / "meta" / "esc50.csv").open() as table:
        rows = [row for row in csv.DictReader(table) if int(row["target"]) < CLASSES]
    (project / "sounds").mkdir()
    for row in rows:
        shutil.copy(made / "audio" / row["filename"], project / "sounds")
    labels = {row["filename"]: row["category"] for row in rows}
    (project / "sounds" / "labels.json").write_text(json.dumps(labels))
    shutil.rmtree(made)
    return project


def escsearch(project, *words):
    """Run the copy as a user would; its answer as JSON."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("ESCSEARCH", "MLFLOW", "RAY"))}
    done = subprocess.run(
        [sys.executable, "-m", "search", *words, "--json"],
        cwd=project,
        env=clean | {"PYTHONPATH": str(project)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_the_commands_of_the_page_search_with_all_four_and_end_in_a_model(project):
    commands = [
        shlex.split(line)[1:]
        for line in PAGE.splitlines()
        if re.match("escsearch (space|run|predict) ", line)
    ]
    check, run, predict = commands
    checked = escsearch(project, *check)
    assert checked["families"] == ["strip_cnn", "raw_cnn"]
    found = escsearch(project, *run, "--runner", "local")
    assert found["data"]["name"] == "sounds"
    status = escsearch(project, "status", "mine")
    assert [trial["state"] for trial in status["trials"]] == ["complete", "complete"]
    values = [trial["values"] for trial in status["trials"]]
    assert values[0]["architecture"] == "strip_cnn" and values[0]["augment.reverse"] == 0.5
    assert values[1]["feature"] == "emphasis"
    predicted = escsearch(project, *predict)
    assert {Path(row["file"]).name for row in predicted["predictions"]} == {
        path.name for path in (project / "sounds").glob("*.wav")
    }


@pytest.mark.slow
def test_the_examples_keep_the_rules_of_the_project(project):
    """Ruff's. (mypy takes half a minute; whoever changes the page runs it by hand.)"""
    config = str(ROOT / "pyproject.toml")
    new = [file for file, kind, _ in pieces() if kind == "python"]
    for tool in (
        ["ruff", "check", "--config", config, *PACKAGES],
        ["ruff", "format", "--check", "--config", config, *new],
    ):
        done = subprocess.run(
            [sys.executable, "-m", *tool], cwd=project, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
