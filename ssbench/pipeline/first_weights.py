"""The weights that runs start with: check before any training that they fit their networks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from ssbench.errors import BadInputError
from ssbench.experiment.stage import Run, Stage
from ssbench.models.pretrained import fetch
from ssbench.models.weights import said
from ssbench.pipeline.workbench import Workbench


def check_weights(
    runs: Sequence[Run], workbench: Workbench, models: Sequence[str], source: str
) -> None:
    """Load the first weights of every network.

    Args:
        runs: the planned runs.
        workbench: their data.
        models: the networks' names, in the order of the experiment's key ``models``.
        source: the experiment's file.

    Raises:
        BadInputError: weights do not fit; names the entry of ``models``, and the tensors that are
            missing, unexpected or of another shape.
    """
    for stage in _starting(runs):
        try:
            _load(stage, workbench)
        except BadInputError as error:
            index = f".{models.index(stage.model)}" if stage.model in models else ""
            raise BadInputError(f"{source}: models{index}: {error}") from error


def unfitted_outputs(runs: Sequence[Run], workbench: Workbench) -> list[str]:
    """Return a line for each network whose output layer does not come from its first weights."""
    lines = []
    for stage in _starting(runs):
        output = _load(stage, workbench)
        if output:
            lines.append(
                f"{stage.model}: the output layer {output} starts with random weights: in "
                f"{said(stage.start)} it has other classes than the {workbench.dataset.classes} of "
                f"{workbench.dataset.name}"
            )
    return lines


def _starting(runs: Sequence[Run]) -> Iterator[Stage]:
    """Yield one stage for each network and its weights."""
    seen = set()
    for stage in (stage for run in runs for stage in run.stages[:1]):
        key = (stage.architecture, stage.start, stage.preprocessing)
        if stage.start and key not in seen:
            seen.add(key)
            yield stage


def _load(stage: Stage, workbench: Workbench) -> str:
    fetch(stage.start)
    fitted = workbench.fitted(stage.preprocessing)
    with torch.random.fork_rng(devices=[]):
        model = fitted.model(stage.architecture, stage.seed)
    return fitted.load(model, stage.architecture, stage.start)
