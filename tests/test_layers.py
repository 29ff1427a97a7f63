"""The architecture as a test: who may import whom, and how long a file may be."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EDGE = {"search", "spaces", "pandas", "mlflow", "ray", "optuna"}  # never in escmodels
ONLY = {
    "torchaudio": {"spectrograms.py"},
    "timm": {"resnet.py"},
    "huggingface_hub": {"weights.py"},
    "torchvision": set(),
}
NUMERIC = {"torch", "numpy", "safetensors", *ONLY}  # beside the standard library
STANDARD = sys.stdlib_module_names
LONGEST = 250  # lines


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).glob("**/*.py"))


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """(top-level package, whether at import time) of every import; relative ones as '.'."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for n in ast.walk(f)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.partition(".")[0], id(node) not in inside
        elif isinstance(node, ast.ImportFrom):
            yield "." if node.level else str(node.module).partition(".")[0], id(node) not in inside


@pytest.mark.parametrize("path", files("escmodels"), ids=lambda path: path.name)
def test_the_core_knows_no_edge_and_itself_only_relatively(path):
    for package, at_import in imports(path):
        assert package not in EDGE | {"escmodels"}, f"{path.name} imports {package}"
        assert package in STANDARD | NUMERIC | {"."}, f"{path.name} imports {package}"
        assert path.name in ONLY.get(package, {path.name}), f"{path.name} imports {package}"
        assert not (package in ONLY and at_import), (
            f"{path.name} imports {package} when it is imported itself"
        )


@pytest.mark.parametrize("path", files("spaces"), ids=lambda path: path.name)
def test_spaces_are_standard_library_and_yaml(path):
    assert {package for package, _ in imports(path)} <= STANDARD | {"yaml", "."}


@pytest.mark.parametrize("path", files("escmodels") + files("spaces"), ids=lambda path: path.name)
def test_a_file_fits_on_a_few_screens(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST


def test_optuna_is_met_in_few_files():
    met = (
        "guide.py",
        "samplers.py",
        "open_tpe.py",
        "parameters.py",
        "optuna_store.py",
        "doctor.py",
        "importance.py",
    )
    for path in files("search"):
        if path.name not in met:
            assert "optuna" not in {package for package, _ in imports(path)}, path.name


def test_the_rules_see_what_they_forbid(tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text("import timm.models\nfrom . import clips\ndef f():\n    from ray import tune\n")
    assert list(imports(bad)) == [("timm", True), (".", True), ("ray", False)]


def test_the_core_lists_its_modules():
    listed = re.findall(
        r"^- `escmodels\.(\w+)`", (ROOT / "escmodels" / "__init__.py").read_text(), re.MULTILINE
    )
    assert sorted(listed) == sorted(path.stem for path in files("escmodels") if path.stem != "__init__")
