"""A model behind HTTP: MLflow's scoring server in this process, on loopback.

GET  /ping, /health      200 as soon as requests are taken
GET  /                   the model, its classes, and what a request looks like
POST /invocations        JSON: {"dataframe_records": [ROW, ...], "params": {"top_k": 3, "windows": false}}
                         ROW: {"audio": "BASE64 of a WAV, FLAC, OGG or MP3 file"}, or mono samples in [-1, 1] as
                         {"samples": [0.0, ...], "rate": 16000}; `params` and what is in it may be left out
    200                  {"predictions": [{"file", "start", "end", "label", "probability", "probabilities"}, ...]}
    400                  {"error_code", "message"}: one sentence that names the row

Files of this machine cannot be named in a request.
"""

import errno
import json
import math
import os
import re
import shlex
import signal
import socket
import struct
import tempfile
import wave
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from . import model_log, predict, registry
from .errors import Failure
from .settings import Settings
from .terminal import say

TAKEN = (errno.EADDRINUSE, errno.EACCES)  # the address is ours, the port is not
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
SERVED = (
    "__pyfunc_model_path__"  # as in the processes of `mlflow models serve`: the model then reads no files
)
LONGEST = 400  # characters of a refusal
EXAMPLE_RATE = 8000  # Hz
NOISE = (  # MLflow repeats the whole request before and behind the reason, and speaks of its own past
    (re.compile(r"Failed to .*Error: ", re.DOTALL), ""),
    (re.compile(r"\nInput: .*|\. IMPORTANT: .*", re.DOTALL), ""),
    (re.compile(r"'\w+\('(.*)'\)'"), r"\1"),  # an exception as Python writes it
)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


def serve(
    model: str,
    settings: Settings,
    host: str = "127.0.0.1",
    port: int = 5001,
    ready: Callable[[str, Path], None] = lambda url, example: None,
) -> None:
    """Answer requests until SIGINT or SIGTERM comes.

    model: as for `predict.load_model`. port: 0 takes a free one. ready: called when connections are taken, with the
    server's address and a short WAV file to try it with, which goes with the server.
    Raises `UsageError` for what is no model or a damaged one, `Failure` for an address that cannot be had.
    """
    with _listening(host, port) as listener, tempfile.TemporaryDirectory(prefix="escsearch-") as name:
        scratch = Path(name)
        app = application(model, settings, scratch)
        import uvicorn

        if host not in LOOPBACK:
            say(f"warning: whoever reaches {host} can use this model: there is no password and no encryption")
        example = write_example(scratch / "example.wav")
        shown = f"[{host}]" if ":" in host else host
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=3)
        )
        with _as_served(), _stopped_by_signals():
            ready(f"http://{shown}:{listener.getsockname()[1]}", example)
            server.run(sockets=[listener])


def application(model: str, settings: Settings, scratch: Path) -> "Plain":
    """MLflow's scoring server for a model. scratch: a folder in which a bundle becomes a model of MLflow."""
    found = predict.locate(model, settings)
    name = found.name
    if found.bundle:
        registry.quiet_mlflow()
        with predict.unpacking(name):
            folder = model_log.save(Path(found.uri), scratch / "model")
        found = predict.Found(name, str(folder), None)
    loaded = predict.load_pyfunc(found)
    from mlflow.pyfunc import scoring_server

    classifier = loaded.unwrap_python_model()
    app = scoring_server.init(loaded)

    def about() -> dict[str, Any]:
        row = {"audio": "base64 of a WAV, FLAC, OGG or MP3 file"}
        return {
            "model": name,
            "classes": list(classifier.classes),
            "post": "/invocations",
            "body": {"dataframe_records": [row], "params": {"top_k": 1, "windows": False}},
        }

    app.add_api_route("/", about)
    return Plain(app)


def curl(url: str, file: Path) -> str:
    """A shell command that asks the server about a file of any size."""
    return (
        """(printf '{"dataframe_records": [{"audio": "'; """
        f"""base64 < {shlex.quote(str(file))} | tr -d '\\n'; """
        """printf '"}], "params": {"top_k": 3}}') | """
        f"curl -sS {url}/invocations -H 'Content-Type: application/json' --data-binary @-"
    )


def write_example(path: Path) -> Path:
    """Half a second of a tone that falls, as WAV."""
    count = EXAMPLE_RATE // 2
    tone_T = [
        round(16000 * math.sin(2 * math.pi * (800 - 500 * at / count) * at / EXAMPLE_RATE))
        for at in range(count)
    ]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(EXAMPLE_RATE)
        file.writeframes(struct.pack(f"<{count}h", *tone_T))
    return path


class Plain:
    """ASGI: the same application, but every refusal is `{"error_code", "message"}` with one sentence.

    MLflow repeats the request in what it says, and adds a traceback.
    """

    def __init__(self, app: Callable[[Message, Receive, Send], Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        refusal: Message | None = None
        body = b""

        async def sending(message: Message) -> None:
            nonlocal refusal, body
            if message["type"] == "http.response.start" and message["status"] >= 400:
                refusal = message
            elif refusal is None:
                await send(message)
            else:
                body += message.get("body", b"")
                if not message.get("more_body"):
                    content = refused(refusal["status"], body)
                    refusal["headers"] = [
                        (b"content-type", b"application/json"),
                        (b"content-length", str(len(content)).encode()),
                    ]
                    await send(refusal)
                    await send({"type": "http.response.body", "body": content})

        await self.app(scope, receive, sending)


def refused(status: int, body: bytes) -> bytes:
    """What MLflow or FastAPI says, in one sentence.

    >>> refused(404, b'{"detail": "Not Found"}')
    b'{"error_code": "404", "message": "Not Found: GET / says what there is"}'
    """
    text = body.decode("utf-8", "replace")
    try:
        said = json.loads(text)
    except ValueError:
        said = {}
    said = said if isinstance(said, dict) else {}
    message = str(said.get("message", said.get("detail", text)))
    for pattern, instead in NOISE:
        message = pattern.sub(instead, message)
    message = " ".join(message.split())[:LONGEST]
    if status in (404, 405):
        message += ": GET / says what there is"
    return json.dumps({"error_code": said.get("error_code", str(status)), "message": message}).encode()


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that takes connections, before minutes go into a model."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family)
    except (OSError, OverflowError, UnicodeError) as error:  # the last: of what is no name of a host
        reason = getattr(error, "strerror", None) or str(error)
        busy = isinstance(error, OverflowError) or getattr(error, "errno", None) in TAKEN
        advice = "choose another --port" if busy else "give an address of this machine as --host"
        raise Failure(f"cannot listen at {host}, port {port} ({reason}): {advice}") from error
    with listener:
        yield listener


@contextmanager
def _as_served() -> Iterator[None]:
    before = os.environ.get(SERVED)
    os.environ[SERVED] = "here"
    try:
        yield
    finally:
        os.environ.pop(SERVED) if before is None else os.environ.update({SERVED: before})


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """SIGINT and SIGTERM end the block: uvicorn finishes what it answers and raises them again."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        say("stopped")
    finally:
        signal.signal(signal.SIGTERM, before)
