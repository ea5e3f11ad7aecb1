"""Send every stage to MLflow: a callback that a package names in the group ``ssbench.callbacks``.

    [project.entry-points."ssbench.callbacks"]
    mlflow = "my_package.mlflow_tracker:Tracker"

Needs mlflow or mlflow-skinny; without MLFLOW_TRACKING_URI its files go to ``mlruns`` beside the
results.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import mlflow
from mlflow.tracking import MlflowClient

PARAMETERS = ("kind", "dataset", "model", "method", "label", "seed", "budget_unit", "budget_asked")
METRICS = ("test_top1_error", "test_loss", "params_nonzero", "macs_nonzero", "seconds_train")


class Tracker:
    """Makes one MLflow run for each stage; stages may run side by side."""

    def __init__(self, folder: Path) -> None:
        """Take the folder of an experiment's records."""
        if "MLFLOW_TRACKING_URI" not in os.environ:
            mlflow.set_tracking_uri((folder.parent / "mlruns").resolve().as_uri())
        self.client = MlflowClient()
        self.runs: dict[str, str] = {}
        name = f"ssbench/{folder.name}"
        known = self.client.get_experiment_by_name(name)
        self.experiment = known.experiment_id if known else self.client.create_experiment(name)

    def stage_started(self, stage: dict[str, Any]) -> None:
        """Open the stage's run."""
        name = f"{stage['run']}-{stage['kind']}"
        run = self.client.create_run(self.experiment, run_name=name).info.run_id
        for key in PARAMETERS:
            self.client.log_param(run, key, stage[key])
        for key, value in stage["settings"].items():
            self.client.log_param(run, f"settings.{key}", value)
        self.runs[stage["id"]] = run

    def epoch_finished(self, stage: dict[str, Any], epoch: dict[str, Any]) -> None:
        """Log the epoch, counted from the start of the run."""
        step = stage["epochs_before"] + epoch["number"]
        for key in ("loss", "error", "images_per_second"):
            self.client.log_metric(self.runs[stage["id"]], f"train_{key}", epoch[key], step=step)

    def stage_finished(self, stage: dict[str, Any], record: dict[str, Any]) -> None:
        """Log the results, and end the stage's run."""
        run = self.runs.pop(stage["id"])
        for key in METRICS:
            if record.get(key) is not None:
                self.client.log_metric(run, key, record[key])
        self.client.set_terminated(run)

    def close(self) -> None:
        """End the runs of stages that did not finish."""
        for run in self.runs.values():
            self.client.set_terminated(run, status="FAILED")
