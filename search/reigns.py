"""Who was champion of a model, from when to when and why, and the moves that change it.

The alias `champion` is the truth about today. The past is a log in tags of the registered model: `reign.0001`,
`reign.0002` ... A move writes down first what it is about to do (`reign.next`), then moves the aliases, then adds to
the log: whoever finds that note after a kill knows what happened, and the same command again carries it to its end.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from . import registry
from .errors import UsageError
from .registry import CHALLENGER, CHAMPION, PREVIOUS, REASON_TAG, SINCE_TAG, Card
from .settings import Settings

PROMOTION, ROLLBACK, BY_HAND = "promotion", "rollback", "by hand"
ENTRY, NOTE = "reign.", "reign.next"
LONGEST = (
    4000  # bytes of a reason in the log, as it is written: databases of MLflow take 5000 for a whole tag
)
Clock = Callable[[], datetime]


@dataclass(frozen=True)
class Reign:
    """A version that became champion. kind: promotion | rollback | by hand (the alias was moved outside escsearch)."""

    version: int
    since: str  # ISO time, UTC; empty where nobody knows
    kind: str
    reason: str


@dataclass(frozen=True)
class Move:
    """What a rollback came to."""

    reign: Reign
    before: int | None  # the version that was champion until then
    again: bool = False  # it had been cut off, and is finished now


def now() -> datetime:
    """The time, UTC."""
    return datetime.now(UTC)


# pure


def completed(tags: Mapping[str, str], champion: int | None, cards: Sequence[Card]) -> list[Reign]:
    """The log, oldest first, with what its tags do not hold yet: a move that was cut off, or that others made.

    cards: versions of the model; those of models from before there was a log say since when they were champion.
    """
    reigns = [Reign(**json.loads(tags[key])) for key in sorted(tags) if _is_entry(key)]
    if not reigns:
        old = [
            Reign(card.version, card.tags[SINCE_TAG], PROMOTION, _cut(card.tags.get(REASON_TAG, "")))
            for card in cards
            if SINCE_TAG in card.tags
        ]
        reigns = sorted(old, key=lambda reign: (reign.since, reign.version))
    if champion is not None and (not reigns or reigns[-1].version != champion):
        note = _note(tags)
        if note is not None and note[0].version == champion:
            reigns.append(note[0])
        else:
            reigns.append(Reign(champion, "", BY_HAND, "the alias was set outside escsearch"))
    return reigns


def line(reigns: Sequence[Reign]) -> tuple[list[int], dict[int, Reign]]:
    """(the versions before the champion, which is the last; version taken back -> the reign that ended it).

    A promotion puts a version on top; going back to one takes everything above it away.
    """
    standing: list[int] = []
    taken: dict[int, Reign] = {}
    for reign in reigns:
        if reign.version in standing and reign.kind != PROMOTION:
            above = standing.index(reign.version) + 1
            taken |= dict.fromkeys(standing[above:], reign)
            del standing[above:]
        else:
            standing = [version for version in standing if version != reign.version] + [reign.version]
            taken.pop(reign.version, None)
    return standing, taken


def spans(reigns: Sequence[Reign], champion: int | None) -> list[tuple[Reign, str | None]]:
    """Each reign with the time at which it ended (None: it goes on; empty: nobody knows), newest first.

    champion: today's version; None where the alias is gone, or the version with it.
    """
    ends: list[str | None] = [after.since for _, after in pairwise(reigns)]
    last = ["" if champion is None else None for _ in reigns[-1:]]
    return list(zip(reigns, [*ends, *last], strict=True))[::-1]


# in MLflow


def log(settings: Settings, name: str) -> list[Reign]:
    """The champions of a model, oldest first. Raises `UsageError` for an unknown name."""
    cards = registry.history(settings, name)
    with registry.connected(settings) as client:
        return _Throne(client, name, cards).reigns


def promote(settings: Settings, name: str, version: int, reason: str, clock: Clock = now) -> None:
    """Make a version the champion; who was it keeps the alias `previous`. Twice is the same as once."""
    cards = registry.history(settings, name)
    with registry.connected(settings) as client:
        throne = _Throne(client, name, cards)
        if throne.settled(version):
            return
        note = throne.note
        if throne.champion == version:
            throne.seat(throne.reigns[-1])
        elif note and (note[0].version, note[0].kind) == (version, PROMOTION):
            throne.seat(note[0])  # with the time and the reason of the call that was cut off
        else:
            throne.seat(Reign(version, _stamp(clock), PROMOTION, _cut(reason)))


def rollback(
    settings: Settings, name: str, to: int | None = None, reason: str = "", clock: Clock = now
) -> Move:
    """Make an earlier champion the champion again; None: the one before, or the last that is there if there is none
    today. A rollback that was cut off is finished.

    Raises `UsageError` where there is nobody to go back to, and for a version that never was champion.
    """
    cards = registry.history(settings, name)
    with registry.connected(settings) as client:
        throne = _Throne(client, name, cards)
        champion, note = throne.champion, throne.note
        if note and note[0].kind == ROLLBACK and to in (None, note[0].version):
            reign, before = note
            if champion in (reign.version, before):  # else somebody has moved it since
                throne.seat(reign)
                return Move(reign, before, again=True)
        target = _target(name, throne, to)
        said = reason or (f"rolled back from version {champion}" if champion else "there was no champion")
        reign = Reign(target, _stamp(clock), ROLLBACK, _cut(said))
        throne.seat(reign)
        return Move(reign, champion)


def challenge(settings: Settings, name: str, version: int) -> None:
    """Give a version that the gate refused the alias `challenger`."""
    with registry.connected(settings) as client:
        client.set_registered_model_alias(name, CHALLENGER, str(version))


class _Throne:
    """The state of one registered model, and the one way to change who is champion."""

    def __init__(self, client: Any, name: str, cards: Sequence[Card]) -> None:
        model = client.get_registered_model(name)
        self._client, self._name = client, name
        self.there = {card.version for card in cards}
        self._aliases = {alias: int(version) for alias, version in model.aliases.items()}
        self._logged = sum(map(_is_entry, model.tags))
        self.note = _note(model.tags)
        self.champion = self._aliases.get(CHAMPION)
        self.reigns = completed(model.tags, self.champion, cards)

    def settled(self, version: int) -> bool:
        """Whether a version is champion and nothing of that is left to be written."""
        written = self._logged == len(self.reigns) and self.note is None
        return self.champion == version and written and self._aliases.get(CHALLENGER) != version

    def seat(self, reign: Reign) -> None:
        """Make a version champion. Each call can be the last one before a kill: see the module's docstring."""
        client, name, version = self._client, self._name, str(reign.version)
        earlier = self.earlier(reign)
        for number in range(self._logged, len(self.reigns)):  # what has happened already
            self._enter(number, self.reigns[number])
        if self.champion != reign.version:
            note = _written({**asdict(reign), "before": self.champion})
            client.set_registered_model_tag(name, NOTE, note)
            if earlier:  # first: whenever it is cut off, the name still has a champion
                client.set_registered_model_alias(name, PREVIOUS, str(earlier[-1]))
            client.set_registered_model_alias(name, CHAMPION, version)
            self._enter(len(self.reigns), reign)
        if reign.since:
            client.set_model_version_tag(name, version, SINCE_TAG, reign.since)
        if not earlier and PREVIOUS in self._aliases:
            client.delete_registered_model_alias(name, PREVIOUS)
        if self._aliases.get(CHALLENGER) == reign.version:
            client.delete_registered_model_alias(name, CHALLENGER)
        if self.note or self.champion != reign.version:
            client.delete_registered_model_tag(name, NOTE)

    def earlier(self, reign: Reign | None = None) -> list[int]:
        """The versions to go back to, the last one first in turn, when a reign begins; None: as things are."""
        reigns = [*self.reigns, reign] if reign and self.champion != reign.version else self.reigns
        standing = line(reigns)[0]
        if reign or self.champion is not None:
            standing = standing[:-1]  # else nobody is above who reigned last
        return [version for version in standing if version in self.there]

    def _enter(self, number: int, reign: Reign) -> None:
        self._client.set_registered_model_tag(self._name, f"{ENTRY}{number + 1:04d}", _written(asdict(reign)))


