"""Laws of a new MLflow store: whole or not there, whoever is killed and however many make it."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from search.mlflow_tracker import MlflowTracker
from search.settings import resolve

pytestmark = pytest.mark.slow
OPEN = """
import os, signal, sys
from search.mlflow_tracker import MlflowTracker
from search.settings import resolve
if len(sys.argv) > 2:
    from alembic.operations import Operations
    from alembic.operations.ops import AddColumnOp
    steps, real = iter(range(int(sys.argv[2]))), Operations.invoke
    def invoke(self, operation):
        result = real(self, operation)
        if isinstance(operation, AddColumnOp) and next(steps, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    Operations.invoke = invoke
print(MlflowTracker(resolve({"home": sys.argv[1]}, environment={}), "test").experiment)
"""


def opened(home: Path, *words: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", OPEN, str(home), *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("steps", [0, 3])
def test_a_start_killed_in_the_middle_of_the_migrations_hinders_no_later_one(tmp_path, steps):
    first = opened(tmp_path, steps)
    first.communicate(timeout=120)
    assert first.returncode == -signal.SIGKILL
    tracker = MlflowTracker(resolve({"home": str(tmp_path)}, environment={}), "test")
    tracker.open("a", "run", None, {}, {}, time=0)
    assert tracker.run_id("a")
    assert not list(tmp_path.glob(".*.new"))


def test_a_file_left_empty_becomes_a_store(tmp_path):
    (tmp_path / "mlflow.sqlite").touch()
    assert MlflowTracker(resolve({"home": str(tmp_path)}, environment={}), "test").experiment == "1"


def test_processes_that_start_at_once_share_one_store(tmp_path):
    several = [opened(tmp_path) for _ in range(3)]
    ends = [(*process.communicate(timeout=240), process.returncode) for process in several]
    assert all(code == 0 for *_, code in ends), ends
    assert {out.strip() for out, *_ in ends} == {"1"}
    assert not list(tmp_path.glob(".*.new"))
