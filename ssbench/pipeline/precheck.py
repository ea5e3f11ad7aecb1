"""Networks and methods tried before any training starts: what would fail later is refused here.

Each network takes a step, is counted, cut in every layer and compared with what is left; each
method of this package takes a step on it, scores, prunes and detaches. All of that happens on the
CPU, on two images of noise, once for each network and once for each method on it.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssbench.data.dataset import DataSet, Split
from ssbench.errors import BadInputError, DivergedError, RunFailedError
from ssbench.experiment.stage import Run, Stage
from ssbench.method.contract import Method
from ssbench.pipeline.stages import carry_out
from ssbench.pipeline.workbench import Workbench
from ssbench.pruning.counting import count
from ssbench.pruning.equivalence import compact_certified, noise
from ssbench.pruning.graph.structure import structure_of
from ssbench.pruning.plain_weights import check_weights
from ssbench.pruning.surgery import zeroed_parameters
from ssbench.training.backward import out_of_memory
from ssbench.training.recipe import Recipe

IMAGES = 2
"""A batch norm that sees one pixel of each image cannot train on one image."""
_RECIPE = Recipe(epochs=1, batch_size=IMAGES, lr=1e-4, schedule="constant")
_TOLD = 300
"""Characters of an error that a reason repeats."""

Refused = dict[str, str]
"""By run id, why the run cannot be carried out."""


def check_networks(runs: Sequence[Run], workbench: Workbench, models: Sequence[str]) -> Refused:
    """Try the network of every run.

    Args:
        runs: what is to be carried out.
        workbench: the data that they are for.
        models: the networks as the experiment's key ``models`` lists them.
    """

    def name(run: Run) -> tuple[str, ...]:
        return (run.stage.model,)

    return _refused(runs, workbench, models, name, _try_network)


def check_methods(runs: Sequence[Run], workbench: Workbench, models: Sequence[str]) -> Refused:
    """Try the method of every run on its network; arguments as for `check_networks`.

    Methods from elsewhere are left out: what their code does to this process would reach the
    other runs.
    """

    def kind(run: Run) -> tuple[str, ...]:
        return run.stage.model, run.file.name, run.file.content, run.method.grain

    ours = [run for run in runs if run.file.cls.__module__.startswith("ssbench.methods.")]
    return _refused([run for run in ours if run.budget], workbench, models, kind, _try_method)


_checked: dict[tuple[object, ...], str | None] = {}
"""What this process found before: `ssbench.cli.separate` prepares an experiment again and again."""


def _refused(
    runs: Sequence[Run],
    workbench: Workbench,
    models: Sequence[str],
    kind: Callable[[Run], tuple[str, ...]],
    attempt: Callable[[Run, Workbench], None],
) -> Refused:
    shape, classes = workbench.train.image_shape, workbench.dataset.classes
    small: Workbench | None = None
    found: Refused = {}
    for run in runs:
        key = (attempt.__name__, *kind(run), shape, classes)
        if key not in _checked:
            small = small or _small(workbench)
            _checked[key] = _reason(attempt, run, small)
        if reason := _checked[key]:
            found[run.id] = f"models.{models.index(run.stage.model)}: {run.stage.model}: {reason}"
    return found


def _small(workbench: Workbench) -> Workbench:
    """Two images of noise for each split, on the CPU, of the shape that the data set has."""
    generator = torch.Generator().manual_seed(0)
    shape = (IMAGES, *workbench.train.image_shape)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    split = Split(images, torch.arange(IMAGES) % workbench.dataset.classes)
    mean, sd = (each.cpu() for each in workbench.normalisation)
    dataset = DataSet(
        workbench.dataset.name, workbench.dataset.classes, split, split, split, fixed=(mean, sd)
    )
    return Workbench(dataset, torch.device("cpu"))


def _reason(
    attempt: Callable[[Run, Workbench], None], run: Run, workbench: Workbench
) -> str | None:
    """Why an attempt failed; None: it did not, or not for the sake of network and method."""
    try:
        with torch.random.fork_rng(devices=[]):
            attempt(run, workbench)
    except Exception as error:  # torch, fvcore, torch-pruning and networks raise any kind
        if isinstance(error, DivergedError) or out_of_memory(error):
            return None
        by = f"{run.file.name}: " if attempt is _try_method else ""
        return by + _said(error)
    return None


def _said(error: Exception) -> str:
    text = " ".join(str(error).split())
    text = text if len(text) <= _TOLD else f"{text[:_TOLD]}…"
    if isinstance(error, BadInputError | RunFailedError):
        return text
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {text} ({Path(frame.filename).name}, line {frame.lineno})"


def _try_network(run: Run, workbench: Workbench) -> None:
    name = run.stage.model
    workbench.dense(name)
    network = workbench.model(name, 0)
    structure = structure_of(network)
    check_weights(network, structure)
    images = noise(workbench.example.shape, count=IMAGES)
    _step(network, images, workbench.dataset.classes)
    network.eval()
    parameters = dict(network.named_parameters())
    masks = {layer.weight: _half(parameters[layer.weight]) for layer in structure.prunable}
    with torch.no_grad():
        for each, mask in zeroed_parameters(structure, network, masks).items():
            parameters[each].mul_(mask)
    small, _ = compact_certified(network, structure, masks, images)
    count(small, workbench.example)


def _half(weight: Tensor) -> Tensor:
    """Keep every other filter."""
    mask = torch.zeros(weight.shape, dtype=torch.bool)
    mask[1::2] = True
    return mask


def _step(network: nn.Module, images: Tensor, classes: int) -> None:
    logits: Any = network.train()(images)
    shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if shape != (IMAGES, classes):
        raise RunFailedError(
            f"its output is {shape} and not a tensor of logits, [{IMAGES}, {classes}] for "
            f"{IMAGES} images"
        )
    F.cross_entropy(logits, torch.zeros(IMAGES, dtype=torch.long)).backward()  # type: ignore[no-untyped-call]
    network.zero_grad()


def _try_method(run: Run, workbench: Workbench) -> None:
    tensors: dict[str, Tensor] = {}
    parent: Stage | None = None
    for stage in run.stages:
        parent = _shortened(stage, parent)
        tensors, _ = carry_out(parent, workbench, tensors, lambda _: None)
        if stage.kind == "prune":
            return


def _shortened(stage: Stage, parent: Stage | None) -> Stage:
    """The same stage with a single step, a single round and half of all kept."""
    budget = stage.budget and stage.budget.model_copy(update={"kept": 0.5, "passes": 1})
    return replace(
        stage,
        parent=parent,
        recipe=stage.recipe and _RECIPE,
        method=stage.method and _in_one_round(stage.method),
        budget=budget,
        snapshot=None,
        start="",
    )


def _in_one_round(method: Method) -> Method:
    rounds = {each.name: 1 for each in fields(method) if each.name == "rounds"}
    return replace(method, **rounds)
