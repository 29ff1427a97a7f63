"""`escsearch promote`, `models` and `rollback`: who becomes champion, who is, and who was."""

import json
from argparse import ArgumentParser, Namespace, _SubParsersAction
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import Refused, UsageError
from ..settings import Settings
from ..terminal import emit_json, out, say, table
from .flags import engine, engine_flags, show

if TYPE_CHECKING:
    from ..promote import Gate
    from ..registry import Card
    from ..reigns import Reign


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
        "--ship",
        choices=("refit", "ensemble"),
        default="refit",
        help="the recipe trained again on all folds, or the models of the exam together (default: refit)",
    )
    promote.add_argument(
        "--dry-run", action="store_true", help="say what would be decided; train nothing, change nothing"
    )
    gate = promote.add_argument_group("gate")
    gate.add_argument(
        "--min-gain",
        type=float,
        metavar="SHARE",
        help="accuracy it must gain (default: 0.005, half a point)",
    )
    gate.add_argument(
        "--level",
        type=float,
        metavar="P",
        help="p of the paired bootstrap over recordings from which on a gain may be luck (default: 0.05)",
    )
    gate.add_argument("--accept-tie", action="store_true", help="take a gain that may be luck")
    gate.add_argument("--max-params", type=int, metavar="N", help="refuse a model with more parameters")
    gate.add_argument(
        "--max-latency",
        type=float,
        metavar="MS",
        help="refuse a model that is slower for one clip on one thread",
    )
    promote.set_defaults(act=act_promote)

    models = commands.add_parser(
        "models",
        parents=[common],
        help="list registered models, or the history of one",
        description="List registered models with their champions, or the versions and champions of one model.",
        epilog="example: escsearch models esc10",
    )
    models.add_argument("name", metavar="NAME", nargs="?", help="show the history of this model")
    models.set_defaults(act=act_models)

    rollback = commands.add_parser(
        "rollback",
        parents=[common],
        help="make an earlier champion the champion again",
        description="Make an earlier champion the champion again: the one before, or a version that once was.",
        epilog="example: escsearch rollback esc10 --reason 'mistakes rain for fire'",
    )
    rollback.add_argument("name", metavar="NAME")
    rollback.add_argument("--to", type=int, metavar="VERSION", help="default: the champion before")
    rollback.add_argument("--reason", default="", metavar="TEXT", help="kept in the history")
    rollback.set_defaults(act=act_rollback)


def act_promote(args: Namespace, settings: Settings) -> int:
    """Through the gate; a refusal is exit 4."""
    gate = _gate(args)
    if args.dry_run:
        return _rehearse(args, settings, gate)
    from ..registry import CHALLENGER
    from ..run import promote_study

    outcome = promote_study(
        args.study, settings, engine=engine(args), model=args.model, gate=gate, how=args.ship
    )
    shipped = outcome.shipped
    assert shipped is not None
    if not shipped.champion:
        if args.json:
            document = {"model": shipped.name, "version": shipped.version, "promote": False}
            emit_json(document | {"reason": shipped.reason, "challenger": shipped.challenger})
            return Refused.code
        kept = f"kept as @{CHALLENGER}, " if shipped.challenger else "it is "
        stays = f" ({kept}version {shipped.version})" if shipped.version else ""
        raise Refused(f"{shipped.name}: not promoted{stays}: {shipped.reason}")
    return show(outcome, args, settings)


def _gate(args: Namespace) -> "Gate":
    from ..promote import Gate

    asked = {
        "min_gain": args.min_gain,
        "level": args.level,
        "max_params": args.max_params,
        "max_latency_ms": args.max_latency,
        "accept_tie": args.accept_tie,
    }
    try:
        return Gate(**{name: value for name, value in asked.items() if value is not None})
    except ValueError as error:
        raise UsageError(str(error)) from error


def _rehearse(args: Namespace, settings: Settings, gate: "Gate") -> int:
    from ..rehearsal import rehearse

    name, verdict = rehearse(args.study, settings, gate, model=args.model, how=args.ship)
    if args.json:
        emit_json({"model": name, "promote": verdict.promote, "reason": verdict.reason})
        return 0 if verdict.promote else Refused.code
    if not verdict.promote:
        raise Refused(f"{name}: would not be promoted: {verdict.reason}")
    out(f"{name}: would be promoted: {verdict.reason}")
    return 0