def _target(name: str, throne: _Throne, to: int | None) -> int:
    """The version to go back to."""
    champion = throne.champion
    if to is None:
        earlier = throne.earlier()
        if not earlier:
            when = f"before version {champion}" if champion else "yet"
            raise UsageError(f"model {name} had no champion {when}; 'models {name}' shows its history")
        return earlier[-1]
    if to == champion:
        raise UsageError(f"version {to} is the champion of model {name} already")
    known = sorted({reign.version for reign in throne.reigns} & throne.there)
    if to not in known:
        listed = ", ".join(map(str, known)) or "none"
        raise UsageError(f"version {to} never was champion of model {name}; those to go back to: {listed}")
    return to


def _written(entry: object) -> str:
    """Letters of every script as they are: six characters for each would not fit into a tag."""
    return json.dumps(entry, ensure_ascii=False)


def _cut(reason: str) -> str:
    """As much of a reason as the log takes."""
    text = reason.encode(errors="replace").decode()  # a word of the shell need not be Unicode
    while (over := len(_written(text).encode()) - LONGEST) > 0:
        text = text[: -max(1, over // 6)]  # a character takes six bytes at most
    return text


def _is_entry(key: str) -> bool:
    return key.startswith(ENTRY) and key != NOTE


def _note(tags: Mapping[str, str]) -> tuple[Reign, int | None] | None:
    """The move that was begun and not ended: (reign, champion before)."""
    if NOTE not in tags:
        return None
    note = json.loads(tags[NOTE])
    before = note.pop("before")
    return Reign(**note), before


def _stamp(clock: Clock) -> str:
    return clock().isoformat(timespec="seconds")
