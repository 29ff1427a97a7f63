"""Studies whose ledger is written by hand, for the tests of whoever looks at one."""

import time

import numpy as np

from search.glance import Glance
from search.ledger import Ledger
from search.standing import Follower

SPLITS = [3, 1, 2]  # in the order in which trials run them
EPOCHS = 4
CLIPS = {
    "labels": [0, 1, 0, 1, 0, 1, 0, 1, 0],
    "sources": [0, 0, 1, 1, 2, 2, 3, 3, 4],
    "classes": ["a", "b"],
    "valid": {"1": [0, 1, 2, 3], "2": [4, 5], "3": [6, 7, 8]},
}
RIGHT = {1: [1, 1, 0, 1], 2: [1, 0], 3: [1, 1, 1]}  # which clips of a split are taken for what they are


def asked(**changes):
    return {
        "trials": 10,
        "hours": None,
        "workers": 2,
        "epochs": EPOCHS,
        "splits": SPLITS,
        "objectives": ["accuracy"],
        "policy": {},
        "began": time.time() - 100,
        "host": "here",
        "pid": 1234,
    } | changes


class Study:
    """A study whose ledger is written by hand."""

    def __init__(self, folder, **facts):
        folder.mkdir(parents=True)
        (folder / "study.yaml").write_text("data: here\n")
        self.folder, self.ledger = folder, Ledger(folder / "ledger.sqlite", create=True)
        self.ledger.write_fact("clips", CLIPS)
        self.ledger.write_fact("asked", asked(**facts))
        self.ledger.set_state("running")

    def begin(self, trial, **values):
        self.ledger.open_trial(trial, {"architecture": "mel_cnn", **values})

    def epochs(self, trial, split, count, accuracy=0.5):
        for epoch in range(1, count + 1):
            self.ledger.log_epoch(
                f"{trial}-{split}",
                epoch,
                {"valid_accuracy": accuracy},
                trial=trial,
                phase="search",
                split=split,
                seed=0,
            )

    def split(self, trial, split, right=None, loss=1.0):
        right = np.array(RIGHT[split] if right is None else right)
        label = np.array(CLIPS["labels"])[CLIPS["valid"][str(split)]]
        self.epochs(trial, split, EPOCHS, right.mean())
        self.ledger.finish_fold(
            f"{trial}-{split}",
            score=float(right.mean()),
            loss=loss,
            epochs=EPOCHS,
            seconds=1.0,
            predictions=np.where(right, label, 1 - label).astype(np.int16).tobytes(),
        )

    def complete(self, trial, right=RIGHT):
        for split in SPLITS:
            self.split(trial, split, right[split])
        self.ledger.close_trial(trial, "complete", float(np.mean([np.mean(right[s]) for s in SPLITS])))

    def read(self, moment=None):
        glance = Glance(self.ledger.path)
        now = Follower(glance, "r").read(moment)
        glance.close()
        return now


def mixed_study(study):
    """One complete, one pruned, one failed, one infeasible, two that run."""
    for trial in range(6):
        study.begin(trial)
    study.complete(0)
    study.epochs(1, 3, 2)
    study.ledger.close_trial(1, "pruned", None, "behind at split 1, epoch 2")
    study.epochs(2, 3, 1)
    study.ledger.close_trial(2, "failed", None, "diverged")
    study.ledger.close_trial(3, "infeasible", None, "out of memory")
    study.split(4, 3)
    study.epochs(4, 1, 3, 0.75)
    return study
