"""Reports on their way: all of them, in order, and a training that waits only where the driver decides."""

import threading
import time

import pytest

from search import letters
from search.letters import Letters
from search.trial import FoldResult, Report

RESULT = FoldResult(0.5, 1.0, b"", 1.0)


def epoch(number, split=1, **more):
    return Report(0, split, number, {"train_loss": 1.0}, **more)


@pytest.fixture
def seldom(monkeypatch):
    """No letter for its time alone."""
    monkeypatch.setattr(letters, "TOGETHER", 1e6)


@pytest.mark.parametrize("pause", [0.0, 0.002])
@pytest.mark.parametrize("together", [0.0, 0.005, 1e6])
def test_every_report_arrives_once_and_in_order(monkeypatch, together, pause):
    monkeypatch.setattr(letters, "TOGETHER", together)
    arrived = []

    def send(letter):
        time.sleep(pause)
        arrived.extend(letter)

    post = Letters(send, frozenset({(1, 7), (2, 20)}))
    handed = [epoch(number, split) for split in (1, 2, 3) for number in range(1, 21)]
    for news in handed:
        post.put(news)
        time.sleep(pause / 3)
    post.close()
    assert arrived == handed


def test_epochs_after_which_nothing_is_decided_travel_together(seldom):
    sent = []
    post = Letters(sent.append)
    handed = [epoch(number) for number in range(1, 10)]
    for news in handed:
        post.put(news)
    post.close()
    assert sent == [handed]


def test_a_training_waits_only_for_a_decision(seldom):
    driver, answered = threading.Event(), []

    def send(letter):
        driver.wait(10)
        answered.extend(letter)

    post = Letters(send, frozenset({(1, 5)}))
    post.put(epoch(1))
    post.put(epoch(2, result=RESULT))  # sent at once, and the training goes on
    post.put(epoch(3, split=2))
    assert answered == []
    threading.Timer(0.2, driver.set).start()
    decision = epoch(5)
    post.put(decision)
    assert answered[-1] == decision
    post.close()


@pytest.mark.parametrize(
    "news", [epoch(1, result=RESULT), Report(0, costs={"params": 3.0}), Report(0, failed="x")]
)
def test_the_end_of_a_split_and_what_is_no_epoch_wait_for_no_other(seldom, news):
    came = threading.Event()
    post = Letters(lambda letter: came.set())
    post.put(epoch(1))
    assert not came.wait(0.1)
    post.put(news)
    assert came.wait(10)
    post.close()


def test_a_stopped_trial_ends_at_its_next_report_or_at_its_end(seldom):
    def send(letter):
        raise SystemExit(0)  # as Tune does in the thread that reports

    post = Letters(send, frozenset({(1, 2)}))
    post.put(epoch(1))
    with pytest.raises(SystemExit):
        post.put(epoch(2))
    with pytest.raises(SystemExit):
        post.put(epoch(3))
    other = Letters(send)
    other.put(epoch(1))
    with pytest.raises(SystemExit):
        other.close()


def test_a_lone_epoch_is_sent_after_a_while(monkeypatch):
    monkeypatch.setattr(letters, "TOGETHER", 0.05)
    came = threading.Event()
    post = Letters(lambda letter: came.set())
    post.put(epoch(1))
    assert came.wait(10)
    post.close()
