"""Who is champion and who was: moves that can be cut off anywhere, the history, and its commands."""

import argparse
import copy
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from memory_registry import Killed, MemoryRegistry, connected
from test_promote import EXAM

from search import registry, reigns
from search.commands import promotion
from search.errors import UsageError
from search.reigns import BY_HAND, PROMOTION, ROLLBACK, Reign, line
from search.settings import Settings

ORIGINS = dict.fromkeys(("home", "tracking_uri", "registry_uri"), "default")
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> MemoryRegistry:
    """A model with four versions, no champion yet."""
    made = MemoryRegistry()
    made.make(4)
    monkeypatch.setattr(registry, "connected", connected(made))
    return made


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(tmp_path, "memory://", "memory://", "local", ORIGINS)


def at(hour: int) -> Callable[[], datetime]:
    return lambda: NOON.replace(hour=hour)


def champions(settings: Settings) -> list[tuple[int, str]]:
    return [(reign.version, reign.kind) for reign in reigns.log(settings, "m")]


def promote(settings: Settings, *versions: int) -> None:
    for version in versions:
        reigns.promote(settings, "m", version, f"reason {version}", at(version))


def test_each_promotion_keeps_the_one_before_and_adds_to_the_history(memory, settings):
    promote(settings, 1, 2, 3)
    assert memory.aliases == {"champion": "3", "previous": "2"}
    spans = reigns.spans(reigns.log(settings, "m"))
    assert [(reign.version, reign.since[11:13], until and until[11:13]) for reign, until in spans] == [
        (3, "03", None),
        (2, "02", "03"),
        (1, "01", "02"),
    ]
    assert [reign.reason for reign, _ in spans] == ["reason 3", "reason 2", "reason 1"]
    assert memory.versions["2"] == {registry.SINCE_TAG: "2026-11-22T02:00:00+00:00"}


def test_promoting_the_champion_again_writes_nothing(memory, settings):
    promote(settings, 1, 2)
    before = len(memory.seen)
    promote(settings, 2)
    assert len(memory.seen) == before


def test_going_back_twice_goes_further_back_and_never_to_what_was_taken_back(memory, settings):
    promote(settings, 1, 2, 3)
    assert reigns.rollback(settings, "m").reign.version == 2
    assert memory.aliases == {"champion": "2", "previous": "1"}
    assert reigns.rollback(settings, "m").reign.version == 1
    assert memory.aliases == {"champion": "1"}
    with pytest.raises(UsageError, match="had no champion before version 1"):
        reigns.rollback(settings, "m")
    promote(settings, 4)
    assert memory.aliases == {"champion": "4", "previous": "1"}
    assert reigns.rollback(settings, "m").reign.version == 1


def test_what_was_taken_back_can_be_brought_back(memory, settings):
    promote(settings, 1, 2)
    reigns.rollback(settings, "m", reason="too loud")
    standing, taken = line(reigns.log(settings, "m"))
    assert standing == [1] and taken[2].reason == "too loud"
    assert reigns.rollback(settings, "m", to=2).before == 1
    assert line(reigns.log(settings, "m")) == ([1, 2], {})
    assert memory.aliases == {"champion": "2", "previous": "1"}


def test_going_back_to_a_version_takes_all_above_it_back(memory, settings):
    promote(settings, 1, 2, 3, 4)
    reigns.rollback(settings, "m", to=2)
    standing, taken = line(reigns.log(settings, "m"))
    assert standing == [1, 2] and taken.keys() == {3, 4}


def test_a_version_that_was_deleted_is_passed_over(memory, settings):
    promote(settings, 1, 2, 3)
    del memory.versions["2"]
    assert reigns.rollback(settings, "m").reign.version == 1


@pytest.mark.parametrize(
    ("to", "said"), [(3, "is the champion"), (4, "never was champion.*: 1, 2, 3"), (99, "never was champion")]
)
def test_there_is_no_going_back_to_who_never_reigned(memory, settings, to, said):
    promote(settings, 1, 2, 3)
    before = copy.deepcopy(memory.state())
    with pytest.raises(UsageError, match=said):
        reigns.rollback(settings, "m", to=to)
    assert memory.state() == before


