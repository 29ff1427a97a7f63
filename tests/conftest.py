"""What every test shares: one thread a process, and the real data where it is found."""

import argparse
import os
import uuid
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)  # tiny nets: one thread is several times faster than two

# Ray settles at its first use in a process whether calls carry a token, and which; a cluster that a later test starts
# with another answer refuses them, and its actors die before they begin.
os.environ["RAY_AUTH_MODE"], os.environ["RAY_AUTH_TOKEN"] = "token", uuid.uuid4().hex

BESIDE = Path(__file__).resolve().parents[1].parent / "shared" / "data"


def _found(variable: str, default: Path, what: str) -> Path:
    path = Path(os.environ.get(variable, default))
    if not path.exists():
        pytest.skip(f"{what} not found: set {variable} (looked at {path})")
    return path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that mostly wait come first, so that the others run beside them and none of them is left for the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def esc10_root() -> Path:
    """The 2015 release of ESC-10 (400 OGG clips)."""
    return _found("ESC10_ROOT", BESIDE / "ESC-10", "ESC-10")


@pytest.fixture
def escsearch(tmp_path, capsys):
    """Run a data command with its home in `tmp_path`; returns exit code and both outputs. What it raises comes out."""
    from search.commands import data
    from search.settings import Settings

    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true")
    root = argparse.ArgumentParser()
    data.add(root.add_subparsers(), common)
    origins = dict.fromkeys(("home", "tracking_uri", "registry_uri"), "default")
    settings = Settings(tmp_path / "home", "sqlite://", "sqlite://", "local", origins)

    def run(*words: object) -> tuple[int, str, str]:
        args = root.parse_args(["data", *map(str, words)])
        code = args.act(args, settings)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run
