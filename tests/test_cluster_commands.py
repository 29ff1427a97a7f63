"""Every command that docs/cluster.md and the files of a deployment give exists, with its options."""

import re
import shlex
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from deployed import AWS, JOB, MLFLOW, text
from ray.scripts.scripts import cli as ray_cli

from search.cli import parser

PROGRAMS = ("escsearch", "study-job", "ray", "mlflow")
BEFORE = re.compile(r"\w+=.*|setsid|nohup")  # what may stand before a program


def calls(shell: str) -> Iterator[list[str]]:
    """Every call of a program that we know the grammar of, also inside a call of another one."""
    lexer = shlex.shlex(shell, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if not word or not set(word) <= set("();<>|&"):
            words.append(word)
            continue
        yield from _calls(words)
        words = []


def _calls(words: list[str]) -> Iterator[list[str]]:
    start = next((n for n, word in enumerate(words) if not BEFORE.fullmatch(word)), len(words))
    call = words[start:]
    if call[:1] and call[0] in PROGRAMS:
        yield call
    if call[:2] == ["ray", "exec"]:
        yield from calls(call[-1])
    if "--" in call:  # kubectl exec, ray job submit
        yield from _calls(call[call.index("--") + 1 :])


def documented() -> Iterator[str]:
    """The shell lines of docs/cluster.md, those that go on after a backslash joined."""
    for block in re.findall(r"^```\n(.*?)^```", text("docs/cluster.md"), re.MULTILINE | re.DOTALL):
        yield from block.replace("\\\n", " ").splitlines()


SHELL = [
    *(line for key in AWS if key.endswith("_commands") for line in AWS[key]),
    shlex.join(MLFLOW["Deployment"]["spec"]["template"]["spec"]["containers"][0]["command"]),
    JOB["entrypoint"],
    *documented(),
]
CALLS = sorted({tuple(call) for line in SHELL for call in calls(line)})


def grammar(program: str) -> Any:
    """The command line of `ray` or `mlflow`."""
    with warnings.catch_warnings():  # of MLflow about its own type hints
        warnings.simplefilter("ignore")
        from mlflow.cli import cli as mlflow_cli
    return {"ray": ray_cli, "mlflow": mlflow_cli}[program]


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_every_command_exists_with_its_options(call: tuple[str, ...]) -> None:
    program, *words = call
    if program == "study-job":
        study, space, *options = words
        parser().parse_args(["run", space, "--study", study, *options])
        parser().parse_args(["resume", study, *options])
    elif program == "escsearch":
        parser().parse_args(words)
    else:
        group = grammar(program)
        while hasattr(group, "commands"):
            group = group.commands[words.pop(0)]
        group.make_context(program, list(words))  # parses, runs nothing


def test_commands_were_found_everywhere() -> None:
    assert {"escsearch", "study-job", "ray", "mlflow"} == {call[0] for call in CALLS}
    assert len(CALLS) > 20
