"""Pages that benchmarks write: each its own section, and nothing else."""

import re
import runpy
from pathlib import Path

import pytest
import torch
from torch import nn

from escmodels.classifier import Classifier
from escmodels.recipe import parse

ROOT = Path(__file__).resolve().parents[1]
COMMON = runpy.run_path(str(ROOT / "benchmarks" / "common.py"))
write_section = COMMON["write_section"]
PAGE = "# Title\n\n<!-- one -->\nold\n<!-- /one -->\n\nbetween\n\n<!-- two -->\n<!-- /two -->\n\nend\n"


@pytest.fixture
def page(tmp_path):
    path = tmp_path / "page.md"
    path.write_text(PAGE)
    return path


def test_a_section_replaces_itself_only(page):
    write_section(page, "one", ["## One", "", "new"])
    assert page.read_text() == PAGE.replace("old\n", "\n## One\n\nnew\n\n")
    write_section(page, "two", ["## Two"])
    assert (
        "between" in page.read_text() and "new" in page.read_text() and page.read_text().endswith("\nend\n")
    )


def test_writing_a_section_again_changes_nothing(page):
    write_section(page, "one", ["## One", ""])
    once = page.read_text()
    write_section(page, "one", ["## One", ""])
    assert page.read_text() == once


@pytest.mark.parametrize(
    "text", ["", "<!-- one -->\n", "<!-- /one -->\n<!-- one -->\n", 2 * "<!-- one -->\n<!-- /one -->\n"]
)
def test_a_page_without_the_markers_is_refused_and_left_alone(page, text):
    page.write_text(text)
    with pytest.raises(ValueError, match="one line <!-- one -->"):
        write_section(page, "one", ["new"])
    assert page.read_text() == text


def written(source):
    """The pages that a benchmark writes, and the names of its sections there."""
    pages = {
        name: COMMON[name]
        for name in (
            "ACCURACY",
            "BENCHMARKS",
            "PERFORMANCE",
            "PROTOCOL",
            "PRUNING",
            "SCALE",
            "MODELS",
            "SEEDS",
        )
    }
    return [(pages[page], name) for page, name in re.findall(r"write_section\((\w+), \"(\w+)\"", source)]


MEASURING = [
    path
    for path in sorted((ROOT / "benchmarks").glob("*.py"))
    if "__main__" in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("path", MEASURING, ids=lambda path: path.stem)
def test_every_benchmark_has_its_section_in_the_page_it_writes(path):
    sections = written(path.read_text(encoding="utf-8"))
    assert sections, "what it measures is written nowhere"
    for page, name in sections:
        text = page.read_text(encoding="utf-8")
        assert text.count(f"<!-- {name} -->\n") == 1 == text.count(f"<!-- /{name} -->\n"), f"{page}: {name}"


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_no_page_holds_a_section_that_no_benchmark_writes(page):
    known = [part for path in MEASURING for part in written(path.read_text(encoding="utf-8"))]
    marked = re.findall(r"^<!-- (\w+) -->$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert not {(page, name) for name in marked} - set(known)


def test_the_way_it_is_usually_written_is_the_same_net():
    plain = runpy.run_path(str(ROOT / "benchmarks" / "plain.py"))
    base = {"data.sample_rate": 8000, "data.crop": 0.5}
    mel, m5 = (
        Classifier.fresh(parse(base | values), ("a", "b")).net
        for values in (
            {"model.width": 4},
            {"architecture": "raw_cnn", "model.variant": "m5", "model.width": 0.125},
        )
    )
    x_BCMN, wave_B1T = torch.randn(2, 1, 64, 33), torch.randn(2, 1, 4000)
    for net, other, x in (
        (mel, plain["plain_memory"](mel), x_BCMN),
        (mel, plain["relu_first"](mel), x_BCMN),
        (m5, plain["one_dimensional"](m5), wave_B1T),
    ):
        plain["same"](net, other, x)
        with pytest.raises(AssertionError):
            plain["same"](net, nn.Sequential(other, nn.Softmax(dim=1)), x)


def test_a_row_says_the_ratio_of_the_medians_and_how_far_the_rounds_differ():
    row = COMMON["Row"]("what", "other", slow=[2.0, 30.0, 4.0], ours=[1.0, 2.0, 1.0])
    assert row.cells() == ("what", "other", "4.00x", "2.00x to 15.0x", "4.00 s", "1.00 s")


def test_the_ways_take_turns():
    turns = []
    ways = {"slow": lambda: turns.append("slow"), "ours": lambda: turns.append("ours")}
    found = COMMON["alternate"](ways, 2, unmeasured=1, before=lambda: turns.append("-"))
    assert turns == ["-", "slow", "-", "ours"] * 3
    assert [len(found[name]) for name in ways] == [2, 2]
