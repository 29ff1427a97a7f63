"""`escsearch ui` and `escsearch doctor`: look at the runs, look at the machine."""

import argparse
import os
import shlex
import socket
import sys
from dataclasses import asdict

from ..errors import Failure, UsageError
from ..settings import Settings
from ..terminal import emit_json, out, say

HOST = "127.0.0.1"


def add(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", common: argparse.ArgumentParser
) -> None:
    """Add the commands to the grammar."""
    ui = commands.add_parser(
        "ui",
        parents=[common],
        help="open MLflow's pages on the runs and models",
        description="Start MLflow's server on this machine over the store of the settings (Ctrl-C ends it).",
        epilog="example: escsearch ui --port 5001",
    )
    ui.add_argument("--port", type=int, default=5000, help="port on 127.0.0.1 (default: 5000)")
    ui.add_argument("--dry-run", action="store_true", help="only print the address and the command")
    ui.set_defaults(act=_ui)

    doctor = commands.add_parser(
        "doctor",
        parents=[common],
        help="check versions, devices, disk, MLflow, Ray and audio, and train a tiny net",
        description="Check this machine: versions, devices, threads, disk, MLflow and Ray with the setting that won, "
        "audio, and a tiny net from training to loading. A line that fails ends with what to do; the exit code is 1.",
        epilog="example: escsearch doctor --json",
    )
    doctor.set_defaults(act=_doctor)


def server_command(settings: Settings, port: int) -> list[str]:
    """How MLflow's server is started over a local store."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port)]
    command += ["--backend-store-uri", settings.tracking_uri]
    if settings.registry_uri != settings.tracking_uri:
        command += ["--registry-store-uri", settings.registry_uri]
    return [
        *command,
        "--artifacts-destination",
        str(settings.artifacts),
        "--uvicorn-opts",
        "--log-level warning",
    ]


def _ui(args: argparse.Namespace, settings: Settings) -> int:
    from ..pages import links
    from ..registry import check_store

    if settings.tracking_uri.startswith(("http://", "https://")):
        try:
            found = links(settings, settings.tracking_uri.rstrip("/"))
        except Failure as error:  # it may be reached from where the pages are looked at
            say(f"no links into its pages: {error}")
            found = []
        return _address(args, settings.tracking_uri, [], found)
    check_store(settings.tracking_uri)
    command = server_command(settings, args.port)
    if not args.dry_run:
        _free(args.port)
    address = f"http://{HOST}:{args.port}"
    _address(args, address, command, links(settings, address))
    if args.dry_run:
        return 0
    quiet = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "PYTHONWARNINGS": "ignore",  # of MLflow about its own web framework
    }
    os.execve(
        command[0], command, quiet | dict(os.environ)
    )  # no process of ours stays between server and Ctrl-C


def _address(args: argparse.Namespace, address: str, command: list[str], found: list[tuple[str, str]]) -> int:
    if args.json:
        emit_json({"address": address, "command": command, "links": dict(found)})
    else:
        out(address)
        for what, link in found:
            out(f"\n{what}:\n{link}")
        if command and args.dry_run:
            say(shlex.join(command))
    return 0


def _free(port: int) -> None:
    try:
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((HOST, port))
    except (OSError, OverflowError) as error:
        raise UsageError(f"port {port} cannot be used ({error}); choose another with --port") from error


def _doctor(args: argparse.Namespace, settings: Settings) -> int:
    from ..doctor import check

    lines = []
    for line in check(settings):
        lines.append(line)
        if not args.json:
            out(str(line))
    failed = [line for line in lines if not line.ok]
    if args.json:
        emit_json([{**asdict(line), "ok": line.ok} for line in lines])
    else:
        say(f"{len(failed)} of {len(lines)} checks failed" if failed else f"all {len(lines)} checks passed")
    return 1 if failed else 0
