"""Addresses inside MLflow's pages that show what one wants to see: by default they show one folded row a study."""

import json
from urllib.parse import quote, urlencode

from .registry import connected
from .settings import Settings

EXPERIMENT = "escsearch"


def links(settings: Settings, address: str) -> list[tuple[str, str]]:
    """(what, address) for the trials and exams of the newest study, the curves of its best trial, the models.

    Empty where nothing was logged yet. Raises what `registry.connected` raises when the store is not there.
    """
    with connected(settings) as client:
        experiment = client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            return []
        number = experiment.experiment_id
        studies = client.search_runs(
            [number], "tags.`esc.level` = 'study'", order_by=["attributes.start_time DESC"], max_results=1
        )
        if not studies:
            return []
        study = studies[0].data.tags["study"]  # figures of different studies do not belong in one list
        found = [(f"trials of {study}, best first", _runs(address, number, study, "trial", "objective"))]
        exams = f"tags.`esc.level` = 'exam' and tags.study = '{study}'"
        if client.search_runs([number], exams, max_results=1):
            found.append((f"exams of {study}", _runs(address, number, study, "exam", "test_accuracy")))
        best = client.search_runs(
            [number],
            f"tags.`esc.level` = 'trial' and tags.study = '{study}' and metrics.objective >= 0",
            order_by=["metrics.objective DESC"],
            max_results=1,
        )
        if best:
            folds = client.search_runs([number], f"tags.`mlflow.parentRunId` = '{best[0].info.run_id}'")
            runs = [run.info.run_id for run in folds]
            found.append((f"learning curves of {best[0].info.run_name}", _curves(address, number, runs)))
    return [*found, ("models", f"{address}/#/models")]


def _runs(address: str, experiment: str, study: str, level: str, metric: str) -> str:
    query = {
        "searchFilter": f"tags.`esc.level` = '{level}' and tags.study = '{study}'",
        "orderByKey": f"metrics.`{metric}`",
        "orderByAsc": "false",
    }
    return f"{address}/#/experiments/{experiment}/runs?{urlencode(query, quote_via=quote)}"


def _curves(address: str, experiment: str, runs: list[str]) -> str:
    query = {
        "runs": json.dumps(runs),
        "metric": json.dumps("valid_accuracy"),
        "experiments": json.dumps([experiment]),
        "plot_metric_keys": json.dumps(["valid_accuracy"]),
        "x_axis": "step",
    }
    return f"{address}/#/metric?{urlencode(query, quote_via=quote)}"
