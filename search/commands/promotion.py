"""`escsearch promote` and `escsearch models`: who becomes champion, and who is."""

import argparse
import json
from argparse import ArgumentParser, Namespace, _SubParsersAction
from typing import TYPE_CHECKING, Any

from ..errors import Refused
from ..settings import Settings
from ..terminal import emit_json, out, say, table
from .flags import engine, engine_flags, show

if TYPE_CHECKING:
    from ..registry import Card


def add(commands: "_SubParsersAction[ArgumentParser]", common: ArgumentParser) -> None:
    """Describe the commands of this module."""
    promote = commands.add_parser(
        "promote",
        parents=[common, engine_flags()],
        help="register the winner as champion, if it is better",
        epilog="example: escsearch promote esc10-esc10-1 --model esc10",
    )
    promote.add_argument("study", metavar="STUDY")
    promote.add_argument("--model", metavar="NAME", help="registered name (default: as begun)")
    promote.add_argument(
        "--min-gain", type=float, default=0.005, help="accuracy it must gain (default: 0.005)"
    )
    promote.set_defaults(act=act_promote)

    models = commands.add_parser(
        "models",
        parents=[common],
        help="list registered models, or the versions of one",
        description="List registered models with their champions, or the versions of one model.",
        epilog="example: escsearch models esc10",
    )
    models.add_argument("name", metavar="NAME", nargs="?", help="show the versions of this model")
    models.set_defaults(act=_models)


def act_promote(args: Namespace, settings: Settings) -> int:
    """Through the gate; a refusal is exit 4."""
    from ..run import promote_study

    outcome = promote_study(
        args.study, settings, engine=engine(args), model=args.model, min_gain=args.min_gain
    )
    assert outcome.shipped is not None
    if not outcome.shipped.champion:
        raise Refused(f"{outcome.shipped.name}: {outcome.shipped.reason}")
    return show(outcome, args, settings)


def _models(args: argparse.Namespace, settings: Settings) -> int:
    from .. import registry

    if args.name:
        cards = registry.history(settings, args.name)
        if args.json:
            emit_json([_document(card) for card in cards])
        else:
            out(table(["version", "alias", "accuracy", "protocol", "made", "why"], [_line(c) for c in cards]))
        return 0
    champions = {name: registry.champion(settings, name) for name in registry.names(settings)}
    if args.json:
        emit_json({name: card and _document(card) for name, card in champions.items()})
    elif not champions:
        say(f"no model is registered in {settings.registry_uri} yet; `escsearch run` and `promote` make one")
    else:
        lines = [[name, *(_line(card) if card else ["none"] + [""] * 5)] for name, card in champions.items()]
        out(table(["model", "champion", "alias", "accuracy", "protocol", "made", "why"], lines))
    return 0


def _line(card: "Card") -> list[str]:
    from ..promote import figure
    from ..registry import REASON_TAG

    return [
        str(card.version),
        " ".join(f"@{alias}" for alias in card.aliases),
        figure(card.exam) if card.exam else "-",
        card.exam.protocol if card.exam else "-",
        card.created.strftime("%Y-%m-%d %H:%M UTC"),
        card.tags.get(REASON_TAG, ""),
    ]


def _document(card: "Card") -> dict[str, Any]:
    return {
        "name": card.name,
        "version": card.version,
        "uri": card.uri,
        "aliases": card.aliases,
        "exam": json.loads(card.exam.to_json()) if card.exam else None,
        "made": card.created.isoformat(),
        "tags": card.tags,
    }
