"""`escsearch serve` and `escsearch stream`: a model that answers requests, and one that listens."""

import argparse
import json
import statistics
import sys
import time
from argparse import ArgumentParser, _SubParsersAction
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..settings import Settings
from ..terminal import emit_json, out, say
from .model import MODEL_HELP, positive

if TYPE_CHECKING:
    from ..predict import Model
    from ..stream import Heard, Source

STDIN = "-"
BODY = """\
request:  POST /invocations, Content-Type: application/json
          {"dataframe_records": [{"audio": "BASE64"}, ...], "params": {"top_k": 3, "windows": false}}
          BASE64: a whole WAV, FLAC, OGG or MP3 file; instead of it a row may hold mono samples in [-1, 1]:
          {"samples": [0.0, 0.1, ...], "rate": 16000}; "params" may be left out
answer:   {"predictions": [{"file", "start", "end", "label", "probability", "probabilities"}, ...]}
          a bad request: status 400 and {"error_code", "message"}
health:   GET /ping or /health, status 200"""


def add(commands: "_SubParsersAction[ArgumentParser]", common: ArgumentParser) -> None:
    """Describe the commands of this module."""
    serve = commands.add_parser(
        "serve",
        parents=[common],
        help="answer requests over HTTP with a model",
        description="MLflow's scoring server with a model, on this machine alone unless --host says otherwise.",
        epilog=f"{BODY}\n\nexample: escsearch serve models:/esc10@champion --port 5001",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    serve.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    serve.add_argument("--port", type=_port, default=5001, metavar="N", help="default: 5001; 0: a free one")
    serve.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="default: 127.0.0.1; anything else lets others in, without a password",
    )
    serve.set_defaults(act=_serve)
    stream = commands.add_parser(
        "stream",
        parents=[common],
        help="label what a microphone hears, as it comes",
        description="One line for each window of sound as soon as it is complete, with the time from the end of the "
        "window to its line. Ctrl-C ends it. With --json every line is a JSON document.",
        epilog="example: escsearch stream models:/esc10@champion --file yard.wav; "
        "arecord -f S16_LE -r 44100 | escsearch stream models:/esc10@champion --file -",
    )
    stream.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    stream.add_argument(
        "--file", metavar="F", help="play a sound file in real time; -: WAV on standard input as it comes"
    )
    stream.add_argument(
        "--speed",
        type=float,
        metavar="X",
        help="play the file X times as fast as it was recorded (default: 1)",
    )
    stream.add_argument(
        "--device", metavar="D", help="number or name of the microphone (default: the system's)"
    )
    stream.add_argument(
        "--hop", type=_seconds, metavar="S", help="seconds from window to window (default: half a window)"
    )
    stream.add_argument("--top", metavar="N", type=positive, default=1, help="the N most probable labels")
    stream.set_defaults(act=_stream)


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected a port from 0 to 65535, got {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"expected seconds above 0, got {text!r}")
    return seconds


def _serve(args: argparse.Namespace, settings: Settings) -> int:
    from ..serve import curl, serve

    def ready(url: str, example: Path) -> None:
        command = curl(url, example)
        if args.json:
            emit_json(
                {"url": url, "health": f"{url}/ping", "invocations": f"{url}/invocations", "curl": command}
            )
            return
        out(f"{args.model} answers at {url} (health: {url}/ping); Ctrl-C ends it")
        out(f"try it, or put your own file in its place:\n\n  {command}\n")

    serve(args.model, settings, args.host, args.port, ready)
    return 0


def _stream(args: argparse.Namespace, settings: Settings) -> int:
    from ..predict import load_model
    from ..stream import microphone, piped, played

    if args.speed is not None and args.file in (None, STDIN):
        raise UsageError("--speed is for a sound file: give one with --file")
    if args.device is not None and args.file is not None:
        raise UsageError("--device is for the microphone: leave out --file")
    if args.file is None:
        model = load_model(args.model, settings)
        with microphone(args.device) as source:
            return _listen(args, model, source)
    source = piped(sys.stdin.buffer) if args.file == STDIN else played(Path(args.file), args.speed or 1.0)
    return _listen(args, load_model(args.model, settings), source)


def _listen(args: argparse.Namespace, model: "Model", source: "Source") -> int:
    """A line a window until the sound ends, or whoever listens ends it."""
    from ..stream import listen

    # what is set up at the first call would be in the first latency
    model.predict(([0.0] * round(model.crop * source.rate), source.rate))
    latencies: list[float] = []
    skipped = 0
    try:
        for heard in listen(model, source, args.hop, args.top):
            latency = time.monotonic() - heard.arrived
            latencies.append(latency)
            skipped += heard.skipped
            out(_document(heard, latency) if args.json else _line(heard, latency))
    except KeyboardInterrupt:
        pass  # the usual end of a microphone
    if latencies:
        say(_account(latencies, skipped))
    return 0


def _document(heard: "Heard", latency: float) -> str:
    label, probability = heard.labels[0]
    return json.dumps(
        {
            "start": heard.start,
            "end": heard.end,
            "label": label,
            "probability": probability,
            "labels": dict(heard.labels),
            "latency_ms": round(1000 * latency, 2),
            "skipped": heard.skipped,
        }
    )


def _line(heard: "Heard", latency: float) -> str:
    said = ", ".join(f"{label} {probability:.1%}" for label, probability in heard.labels)
    skipped = f", {heard.skipped} windows skipped before" if heard.skipped else ""
    return f"{heard.start:8.2f} to {heard.end:.2f} s  {said}  ({1000 * latency:.0f} ms{skipped})"


def _account(latencies: list[float], skipped: int) -> str:
    """What a listener wants to know at the end.

    >>> _account([0.010, 0.012, 0.050], 1)
    '3 windows, 1 skipped; from the end of a window to its line 12 ms (median), 50 ms (longest)'
    """
    middle, longest = statistics.median(latencies), max(latencies)
    return (
        f"{len(latencies)} windows, {skipped} skipped; from the end of a window to its line "
        f"{1000 * middle:.0f} ms (median), {1000 * longest:.0f} ms (longest)"
    )
