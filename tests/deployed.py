"""What lies in deploy/ and ray_cluster.yaml, read for the tests."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
PINNED = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").split())


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def objects(name: str) -> dict[str, Any]:
    """The Kubernetes objects of a file by kind."""
    return {item["kind"]: item for item in yaml.safe_load_all(text(name))}


AWS = yaml.safe_load(text("ray_cluster.yaml"))
CLUSTER = objects("deploy/raycluster.yaml")["RayCluster"]["spec"]
JOB = objects("deploy/rayjob.yaml")["RayJob"]["spec"]
MLFLOW = objects("deploy/mlflow.yaml")
HEAD, WORKER = CLUSTER["headGroupSpec"]["template"], CLUSTER["workerGroupSpecs"][0]["template"]
IMAGE = text("deploy/Containerfile").replace("\\\n", "")


def leaves(node: Any) -> Iterator[tuple[str, Any]]:
    """Every value with the last key above it."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from ((inner or key, leaf) for inner, leaf in leaves(value))
    elif isinstance(node, list):
        for value in node:
            yield from leaves(value)
    else:
        yield "", node
