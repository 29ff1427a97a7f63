"""The edge: everything that has side effects. In Python: `from search import run_study, load_model`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .predict import load_model
    from .run import run_study

__all__ = ["load_model", "run_study"]


def __getattr__(name: str) -> Any:
    """Import on first use: `escsearch --help` shall not pay for torch and MLflow."""
    if name == "load_model":
        from .predict import load_model

        return load_model
    if name == "run_study":
        from .run import run_study

        return run_study
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
