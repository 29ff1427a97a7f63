"""The README's tree is the repository: every source file with its line, and none that is not there."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
WHOLE = ("tests", "benchmarks")  # folders that may stand as one line


def tree(text: str) -> dict[str, str]:
    """Path -> description of every line of the block below the heading 'Files'."""
    block = re.search(r"^## Files\n.*?^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert block, "README.md has no code block below '## Files'"
    found, above = {}, []
    for line in block[1].splitlines():
        indent, name, about = re.fullmatch(r"( *)(\S+)\s*(.*)", line).groups()
        assert len(indent) % 2 == 0, f"odd indentation: {line!r}"
        above = [*above[: len(indent) // 2], name.rstrip("/")]
        path = "/".join(above)
        assert path not in found, f"{path} stands twice"
        found[path] = about
    return found


def sources() -> set[str]:
    """Files that are tracked or would be: hidden ones at the top are no news to a reader."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    paths = {name for name in listed if (ROOT / name).is_file()}
    return {name for name in paths if not name.startswith(".") and name.partition("/")[0] not in WHOLE}


README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_source_file_stands_in_the_tree():
    assert not sorted(sources() - tree(README).keys())


def test_the_tree_names_no_file_that_does_not_exist():
    assert not [path for path in tree(README) if not (ROOT / path).exists()]


def test_every_line_of_the_tree_says_what_the_file_is():
    assert not [path for path, about in tree(README).items() if len(about) < 8]


@pytest.mark.parametrize(
    "page", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/*.md")), ids=lambda page: page.name
)
def test_no_relative_link_is_dead(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
