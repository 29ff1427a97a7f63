"""Where things are: flag over environment over file over default, and which of them won.

The file is `escsearch.yaml` in the working directory, a mapping with any of the keys
`home`, `tracking_uri`, `registry_uri`, `ray_address`.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from .errors import UsageError

FILE = "escsearch.yaml"
FIGURE = "published.json"  # in the folder of a figure as published, which is no study (`published.py`)
VARIABLES = {
    "home": "ESCSEARCH_HOME",
    "tracking_uri": "MLFLOW_TRACKING_URI",
    "registry_uri": "MLFLOW_REGISTRY_URI",
    "ray_address": "RAY_ADDRESS",
}


@dataclass(frozen=True)
class Settings:
    """Facts about the place a command runs in; `origins` tells for each where it came from."""

    home: Path  # studies, the waveform cache and the default MLflow store lie here
    tracking_uri: str
    registry_uri: str
    ray_address: str  # "local" starts Ray here, anything else joins that cluster
    origins: Mapping[str, str]

    @property
    def cache(self) -> Path:
        """Where decoded waveforms are kept."""
        return self.home / "cache"

    @property
    def artifacts(self) -> Path:
        """Where the default MLflow store keeps its files."""
        return self.home / "mlartifacts"

    def study(self, name: str) -> Path:
        """The folder of one study, whether there is one or not."""
        return self.home / name

    def existing_study(self, name: str) -> Path:
        """The folder of a study that was begun. Raises `UsageError` naming those there are."""
        folder = self.study(name)
        if (folder / FIGURE).is_file():
            raise UsageError(
                f"{name} is a figure as published and no study: there is nothing to go on with and no model to "
                f"promote; what came of it is in {folder / FIGURE}"
            )
        if not (folder / "study.yaml").is_file():
            known = sorted(path.parent.name for path in self.home.glob("*/study.yaml"))
            raise UsageError(f"no study {name!r} at {self.home}; known: {', '.join(known) or 'none'}")
        return folder


def resolve(
    flags: Mapping[str, str | None],
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> Settings:
    """Settle every setting. Raises `UsageError` for a settings file that cannot be understood."""
    environment = os.environ if environment is None else environment
    written = _read(directory or Path.cwd())
    chosen: dict[str, str] = {}
    origins: dict[str, str] = {}

    def settle(key: str, default: str) -> None:
        candidates = (
            (flags.get(key), f"flag --{key.replace('_', '-')}"),
            (environment.get(VARIABLES[key]), f"environment {VARIABLES[key]}"),
            (written.get(key), f"file {FILE}"),
            (default, "default"),
        )
        chosen[key], origins[key] = next((value, origin) for value, origin in candidates if value)

    settle("home", "runs")
    home = Path(chosen["home"]).expanduser().resolve()
    settle("tracking_uri", f"sqlite:///{home / 'mlflow.sqlite'}")
    settle("registry_uri", chosen["tracking_uri"])
    settle("ray_address", "local")
    return Settings(home, chosen["tracking_uri"], chosen["registry_uri"], chosen["ray_address"], origins)


def _read(directory: Path) -> Mapping[str, str]:
    path = directory / FILE
    if not path.is_file():
        return {}
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise UsageError(f"{FILE} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or content.keys() - VARIABLES.keys():
        unknown = sorted(content.keys() - VARIABLES.keys()) if isinstance(content, dict) else content
        raise UsageError(f"{FILE} has {unknown!r}; it may hold only {sorted(VARIABLES)}")
    return {key: str(value) for key, value in content.items()}
