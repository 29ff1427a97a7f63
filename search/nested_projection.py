"""The joint figure of a nested study as one run in MLflow, beside the study runs of its folds."""

import json
from pathlib import Path

from .figures import confusion_png
from .files import write_atomically
from .glance import Glance
from .inside import folds_of, inside
from .mlflow_tracker import MlflowTracker
from .pages import EXPERIMENT
from .paste import command
from .projection import exam_metrics, seeds_of
from .settings import Settings
from .terminal import say
from .tracker import Point, TrackerDown, TrackerRefused

TABLE, RECORD = Path("exam") / "nested.csv", Path("exam") / "nested.json"


def send(folder: Path, settings: Settings, *, data_name: str, synthetic: bool) -> bool:
    """Bring the figure of the nested study in a folder into MLflow, once however often it is sent.

    Where that cannot be done the remark says how to do it later. Returns whether it was done; the record keeps where
    it was sent to. Needs the lock of the study.
    """
    name = folder.name
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    sent = [uri for uri in record.get("sent") or () if uri != settings.tracking_uri]
    exam, moment = record["exam"], int(record["time"] * 1000)
    studies = [inside(name, fold) for fold in folds_of(folder)]
    glance = Glance(folder.parent / studies[0] / "ledger.sqlite")
    key = f"{name}@{glance.id}"  # of its first fold: another study of this name has another
    glance.close()
    tags = {
        "esc.level": "nested",
        "study": name,
        "phase": "exam",
        "protocol": exam["protocol"],
        "data": data_name,
        "data.fingerprint": exam["data"],
        "data.synthetic": str(synthetic).lower(),
        "folds": " ".join(studies),
    }
    points = [Point(metric, value, 0, moment) for metric, value in exam_metrics(exam).items()]
    title = f"nested {name} {exam['mean']:.3f} [{exam['low']:.3f}, {exam['high']:.3f}]"
    try:
        tracker = MlflowTracker(settings, EXPERIMENT)
        tracker.open(key, title, None, tags, {}, moment, points)
        tracker.attach(key, "predictions.csv", (folder / TABLE).read_bytes())
        picture = confusion_png(record["confusion"], record["classes"], f"test folds, {seeds_of(exam)}")
        tracker.attach(key, "confusion.png", picture)
        tracker.mark(key, "FINISHED", moment)
    except (TrackerDown, TrackerRefused) as error:
        later = command(settings, "sync", name)
        say(f"the figure of {name} is not in MLflow ({error}); send it later with: {later}")
        return False
    write_atomically(
        folder / RECORD, json.dumps(record | {"sent": [*sent, settings.tracking_uri]}, indent=1) + "\n"
    )
    return True


def sent_to(folder: Path) -> list[str]:
    """The MLflow stores that have the figure as it is now; it is written anew without them."""
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    return list(record.get("sent") or ())
