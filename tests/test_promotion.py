"""Who is champion and who was: moves that can be cut off anywhere, the history, and its commands."""

import argparse
import copy
import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from memory_registry import Killed, MemoryRegistry, connected
from test_promote import EXAM

import search.run
from search import registry, reigns, session
from search.commands import promotion
from search.errors import Failure, Refused, UsageError
from search.promote import USUAL, Gate, options
from search.registration import Shipped
from search.reigns import BY_HAND, PROMOTION, ROLLBACK, Reign, line
from search.settings import Settings
from search.tracker import TrackerDown, TrackerRefused

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
    spans = reigns.spans(reigns.log(settings, "m"), 3)
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


@pytest.mark.parametrize("gone", [True, False])
def test_a_champion_that_others_took_away_has_an_unknown_end_and_the_last_one_left_is_gone_back_to(
    memory, settings, gone
):
    promote(settings, 1, 2, 3)
    del memory.aliases["champion"]
    if gone:
        del memory.versions["3"]
    (last, end), *_ = reigns.spans(reigns.log(settings, "m"), None)
    assert (last.version, end) == (3, "")
    move = reigns.rollback(settings, "m", clock=at(9))
    assert (move.reign.version, move.before, move.reign.reason) == (
        2 if gone else 3,
        None,
        "there was no champion",
    )
    assert (
        memory.aliases == {"champion": "2", "previous": "1"} if gone else {"champion": "3", "previous": "2"}
    )


@pytest.mark.parametrize("letter", ["a", "雨", "🌧", "\x01", '"', "\udce9"])
def test_a_long_reason_of_any_script_fits_into_a_tag_and_can_be_read_there(memory, settings, letter):
    reigns.promote(settings, "m", 1, letter * 9000, at(1))
    (tag,) = (text for key, text in memory.tags.items() if key.startswith(reigns.ENTRY))
    assert 3900 < len(tag.encode()) <= registry.LONGEST
    if letter == "雨":
        assert letter * 1000 in tag and reigns.log(settings, "m")[0].reason == letter * 1332


class TestOfferingAgain:
    """The command that `Session.ship` prints where the model could not be registered."""

    @pytest.fixture
    def fails(self, settings, tmp_path, monkeypatch) -> Callable[..., str]:
        def act(error: Exception, *asked: object) -> str:
            def register(*words: object, **more: object) -> None:
                raise error

            monkeypatch.setattr(session, "refit", lambda *words: tmp_path / "model")
            monkeypatch.setattr(session, "register", register)
            made = object.__new__(session.Session)
            made.study, made.settings = SimpleNamespace(name="s"), settings
            made.ledger = made.runner = made.facts = None
            made.seconds, made.exams = {}, [(None, EXAM)]
            made._projector = SimpleNamespace(drain=lambda seconds: 0)
            with pytest.raises(Failure) as raised:
                made.ship(*asked)
            return str(raised.value)

        return act

    def test_it_asks_for_the_same(self, fails):
        said = fails(TrackerDown("no answer"), Gate(0.01, max_params=9), "ensemble", "other")
        assert (
            "promote s --model=other --ship=ensemble --min-gain=0.01 --max-params=9' when MLflow is there"
            in said
        )

    def test_it_waits_for_mlflow_only_where_that_is_away(self, fails):
        for error in (TrackerRefused("no"), Failure("no")):
            assert fails(error).endswith("promote s' when that is mended")


def test_the_name_that_promote_is_told_is_not_written_into_the_study(settings, monkeypatch):
    opened, shipped = [], []
    made = SimpleNamespace(recall_exams=lambda: None, ship=lambda *asked: shipped.append(asked))
    made.outcome = lambda: None
    monkeypatch.setattr(search.run, "reopen", lambda name, settings, **changes: opened.append(changes))
    monkeypatch.setattr(search.run, "check_reachable", lambda uri: None)
    monkeypatch.setattr(search.run, "continued", lambda study, engine: None)
    monkeypatch.setattr(search.run, "open_session", lambda *words: nullcontext(made))
    search.run.promote_study("s", settings, model="other")
    assert opened == [{}] and shipped == [(USUAL, "refit", "other")]
    with pytest.raises(UsageError, match="model name 'no/name' must be"):
        search.run.promote_study("s", settings, model="no/name")


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

    def test_a_champion_that_is_gone_does_not_reign_until_now(self, filled, run, capsys):
        del filled.aliases["champion"], filled.versions["2"]
        assert run("models", "m", "--json") == 0
        assert json.loads(capsys.readouterr().out)["champions"][0]["until"] == ""
        assert run("models", "m") == 0
        assert "now" not in capsys.readouterr().out
        assert run("rollback", "m") == 0
        assert "is version 1 again, there was none" in capsys.readouterr().out

    @pytest.mark.parametrize("challenger", [True, False])
    def test_a_refusal_is_a_document_too_and_says_what_was_kept(self, run, capsys, monkeypatch, challenger):
        outcome = SimpleNamespace(shipped=Shipped("m", 3, False, "too weak", challenger))
        monkeypatch.setattr(search.run, "promote_study", lambda *words, **more: outcome)
        assert run("promote", "s", "--json") == 4
        assert json.loads(capsys.readouterr().out) == {
            "model": "m",
            "version": 3,
            "promote": False,
            "reason": "too weak",
            "challenger": challenger,
        }
        with pytest.raises(
            Refused, match=r"kept as @challenger, version 3\)" if challenger else "it is version 3"
        ):
            run("promote", "s")

    def test_without_options_the_gate_is_the_usual_one_and_help_states_it(self, run, capsys, monkeypatch):
        gates = []
        outcome = SimpleNamespace(shipped=Shipped("m", 3, False, "too weak"))
        monkeypatch.setattr(
            search.run, "promote_study", lambda *words, gate, **more: gates.append(gate) or outcome
        )
        run("promote", "s", "--json")
        again = Gate(-0.01, 0.2, 1000, 2.5, accept_tie=True)
        words = options(again, "ensemble", "other")
        run("promote", "s", "--json", *words)
        assert gates == [USUAL, again] and words[:2] == ["--model=other", "--ship=ensemble"]
        assert options(USUAL, "refit", None) == []
        with pytest.raises(SystemExit):
            run("promote", "--help")
        text = " ".join(capsys.readouterr().out.split())
        assert f"default: {USUAL.min_gain}," in text and f"default: {USUAL.level})" in text

    @pytest.mark.parametrize(
        "words", [("--min-gain", "5"), ("--level", "2"), ("--max-params", "0"), ("--max-latency", "-1")]
    )
    def test_a_gate_that_makes_no_sense_is_refused_at_once(self, run, words):
        with pytest.raises(UsageError, match=words[0]):
            run("promote", "nothing", *words)
