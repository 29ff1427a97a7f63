"""A nested study from outside: whether one is, and where the studies of its folds lie. Imports nothing heavy."""

import json
from pathlib import Path

import yaml

from .errors import Failure

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # a study with many values to try has a long file


def is_nested(folder: Path) -> bool:
    """Whether the study in a folder is a nested one; a file that cannot be read says nothing."""
    try:
        asked = yaml.load((folder / "study.yaml").read_text(encoding="utf-8"), LOADER)
    except (OSError, ValueError, yaml.YAMLError):
        return False
    return isinstance(asked, dict) and asked.get("protocol") == "nested"


def inside(name: str, fold: int) -> str:
    """The name of the study that holds a fold out for a nested one."""
    return f"{name}/fold-{fold}"


def folds_of(folder: Path) -> list[int]:
    """The folds of a nested study. Raises `Failure` where its folder is damaged."""
    path = folder / "splits.json"
    try:
        splits = json.loads(path.read_text(encoding="utf-8"))
        return [int(split["test_fold"]) for split in splits["exam"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Failure(f"{path} cannot be read: {type(error).__name__} {error}") from error
