"""Every command to paste in README and docs is one: the real parser takes it; spaces, programs, make targets exist."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from search.cli import parsed, parser
from spaces.load import find

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
ENDS = {"|", ">", "<", "&&", ";", "||"}
PLACEHOLDERS = {"SPACE"}  # besides files that a page shows ("`mine.yaml`:")
ACTIONS = parser()._subparsers._group_actions[0].choices  # every command by its name


def lines(text: str) -> Iterator[str]:
    """The lines of the code blocks of a page, continued ones joined."""
    for block in re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield from re.sub(r"\\\n\s*", "", block).splitlines()


def split(line: str) -> list[str]:
    """The words of a line as a shell sees them; none of a line that is no shell's."""
    try:
        return shlex.split(line, comments=True)
    except ValueError:  # an apostrophe in what a command printed
        return []


def commands(words: list[str]) -> Iterator[list[str]]:
    """The words after each `escsearch` of a line, also inside a quoted one for another machine."""
    for at, word in enumerate(words):
        if " " in word and "escsearch " in word:
            yield from commands(split(word))
        if Path(word).name == "escsearch" and at + 1 < len(words):
            rest = words[at + 1 :]
            end = next((place for place, other in enumerate(rest) if other in ENDS), len(rest))
            if rest[0] in ACTIONS or at == 0:
                yield rest[:end]


DOCUMENTED = [
    pytest.param(words, page, id=f"{page.name}: {' '.join(words)}"[:90])
    for page in PAGES
    for line in dict.fromkeys(lines(page.read_text(encoding="utf-8")))
    for words in commands(split(line))
]


def test_commands_are_found():
    assert len(DOCUMENTED) > 50
    (words,) = commands(split("ray exec x.yaml 'escsearch stop first' | cat"))
    assert words == ["stop", "first"]


@pytest.mark.parametrize(("words", "page"), DOCUMENTED)
def test_a_documented_command_is_one(words, page, capsys):
    try:
        args = parsed(words)
    except SystemExit as left:
        pytest.fail(f"escsearch {' '.join(words)}: {capsys.readouterr().err or left}")
    space = getattr(args, "space", None)
    if (
        space is not None
        and space not in PLACEHOLDERS
        and f"`{space}`:" not in page.read_text(encoding="utf-8")
    ):
        assert find(ROOT / space if (ROOT / space).is_file() else space)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_documented_programs_and_targets_exist(page):
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for line in lines(page.read_text(encoding="utf-8")):
        for program in re.findall(r"\bpython (benchmarks/\w+\.py)", line):
            assert (ROOT / program).is_file(), line
        if line.startswith("make "):
            asked = [word for word in split(line)[1:] if "=" not in word]
            assert set(asked) <= targets, line
