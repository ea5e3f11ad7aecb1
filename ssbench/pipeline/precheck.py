"""Try networks and methods before any training, and refuse what would fail later.

Each network takes a step, is counted, and loses half of every layer; the pruned and the compact
network are compared. Each method of this package takes a step, scores, prunes and detaches. All of
it runs on the CPU, on two images of noise, once per network and once per method and network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssbench.data.dataset import DataSet, Split
from ssbench.errors import BadInputError, DivergedError, NotFiniteError, RunFailedError, blamed
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
"""A batch norm that sees one pixel per image cannot train on one image."""
_RECIPE = Recipe(epochs=1, batch_size=IMAGES, lr=1e-4, schedule="constant")
_REASON_LENGTH = 300
"""Characters of an error's text that a reason repeats."""

Refused = dict[str, str]
"""Why a run cannot work, by run id."""


def check_networks(runs: Sequence[Run], workbench: Workbench, models: Sequence[str]) -> Refused:
    """Try the network of every run.

    Args:
        runs: the planned runs.
        workbench: their data.
        models: the networks' names, in the order of the experiment's key ``models``.
    """

    def name(run: Run) -> tuple[object, ...]:
        return (run.stage.architecture,)

    return _refused(runs, workbench, models, name, try_network)


def check_methods(runs: Sequence[Run], workbench: Workbench, models: Sequence[str]) -> Refused:
    """Try the method of every run on its network; arguments as for `check_networks`.

    Skips methods of other packages: their code could change this process, and so the other runs.
    """

    def kind(run: Run) -> tuple[object, ...]:
        return run.stage.architecture, run.file.name, run.file.content, run.method.grain

    ours = [run for run in runs if run.file.is_ours]
    return _refused([run for run in ours if run.budget], workbench, models, kind, try_method)


_checked: dict[tuple[object, ...], str | None] = {}
"""Reasons that this process already found: `ssbench.cli.separate` prepares experiments repeatedly.
"""


def _refused(
    runs: Sequence[Run],
    workbench: Workbench,
    models: Sequence[str],
    kind: Callable[[Run], tuple[object, ...]],
    attempt: Callable[[Run, Workbench], None],
) -> Refused:
    shape, classes = workbench.train.image_shape, workbench.dataset.classes
    small: Workbench | None = None
    refused: Refused = {}
    for run in runs:
        key = (attempt.__name__, *kind(run), shape, classes)
        if key not in _checked:
            small = small or tiny(workbench)
            _checked[key] = reason_of(attempt, run, small)
        if reason := _checked[key]:
            name = run.stage.model
            place = f"models.{models.index(name)}" if name in models else "models"
            refused[run.id] = f"{place}: {name}: {reason}"
    return refused


def tiny(workbench: Workbench, count: int = IMAGES) -> Workbench:
    """Return a workbench on the CPU with a few noise images, in the data set's shape, per split."""
    generator = torch.Generator().manual_seed(0)
    shape = (count, *workbench.train.image_shape)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    split = Split(images, torch.arange(count) % workbench.dataset.classes)
    mean, sd = (each.cpu() for each in workbench.normalisation)
    dataset = DataSet(
        workbench.dataset.name, workbench.dataset.classes, split, split, split, fixed=(mean, sd)
    )
    return Workbench(dataset, torch.device("cpu"))


def reason_of(
    attempt: Callable[[Run, Workbench], None], run: Run, workbench: Workbench
) -> str | None:
    """Return why an attempt failed; None: it passed, or network and method are not the cause."""
    try:
        with torch.random.fork_rng(devices=[]):
            attempt(run, workbench)
    except Exception as error:  # torch, fvcore, torch-pruning and networks raise any kind
        if isinstance(error, DivergedError | NotFiniteError) or out_of_memory(error):
            return None
        by = f"{run.file.name}: " if attempt is try_method else ""
        return by + reason_text(error)
    return None


def reason_text(error: Exception) -> str:
    """Return in one line what went wrong, and where."""
    text = " ".join(str(error).split())
    text = text if len(text) <= _REASON_LENGTH else f"{text[:_REASON_LENGTH]}…"
    if isinstance(error, BadInputError | RunFailedError):
        return text
    frame = blamed(error)
    place = f" ({Path(frame.filename).name}, line {frame.lineno})" if frame else ""
    return f"{type(error).__name__}: {text}{place}"


def try_network(run: Run, workbench: Workbench) -> None:
    """Step, count, prune and cut a run's network; raises what goes wrong."""
    which = run.stage.architecture
    workbench.dense(which)
    network = workbench.model(which, 0)
    if which.code:
        _check_draws(network, workbench.model(which, 0))
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


def _check_draws(network: nn.Module, again: nn.Module) -> None:
    """Check that a seed decides the weights of a network from a user's code.

    Raises:
        RunFailedError: names a weight that differs.
    """
    theirs = again.state_dict()
    for name, tensor in network.state_dict().items():
        if not torch.equal(tensor, theirs[name]):
            raise RunFailedError(
                f"{name} differs when the network is built twice with one seed; draw weights with "
                "torch's own generator, and seed none yourself"
            )


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


def try_method(run: Run, workbench: Workbench) -> None:
    """Carry out a run up to its first pruning, in one step; raises what goes wrong."""
    tensors: dict[str, Tensor] = {}
    parent: Stage | None = None
    for stage in run.stages:
        parent = _shortened(stage, parent)
        tensors, _ = carry_out(parent, workbench, tensors, lambda _: None)
        if stage.kind == "prune":
            return


def _shortened(stage: Stage, parent: Stage | None) -> Stage:
    """Return the stage with one step, one round and half of everything kept."""
    once = {"kept": 0.5, "passes": 1, "schedule": ()}
    budget = stage.budget and stage.budget.model_copy(update=once)
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
