"""`escsearch export`: a model for programs that are not Python."""

from argparse import ArgumentParser, Namespace, _SubParsersAction
from dataclasses import asdict
from pathlib import Path

from ..settings import Settings
from ..terminal import emit_json, out


def add(commands: "_SubParsersAction[ArgumentParser]", common: ArgumentParser) -> None:
    """Describe the commands of this module."""
    export = commands.add_parser(
        "export",
        parents=[common],
        help="write a model as an ONNX file",
        description="Write a model as an ONNX file: waves [batch, samples] at the model's rate -> probabilities "
        "[batch, classes]. Classes, rate and the rule for long sounds stand in the file's metadata. It is compared "
        "with the model before it is written.",
        epilog="example: escsearch export models:/esc10@champion --onnx esc10.onnx --check dog.ogg rain.wav",
    )
    export.add_argument("model", metavar="MODEL", help="models:/NAME@ALIAS, models:/NAME/3, NAME or a folder")
    export.add_argument("--onnx", metavar="FILE", type=Path, required=True, help="file to write, or replace")
    export.add_argument(
        "--check",
        metavar="AUDIO",
        nargs="+",
        default=[],
        help="sound files, or folders of them, to compare on besides made sounds",
    )
    export.set_defaults(act=_export)


def _export(args: Namespace, settings: Settings) -> int:
    from ..export import export_onnx
    from ..predict import collect, load_model

    sounds = collect(args.check)
    done = export_onnx(load_model(args.model, settings), args.onnx, sounds)
    if args.json:
        emit_json({**asdict(done), "file": str(done.file)})
        return 0
    lengths = f"{done.window} samples{' or more' if done.any_length else ''}"
    out(
        f"{done.file}: {done.size / 1000:,.0f} kB, waves of {lengths} at {done.sample_rate} Hz -> {len(done.classes)} "
        f"classes; differs from the model by at most {done.difference:.1e} on {done.sounds} sounds"
    )
    return 0
