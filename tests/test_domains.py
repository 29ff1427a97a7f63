"""Laws of one knob: both ends included, draws inside, nonsense refused."""

from random import Random

import pytest

from spaces.domains import Categorical, Float, Int, settle, show

DOMAINS = [
    Float(0.0, 0.4),
    Float(1e-4, 1e-2, log=True),
    Int(1, 5),
    Int(40, 128, step=8),
    Int(1, 1000, log=True),
    Categorical(("zero", "tile")),
    Categorical((True, False)),
    Categorical((0.5,)),
]


@pytest.mark.parametrize("domain", DOMAINS, ids=str)
def test_every_draw_end_and_middle_is_contained(domain):
    rng = Random(0)
    drawn = [domain.sample(rng) for _ in range(500)]
    assert all(domain.contains(value) for value in [*drawn, *domain.ends(), domain.middle()])


@pytest.mark.parametrize("domain", [Int(1, 5), Int(40, 128, step=8), Categorical(("a", "b", "c"))], ids=str)
def test_every_value_of_a_discrete_domain_is_drawn_the_last_one_included(domain):
    rng = Random(0)
    assert len({domain.sample(rng) for _ in range(2000)}) == domain.size()


def test_a_log_range_gives_each_decade_its_share():
    rng = Random(0)
    draws = [Float(1e-4, 1e-2, log=True).sample(rng) for _ in range(4000)]
    assert 0.45 < sum(draw < 1e-3 for draw in draws) / 4000 < 0.55
    counts = [Int(1, 100, log=True).sample(rng) for _ in range(4000)]
    assert 0.4 < sum(count <= 10 for count in counts) / 4000 < 0.65


def test_the_same_generator_gives_the_same_draws():
    for domain in DOMAINS:
        assert [domain.sample(Random(7)) for _ in range(3)] == [domain.sample(Random(7)) for _ in range(3)]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Float(1.0, 1.0), "empty"),
        (lambda: Float(2.0, 1.0), "from 2 to 1 is empty"),
        (lambda: Float(0.0, 1.0, log=True), "above 0, got 0"),
        (lambda: Float("a", 1.0), "finite numbers.*'a'"),
        (lambda: Float(0.0, float("inf")), "finite numbers"),
        (lambda: Float(0.0, True), "finite numbers"),
        (lambda: Float(0.0, 1.0, log="yes"), "'yes', expected true or false"),
        (lambda: Int(5, 1), "empty"),
        (lambda: Int(1, 4.5), "whole numbers"),
        (lambda: Int(1, 10, step=0), "step is 0"),
        (lambda: Int(40, 128, step=9), "the last value would be 121"),
        (lambda: Int(2, 10, step=2, log=True), "exclude each other"),
        (lambda: Int(0, 10, log=True), "above 0"),
        (lambda: Categorical(()), "empty"),
        (lambda: Categorical((1, True)), "twice"),
        (lambda: Categorical((None,)), "None"),
    ],
)
def test_a_domain_that_cannot_be_is_refused_with_its_values(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_a_bool_is_no_number_and_a_numeral_no_text():
    assert not Float(0.0, 2.0).contains(True)
    assert not Int(0, 2).contains(True)
    assert not Int(0, 2).contains(1.0)
    assert not Int(1, 3).contains("2")
    assert not Categorical((1, 2)).contains(True)
    assert not Categorical((True, False)).contains(0)
    assert Float(0.0, 2.0).contains(1)
    assert not Float(0.0, 2.0).contains(float("nan"))


def test_an_integer_in_a_float_range_becomes_a_float():
    assert type(settle(Float(0.0, 2.0), 1)) is float
    assert type(settle(Int(0, 2), 1)) is int


def test_a_shown_number_reads_back_as_itself():
    rng = Random(3)
    for value in [1e-4, 0.1, 5.0, 22050, *(rng.random() for _ in range(50))]:
        assert float(show(value)) == value
