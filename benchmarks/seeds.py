"""The presets of spaces/seeds: what was reported, the same protocol done again, and an honest figure beside both.

`python benchmarks/seeds.py --data D [--only NAME ...] [--epochs N] [--hours H]` measures presets one by one and keeps
each in benchmarks/seeds.json, so that the table of docs/seeds.md can be filled in pieces; without --data it only writes
the table anew from what is kept.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import date
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

from common import ROOT, SEEDS, table, write_section

from spaces.load import load, shipped

KEPT = Path(__file__).with_name("seeds.json")
PRESETS = [name for name in shipped() if name.startswith("seeds/")]


def main() -> None:
    """Measure what is asked for, write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", metavar="D", help="data set to measure on")
    names = [name.removeprefix("seeds/") for name in PRESETS]
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help="presets (default: all)")
    parser.add_argument(
        "--epochs", type=int, metavar="N", help="at most so many, where a preset asks for more"
    )
    parser.add_argument("--hours", type=float, metavar="H", help="leave out what would take longer")
    parser.add_argument("--gpus-per-trial", default="0", metavar="F", help="as for `escsearch run`")
    args = parser.parse_args()
    kept: dict[str, dict[str, Any]] = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    for name in PRESETS if args.data else ():
        if not args.only or name.removeprefix("seeds/") in args.only:
            kept[name] = measured(name, args.data, args.epochs, args.gpus_per_trial, args.hours)
            KEPT.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    lines = page(kept)
    print("\n".join(lines))
    write_section(SEEDS, "seeds", lines)


def measured(name: str, data: str, most: int | None, gpus: str, hours: float | None) -> dict[str, Any]:
    """Both figures of a preset, or why there is none."""
    asked = load(name).epochs
    epochs = min(asked, most or asked)
    with tempfile.TemporaryDirectory(prefix="escsearch-seeds-") as home:
        common = ["--data", data, "--epochs", str(epochs), "--home", home, "--json", "--gpus-per-trial", gpus]
        found = dict[str, Any](
            epochs=epochs, asked=asked, date=date.today().isoformat(), torch=version("torch")
        )
        if hours is not None and (told := too_long(name, common, epochs, hours)):
            return found | {"trouble": told}
        published = asked_of([name, "--as-published", *common])
        honest = asked_of([name, "--trials", "1", "--finalists", "1", *common])
    if "trouble" in published or "trouble" in honest:
        return found | {"trouble": published.get("trouble") or honest["trouble"]}
    exam = honest["exams"][0]
    return found | {
        "data": published["data"],
        "as_published": published["accuracy"],
        "says": published["published"]["protocol"],
        "honest": [exam["mean"], exam["low"], exam["high"]],
        "protocol": exam["protocol"],
    }


def too_long(name: str, common: Sequence[str], epochs: int, most: float) -> str:
    """A sentence where both figures would take longer than so many hours; "" where they would not, or cannot be had."""
    seconds = []
    for tried in (1, 3):
        words = [
            tried if word == str(epochs) and before == "--epochs" else word
            for before, word in pairwise(common)
        ]
        began = time.perf_counter()
        if "trouble" in asked_of([name, "--as-published", common[0], *map(str, words)]):
            return ""
        seconds.append(time.perf_counter() - began)
    # as published up to 5 trainings in turn; search, exam and refit are 11, and 5 or more of them side by side
    hours = 3 * epochs * (seconds[1] - seconds[0]) / 2 / 3600
    cores = os.cpu_count()
    return f"{epochs} epochs would take about {hours:.2g} hours on {cores} cores" if hours > most else ""


def asked_of(words: Sequence[str]) -> dict[str, Any]:
    """What `run` answers as JSON; its sentence where it cannot."""
    done = subprocess.run(
        [sys.executable, "-m", "search", "run", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:]
        return {"trouble": last[0] if last else f"ended with {done.returncode}"}
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def page(kept: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The table."""
    rows = []
    for name in PRESETS:
        told, found = load(name).published, kept.get(name)
        assert told is not None
        reported = f"{told.reported or 'no figure'} ({told.data})"
        rows.append((f"`{name}`", reported, told.protocol, *cells(found)))
    head = ("preset", "reported", "its protocol", "as published", "honest", "optimism", "measured on")
    return table(head, rows)


def cells(found: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Both figures, their difference, and on what they were measured."""
    if found is None:
        return ("not run yet", "not run yet", "-", "-")
    if "trouble" in found:
        return (f"not run: {found['trouble']}", "-", "-", "-")
    mean, low, high = (100 * value for value in found["honest"])
    leaky = 100 * found["as_published"]
    shorter = "" if found["epochs"] == found["asked"] else f" of {found['asked']}"
    place = f"{found['data']}, {found['epochs']}{shorter} epochs, torch {found['torch']}, {found['date']}"
    return (f"{leaky:.1f} %", f"{mean:.1f} % [{low:.1f}, {high:.1f}]", f"{leaky - mean:+.1f}", place)


if __name__ == "__main__":
    main()
