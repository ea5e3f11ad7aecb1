"""Try networks and methods before any training, and refuse what would fail later.

Each network takes a step, is counted, and loses half of every layer; the pruned and the compact
network are compared. Each method takes a step, scores, prunes and detaches. All of it runs on the
CPU, on two images of noise, once per network and once per method and network; a method that does
not ship with ssbench is tried in a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from traceback import format_exception
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssbench.data.dataset import DataSet, Split
from ssbench.errors import BadInputError, DivergedError, NotFiniteError, RunFailedError, blamed
from ssbench.experiment.stage import Run, Stage
from ssbench.method.contract import Method
from ssbench.pipeline.prune import pruned
from ssbench.pipeline.stages import carry_out
from ssbench.pipeline.workbench import Workbench
from ssbench.pruning.counting import count
from ssbench.pruning.equivalence import compact_certified, noise
from ssbench.pruning.graph.structure import structure_of
from ssbench.pruning.plain_weights import check_weights
from ssbench.pruning.surgery import zeroed_parameters
from ssbench.training.backward import out_of_memory
from ssbench.training.precision import products
from ssbench.training.recipe import Recipe

IMAGES = 2
"""A batch norm that sees one pixel per image cannot train on one image."""
_RECIPE = Recipe(epochs=1, batch_size=IMAGES, lr=1e-4, schedule="constant")
_REASON_LENGTH = 300
"""Characters of an error's text that a reason repeats."""

Refused = dict[str, str]
"""Why a run cannot work, by run id."""


@dataclass(frozen=True)
class Trial:
    """What a trial showed.

    Attributes:
        reason: why it failed; empty: it passed, or network and method are not the cause.
        traceback: of the failure.
        scored: the weights that the method scores; None: unknown.
    """

    reason: str = ""
    traceback: str = ""
    scored: frozenset[str] | None = None


Attempt = Callable[[Stage, Workbench], Trial]
"""Tries the network or the method of a run, by its last stage, on the data of `tiny`."""


def check_networks(runs: Sequence[Run], workbench: Workbench, models: Sequence[str]) -> Refused:
    """Try the network of every run.

    Args:
        runs: the planned runs.
        workbench: their data.
        models: the networks' names, in the order of the experiment's key ``models``.
    """

    def reason(run: Run) -> str:
        return _once((run.stage.architecture,), run, workbench, try_network).reason

    return _refused(runs, models, reason)


def check_methods(
    runs: Sequence[Run],
    workbench: Workbench,
    models: Sequence[str],
    elsewhere: Attempt | None = None,
) -> Refused:
    """Try the method of every run on its network.

    Args:
        runs: the planned runs.
        workbench: their data.
        models: the networks' names, in the order of the experiment's key ``models``.
        elsewhere: calls `try_method` in another process: the code of a method that does not ship
            with ssbench could change this process, and so the other runs. None: skips those.
    """

    def reason(run: Run) -> str:
        trial = trial_of(run, workbench, elsewhere)
        return trial.reason and f"{run.file.name}: {trial.reason}"

    return _refused([run for run in runs if run.budget], models, reason)


def kind_of(run: Run) -> tuple[object, ...]:
    """Identify what a trial depends on: a method's text and boolean settings, not its numbers."""
    words = {k: v for k, v in run.method.settings.items() if isinstance(v, str | bool)}
    return (run.stage.architecture, run.file.name, run.file.content, run.method.grain,
            tuple(sorted(words.items())))  # fmt: skip


def trial_of(run: Run, workbench: Workbench, elsewhere: Attempt | None = None) -> Trial:
    """Return what the trial of a run's method on its network showed; try it if nobody has yet.

    Without ``elsewhere`` it tries no method of others, and returns an empty result.
    """
    attempt = try_method if run.file.is_ours else elsewhere
    return _once(kind_of(run), run, workbench, attempt)


def shown_before(run: Run, workbench: Workbench) -> Trial:
    """Return what the trial of a run's method showed in this process, if there was one."""
    return _trials.get(_key(kind_of(run), workbench), Trial())


def try_network(stage: Stage, workbench: Workbench) -> Trial:
    """Step, count, prune and cut the network of a stage."""
    return _tried(_try_network, stage, workbench)


def try_method(stage: Stage, workbench: Workbench) -> Trial:
    """Carry out a run up to its first pruning, in one step; ``stage`` is its last stage."""
    return _tried(_try_method, stage, workbench)


_trials: dict[tuple[object, ...], Trial] = {}
"""What this process has tried: `ssbench.cli.separate` prepares experiments repeatedly."""


def _once(
    kind: tuple[object, ...], run: Run, workbench: Workbench, attempt: Attempt | None
) -> Trial:
    key = _key(kind, workbench)
    if key not in _trials:
        if attempt is None:
            return Trial()
        _trials[key] = attempt(run.stage, tiny(workbench))
    return _trials[key]


def _key(kind: tuple[object, ...], workbench: Workbench) -> tuple[object, ...]:
    return (*kind, workbench.train.image_shape, workbench.dataset.classes)


def _refused(
    runs: Sequence[Run], models: Sequence[str], reason_of: Callable[[Run], str]
) -> Refused:
    refused: Refused = {}
    for run in runs:
        if reason := reason_of(run):
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


def _tried(attempt: Attempt, stage: Stage, workbench: Workbench) -> Trial:
    """Return the result of an attempt, or why it failed."""
    try:
        with torch.random.fork_rng(devices=[]):
            return attempt(stage, workbench)
    except Exception as error:  # torch, fvcore, torch-pruning, networks and methods raise any kind
        if isinstance(error, DivergedError | NotFiniteError) or out_of_memory(error):
            return Trial()
        return Trial(reason_text(error), "".join(format_exception(error)))


def reason_text(error: Exception) -> str:
    """Return in one line what went wrong, and where."""
    text = " ".join(str(error).split())
    text = text if len(text) <= _REASON_LENGTH else f"{text[:_REASON_LENGTH]}…"
    if isinstance(error, BadInputError | RunFailedError):
        return text
    frame = blamed(error)
    place = f" ({Path(frame.filename).name}, line {frame.lineno})" if frame else ""
    return f"{type(error).__name__}: {text}{place}"


def _try_network(stage: Stage, workbench: Workbench) -> Trial:
    which = stage.architecture
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
    return Trial()


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


def _try_method(stage: Stage, workbench: Workbench) -> Trial:
    tensors: dict[str, Tensor] = {}
    parent: Stage | None = None
    for each in stage.chain():
        parent = _shortened(each, parent)
        if each.kind == "prune":
            with products("fp32"):
                *_, selection = pruned(parent, workbench, tensors)
            assert selection.units is not None
            return Trial(scored=frozenset(selection.units.scores))
        tensors, _ = carry_out(parent, workbench, tensors, lambda _: None)
    return Trial()


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
