"""Laws of the table of out-of-fold predictions."""

import dataclasses
import re

import numpy as np
import pytest

from escmodels.exams import OutOfFold
from search import predictions
from search.errors import Failure


def made(seeds=(0, 7), classes=("dog", "rain, heavy", 'the "third"'), names=None) -> OutOfFold:
    """Probabilities of every magnitude that a float32 has."""
    rng = np.random.default_rng(0)
    N = 6 if names is None else len(names)
    prob_SNK = rng.random((len(seeds), N, len(classes)), dtype=np.float32)
    prob_SNK *= np.float32(10.0) ** rng.integers(-44, 1, prob_SNK.shape).astype(np.float32)
    return OutOfFold(
        names or tuple(f"{number}-clip" for number in range(N)),
        np.arange(N) % 3 + 1,
        np.arange(N) % len(classes),
        np.arange(N) // 2,
        classes,
        seeds,
        prob_SNK,
    )


def same(one: OutOfFold, two: OutOfFold) -> bool:
    pairs = [(getattr(one, f.name), getattr(two, f.name)) for f in dataclasses.fields(OutOfFold)]
    return all(np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("seeds", [(0,), (3, 1, 2)])
def test_a_table_comes_back_bit_for_bit(tmp_path, seeds):
    path = predictions.place(tmp_path, 12)
    found = made(seeds)
    predictions.write(path, found)
    assert path == tmp_path / "exam" / "t012.csv"
    again = predictions.read(path)
    assert same(again, found)
    assert again.prob_SNK.dtype == np.float32
    assert again.prob_SNK.tobytes() == found.prob_SNK.tobytes()


def test_names_may_be_of_any_kind(tmp_path):
    found = made(
        names=("a,b", 'c"d', "e\nf", "g\rh", "ünïcode", b"\xff.wav".decode(errors="surrogateescape"))
    )
    predictions.write(tmp_path / "t.csv", found)
    assert predictions.read(tmp_path / "t.csv").names == found.names


def test_the_columns_are_those_that_are_promised(tmp_path):
    predictions.write(tmp_path / "t.csv", made(classes=("dog", "rain")))
    head, first, *rest = (tmp_path / "t.csv").read_text().splitlines()
    assert head == "clip,fold,label,source,seed,predicted,dog,rain"
    assert re.fullmatch(r"0-clip,1,dog,0,0,(dog|rain),[-+.e\d]+,[-+.e\d]+", first)
    assert len(rest) == 2 * 6 - 1


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: "", "its first line must be clip,fold,label,source,seed,predicted and the classes"),
        (lambda text: text.replace("predicted", "guess"), "its first line must be"),
        (lambda text: text.splitlines()[0], "it holds no clip"),
        (lambda text: text.rsplit(",", 1)[0], "line 13: 7 columns, the first line has 8"),
        (lambda text: text.replace("1-clip,2,rain", "1-clip,2,cat"), "line 3: 'cat' is none of its classes"),
        (lambda text: text.replace("1-clip,2,", "1-clip,x,"), "line 3: invalid literal"),
        (
            lambda text: re.sub(r"(0-clip,1,dog,0,0,\w+),[^,]*", r"\1,nan", text),
            "line 2: a probability is no",
        ),
        (lambda text: text.replace("dog,0,0,rain", "dog,0,0,dog"), "line 2: predicted 'dog', its prob"),
        (lambda text: "\n".join(text.splitlines()[:-1]), "seed 7 does not have the clips of the first seed"),
    ],
)
def test_a_damaged_table_is_a_failure_in_one_sentence(tmp_path, damage, said):
    path = tmp_path / "t.csv"
    predictions.write(path, made(classes=("dog", "rain")))
    text = path.read_text()
    path.write_text(damage(text))
    with pytest.raises(Failure) as error:
        predictions.read(path)
    assert str(path) in str(error.value) and said in str(error.value)
    assert "hold the exam" in str(error.value) and "\n" not in str(error.value)


def test_a_table_that_is_not_there_is_a_failure(tmp_path):
    with pytest.raises(Failure, match=r"none\.csv cannot be read: there is no such file"):
        predictions.read(tmp_path / "none.csv")
    with pytest.raises(Failure, match="cannot be read: .*directory"):
        predictions.read(tmp_path)


def test_writing_replaces_a_table_and_leaves_nothing_else(tmp_path):
    path = predictions.place(tmp_path, 1)
    for seeds in ((0,), (0, 1)):
        predictions.write(path, made(seeds))
    assert predictions.read(path).seeds == (0, 1)
    assert [file.name for file in path.parent.iterdir()] == ["t001.csv"]