def test_nobody_to_go_back_to_is_a_sentence(memory, settings):
    with pytest.raises(UsageError, match="had no champion yet"):
        reigns.rollback(settings, "m")


def test_a_promoted_challenger_is_one_no_more(memory, settings):
    promote(settings, 1)
    reigns.challenge(settings, "m", 2)
    assert memory.aliases["challenger"] == "2"
    promote(settings, 3)
    assert memory.aliases["challenger"] == "2"
    promote(settings, 2)
    assert "challenger" not in memory.aliases


def test_an_alias_that_others_moved_is_in_the_history(memory, settings):
    promote(settings, 1, 2)
    memory.aliases["champion"] = "3"
    assert champions(settings) == [(1, PROMOTION), (2, PROMOTION), (3, BY_HAND)]
    promote(settings, 4)  # only now it is written down
    assert champions(settings) == [(1, PROMOTION), (2, PROMOTION), (3, BY_HAND), (4, PROMOTION)]
    assert memory.aliases["previous"] == "3"
    memory.aliases["champion"] = "2"
    assert line(reigns.log(settings, "m"))[0] == [1, 2]


def test_models_from_before_there_was_a_log_have_a_history(memory, settings):
    for version in ("2", "1"):
        memory.versions[version] = {
            registry.SINCE_TAG: f"2026-01-0{version}",
            registry.REASON_TAG: f"why {version}",
        }
    memory.aliases |= {"champion": "2", "previous": "1"}
    old = [Reign(n, f"2026-01-0{n}", PROMOTION, f"why {n}") for n in (1, 2)]
    assert reigns.log(settings, "m") == old
    promote(settings, 3)
    assert reigns.log(settings, "m")[:2] == old and champions(settings)[2] == (3, PROMOTION)
    assert reigns.rollback(settings, "m").reign.version == 2


def test_more_reigns_than_fit_into_one_digit_stay_in_order(memory, settings):
    for hour in range(12):
        reigns.promote(settings, "m", 1 + hour % 2, "", at(hour))
    assert [version for version, _ in champions(settings)] == [1, 2] * 6


ACTS: dict[str, tuple[Callable[[Settings], None], Callable[[Settings], object]]] = {
    "first": (lambda s: None, lambda s: promote(s, 1)),
    "second": (lambda s: promote(s, 1), lambda s: promote(s, 2)),
    "third, a challenger": (
        lambda s: (promote(s, 1, 2), reigns.challenge(s, "m", 3))[0],
        lambda s: promote(s, 3),
    ),
    "one that reigned before": (lambda s: promote(s, 1, 2, 3), lambda s: promote(s, 1)),
    "rollback": (lambda s: promote(s, 1, 2, 3), lambda s: reigns.rollback(s, "m", clock=at(9))),
    "rollback to the first": (lambda s: promote(s, 1, 2), lambda s: reigns.rollback(s, "m", clock=at(9))),
    "rollback to": (lambda s: promote(s, 1, 2, 3), lambda s: reigns.rollback(s, "m", 1, "why", at(9))),
}


@pytest.mark.parametrize("name", ACTS)
def test_a_kill_between_any_two_calls_leaves_a_champion_and_again_ends_as_if_it_had_not_been(
    memory, settings, name
):
    prepare, act = ACTS[name]
    prepare(settings)
    start = copy.deepcopy(memory.state())
    had, kinds = memory.aliases.get("champion"), set()
    before = len(memory.seen)
    act(settings)
    calls, done = len(memory.seen) - before, copy.deepcopy(memory.state())
    assert calls >= 4
    for left in range(calls):
        memory.aliases, memory.tags, memory.versions = copy.deepcopy(start)
        memory.left = left
        with pytest.raises(Killed):
            act(settings)
        memory.left = None
        assert memory.aliases.get("champion") in (had, done[0]["champion"])
        kinds |= {kind for _, kind in champions(settings)}
        act(settings)
        assert memory.state() == done, f"killed after {left} calls"
    assert BY_HAND not in kinds  # whoever looks between knows what happened


