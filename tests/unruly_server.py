"""MLflow's server on this machine, and a proxy before it: what goes wrong between the two is set by the test.

Modes: pass, refuse (nobody listens), hang (accepts and never answers), cut (the request is executed, its
answer is lost), late (the request is executed only when the mode changes; nobody gets the answer), a number
(this HTTP status instead of an answer), slow (each answer takes `delay` seconds longer).
"""

import http.client
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import urlopen

from search.commands.system import server_command
from search.settings import resolve

PASSED_ON = ("content-type", "accept", "authorization", "user-agent")


class Door(ThreadingHTTPServer):
    """The listening side, which can be shut and opened again at the same port."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    proxy: "UnrulyProxy"

    def handle_error(self, request, client_address) -> None:
        pass  # of a client that has gone


class UnrulyProxy:
    """Stands at `url` before the server at `upstream` (a port of this machine; 0: there is none)."""

    def __init__(self, upstream: int = 0) -> None:
        self.upstream = upstream
        self.delay = 0.0
        self.asked = 0  # requests that arrived
        self.draw: Callable[[str], str] | None = None  # path -> mode of this request, over `mode`
        self._mode = "pass"
        self._changed = threading.Condition()
        self._door: Door | None = None
        self.port = 0
        self._open()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def mode(self) -> str:
        return self._mode

    @mode.setter
    def mode(self, mode: str) -> None:
        if mode == "refuse":
            self._shut()
        elif self._door is None:
            self._open()
        with self._changed:
            self._mode = mode
            self._changed.notify_all()

    def _open(self) -> None:
        self._door = Door(("127.0.0.1", self.port), Handler)
        self._door.proxy = self
        self.port = self._door.server_address[1]
        threading.Thread(target=self._door.serve_forever, args=(0.02,), daemon=True).start()

    def _shut(self) -> None:
        if self._door is not None:
            self._door.shutdown()
            self._door.server_close()
            self._door = None

    def close(self) -> None:
        self.mode = "refuse"

    def wait_for_change(self, mode: str) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._mode != mode)


class Handler(BaseHTTPRequestHandler):
    """HTTP/1.0: one request a connection, so that a shut door is noticed at once."""

    server: Door

    def log_message(self, *_) -> None:
        pass

    def do_GET(self) -> None:
        proxy = self.server.proxy
        proxy.asked += 1
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        mode = proxy.draw(self.path) if proxy.draw else proxy.mode
        if mode.isdecimal():
            self.answer(int(mode), b"out of order", "text/plain")
            return
        if mode in ("hang", "late"):
            proxy.wait_for_change(mode)
            if mode == "hang":
                return
        if mode == "slow":
            time.sleep(proxy.delay)
        status, content, kind = self.forward(body)
        if mode not in ("cut", "late"):
            with suppress(ConnectionError):
                self.answer(status, content, kind)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def forward(self, body: bytes) -> tuple[int, bytes, str]:
        upstream = self.server.proxy.upstream
        connection = http.client.HTTPConnection("127.0.0.1", upstream, timeout=60)
        headers = {key: value for key, value in self.headers.items() if key.lower() in PASSED_ON}
        try:
            connection.request(self.command, self.path, body or None, headers)
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers.get("Content-Type", "")
        finally:
            connection.close()

    def answer(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def mlflow_server(home: Path, seconds: float = 240) -> Iterator[int]:
    """MLflow's own server over a SQLite store in a folder; the port it listens on. Starting takes a quarter minute."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port = trial.getsockname()[1]
    settings = resolve({"home": str(home)}, environment={})
    home.mkdir(parents=True, exist_ok=True)
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with open(home / "server.log", "wb") as log:
        server = subprocess.Popen(
            [*server_command(settings, port), "--workers", "1"],
            env=os.environ | quiet,
            stdout=log,
            stderr=log,
            start_new_session=True,  # its workers end with it
        )
    try:
        until = time.monotonic() + seconds
        while True:
            with suppress(OSError):
                urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            if server.poll() is not None or time.monotonic() > until:
                raise AssertionError((home / "server.log").read_text())
            time.sleep(0.2)
        yield port
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()
