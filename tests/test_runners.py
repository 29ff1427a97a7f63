"""What every runner must do: the same study in process and on Ray Tune."""

import ctypes
import dataclasses
import gc
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import ray

from escmodels.clips import ClipSet
from escmodels.folds import rotating
from search.conductor import Conductor, Limits
from search.errors import Failure
from search.job import Job, JobFailure, JobResult
from search.ledger import Ledger
from search.local import LocalRunner
from search.pruning import Policy
from search.trial import Plan

RATE, HUNGRY, STUCK, BUGGY, BROKEN, EPOCHS = 8000, 16000, 32000, 22050, 44100, 3
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
    """See `make_clips`."""
    return make_clips(tmp_path_factory.mktemp("clips"))


def make_clips(folder):
    """Two classes of noise, one of them low-passed; three folds of eight clips, in a memory-mapped file."""
    rng = np.random.default_rng(0)
    count, length = 24, RATE // 2
    labels = np.arange(count) % 2
    waves = rng.normal(size=(count, length))
    waves[labels == 1] = np.cumsum(waves[labels == 1], axis=1) / 30
    path = folder / "samples"
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


def ravenous(clips):
    """The same at another rate; whoever looks at a clip needs more memory than there is."""

    class Rows(np.ndarray):  # inside a function, so that it travels to workers with all it has
        def __getitem__(self, rows):
            raise MemoryError("Unable to allocate 8.00 PiB")

    return dataclasses.replace(clips, starts=clips.starts.view(Rows), sample_rate=HUNGRY)


def stuck(clips):
    """The same at another rate; whoever looks at a clip never comes back, nor lets another thread run."""

    class Rows(np.ndarray):
        def __getitem__(self, rows):
            ctypes.PyDLL(None).sleep(600)  # with the interpreter's lock held

    return dataclasses.replace(clips, starts=clips.starts.view(Rows), sample_rate=STUCK)


def buggy(clips):
    """The same at another rate; whoever looks at a clip meets an error that nobody expects."""

    class Rows(np.ndarray):
        def __getitem__(self, rows):
            raise OSError("[Errno 28] No space left on device")

    return dataclasses.replace(clips, starts=clips.starts.view(Rows), sample_rate=BUGGY)


def broken(clips, folder):
    """The same at another rate; the first process that looks at a clip is of no more use, others are."""
    mark = str(folder / "broken")

    class Rows(np.ndarray):
        def __getitem__(self, rows):
            Path(mark).touch()
            with open(mark, "r+") as file:
                pids = file.read().split()
                file.write(f" {os.getpid()}")
            if pids in ([], [str(os.getpid())]):
                raise RuntimeError("CUDA error: an illegal memory access was encountered")
            return np.asarray(self)[rows]

    return dataclasses.replace(clips, starts=clips.starts.view(Rows), sample_rate=BROKEN)


def gone(clips, folder):
    """What `Shared` is to workers; the first one that opens it finds that the waveforms are gone."""
    mark = str(folder / "gone")

    class Gone:  # inside a function, so that it travels to workers with all it has
        def open(self):
            if not Path(mark).exists():
                Path(mark).touch()
                raise ray.exceptions.ObjectLostError("ab" * 28, None, "")
            return clips

    return Gone()


def loaded(clips):
    """The clips by rate, as runners are given them."""
    return {RATE: clips, HUNGRY: ravenous(clips), STUCK: stuck(clips), BUGGY: buggy(clips)}


class Listed:
    """A proposer that goes through a list of recipes."""

    def __init__(self, recipes):
        self.recipes = list(recipes)
        self.asked = 0

    def ask(self):
        self.asked += 1
        return self.asked, self.recipes[self.asked - 1]

    def tell(self, *_):
        pass

    def replay(self, *_):
        self.asked += 1
        return self.asked


def study(folder, clips, recipes, *, pruner="none", epochs=EPOCHS, listen=None, **limits):
    """A conductor on the ledger of a folder, new or taken up again."""
    folder.mkdir(exist_ok=True)
    ledger = Ledger(folder / "ledger.sqlite", create=True)
    splits = tuple(split.for_search() for split in rotating(clips.folds.tolist()))
    labels = {split.number: clips.labels[list(split.valid)] for split in splits}
    limits = Limits(**({"trials": len(recipes), "policy": Policy(pruner)} | limits))
    plan = Plan(splits, epochs, seed=0)
    conductor = Conductor(ledger, Listed(recipes), plan, limits, labels=labels, data="d", code="c")
    if listen:
        conductor._listen = lambda trial: listen(conductor, trial)
    return conductor


