"""The examples of docs/api.md, run as one script."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from search.datasets.synthetic import write_esc50_folder

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "api.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_examples_run_one_after_the_other(tmp_path):
    write_esc50_folder(tmp_path / "sounds", sample_rate=8000, seconds=0.5)
    script = "\n".join(re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("ESCSEARCH", "MLFLOW", "RAY"))}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=clean, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    winner, spent, *_ = done.stdout.splitlines()
    assert re.fullmatch(r"\w+ 0\.\d{3} \[0\.\d{3}, 0\.\d{3}\] rotating", winner)
    assert re.match(r"\d+ of 20 epochs; Shipped\(", spent)
    assert "sounds/audio/1-101000-A-0.wav" in done.stdout
    assert re.fullmatch(r"0\.\d{3} \[0\.\d{3}, 0\.\d{3}\]", done.stdout.splitlines()[-1])
