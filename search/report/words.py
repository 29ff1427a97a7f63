"""What a report says in sentences."""

from .. import looks
from ..datasets.dataset import Dataset
from .charts import label, percent
from .facts import Facts, family


def headline(facts: Facts) -> str:
    """The study in one line."""
    data = facts.data_name
    if facts.exams:
        return f"{percent(facts.exams[0].exam.mean)} of {data} recognised"
    if facts.winner is not None:
        return f"{percent(facts.winner.objective or 0.0)} of {data} recognised in validation"
    return f"Study {facts.name}: nothing to show yet"


def duration(seconds: float) -> str:
    """A length of time for people.

    >>> duration(26.4), duration(750.0), duration(9000.0)
    ('26 s', '12 min', '2.5 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def lead(facts: Facts) -> str:
    """What was asked, what came out and how sure it is."""
    data, winner = facts.data_name, facts.winner
    if facts.inner:
        return _nested_lead(facts)
    tried = f"{len(facts.rows):,} recipe{'s' * (len(facts.rows) != 1)}"
    asked = f"Study {facts.name} tried {tried} to tell {len(facts.classes)} classes of sound apart ({data})."
    if winner is None:
        return f"{asked} None of them has been trained to its end."
    guess = "" if facts.chance is None else f" Guessing would give {percent(facts.chance)}."
    best = f"The best one, {label(winner.number)} ({family(winner)}),"
    if not facts.exams:
        return (
            f"{asked} {best} is right in {percent(winner.objective or 0.0)} of validation clips. "
            f"It was chosen by them, so this is too high; the exam has not been held.{guess}"
        )
    exam = facts.exams[0].exam
    return (
        f"{asked} {best} names {percent(exam.mean)} of {exam.clips} clips right that it never heard; with other "
        f"recordings it would be {percent(exam.low)} to {percent(exam.high)} (95 % interval).{guess}"
    )


def _nested_lead(facts: Facts) -> str:
    """The same of a nested study, which judges a procedure."""
    asked = (
        f"Study {facts.name} searched once for each of {len(facts.inner)} folds of {facts.data_name} without ever "
        "seeing that fold, to judge the search as a whole."
    )
    if not facts.exams:
        return f"{asked} Not all folds have been examined yet."
    exam = facts.exams[0].exam
    return (
        f"{asked} The recipes it chose name {percent(exam.mean)} of {exam.clips} clips right that neither they nor "
        f"their choice had seen; with other recordings it would be {percent(exam.low)} to {percent(exam.high)} "
        "(95 % interval). No single model comes out of a nested study."
    )


def ties(facts: Facts) -> str:
    """Whether the winner is really ahead; empty where there is nothing to compare it with."""
    if len(facts.exams) < 2:
        return ""
    best, others = facts.exams[0], facts.exams[1:]
    verdicts, name = {one.trial: one.verdict for one in facts.runners}, label(best.row.number)
    if len(verdicts) < len(others):
        return (
            "Whether the runners-up are really behind cannot be said: there are no tables of their predictions; "
            "hold the exam again to have them."
        )
    these = {
        verdict: _listed(
            [
                f"{label(one.row.number)} ({family(one.row)})"
                for one in others
                if verdicts[one.row.number] == verdict
            ]
        )
        for verdict in ("tied", "ahead", "behind")
    }
    said = []
    if these["ahead"]:
        said.append(
            f"In the exam {these['ahead']} did better than {name}, beyond chance; the winner was chosen by validation, "
            "before any test fold was opened, and choosing again now would not be honest."
        )
    if these["tied"]:
        said.append(
            f"Statistically tied with {name}: {these['tied']}. On these clips the difference may be chance, so a "
            "cheaper one may be the better choice."
        )
    if these["behind"]:
        said.append(
            f"{name} is ahead of {these['behind']}, judged on the same clips, by clip and by recording."
        )
    return " ".join(said)


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""


def protocol(facts: Facts) -> str:
    """How the figure came about, and how strict it is."""
    exam = facts.exams[0].exam if facts.exams else None
    name = exam.protocol if exam else str(facts.asked.get("protocol", "rotating"))
    if name == "rotating":
        said = (
            "Protocol rotating: every clip is tested once, by a model trained on the other folds. The same folds "
            "were validation clips in other splits of the search, so this is tuned cross-validation: comparable "
            "with published figures of these folds, and slightly favourable."
        )
    elif name.startswith("held-out"):
        said = f"Protocol {name}: the search never saw the fold that the exam is about; the figure is strict."
    elif name == "nested":
        said = (
            "Protocol nested: each fold was held out from a search of its own; the figure is strict and judges "
            "the whole procedure, not one recipe."
        )
    else:
        said = f"Protocol {name}."
    if exam:
        seeds = "one seed" if len(exam.seeds) == 1 else f"{len(exam.seeds)} seeds"
        gap = "higher" if exam.gap > 0 else "lower"
        said += (
            f" Trained with {seeds}; best of {exam.trials} trials; the search had thought {percent(exam.validation)}, "
            f"{100 * abs(exam.gap):.1f} points {gap}."
        )
        if beware := looks.caution(exam):
            said += f" Beware: {beware}."
    return said


def scores(facts: Facts) -> str:
    """The other figures of the exam; empty where there are none."""
    if not facts.exams or facts.exams[0].exam.log_loss is None:
        return ""
    exam, said = facts.exams[0].exam, []
    if exam.top3 is not None and len(facts.classes) > 3:
        said.append(f"Right among the first three answers: {percent(exam.top3)}.")
    said.append(f"Log loss {exam.log_loss:.3f} nats.")
    if exam.calibration_error is not None:
        after = ""
        if exam.calibrated_error is not None:
            after = f", {percent(exam.calibrated_error)} after a temperature fitted on the other folds"
        said.append(
            f"The probabilities are off by {percent(exam.calibration_error)} on the average (calibration error){after}."
        )
    if exam.temperature is not None and facts.winner is not None:
        said.append(f"The shipped model uses temperature {exam.temperature:.2f}.")
    return " ".join(said)


def unknown(facts: Facts, least: int) -> str:
    """Why there are no importances of knobs."""
    if facts.space is None:
        return "space.yaml in the study's folder cannot be read by this version of escsearch."
    count = len(facts.complete)
    if count < least:
        there = "one complete trial is there" if count == 1 else f"{count or 'no'} complete trials are there"
        return f"{there}, {least} are needed. Go on with:"
    return "no knob varies over the complete trials, or all of them reached the same."


def saving(facts: Facts) -> str:
    """What stopping early has saved; empty where nothing could be stopped yet."""
    counts = facts.counts
    if facts.saved is None:
        return ""
    if not counts["pruned"]:
        return f"No trial was stopped early: all {facts.full:,} epochs were trained."
    return (
        f"{counts['pruned']} of {len(facts.rows):,} trials were stopped early because others were ahead of them: "
        f"{facts.spent:,} instead of {facts.full:,} epochs were trained, {percent(facts.saved, 0)} saved."
    )


def cautions(facts: Facts, dataset: Dataset | None) -> list[tuple[str, str]]:
    """(kind of remark, sentence): what a reader has to know before believing a figure."""
    found: list[tuple[str, str]] = []
    if facts.study is not None and facts.study.synthetic:
        found.append(
            (
                "warning",
                "These sounds were made by a generator: no figure here says anything about real ones.",
            )
        )
    if facts.state == "running":
        found.append(("note", "The study is not over: this is what it had come to when the report was made."))
    if facts.state == "interrupted":
        found.append(("note", "The search was interrupted before its end; it can be resumed."))
    rows = facts.complete
    if facts.exams and rows and rows[0].number != facts.exams[0].row.number:
        found.append(
            (
                "warning",
                f"{label(rows[0].number)} is better in validation than the winner shown here, but was not examined.",
            )
        )
    for change in facts.mixed:
        found.append(
            (
                "warning",
                f"The {change['what']} changed during the study ({change['before']} to {change['now']}) and that was "
                "accepted: figures of both are compared.",
            )
        )
    if facts.asked.get("accept_similar"):
        found.append(
            (
                "warning",
                "Clips with the same audio in two folds were accepted: figures may be too high.",
            )
        )
    if skipped := facts.asked.get("skipped"):
        found.append(("note", f"{len(skipped)} clips were left out; study.yaml names them with the reason."))
    found += [("warning", f"{text[0].upper()}{text[1:]}.") for text in facts.odd]
    if dataset is not None:
        found += [("note", text) for text in dataset.remarks]
    return found
