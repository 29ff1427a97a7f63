"""What searches on ESC-10 end in, for each family and over all, in the exam: `python benchmarks/accuracy.py --data D`.

Each row of the table of docs/accuracy.md is a study in --home. One that is not there is begun, one that was cut off
goes on, one that is done is read; so the table can be filled in pieces (--only). What was found is kept in
benchmarks/accuracy.json; without --data the table is only written anew.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from common import ACCURACY, ROOT, about, table, write_section

from search.datasets.dataset import open_dataset

KEPT = Path(__file__).with_name("accuracy.json")
COMMON = ("--epochs", "40", "--seeds", "2")
ALL = ("--trials", "20", "--finalists", "2")
ONE = ("--trials", "10", "--finalists", "1")
FAMILIES = ("mel_cnn", "crnn", "resnet", "raw_cnn", "piczak")
STUDIES = {  # study -> what is said beside `run esc10 --data D`
    "esc10": (*COMMON, *ALL),
    **{f"esc10-{family}": (*COMMON, *ONE, "--set", f"architecture={family}") for family in FAMILIES},
}


def main() -> None:
    """Run or read what is asked for, write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", metavar="D", help="ESC-10")
    parser.add_argument("--home", default="runs", metavar="DIR", help="where the studies are (default: runs)")
    parser.add_argument("--only", nargs="+", choices=STUDIES, metavar="STUDY", help="(default: all)")
    args = parser.parse_args()
    kept: dict[str, dict[str, Any]] = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    for study in (args.only or STUDIES) if args.data else ():
        kept[study] = carried_out(study, *(str(Path(place).resolve()) for place in (args.data, args.home)))
        kept[study]["machine"] = about(open_dataset(args.data), "torch")
        KEPT.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    lines = page(kept)
    print("\n".join(lines))
    write_section(ACCURACY, "accuracy", lines)


def carried_out(study: str, data: str, home: str) -> dict[str, Any]:
    """The status of a study that is done, with the day."""
    if not (Path(home) / study / "study.yaml").exists():
        escsearch("run", "esc10", "--data", data, "--study", study, "--home", home, *STUDIES[study])
    elif status(study, home)["state"] != "done":
        escsearch("resume", study, "--home", home)
    found = status(study, home)
    states = [trial["state"] for trial in found["trials"]]
    first = max(found["exams"], key=lambda exam: (exam["validation"], -exam["trial"]))  # as the study chose
    (winner,) = (trial for trial in found["trials"] if trial["trial"] == first["trial"])
    return {
        "exam": first,
        "winner": winner["values"]["architecture"],
        "trials": len(states),
        "pruned": states.count("pruned"),
        "epochs": [found["epochs"]["spent"], found["epochs"]["full"]],
        "date": date.today().isoformat(),
    }


def status(study: str, home: str) -> dict[str, Any]:
    """What `escsearch status` knows."""
    found: dict[str, Any] = json.loads(escsearch("status", study, "--home", home, "--json"))
    return found


def escsearch(*words: str) -> str:
    """Run a command; its stdout. Progress is seen as it comes."""
    return subprocess.run(
        [sys.executable, "-m", "search", *words], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def page(kept: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The table and the commands behind it."""
    head = ("study", "test accuracy", "each seed", "validation", "winner", "trials", "epochs", "done")
    rows = [(f"`{study}`", *cells(kept.get(study))) for study in STUDIES]
    commands = [
        f"escsearch run esc10 --data D --study {name} {' '.join(words)}" for name, words in STUDIES.items()
    ]
    machines = dict.fromkeys(str(found["machine"]) for found in kept.values())
    return [*table(head, rows), "", *machines, "", "```", *commands, "```"]


def cells(found: Mapping[str, Any] | None) -> Sequence[str]:
    """One study."""
    if found is None:
        return ("not run yet", *["-"] * 6)
    exam = found["exam"]
    mean, low, high = (100 * exam[key] for key in ("mean", "low", "high"))
    return (
        f"{mean:.1f} % [{low:.1f}, {high:.1f}]",
        ", ".join(f"{100 * score:.1f}" for score in exam["seed_means"]),
        f"{100 * exam['validation']:.1f} %",
        found["winner"],
        f"{found['trials']}, {found['pruned']} of them pruned",
        "{:,} of {:,} of a full search".format(*found["epochs"]),
        found["date"],
    )


if __name__ == "__main__":
    main()