@pytest.mark.parametrize("left", range(6))
def test_a_move_that_was_cut_off_does_not_hold_up_another(memory, settings, left):
    promote(settings, 1, 2, 3)
    memory.left = left
    with pytest.raises(Killed):
        reigns.rollback(settings, "m", clock=at(9))
    memory.left = None
    went = champions(settings)[-1] == (2, ROLLBACK)
    promote(settings, 4)
    assert champions(settings)[-1] == (4, PROMOTION) and ((2, ROLLBACK) in champions(settings)) is went
    assert memory.aliases == {"champion": "4", "previous": "2" if went else "3"}
    assert reigns.NOTE not in memory.tags


def test_a_rollback_that_was_cut_off_is_finished_and_not_done_twice(memory, settings):
    promote(settings, 1, 2, 3)
    memory.left = 5  # all but taking the note away
    with pytest.raises(Killed):
        reigns.rollback(settings, "m", clock=at(9))
    memory.left = None
    again = reigns.rollback(settings, "m")
    assert (again.reign.version, again.before, again.again) == (2, 3, True)
    assert reigns.rollback(settings, "m").reign.version == 1


class TestCommands:
    @pytest.fixture
    def run(self, settings: Settings) -> Callable[..., int]:
        common = argparse.ArgumentParser(add_help=False)
        common.add_argument("--json", action="store_true")
        parser = argparse.ArgumentParser()
        promotion.add(parser.add_subparsers(), common)

        def act(*words: str) -> int:
            args = parser.parse_args(words)
            return args.act(args, settings)

        return act

    @pytest.fixture
    def filled(self, memory: MemoryRegistry, settings: Settings) -> MemoryRegistry:
        for number, mean in ((1, 0.80), (2, 0.82), (3, 0.81)):
            memory.versions[str(number)] = {
                registry.EXAM_TAG: replace(EXAM, mean=mean).to_json(),
                registry.REASON_TAG: f"reason {number}",
                "params": "12345",
                "latency_ms": "3.456",
                "licence": "CC BY-NC",
                "non_commercial": "true",
                "study": "hums",
                "trial": "7",
            }
        promote(settings, 1, 2)
        reigns.challenge(settings, "m", 3)
        return memory

    def test_a_name_shows_its_versions_and_who_was_champion_when_and_why(self, filled, run, capsys):
        assert run("models", "m") == 0
        text = capsys.readouterr().out
        for said in (
            *("@champion", "@previous", "@challenger", "82.0 %", "12,345", "3.46 ms", "hums t007"),
            *(
                "CC BY-NC (non-commercial)",
                "champions of m",
                "2026-11-22 02:00",
                "now",
                "reason 1",
                "reason 2",
            ),
            "version 3 was refused: reason 3",
        ):
            assert said in text, said
        assert "reason 3" not in text.partition("challenger: ")[0]

    def test_json_has_versions_and_champions(self, filled, run, capsys):
        assert run("models", "m", "--json") == 0
        document = json.loads(capsys.readouterr().out)
        assert [version["version"] for version in document["versions"]] == [4, 3, 2, 1]
        now, before = document["champions"]
        assert (now["version"], now["until"], before["until"]) == (2, None, now["since"])

    def test_the_list_shows_champions_and_their_cost(self, filled, run, capsys):
        assert run("models") == 0
        text = capsys.readouterr().out
        assert "version 2" in text and "12,345" in text and "82.0 %" in text

    def test_rollback_says_what_it_did(self, filled, run, capsys):
        assert run("rollback", "m", "--reason", "too loud") == 0
        assert "models:/m@champion is version 1 again, it was 2" in capsys.readouterr().out
        assert run("models", "m") == 0
        assert "too loud" in capsys.readouterr().out
        assert run("rollback", "m", "--to", "2", "--json") == 0
        assert json.loads(capsys.readouterr().out) == {
            "model": "m",
            "champion": 2,
            "before": 1,
            "again": False,
        }

    @pytest.mark.parametrize(
        "words", [("--min-gain", "5"), ("--level", "2"), ("--max-params", "0"), ("--max-latency", "-1")]
    )
    def test_a_gate_that_makes_no_sense_is_refused_at_once(self, run, words):
        with pytest.raises(UsageError, match=words[0]):
            run("promote", "nothing", *words)