def recipes(*rates, **changes):
    return [SMALL | {"optim.lr": rate} | changes for rate in rates]


def watch_losses(conductor, lost):
    """Put the reason of every worker that the conductor hears of as lost under a running trial into a list."""
    on_lost = conductor.on_lost

    def listen(trial, reason, memory=False):
        if conductor.ledger.trial(trial).state == "running":
            lost.append(reason)
        on_lost(trial, reason, memory)

    conductor.on_lost = listen


def states(conductor):
    return [row.state for row in conductor.ledger.trials()]


def facts(conductor):
    """All that came of the fold runs."""
    return {(f.key, f.state, f.score, f.loss, f.predictions, f.epochs) for f in conductor.ledger.folds()}


@pytest.fixture(scope="module")
def undisturbed(clips, tmp_path_factory):
    """What comes of two recipes on three splits, in this process."""
    conductor = study(tmp_path_factory.mktemp("reference"), clips, recipes(1e-3, 3e-3))
    local = LocalRunner()
    local.load(loaded(clips))
    local.search(conductor)
    assert states(conductor) == ["complete"] * 2
    return facts(conductor)


class Behaves:
    """What every runner must do. Inherit, give a `runner` fixture with the clips loaded."""

    def test_every_fold_run_is_in_the_ledger_once_and_the_same_everywhere(
        self, runner, clips, tmp_path, undisturbed
    ):
        conductor = study(tmp_path, clips, recipes(1e-3, 3e-3))
        runner.search(conductor)
        assert states(conductor) == ["complete"] * 2
        assert len(conductor.ledger.folds()) == 6
        assert facts(conductor) == undisturbed  # to the last bit

    def test_a_pruned_trial_stops_in_the_middle(self, runner, clips, tmp_path):
        conductor = study(tmp_path, clips, recipes(1e-3, 2e-3, 3e-3), pruner="asha")
        conductor._judge._pruner.halve = lambda trial, *point: "behind" if trial == 1 else None
        runner.search(conductor)
        assert states(conductor) == ["complete", "pruned", "complete"]
        (fold,) = conductor.ledger.folds(1)
        assert (fold.state, fold.epochs) == ("stopped", 1)  # the first rung: a third of three epochs

    def test_a_recipe_that_cannot_train_fails_alone(self, runner, clips, tmp_path):
        impossible = SMALL | {"feature.fmax": 9000.0}  # above Nyquist
        conductor = study(tmp_path, clips, [impossible, SMALL])
        runner.search(conductor)
        first, second = conductor.ledger.trials()
        assert (first.state, second.state) == ("failed", "complete")
        assert "9000" in first.reason

    def test_a_recipe_without_enough_memory_is_tried_once_more_with_half_a_batch(
        self, runner, clips, tmp_path
    ):
        huge = SMALL | {"data.sample_rate": HUNGRY}
        conductor = study(tmp_path, clips, [huge, SMALL])
        runner.search(conductor)
        first, second = conductor.ledger.trials()
        assert (first.state, second.state) == ("infeasible", "complete")
        assert first.rescue == {"optim.accumulate": 2}
        assert first.reason == "out of memory: MemoryError: Unable to allocate 8.00 PiB"
        assert first.losses == 0

    def test_a_bug_in_a_training_is_told_as_what_it_is_and_not_tried_again(self, runner, clips, tmp_path):
        conductor = study(tmp_path, clips, [SMALL | {"data.sample_rate": BUGGY}, SMALL])
        runner.search(conductor)
        first, second = conductor.ledger.trials()
        assert (first.state, first.losses, second.state) == ("failed", 0, "complete")
        assert first.reason.startswith("OSError at test_runners.py:")
        assert first.reason.endswith("No space left on device")

    def test_a_search_that_is_stopped_ends_by_itself_and_can_be_taken_up_again(
        self, runner, clips, tmp_path, undisturbed
    ):
        def stop_after_the_first_fold(conductor, trial):
            if any(fold.state == "finished" for fold in conductor.ledger.folds()):
                conductor.stop()

        tries = recipes(1e-3, 3e-3)
        stopped = study(tmp_path, clips, tries, listen=stop_after_the_first_fold)
        runner.search(stopped)
        assert "waiting" in states(stopped) and "running" not in states(stopped)
        assert 1 <= sum(fold.state == "finished" for fold in stopped.ledger.folds()) < 6
        stopped.ledger.close()
        resumed = study(tmp_path, clips, tries)
        runner.search(resumed)
        assert facts(resumed) == undisturbed
        assert {row.losses for row in resumed.ledger.trials()} == {0}

    def test_it_says_how_much_it_runs_side_by_side_and_where(self, runner):
        assert (runner.workers, runner.nodes) == (self.workers, 1)

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
        bug = Job("bug", 5, SMALL | {"data.sample_rate": BUGGY}, **facts)
        good = Job("good", 4, SMALL, **facts)
        runner.run_jobs([bad, bug, good], lambda job, result: done.setdefault(job.key, result))
        assert isinstance(done["bad"], JobFailure)
        assert "model.width" in done["bad"].reason
        assert isinstance(done["bug"], JobFailure)
        assert done["bug"].reason.startswith("OSError at test_runners.py:")
        assert done["good"].files