def act_models(args: Namespace, settings: Settings) -> int:
    """Names with their champions, or one name with its versions and all who were champion."""
    from .. import registry, reigns

    if args.name:
        cards = registry.history(settings, args.name)
        champion = next((card.version for card in cards if registry.CHAMPION in card.aliases), None)
        spans = reigns.spans(reigns.log(settings, args.name), champion)
        if args.json:
            emit_json({"versions": [_document(card) for card in cards], "champions": _reigns(spans)})
        else:
            _history(args.name, cards, spans)
        return 0
    champions = {name: registry.champion(settings, name) for name in registry.names(settings)}
    if args.json:
        emit_json({name: card and _document(card) for name, card in champions.items()})
    elif not champions:
        say(f"no model is registered in {settings.registry_uri} yet; `escsearch run` and `promote` make one")
    else:
        lines = [
            [name, *([f"version {card.version}", *_figures(card)] if card else ["none"] + [""] * 5)]
            for name, card in champions.items()
        ]
        out(table(["model", "champion", *FIGURES], lines))
    return 0


def act_rollback(args: Namespace, settings: Settings) -> int:
    """Go back to an earlier champion."""
    from ..reigns import rollback

    move = rollback(settings, args.name, args.to, args.reason)
    if args.json:
        emit_json(
            {"model": args.name, "champion": move.reign.version, "before": move.before, "again": move.again}
        )
        return 0
    was = f"it was {move.before}" if move.before else "there was none"
    finished = ": a rollback that had been cut off is finished" if move.again else ""
    out(f"models:/{args.name}@champion is version {move.reign.version} again, {was}{finished}")
    return 0


FIGURES = ("accuracy", "protocol", "parameters", "latency", "licence")


def _figures(card: "Card") -> list[str]:
    from ..promote import figure

    tags = card.tags
    params, latency = tags.get("params"), tags.get("latency_ms")
    licence = tags.get("licence", "-")
    return [
        figure(card.exam) if card.exam else "-",
        card.exam.protocol if card.exam else "-",
        f"{int(params):,}" if params else "-",
        f"{float(latency):.3g} ms" if latency else "-",
        f"{licence} (non-commercial)" if tags.get("non_commercial") == "true" else licence,
    ]


def _history(name: str, cards: Sequence["Card"], spans: Sequence[tuple["Reign", str | None]]) -> None:
    """Two tables for a person: every version, and who was champion when and why."""
    from ..registry import CHALLENGER, REASON_TAG

    versions = [
        [
            card.version,
            " ".join(f"@{alias}" for alias in card.aliases),
            card.tags.get("gate", "-"),
            *_figures(card),
            _minute(card.created.isoformat()),
            _origin(card),
        ]
        for card in cards
    ]
    out(
        table(
            ["version", "alias", "gate", *FIGURES, "made (UTC)", "from"],
            versions,
            title=f"versions of {name}",
        )
    )
    out("")
    times = [
        [
            reign.version,
            _minute(reign.since),
            "now" if until is None else _minute(until),
            reign.kind,
            reign.reason,
        ]
        for reign, until in spans
    ]
    out(table(["version", "from (UTC)", "until (UTC)", "by", "why"], times, title=f"champions of {name}"))
    waiting = [card for card in cards if CHALLENGER in card.aliases and REASON_TAG in card.tags]
    for card in waiting:
        out(f"\nchallenger: version {card.version} was refused: {card.tags[REASON_TAG]}")


def _origin(card: "Card") -> str:
    """`NAME t007`: the study and the trial that it comes from."""
    study, trial = card.tags.get("study"), card.tags.get("trial", "")
    return f"{study} t{int(trial):03d}" if study and trial.isdigit() else "-"


def _minute(time: str) -> str:
    """An ISO time for a person."""
    return time[:16].replace("T", " ") or "?"


def _reigns(spans: Sequence[tuple["Reign", str | None]]) -> list[Mapping[str, Any]]:
    from dataclasses import asdict

    return [{**asdict(reign), "until": until} for reign, until in spans]


def _document(card: "Card") -> dict[str, Any]:
    from ..registry import EXAM_TAG

    return {
        "name": card.name,
        "version": card.version,
        "uri": card.uri,
        "aliases": card.aliases,
        "exam": json.loads(card.exam.to_json()) if card.exam else None,
        "made": card.created.isoformat(),
        "tags": {key: text for key, text in card.tags.items() if key != EXAM_TAG},
    }
