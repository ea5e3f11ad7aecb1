"""`ssbench.prune` and `ssbench.attach`: one method on one network of the user's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ValidationError
from torch import nn
from torch.utils.data import DataLoader

from ssbench.cli.from_python import progress_console
from ssbench.errors import BadInputError, nearest, wrong
from ssbench.experiment.variant import Variant
from ssbench.experiment.variants import make_method
from ssbench.method.contract import Method
from ssbench.method.registry import MethodFile, discover
from ssbench.pipeline.own import Attached, Own, Plan, budget_of
from ssbench.pipeline.own_data import as_split
from ssbench.pipeline.own_result import Pruned
from ssbench.pipeline.own_workbench import OwnWorkbench, classes_of, own_copy
from ssbench.training import device as device_
from ssbench.training.loop import Epoch
from ssbench.training.recipe import Recipe

EPOCHS = 10
"""Epochs of a method that cannot do without training, unless the user says how many."""
_BUDGET = ("unit", "kept", "scope", "protection")
_LR = 0.05
_RECIPE: Mapping[str, Any] = {"lr": _LR, "schedule": "one-cycle"}
"""What a recipe has unless the user says otherwise; the other defaults are those of `Recipe`."""


def prune(
    model: nn.Module,
    images: Any,
    labels: Any = None,
    *,
    method: str | Method = "synaptic-strength",
    kept: float | Literal["own"] = 0.1,
    unit: Literal["connections", "params", "macs"] = "connections",
    epochs: int | None = None,
    finetune: int = 0,
    recipe: Mapping[str, Any] | None = None,
    finetune_lr: float | None = None,
    validation: Any = None,
    trained: bool = True,
    seed: int = 0,
    device: str = "auto",
    quiet: bool = False,
    **settings: Any,
) -> Pruned:
    """Prune a network of your own, as an experiment does: the same training, masks and surgery.

    Everything is tried on noise first, so that what cannot work is refused before any training.
    ``model``, the images and the state of random number generators stay as they are.

    Args:
        model: a classifier that torch.fx can trace, in single precision.
        images: as the model takes them (normalised), [N, C, H, W], a tensor or an array; or a
            DataLoader of (images, labels), with its own augmentation.
        labels: class numbers [N]; none with a DataLoader.
        method: its name, see ``ssbench list methods``, or a method of your own.
        kept: the share of ``unit`` to keep; "own": the method's own threshold.
        unit: connections (2-D kernels and weights of linear layers), params or macs.
        epochs: of training with the method, before pruning (after it for methods that prune before
            training); None: 10 where the method needs them, else 0.
        finetune: epochs of training after pruning.
        recipe: of all training, as ``[train]`` in an experiment's file (``batch_size``, ``lr``,
            ``optimizer``, …); the learning rate is 0.05 and the schedule one-cycle by default.
        finetune_lr: the learning rate after pruning; None: half of that before it.
        validation: a pair (images, labels) or a DataLoader, to measure the error on.
        trained: whether the model was trained before; False lets methods choose initial values.
        seed: of everything random.
        device: where to compute: auto, cpu, cuda or cuda:N.
        quiet: print nothing.
        settings: hyper-parameters of the method (``lambda_=1e-3``), and ``scope``, ``protection``
            (by default every layer keeps 0.5 %) and ``method_files``.

    Returns:
        The compact and the masked network, where ``model`` was, with their masks, counts and
        certificate.

    Raises:
        BadInputError: an argument does not fit, or this network cannot be pruned so.
        RunFailedError: training diverged, or memory is short.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> _ = torch.manual_seed(0)
        >>> net = nn.Sequential(
        ...     nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(),
        ...     nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 4),
        ... )
        >>> images, labels = torch.randn(64, 1, 8, 8), torch.arange(64) % 4
        >>> pruned = ssbench.prune(net, images, labels, method="magnitude", kept=0.25)
        >>> pruned
        Sequential pruned to 25 % of connections
          params: 1,196 -> 909, 609 nonzero
          ...
        >>> pruned.model(images).shape
        torch.Size([64, 4])
        >>> pruned.certificate.difference < 1e-5
        True
    """
    variant = _variant(method, settings | {"kept": kept, "unit": unit})
    number = _epochs(epochs, variant.method)
    batches = _batch_size(images)
    train = _recipe(number, {**_RECIPE, **(recipe or {}), **batches})
    rate = finetune_lr or (train or Recipe(lr=_LR)).lr / 2
    after = _recipe(finetune, {**_RECIPE, **(recipe or {}), **batches, "lr": rate})
    plan = Plan(variant, train, after, trained, seed)
    own = _own(model, (images, labels), validation, plan, device)
    own.check()
    return own.carry_out((lambda *_: None) if quiet else _listener())


def attach(
    model: nn.Module,
    images: Any,
    labels: Any = None,
    *,
    method: str | Method = "synaptic-strength",
    kept: float | Literal["own"] = 0.1,
    unit: Literal["connections", "params", "macs"] = "connections",
    trained: bool = True,
    seed: int = 0,
    **settings: Any,
) -> Attached:
    """Attach a method to a copy of a network, for a training loop of your own.

    Train `Attached.model` with its penalty, call ``after_step`` after each step, then ``prune``.
    The arguments are those of `prune`; the images score units and certify the surgery.

    Raises:
        BadInputError: as `prune`, or the method prunes before training.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> _ = torch.manual_seed(0)
        >>> net = nn.Sequential(
        ...     nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 4)
        ... )
        >>> images, labels = torch.randn(64, 1, 8, 8), torch.arange(64) % 4
        >>> attached = ssbench.attach(
        ...     net, images, labels, method="network-slimming", kept=0.5, unit="params"
        ... )
        >>> optimiser = torch.optim.SGD(attached.parameter_groups(lr=0.05))
        >>> for step in range(10):
        ...     optimiser.zero_grad()
        ...     logits = attached.model(images)
        ...     loss = nn.functional.cross_entropy(logits, labels) + attached.penalty()
        ...     loss.backward()
        ...     optimiser.step()
        ...     attached.after_step((step + 1) / 10)
        >>> attached.prune().model[0]
        Conv2d(1, 4, kernel_size=(3, 3), stride=(1, 1))
    """
    variant = _variant(method, settings | {"kept": kept, "unit": unit})
    if variant.method.before_training:
        raise BadInputError(
            f"method: {variant.file.name} prunes before training: call ssbench.prune with "
            "epochs=0, and train the masked network that it returns"
        )
    train = _recipe(1, {**_RECIPE, **_batch_size(images)})
    plan = Plan(variant, train, None, trained, seed)
    home = str(next(model.parameters(), torch.empty(0)).device)
    own = _own(model, (images, labels), None, plan, home)
    own.check()
    return Attached(own)


def _variant(method: str | Method, settings: Mapping[str, Any]) -> Variant:
    """Return the method and its budget from the settings of both."""
    given = {name.rstrip("_"): value for name, value in settings.items()}
    files = [Path(path) for path in given.pop("method_files", ())]
    asked = {name: given.pop(name) for name in _BUDGET if name in given}
    if isinstance(method, Method):
        kind = type(method)
        file, names = MethodFile(kind.__name__, kind, Path(kind.__module__), ""), list[str]()
    else:
        file = discover(files).method(method, "method")
        names = [field.name.rstrip("_") for field in fields(file.cls)]
    for name in given:
        if name not in names:
            known = nearest(name, [*names, *_BUDGET, "method_files"])
            raise BadInputError(f"{name}: unknown setting of {file.name}; {known}")
    made = method if isinstance(method, Method) else make_method(file, given, file.name)
    if made.grain == "none":
        raise BadInputError(f"method: {file.name} prunes nothing; choose another")
    return Variant(file, made, "", [budget_of(asked, made)], "method", "finetune", [])


def _epochs(asked: int | None, method: Method) -> int:
    """Return the epochs of training; `prune` says what None means."""
    learns = method.changes_training()
    if asked is None:
        return EPOCHS if learns or method.before_training else 0
    if learns and not asked:
        raise BadInputError(
            f"epochs: {type(method).__name__} learns what to prune in training; give it at least "
            "one epoch, or choose a method that only scores, such as magnitude or taylor"
        )
    return asked


def _batch_size(images: Any) -> dict[str, int]:
    """Return the batch size of a DataLoader as a recipe has it."""
    size = images.batch_size if isinstance(images, DataLoader) else None
    return {} if size is None else {"batch_size": max(size, 2)}


def _recipe(epochs: int, settings: Mapping[str, Any]) -> Recipe | None:
    if not epochs:
        return None
    try:
        return Recipe.model_validate({**settings, "epochs": epochs})
    except ValidationError as error:
        raise BadInputError(f"recipe: {wrong(error, 'recipe')}") from error


def _own(
    model: nn.Module, images: tuple[Any, Any], validation: Any, plan: Plan, device: str
) -> Own:
    """Put a user's network and images in the place of an experiment's."""
    network, where = own_copy(model), device_.resolve(device)
    train = as_split(*images, "images")
    held_out = None
    if validation is not None:
        pair = (validation, None) if isinstance(validation, DataLoader) else validation
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise BadInputError("validation: give a pair (images, labels), or a DataLoader")
        held_out = as_split(pair[0], pair[1], "validation")
    workbench = OwnWorkbench(network, train, held_out, classes_of(network, train), where)
    home = next(model.parameters()).device
    return Own(workbench, plan.run(type(model).__name__), home)


def _listener() -> Callable[[str, Epoch], None]:
    """Return what prints a line for each epoch."""
    console = progress_console()

    def listen(stage: str, epoch: Epoch) -> None:
        how = f"loss {epoch.loss:.4f}, error {epoch.error:.2f} %"
        text = f"{stage}, epoch {epoch.number} of {epoch.of}: {how}"
        console.print(text, highlight=False)

    return listen