class TestLocal(Behaves):
    workers = 1

    @pytest.fixture
    def runner(self, clips):
        runner = LocalRunner()
        runner.load(loaded(clips))
        return runner

    def test_a_lost_gpu_ends_the_search_fails_nothing_and_it_can_be_taken_up_again(
        self, runner, clips, tmp_path
    ):
        runner.load({BROKEN: broken(clips, tmp_path)})
        recipe = SMALL | {"data.sample_rate": BROKEN}
        conductor = study(tmp_path / "study", clips, [recipe, SMALL])
        runner.search(conductor)
        (row,) = conductor.ledger.trials()
        assert (row.state, row.losses) == ("waiting", 1)
        assert "illegal memory access" in str(conductor.trouble)
        facts = {"train": (0, 1), "test": (), "epochs": 1, "stop_after": 1, "seed": 0}
        with pytest.raises(Failure, match="illegal memory access .* check the GPU"):
            runner.run_jobs([Job("refit", 0, recipe, **facts)], print)
        (tmp_path / "broken").write_text("another process")  # and this is a new one
        resumed = study(tmp_path / "study", clips, [recipe])
        runner.search(resumed)
        assert states(resumed) == ["complete"]
        assert resumed.trouble is None


@pytest.fixture(scope="module")
def ray_runner(clips):
    from search.cluster import RayRunner

    runner = RayRunner("local", workers=2)
    runner.load(loaded(clips))
    yield runner
    runner.close()


