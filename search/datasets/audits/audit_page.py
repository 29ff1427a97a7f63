"""The page of an audit: every finding, and players for the sounds that one will want to hear.

Shape letters: T samples.
"""

from dataclasses import dataclass
from pathlib import Path

from ...errors import Failure
from ...page import render, sound, spectrogram
from ..clip import Clip
from ..waves.audio import AudioError, decode
from ..waves.beside import in_order
from .audit import Audit
from .findings import ACROSS, CHECKS, SEVERITIES, Finding

COPIES = 60  # findings with both sides to listen to, the worst first; the page stays below some 10 MB
EXAMPLES = 8  # clips to listen to of each other kind
SIDES = 4  # clips to listen to of one finding
AUDIBLE = ("cut-short", "cancels", "clipped", "very-short", "offset", "source")  # worth an example
SECONDS = 10.0  # of a clip that can be heard


@dataclass(frozen=True)
class Side:
    """One sound on the page."""

    label: str
    src: str  # data URIs
    image: str


@dataclass(frozen=True)
class Entry:
    """One finding on the page."""

    finding: Finding
    sides: tuple[Side, ...]


@dataclass(frozen=True)
class Section:
    """One check that found something."""

    kind: str
    title: str
    remedies: tuple[str, ...]
    entries: tuple[Entry, ...]


def write_page(audit: Audit, path: Path) -> None:
    """Write the page. Raises `Failure` where it cannot be written."""
    clips = {clip.name: clip for clip in audit.dataset.clips}
    wanted = _wanted(audit)
    starts = [(clips[name], start) for finding in wanted for name, start in wanted[finding]]
    sides = iter(list(in_order(lambda asked: _side(*asked), starts)))
    heard = {finding: tuple(side for _ in wanted[finding] if (side := next(sides))) for finding in wanted}
    sections = []
    for kind, check in CHECKS.items():
        its = audit.of(kind)
        if its:
            remedies = tuple(dict.fromkeys(finding.remedy for finding in its if finding.remedy))
            entries = tuple(Entry(finding, heard.get(finding, ())) for finding in its)
            sections.append(Section(kind, check.title[0].upper() + check.title[1:], remedies, entries))
    # The worst first, else in the order of the checks.
    sections.sort(key=lambda section: min(SEVERITIES.index(e.finding.severity) for e in section.entries))
    folds = sorted(set(audit.balance.folds) - {0})
    text = render(
        "audit.html",
        audit=audit,
        verdict=audit.verdict,
        sections=sections,
        folds=folds,
        fold_names=[f"fold {fold}" for fold in folds],
        sources=len({clips[name].source for name in audit.health}),
        shown=COPIES,
        seconds=SECONDS,
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Failure(f"the page cannot be written to {path}: {error.strerror or error}") from error


def _wanted(audit: Audit) -> dict[Finding, list[tuple[str, float]]]:
    """The findings with players: names of clips, and from where in s they are heard."""
    copied = [found for found in audit.findings if found.kind in ACROSS and found.kind != "source"]
    copied.sort(key=lambda found: SEVERITIES.index(found.severity))
    chosen = copied[:COPIES]
    for kind in AUDIBLE:
        chosen += [found for found in audit.of(kind) if found.clips][:EXAMPLES]
    wanted = {}
    for found in chosen:
        names = [name for name in found.clips if name in audit.health][:SIDES]
        lag = found.lag or 0.0
        # Both sides of a pair begin with what they share.
        starts = (max(lag, 0.0), max(-lag, 0.0)) if len(names) == 2 else (0.0,) * len(names)
        wanted[found] = list(zip(names, starts, strict=True))
    return wanted


def _side(clip: Clip, start: float) -> Side | None:
    """The sound of a clip from `start` s on, or None where it has gone since."""
    try:
        wave_T, rate = decode(clip.path, clip.name, clip.start, clip.end)
    except AudioError:
        return None
    heard_T = wave_T[round(start * rate) :][: round(SECONDS * rate)]
    if not len(heard_T):
        heard_T = wave_T
    facts = [clip.name, clip.label]
    if clip.fold:
        facts.append(f"fold {clip.fold}")
    if start:
        facts.append(f"from {start:.2f} s")
    return Side(", ".join(facts), sound(heard_T, rate, SECONDS), spectrogram(heard_T, rate))
