"""ray_cluster.yaml is what Ray and EC2 accept, and open to nobody."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import botocore.session
import psutil
import pytest
import yaml
from botocore.validate import ParamValidator
from deployed import AWS, leaves, text
from ray.autoscaler._private.util import prepare_config, validate_config


def test_ray_accepts_the_cluster() -> None:
    validate_config(prepare_config(yaml.safe_load(text("ray_cluster.yaml"))))


@pytest.mark.parametrize("kind", AWS["available_node_types"])
def test_ec2_accepts_the_node(kind: str) -> None:
    shape = (
        botocore.session.get_session().get_service_model("ec2").operation_model("RunInstances").input_shape
    )
    asked = {"MinCount": 1, "MaxCount": 1} | AWS["available_node_types"][kind]["node_config"]
    report = ParamValidator().validate(asked, shape)
    assert not report.has_errors(), report.generate_report()


def test_only_spot_workers_come_and_go_and_only_they_train() -> None:
    head, gpu = (AWS["available_node_types"][kind] for kind in ("head", "gpu"))
    assert head["resources"] == {"CPU": 0} and "InstanceMarketOptions" not in head["node_config"]
    assert gpu["min_workers"] == 0 and gpu["max_workers"] == AWS["max_workers"]
    assert gpu["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}


def test_no_port_of_the_cluster_is_open_to_the_world() -> None:
    assert not [leaf for _, leaf in leaves(AWS) if "0.0.0.0" in str(leaf) or "::/0" in str(leaf)]
    hosts = re.findall(r"--(?:dashboard-)?host[= ](\S+)", "\n".join(AWS["head_start_ray_commands"]))
    assert hosts == ["127.0.0.1", "127.0.0.1"]
    for node in AWS["available_node_types"].values():  # without them Ray opens SSH to everyone
        assert node["node_config"]["SecurityGroupIds"]
        assert node["node_config"]["MetadataOptions"]["HttpTokens"] == "required"
    assert not re.search(r"(^| )(-p|--publish)[ =]", "\n".join(AWS["docker"]["run_options"]))


def test_every_node_asks_for_the_token_that_is_brought_to_it() -> None:
    told = dict(
        option.removeprefix("-e ").split("=") for option in AWS["docker"]["run_options"] if "-e " in option
    )
    (folder,) = AWS["file_mounts"]
    assert told["RAY_AUTH_MODE"] == "token" and told["RAY_AUTH_TOKEN_PATH"] == f"{folder}/auth_token"


def test_what_has_to_be_changed_is_said_at_the_top() -> None:
    top, rest = text("ray_cluster.yaml").split("cluster_name:")
    assert set(re.findall(r"# *\[([A-Z])\] ", rest)) | set(
        re.findall(r"# \[([A-Z])\]$", rest, re.MULTILINE)
    ) == set(re.findall(r"^#   \[([A-Z])\] ", top, re.MULTILINE))


@pytest.mark.slow
def test_the_head_starts_one_mlflow_however_often_it_is_brought_up(tmp_path: Path) -> None:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port = str(trial.getsockname()[1])
    options = [
        item.removeprefix("-e ") for item in AWS["docker"]["head_run_options"] if item.startswith("-e ")
    ]
    start = "\n".join(command for command in AWS["head_start_ray_commands"] if "5000" in command)

    def here(words: str) -> str:
        return words.replace("5000", port).replace("/data/", f"{tmp_path}/")

    told = dict(here(option).split("=", 1) for option in options)
    environment = os.environ | told | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def servers() -> list[psutil.Process]:
        listening = psutil.net_connections("tcp")
        return [psutil.Process(item.pid) for item in listening if item.pid and item.laddr.port == int(port)]

    try:
        for _ in range(2):
            subprocess.run(["bash", "-ec", here(start)], env=environment, check=True, timeout=150)
        assert (tmp_path / "mlflow.sqlite").is_file()
        log = (tmp_path / "mlflow.log").read_text(encoding="utf-8")
        assert "in use" not in log
        assert {item.laddr.ip for item in psutil.net_connections("tcp") if item.laddr.port == int(port)} == {
            "127.0.0.1"
        }
    finally:
        for group in {os.getpgid(process.pid) for process in servers()}:
            os.killpg(group, signal.SIGKILL)