@pytest.mark.slow
class TestRay(Behaves):
    workers = 2

    @pytest.fixture
    def runner(self, ray_runner):
        return ray_runner

    def test_a_killed_worker_costs_no_finished_fold_run(self, runner, clips, tmp_path, capfd):
        conductor = study(tmp_path, clips, recipes(1e-3))
        killed, lost = [], []
        watch_losses(conductor, lost)
        listen = conductor.ledger.finish_fold

        def kill_after_the_first(key, **result):
            listen(key, **result)
            if not killed:
                killed.append(key)
                _kill_trainers()

        conductor.ledger.finish_fold = kill_after_the_first
        runner.search(conductor)
        (row,) = conductor.ledger.trials()
        assert (row.state, len(lost)) == ("complete", 1)
        folds = conductor.ledger.folds()
        assert [fold.state for fold in folds] == ["finished"] * 3
        assert next(fold.attempt for fold in folds if fold.key == killed[0]) == 1
        assert capfd.readouterr().out == ""  # stdout is for results

    def test_waveforms_that_are_gone_cost_a_worker_and_not_a_recipe(self, runner, clips, tmp_path):
        lost = []
        runner._shared = {RATE: gone(clips, tmp_path)}
        try:
            conductor = study(tmp_path / "study", clips, recipes(1e-3))
            watch_losses(conductor, lost)
            runner.search(conductor)
            Path(tmp_path / "gone").unlink()
            done = []
            split = rotating(clips.folds.tolist())[0]
            job = Job("again", 0, SMALL, split.train, split.test, 1, 1, 0)
            runner.run_jobs([job], lambda job, result: done.append(result))
        finally:
            runner.load(loaded(clips))
        assert states(conductor) == ["complete"]
        assert len(lost) == 1 and "lost" in lost[0]
        assert isinstance(done[0], JobResult)

    def test_trials_that_are_over_take_no_memory_of_the_driver(self, runner, clips, tmp_path):
        from ray.tune.experiment import Trial

        kept = []

        def count(conductor, trial):
            kept.append(sum(type(thing) is Trial for thing in gc.get_objects()))

        rates = [1e-3 + 1e-5 * number for number in range(8)]
        conductor = study(tmp_path, clips, recipes(*rates), epochs=1, listen=count)
        runner.search(conductor)
        assert states(conductor) == ["complete"] * 8
        assert 0 < max(kept) <= 2 * runner.workers  # those that run, and those that have just ended

    def test_a_training_that_hangs_is_ended_and_others_go_on(self, runner, clips, tmp_path, monkeypatch):
        monkeypatch.setattr("search.conductor.LOSSES", 1)
        monkeypatch.setattr(runner, "_terms", dataclasses.replace(runner._terms, silence=6.0))
        conductor = study(tmp_path, clips, [SMALL | {"data.sample_rate": STUCK}, SMALL])
        runner.search(conductor)
        first, second = conductor.ledger.trials()
        assert (first.state, second.state) == ("failed", "complete")
        assert first.reason == "lost 1 workers, last: no report for 0.1 minutes"

    def test_a_trial_goes_on_in_a_new_process_where_one_has_lost_its_gpu(self, runner, clips, tmp_path):
        runner.load({BROKEN: broken(clips, tmp_path)})
        lost = []
        try:
            conductor = study(tmp_path / "study", clips, [SMALL | {"data.sample_rate": BROKEN}])
            watch_losses(conductor, lost)
            runner.search(conductor)
        finally:
            runner.load(loaded(clips))
        assert states(conductor) == ["complete"]
        assert lost == ["it lost its GPU: RuntimeError: CUDA error: an illegal memory access was encountered"]
        assert len(set((tmp_path / "broken").read_text().split())) == 2

    def test_a_job_is_done_again_where_its_process_has_lost_the_gpu(self, runner, clips, tmp_path):
        runner.load({BROKEN: broken(clips, tmp_path)})
        facts = {"train": tuple(range(len(clips))), "test": (), "epochs": 1, "stop_after": 1, "seed": 0}
        done = []
        recipe = SMALL | {"data.sample_rate": BROKEN}
        try:
            runner.run_jobs([Job("refit", 0, recipe, **facts)], lambda job, result: done.append(result))
        finally:
            runner.load(loaded(clips))
        (result,) = done  # on a CPU Ray may have used the same process again, and given up after three times
        assert isinstance(result, JobResult) or "illegal memory access" in result.reason
        assert len((tmp_path / "broken").read_text().split()) > 1

    def test_clips_travel_through_the_object_store_where_files_are_not_shared(self, runner, clips):
        import ray

        from search.worker import share

        shared = share(clips, by_file=False)
        assert isinstance(shared.samples, ray.ObjectRef)
        np.testing.assert_array_equal(shared.open().samples, clips.samples)
        assert isinstance(share(clips, by_file=True).samples, tuple)
        np.testing.assert_array_equal(share(clips, by_file=True).open().samples, clips.samples)


DRIVER = """
import json, sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_runners import RATE, loaded, make_clips, recipes, study
from search.engine import gently
runner_name, folder = sys.argv[1], Path(sys.argv[2])
if runner_name == "ray":
    from search.cluster import RayRunner
    runner = RayRunner("local", workers=2)
else:
    from search.local import LocalRunner
    runner = LocalRunner()
clips = make_clips(folder)
runner.load(loaded(clips))
told = []
def listen(conductor, trial):
    if not told and all(conductor.ledger.folds(n) for n in range(runner.workers)):
        told.append(print("training", flush=True))
tries = recipes(1e-3, 2e-3, 3e-3, **{{"model.width": 128, "model.blocks": 4, "data.crop": float(sys.argv[3])}})
conductor = study(folder / "study", clips, tries, epochs=100000, listen=listen)
try:
    with gently(conductor):
        runner.search(conductor)
    print(json.dumps([[row.state, row.losses] for row in conductor.ledger.trials()]))
except KeyboardInterrupt:
    print("left")
finally:
    runner.close()
"""


def interrupted(kind, folder, times, crop):
    """A search in a process group of its own, as on a terminal, and Ctrl-C.

    Returns the seconds that it went on, and both its outputs.
    """
    script = DRIVER.format(tests=str(Path(__file__).parent))
    process = subprocess.Popen(
        [sys.executable, "-c", script, kind, str(folder), str(crop)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=Path(__file__).parents[1],
    )
    try:
        assert process.stdout.readline() == "training\n", process.stderr.read()
        began = time.monotonic()
        for _ in range(times):
            os.killpg(process.pid, signal.SIGINT)
            time.sleep(0.4)
        out, err = process.communicate(timeout=60)
        return time.monotonic() - began, out.strip(), err
    finally:
        process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["local", "ray"])
