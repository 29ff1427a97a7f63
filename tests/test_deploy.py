"""deploy/ is what Kubernetes and KubeRay accept, of one piece, and open to nobody. No image is built here."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from deployed import AWS, CLUSTER, HEAD, IMAGE, JOB, MLFLOW, PINNED, ROOT, WORKER, leaves, objects, text
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from search.cli import parser

KUBERNETES = "1.33"


def test_what_the_image_copies_is_there() -> None:
    for line in re.findall(r"^COPY (.*)$", IMAGE, re.MULTILINE):
        *sources, _ = [word for word in line.split() if not word.startswith("--")]
        assert sources and all((ROOT / source).exists() for source in sources), line


def test_the_image_installs_pinned_versions_only() -> None:
    install = [line for line in IMAGE.splitlines() if "pip install" in line and line.startswith("RUN")]
    assert len(install) == 2
    assert "-c constraints.txt -r requirements.txt" in install[0] and "--no-deps ." in install[1]
    listing = install[0].removeprefix("RUN ").partition(" > requirements.txt")[0]
    listing = listing.replace("python -c", f"{shlex.quote(sys.executable)} -c")
    told = subprocess.run(
        ["bash", "-c", listing], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    wanted = [Requirement(line) for line in told.splitlines()]
    pinned = {canonicalize_name(name): version for name, version in PINNED.items()}
    assert {"torch", "ray", "boto3"} <= {need.name for need in wanted}
    for need in wanted:
        assert need.specifier.contains(pinned[canonicalize_name(need.name)]), need


def test_the_image_is_plain_runs_as_nobody_special_and_tells_nobody() -> None:
    assert re.findall(r"^FROM (.*)$", IMAGE, re.MULTILINE) == ["python:3.11-slim"]
    assert re.findall(r"^USER (.*)$", IMAGE, re.MULTILINE) == ["esc"]
    for setting in (
        "RAY_USAGE_STATS_ENABLED=0",
        "MLFLOW_DISABLE_TELEMETRY=true",
        "RAY_AUTH_MODE=token",
        "HOME=/home/esc",
    ):
        assert re.search(rf"(ENV|\s){re.escape(setting)}(\s|$)", IMAGE), setting


def test_all_use_one_image_and_one_ray() -> None:
    version = re.search(r'^version = "(.*)"$', text("pyproject.toml"), re.MULTILINE)
    assert version
    names = {leaf for key, leaf in leaves([AWS, CLUSTER, JOB, *MLFLOW.values()]) if key == "image"}
    assert names == {f"escsearch:{version[1]}"}
    assert CLUSTER["rayVersion"] == PINNED["ray"]


@pytest.mark.parametrize(("ended", "code"), [(0, 0), (5, 0), (1, 1), (130, 130)])
@pytest.mark.parametrize("begun", [False, True])
def test_a_job_that_starts_again_goes_on(tmp_path: Path, ended: int, code: int, begun: bool) -> None:
    escsearch = tmp_path / "escsearch"
    escsearch.write_text(f'#!/bin/sh\necho "$@"\nexit {ended}\n', encoding="utf-8")
    escsearch.chmod(0o755)
    if begun:
        (tmp_path / "runs/first").mkdir(parents=True)
        (tmp_path / "runs/first/study.yaml").touch()
    done = subprocess.run(
        [ROOT / "deploy/study-job.sh", "first", "esc50", "--data", "/data/my sounds"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "ESCSEARCH_HOME": str(tmp_path / "runs")},
        capture_output=True,
        text=True,
    )
    said = "resume first" if begun else "run esc50 --study first"
    assert (done.returncode, done.stdout, done.stderr) == (code, f"{said} --data /data/my sounds\n", "")


PLAIN = [(name, kind) for name in ("deploy/mlflow.yaml", "deploy/data.yaml") for kind in objects(name)]

# keys of ray.io/v1 in KubeRay 1.6.2: https://docs.ray.io/en/latest/cluster/kubernetes/references/api.html
KEYS = {
    "RayClusterSpec": "authOptions autoscalerOptions enableInTreeAutoscaling gcsFaultToleranceOptions headGroupSpec "
    "headServiceAnnotations managedBy rayVersion suspend upgradeStrategy workerGroupSpecs",
    "AuthOptions": "enableK8sTokenAuth mode secretName",
    "AutoscalerOptions": "args command env envFrom idleTimeoutSeconds image imagePullPolicy resources "
    "securityContext upscalingMode version volumeMounts",
    "HeadGroupSpec": "enableIngress headService labels rayStartParams resources serviceType template",
    "WorkerGroupSpec": "groupName idleTimeoutSeconds labels maxReplicas minReplicas numOfHosts rayStartParams "
    "replicas resources scaleStrategy suspend template",
    "RayJobSpec": "activeDeadlineSeconds backoffLimit clusterSelector deletionStrategy entrypoint "
    "entrypointNumCpus entrypointNumGpus entrypointResources jobId managedBy metadata rayClusterSpec "
    "runtimeEnvYAML shutdownAfterJobFinishes submissionMode submitterConfig submitterPodTemplate suspend "
    "ttlSecondsAfterFinished",
}


@pytest.mark.parametrize(("name", "kind"), PLAIN)
def test_kubernetes_accepts_the_object(name: str, kind: str) -> None:
    kubernetes_validate.validate(objects(name)[kind], KUBERNETES, strict=True)


@pytest.mark.parametrize("template", [HEAD, WORKER], ids=["head", "worker"])
def test_kubernetes_accepts_the_pods_of_ray(template: dict[str, Any]) -> None:
    pod = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "pod"}, "template": template}
    kubernetes_validate.validate(pod, KUBERNETES, strict=True)


def test_kuberay_knows_every_key() -> None:
    group = CLUSTER["workerGroupSpecs"][0]
    for kind, used in {
        "RayClusterSpec": CLUSTER,
        "AuthOptions": CLUSTER["authOptions"],
        "AutoscalerOptions": CLUSTER["autoscalerOptions"],
        "HeadGroupSpec": CLUSTER["headGroupSpec"],
        "WorkerGroupSpec": group,
        "RayJobSpec": JOB,
    }.items():
        assert used.keys() <= set(KEYS[kind].split()), kind
    assert all(
        isinstance(value, str)
        for part in (group, CLUSTER["headGroupSpec"])
        for value in part["rayStartParams"].values()
    )
    assert CLUSTER["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0"}
    assert CLUSTER["authOptions"] == {"mode": "token"}
    assert CLUSTER["enableInTreeAutoscaling"] is True and (group["replicas"], group["minReplicas"]) == (0, 0)
    assert {
        objects(f"deploy/{name}.yaml")[kind]["apiVersion"]
        for name, kind in (("raycluster", "RayCluster"), ("rayjob", "RayJob"))
    } == {"ray.io/v1"}


def test_a_job_gets_the_same_cluster() -> None:
    assert JOB["rayClusterSpec"] == CLUSTER


def test_nothing_in_kubernetes_is_reached_from_outside() -> None:
    assert MLFLOW["Service"]["spec"]["type"] == CLUSTER["headGroupSpec"]["serviceType"] == "ClusterIP"
    used = {key for key, _ in leaves([CLUSTER, JOB, *MLFLOW.values()])}
    assert not used & {"hostNetwork", "hostPort", "nodePort", "enableIngress", "externalIPs"}
    policy, pods = (
        MLFLOW["NetworkPolicy"]["spec"],
        MLFLOW["Deployment"]["spec"]["template"]["metadata"]["labels"],
    )
    assert policy["podSelector"]["matchLabels"].items() <= pods.items()
    (rule,) = policy["ingress"]
    (peer,) = rule["from"]
    (label,) = peer["podSelector"]["matchLabels"].items()
    assert label in HEAD["metadata"]["labels"].items() and label not in WORKER["metadata"]["labels"].items()


def test_parts_name_each_other_rightly() -> None:
    claims = {
        objects(name)["PersistentVolumeClaim"]["metadata"]["name"]
        for name in ("deploy/data.yaml", "deploy/mlflow.yaml")
    }
    assert {leaf for key, leaf in leaves([CLUSTER, MLFLOW["Deployment"]]) if key == "claimName"} == claims
    service = f"{MLFLOW['Service']['metadata']['name']}:{MLFLOW['Service']['spec']['ports'][0]['port']}"
    environment = {item["name"]: item["value"] for item in HEAD["spec"]["containers"][0]["env"]}
    assert environment["MLFLOW_TRACKING_URI"] == f"http://{service}"
    (server,) = MLFLOW["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert any(word.startswith("--allowed-hosts=") and service in word for word in server["command"])


def test_the_trials_of_the_job_fit_on_all_its_nodes() -> None:
    asked = parser().parse_args(["resume", "study", *shlex.split(JOB["entrypoint"])[3:]])
    node = WORKER["spec"]["containers"][0]["resources"]["limits"]
    trials_a_gpu = int(1 / asked.gpus_per_trial)
    assert (
        asked.workers
        == trials_a_gpu * int(node["nvidia.com/gpu"]) * CLUSTER["workerGroupSpecs"][0]["maxReplicas"]
    )
    assert trials_a_gpu <= int(node["cpu"])
