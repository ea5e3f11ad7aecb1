"""A callback that writes TensorBoard's event files: curves of all stages, and their results."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from ssbench.errors import BadInputError
from ssbench.paths import install

RESULTS = (
    "test_top1_error", "test_loss", "validation_top1_error", "budget_reached", "params_nonzero",
    "macs_nonzero", "seconds_train",
)  # fmt: skip
"""Keys of a stage's record that become scalars."""


class TensorBoard:
    """Writes ``<folder>/<experiment>/<run>/<stage kind>-<stage id>``, one folder for each stage.

    A step is an epoch, counted from the start of the run.

    Raises:
        BadInputError: the package tensorboard is missing.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self._writer: Any = import_module("torch.utils.tensorboard").SummaryWriter
        except ImportError as error:
            raise BadInputError(
                f"--tensorboard needs the package tensorboard; {install('tensorboard')}"
            ) from error
        self._folder = folder
        self._open: dict[str, Any] = {}

    def stage_started(self, stage: dict[str, Any]) -> None:
        """Open the stage's file."""
        place = self._folder / stage["experiment"] / stage["run"]
        writer = self._writer(str(place / f"{stage['kind']}-{stage['id'][:8]}"))
        self._open[stage["id"]] = writer

    def epoch_finished(self, stage: dict[str, Any], epoch: dict[str, Any]) -> None:
        """Write loss, error and speed of the epoch."""
        step = stage["epochs_before"] + epoch["number"]
        for key in ("loss", "error", "images_per_second"):
            self._open[stage["id"]].add_scalar(f"train/{key}", epoch[key], step)

    def stage_finished(self, stage: dict[str, Any], record: dict[str, Any]) -> None:
        """Write the results of the stage, and close its file."""
        writer = self._open.pop(stage["id"])
        step = stage["epochs_before"] + stage["epochs"]
        for key in RESULTS:
            if record.get(key) is not None:
                writer.add_scalar(f"result/{key}", record[key], step)
        writer.close()

    def close(self) -> None:
        """Close the files of stages that did not end."""
        for writer in self._open.values():
            writer.close()