def test_ctrl_c_lets_every_running_trial_report_and_ends(kind, tmp_path):
    seconds, out, err = interrupted(kind, tmp_path, 1, crop=0.25)
    begun = {"local": 1, "ray": 2}[kind]
    assert (
        json.loads(out) == [["waiting", 0]] * begun
    )  # no worker died of the signal, and nothing new was begun
    assert "Traceback" not in err
    assert seconds < 20


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["local", "ray"])
def test_ctrl_c_twice_leaves_at_once_and_without_a_traceback(kind, tmp_path):
    seconds, out, err = interrupted(kind, tmp_path, 2, crop=5.0)  # an epoch of seconds
    assert out == "left"
    assert "Traceback" not in err
    assert seconds < 15


GREEDY = """
import os, sys
from pathlib import Path
import psutil
memory = psutil.virtual_memory()
level = (memory.total - memory.available + 2.5e9) / memory.total
os.environ["RAY_memory_usage_threshold"] = f"{{level:.4f}}"
os.environ["RAY_memory_monitor_refresh_ms"] = "100"
sys.path.insert(0, {tests!r})
import dataclasses
import numpy as np
from test_runners import HUNGRY, RATE, SMALL, make_clips, study
from search.cluster import RayRunner

class Rows(np.ndarray):
    def __getitem__(self, rows):
        import time
        hoard = []
        for _ in range(100):
            hoard.append(np.ones(6_000_000))
            time.sleep(0.05)
        raise MemoryError("nobody killed this worker")

folder = Path(sys.argv[1])
clips = make_clips(folder)
greedy = dataclasses.replace(clips, starts=clips.starts.view(Rows), sample_rate=HUNGRY)
runner = RayRunner("local", workers=1)
runner.load({{RATE: clips, HUNGRY: greedy}})
conductor = study(folder / "study", clips, [SMALL | {{"data.sample_rate": HUNGRY}}, SMALL])
runner.search(conductor)
for row in conductor.ledger.trials():
    print(row.state, row.rescue, row.reason)
runner.close()
"""


@pytest.mark.slow
def test_a_worker_killed_for_lack_of_memory_is_told_so_and_the_search_goes_on(tmp_path):
    if psutil.virtual_memory().available < 6e9:
        pytest.skip("needs 6 GB of free memory to hoard")
    script = GREEDY.format(tests=str(Path(__file__).parent))
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=Path(__file__).parents[1],
    )
    first, second = (line.strip() for line in done.stdout.splitlines())
    assert first.startswith(
        "infeasible {'optim.accumulate': 2} out of memory: killed by Ray, because its node was low on memory ("
    )
    assert second == "complete {}"


MONITOR = """1 worker(s) were killed due to the node running low on memory. Memory on the node (IP: 10.0.0.7, ID: 2ac7)
was 7.87GB used / 23.54GB limit (0.3343)
OOM kill reason: Memory usage 8450088960B exceeded threshold"""
ACTOR = "The actor died unexpectedly before finishing this task.\n\tclass_name: ImplicitFunc\n"


def test_deaths_of_workers_are_told_in_a_sentence():
    from ray.exceptions import OutOfMemoryError, RayActorError

    from search.deaths import Death, WorkerLost, told

    low = "killed by Ray, because its node was low on memory (7.87GB of 23.54GB used)"
    assert told(OutOfMemoryError(MONITOR)) == Death(low, memory=True)
    assert told(pickle.loads(pickle.dumps(WorkerLost(MONITOR, True)))) == Death(low, memory=True)
    ended = (
        "Worker exit type: SYSTEM_ERROR Worker exit detail: Worker unexpectedly exits with an error code 2."
    )
    causes = " Some common causes include: (1) the process was killed by the OOM killer"
    worker = f"{ACTOR}The actor is dead because its worker process has died. {ended}{causes}"
    assert told(RayActorError(error_msg=worker)) == Death(
        "the worker died: Worker unexpectedly exits with an error code 2"
    )
    node = f"{ACTOR}The actor died because its node has died. Node Id: 84f\n the actor's node was terminated"
    assert told(RayActorError(error_msg=node)) == Death("its node was lost")
    start = f"{ACTOR}The actor died because of an error raised in its creation task, ray::f()\nKeyError: 'no'"
    assert told(RayActorError(error_msg=start)) == Death("the worker could not start: KeyError: 'no'")
    assert told(None) == Death("the worker died")


def _kill_trainers():
    """SIGKILL the workers of our own Ray that run trials; other Rays on this machine are left alone."""
    for process in psutil.Process().children(recursive=True):
        if process.name().startswith("ray::ImplicitFunc") or "ray::ImplicitFunc" in "".join(
            process.cmdline()
        ):
            process.kill()
