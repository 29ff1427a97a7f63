"""The winner as a space file that reruns it, and the commands that go with it."""

from pathlib import Path

import yaml

from ..paste import command, relative
from ..settings import Settings
from .charts import percent
from .facts import Facts

FILE = "recipe.yaml"
HELD_OUT = "held-out "  # begins the name of a protocol, then the fold
FIRST = ("architecture", "feature", "schedule")  # choices, on top of the list of knobs


def recipe_yaml(facts: Facts) -> str:
    """A space in which every knob has the winner's value; empty where there is no winner."""
    row = facts.winner
    if row is None:
        return ""
    values = {name: row.values[name] for name in FIRST if name in row.values}
    values |= {name: row.values[name] for name in sorted(row.values) if name not in values}
    about = f"Trial {row.number} of study {facts.name}"
    if facts.exams:
        exam = facts.exams[0].exam
        low, high = (percent(end).replace("\xa0", " ") for end in (exam.low, exam.high))
        about += f": {percent(exam.mean)} ({low} to {high}), protocol {exam.protocol}".replace("\xa0", " ")
    space = {
        "about": about,
        "epochs": facts.session.get("epochs") or facts.asked.get("epochs"),
        "knobs": values,
    }
    return yaml.safe_dump(space, sort_keys=False, allow_unicode=True, width=100)


def rerun_command(facts: Facts, settings: Settings) -> str:
    """The command that trains and examines the file of `recipe_yaml`."""
    asked = facts.asked
    words: list[str | Path] = ["run", FILE, "--data", relative(asked["data"])]
    for name in ("format", "subset", "source_regex"):
        if asked.get(name):
            words += [f"--{name.replace('_', '-')}", str(asked[name])]
    if asked.get("classes"):
        words += ["--classes", ",".join(asked["classes"])]
    if asked.get("splits") or asked.get("folds") or asked.get("fold_seed"):
        words += ["--splits", facts.folder / "splits.json"]
    for name in ("drop_cross_fold_sources", "skip_bad", "accept_similar"):
        if asked.get(name):
            words.append(f"--{name.replace('_', '-')}")
    if str(asked.get("protocol", "")).startswith(HELD_OUT):
        words += ["--held-out", str(asked["protocol"]).removeprefix(HELD_OUT)]
    words += ["--trials", "1", "--seed", str(asked.get("seed", 0))]
    seeds = len(facts.exams[0].exam.seeds) if facts.exams else int(asked.get("exam_seeds", 1))
    if seeds != 1:
        words += ["--seeds", str(seeds)]
    return command(settings, *words)


def was_settled(facts: Facts) -> bool:
    """Whether the winner was searched as a plateau, which the exam and the recipe have as the steps it took.

    The search of a rerun then differs from the first one, and the exam takes its number of epochs from that search.
    """
    winner = facts.winner
    if winner is None or winner.values.get("schedule") == "plateau":
        return False
    searched = [row.values for row in facts.rows if row.number == winner.number]
    return any(values.get("schedule") == "plateau" for values in searched)


def model_commands(facts: Facts, name: str, settings: Settings, clip: Path | None) -> list[tuple[str, str]]:
    """(what it does, command) for whoever wants to use the model. name: that it is registered under, or ""."""
    if facts.winner is None:
        return []
    if "/" in facts.name:  # part of a nested study: no model comes out of it
        return []
    heard: str | Path = clip or "dog.wav"
    if not facts.exams:
        return [
            (
                "hold the exam: score the best trials on clips they never heard",
                command(settings, "exam", facts.name),
            )
        ]
    if not (facts.folder / "model").is_dir():
        return [("train the model on all folds and register it", command(settings, "promote", facts.name))]
    model = facts.folder / "model"
    commands = [
        ("say what is heard in a file", command(settings, "predict", model, heard, "--top", "3")),
        (
            "go through a long recording window by window",
            command(settings, "predict", model, heard, "--windows"),
        ),
    ]
    if facts.state == "done" and name:
        champion = f"models:/{name}@champion"
        commands += [
            (
                "ask the champion of these data, whichever study it is from",
                command(settings, "predict", champion, heard),
            ),
            ("show who is champion, since when and why", command(settings, "models", name)),
        ]
    return commands
