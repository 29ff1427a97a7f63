"""What every runner must do: the same study in process and on Ray Tune."""

import numpy as np
import psutil
import pytest

from escmodels.clips import ClipSet
from escmodels.folds import rotating
from search.conductor import Conductor, Limits
from search.job import Job, JobFailure
from search.ledger import Ledger
from search.local import LocalRunner
from search.trial import Plan

RATE, EPOCHS = 8000, 3
SMALL = {
    "architecture": "mel_cnn",
    "model.width": 8,
    "model.blocks": 2,
    "data.sample_rate": RATE,
    "data.crop": 0.5,
    "feature.n_fft": 256,
    "feature.hop": 128,
    "feature.n_mels": 16,
    "optim.batch": 8,
}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Two classes of noise, one of them low-passed; three folds of eight clips, in a memory-mapped file."""
    rng = np.random.default_rng(0)
    count, length = 24, RATE // 2
    labels = np.arange(count) % 2
    waves = rng.normal(size=(count, length))
    waves[labels == 1] = np.cumsum(waves[labels == 1], axis=1) / 30
    path = tmp_path_factory.mktemp("clips") / "samples"
    (np.clip(waves, -3, 3) * 5000).astype(np.int16).tofile(path)
    rows = np.arange(count)
    return ClipSet(
        samples=np.memmap(path, np.int16, "r"),
        starts=rows * length,
        lengths=np.full(count, length),
        labels=labels,
        folds=rows // 2 % 3 + 1,
        sources=rows,
        names=tuple(map(str, rows)),
        classes=("white", "brown"),
        sample_rate=RATE,
    )


class Listed:
    """A proposer that goes through a list of recipes."""

    def __init__(self, recipes):
        self.recipes = iter(recipes)
        self.asked = 0

    def ask(self):
        self.asked += 1
        return self.asked, next(self.recipes)

    def tell(self, *_):
        pass

    def replay(self, *_):
        self.asked += 1
        return self.asked


def study(tmp_path, clips, recipes, **limits):
    ledger = Ledger(tmp_path / "ledger.sqlite", create=True)
    splits = tuple(split.for_search() for split in rotating(clips.folds.tolist()))
    limits = {"trials": len(recipes), "pruner": "none"} | limits
    plan = Plan(splits, EPOCHS, seed=0)
    return Conductor(ledger, Listed(recipes), plan, Limits(**limits), data="d", code="c")


def recipes(*rates, **changes):
    return [SMALL | {"optim.lr": rate} | changes for rate in rates]


class Behaves:
    """Inherit, give a `runner` fixture with the clips loaded."""

    def test_every_fold_run_is_in_the_ledger_once_and_the_same_everywhere(self, runner, clips, tmp_path):
        conductor = study(tmp_path, clips, recipes(1e-3, 3e-3))
        runner.search(conductor)
        (tmp_path / "again").mkdir()
        reference = study(tmp_path / "again", clips, recipes(1e-3, 3e-3))
        local = LocalRunner()
        local.load({RATE: clips})
        local.search(reference)
        assert [row.state for row in conductor.ledger.trials()] == ["complete"] * 2
        facts = [
            {(f.key, f.score, f.loss, f.predictions, f.epochs) for f in c.ledger.folds()}
            for c in (conductor, reference)
        ]
        assert len(facts[0]) == 6
        assert facts[0] == facts[1]  # to the last bit

    def test_a_pruned_trial_stops_in_the_middle(self, runner, clips, tmp_path):
        conductor = study(tmp_path, clips, recipes(1e-3, 2e-3, 3e-3), pruner="asha")
        conductor._halving.judge = lambda trial, *point: trial != 1
        runner.search(conductor)
        assert [row.state for row in conductor.ledger.trials()] == ["complete", "pruned", "complete"]
        (fold,) = conductor.ledger.folds(1)
        assert (fold.state, fold.epochs) == ("stopped", 1)  # the first rung: a third of three epochs

    def test_a_recipe_that_cannot_train_fails_alone(self, runner, clips, tmp_path):
        impossible = SMALL | {"feature.fmax": 9000.0}  # above Nyquist
        conductor = study(tmp_path, clips, [impossible, SMALL])
        runner.search(conductor)
        first, second = conductor.ledger.trials()
        assert (first.state, second.state) == ("failed", "complete")
        assert "9000" in first.reason

    def test_jobs_score_test_rows_or_hand_over_a_packed_model(self, runner, clips):
        split = rotating(clips.folds.tolist())[0]
        rest = tuple(sorted((*split.train, *split.valid)))
        facts = {"trial": 0, "values": SMALL, "epochs": 2, "stop_after": 2, "seed": 0}
        exam = Job(key="exam", train=rest, test=split.test, split=1, **facts)
        refit = Job(key="refit", train=tuple(range(len(clips))), test=(), **facts)
        done = {}
        runner.run_jobs([exam, refit], lambda job, result: done.setdefault(job.key, result))
        assert done["exam"].probabilities.shape == (len(split.test), 2)
        assert len(done["exam"].train_losses) == 2
        assert {"weights.safetensors", "config.json"} <= set(done["refit"].files)

    def test_a_job_that_cannot_be_done_says_why_and_the_others_are_done(self, runner, clips):
        rows, done = tuple(range(len(clips))), {}
        facts = {"train": rows, "test": (), "epochs": 1, "stop_after": 1, "seed": 0}
        bad = Job("bad", 3, SMALL | {"model.width": -1}, **facts)
        good = Job("good", 4, SMALL, **facts)
        runner.run_jobs([bad, good], lambda job, result: done.setdefault(job.key, result))
        assert isinstance(done["bad"], JobFailure)
        assert "model.width" in done["bad"].reason
        assert done["good"].files


class TestLocal(Behaves):
    @pytest.fixture
    def runner(self, clips):
        runner = LocalRunner()
        runner.load({RATE: clips})
        return runner


@pytest.fixture(scope="module")
def ray_runner(clips):
    from search.cluster import RayRunner

    runner = RayRunner("local", workers=2)
    runner.load({RATE: clips})
    yield runner
    runner.close()


@pytest.mark.slow
class TestRay(Behaves):
    @pytest.fixture
    def runner(self, ray_runner):
        return ray_runner

    def test_a_killed_worker_costs_no_finished_fold_run(self, runner, clips, tmp_path, capfd):
        conductor = study(tmp_path, clips, recipes(1e-3))
        killed = []
        listen = conductor.ledger.finish_fold

        def kill_after_the_first(key, **result):
            listen(key, **result)
            if not killed:
                killed.append(key)
                _kill_trainers()

        conductor.ledger.finish_fold = kill_after_the_first
        runner.search(conductor)
        (row,) = conductor.ledger.trials()
        assert (row.state, row.losses) == ("complete", 1)
        folds = conductor.ledger.folds()
        assert [fold.state for fold in folds] == ["finished"] * 3
        assert next(fold.attempt for fold in folds if fold.key == killed[0]) == 1
        assert capfd.readouterr().out == ""  # stdout is for results

    def test_a_bug_in_a_training_is_told_as_what_it_is_and_not_tried_again(self, runner, clips, tmp_path):
        runner.load({RATE + 1: clips})  # no clips at the rate of the recipe
        try:
            conductor = study(tmp_path, clips, recipes(1e-3))
            runner.search(conductor)
        finally:
            runner.load({RATE: clips})
        (row,) = conductor.ledger.trials()
        assert (row.state, row.losses) == ("failed", 0)
        assert row.reason.startswith("KeyError at cluster.py:")

    def test_clips_travel_through_the_object_store_where_files_are_not_shared(self, runner, clips):
        import ray

        from search.cluster import share

        shared = share(clips, by_file=False)
        assert isinstance(shared.samples, ray.ObjectRef)
        np.testing.assert_array_equal(shared.open().samples, clips.samples)
        assert isinstance(share(clips, by_file=True).samples, tuple)
        np.testing.assert_array_equal(share(clips, by_file=True).open().samples, clips.samples)


def _kill_trainers():
    """SIGKILL the workers of our own Ray that run trials; other Rays on this machine are left alone."""
    for process in psutil.Process().children(recursive=True):
        if process.name().startswith("ray::ImplicitFunc") or "ray::ImplicitFunc" in "".join(
            process.cmdline()
        ):
            process.kill()
