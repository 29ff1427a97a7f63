"""The recorded learning curves that `pruning.py` replays: a small table, and how it is made from a study.

Shape letters: R recipes, S splits, E epochs of a split, N validation clips of a split.
"""

import csv
import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from common import about

from search.datasets.dataset import open_dataset
from search.judge import AVERAGES
from search.pruning import smoothed

TABLE = Path(__file__).resolve().parent / "curves.csv"
HEAD = ("recipe", "split", "seconds", "curve", "right", "values")


@dataclass(frozen=True)
class Curves:
    """What every recipe did on every split."""

    recipes: tuple[dict[str, Any], ...]  # R: values of the knobs
    seconds_RS: np.ndarray  # of training and scoring
    curve_RSE: np.ndarray  # validation accuracy, 0..1
    right_RSN: np.ndarray  # bool: whether a validation clip is right at the end

    @property
    def shape(self) -> tuple[int, int, int]:
        """Recipes, splits, epochs."""
        recipes, splits, epochs = self.curve_RSE.shape
        return recipes, splits, epochs

    @cached_property
    def objective_R(self) -> np.ndarray:
        """Mean over the splits of the share of right clips."""
        return self.right_RSN.mean(axis=(1, 2))

    @cached_property
    def smoothed_RE(self) -> np.ndarray:
        """What a recipe is worth after each epoch of its first split, as the engine reckons it."""
        averaged = [any(values.get(knob) for knob in AVERAGES) for values in self.recipes]
        rows = [
            [smoothed(curve[: epoch + 1], averaged=mean) for epoch in range(len(curve))]
            for curve, mean in zip(self.curve_RSE[:, 0].tolist(), averaged, strict=True)
        ]
        return np.array(rows)

    def some(self, rows: Sequence[int]) -> "Curves":
        """Some of the recipes."""
        return Curves(
            tuple(self.recipes[row] for row in rows),
            self.seconds_RS[rows],
            self.curve_RSE[rows],
            self.right_RSN[rows],
        )

    def in_order(self, splits: Sequence[int]) -> "Curves":
        """The same recipes with their splits in another order (0..)."""
        order = list(splits)
        return replace(
            self,
            seconds_RS=self.seconds_RS[:, order],
            curve_RSE=self.curve_RSE[:, order],
            right_RSN=self.right_RSN[:, order],
        )


def load(path: Path = TABLE) -> Curves:
    """The table that `record` wrote.

    Raises:
        ValueError: it is not whole: every recipe needs every split, and one length of curves.
    """
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    recipes = sorted({int(row["recipe"]) for row in rows})
    splits = sorted({int(row["split"]) for row in rows})
    by_place = {(int(row["recipe"]), int(row["split"])): row for row in rows}
    if len(by_place) != len(rows) or len(rows) != len(recipes) * len(splits) or not rows:
        raise ValueError(
            f"{path}: expected one row for each of {len(recipes)} recipes and {len(splits)} splits"
        )
    grid = [[by_place[recipe, split] for split in splits] for recipe in recipes]
    right_RSN = np.array([[_clips(row["right"]) for row in line] for line in grid])
    counts_RSE = np.array([[row["curve"].split() for row in line] for line in grid]).astype(np.int64)
    return Curves(
        tuple(json.loads(line[0]["values"]) for line in grid),
        np.array([[float(row["seconds"]) for row in line] for line in grid]),
        counts_RSE / right_RSN.shape[2],
        right_RSN,
    )


def record(study: Path, path: Path = TABLE) -> int:
    """Write the table from the folder of a finished study that pruned nothing; the number of recipes in it.

    Raises:
        ValueError: the study has no complete trial, or its results do not fit the labels of its data.
    """
    asked = yaml.safe_load((study / "study.yaml").read_text(encoding="utf-8"))
    layout = json.loads((study / "splits.json").read_text(encoding="utf-8"))
    dataset = open_dataset(asked["data"], splits=study / "splits.json")
    label_by_name = {name: number for number, name in enumerate(dataset.classes)}
    labels: dict[int, list[int]] = defaultdict(list)  # fold -> class of each of its clips
    for clip in dataset.clips:
        labels[clip.fold].append(label_by_name[clip.label])
    truth = {split["split"]: np.array(labels[split["valid_fold"]]) for split in layout["splits"]}
    with closing(sqlite3.connect(f"file:{study / 'ledger.sqlite'}?mode=ro", uri=True)) as ledger:
        rows = list(_rows(ledger, truth))
    if not rows:
        raise ValueError(f"{study}: no trial is complete there, let the study end first")
    head = (
        f"Made by `python benchmarks/pruning.py record` from a study of benchmarks/{asked['space']}.yaml: sampler "
        f"{asked['sampler']}, seed {asked['seed']}, protocol {asked['protocol']}, data {asked['data_fingerprint']}, "
        f"code {asked['code_fingerprint']}. {about(dataset, 'torch')}"
    )
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(
            f"# {head}\n# curve: right clips after each epoch; right: hexadecimal, a bit a clip, at the end\n"
        )
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([HEAD, *rows])
    return len({row[0] for row in rows})


def _rows(ledger: sqlite3.Connection, truth: dict[int, np.ndarray]) -> Iterator[tuple[object, ...]]:
    trials = ledger.execute("SELECT number, vals FROM trials WHERE state = 'complete' ORDER BY number")
    for number, values in trials.fetchall():
        folds = ledger.execute(
            "SELECT key, split, seconds, score, predictions FROM folds "
            "WHERE trial = ? AND phase = 'search' AND state = 'finished' ORDER BY split",
            (number,),
        )
        for key, split, seconds, score, predictions in folds.fetchall():
            right_N = np.frombuffer(predictions, np.int16) == truth[split]
            if abs(right_N.mean() - score) > 1e-9:
                raise ValueError(
                    f"trial {number}, split {split}: the ledger says {score:.4f}, the labels of the data say "
                    f"{right_N.mean():.4f}; open the data as they were when the study ran"
                )
            epochs = ledger.execute("SELECT metrics FROM epochs WHERE fold = ? ORDER BY epoch", (key,))
            shares = [json.loads(metrics)["valid_accuracy"] for (metrics,) in epochs]
            curve = " ".join(str(round(share * right_N.size)) for share in shares)
            bits = np.packbits(right_N).tobytes().hex()
            first = values if split == min(truth) else ""  # once a recipe is enough
            yield number, split, f"{seconds:.2f}", curve, f"{right_N.size}:{bits}", first


def _clips(text: str) -> np.ndarray:
    """bool [N] of `N:hexadecimal`."""
    clips, _, bits = text.partition(":")
    return np.unpackbits(np.frombuffer(bytes.fromhex(bits), np.uint8))[: int(clips)].astype(bool)
