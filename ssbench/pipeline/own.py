"""Prune a user's own network: the stages of an experiment, without one.

>>> own = Own(workbench, run)
>>> own.check()
>>> pruned = own.carry_out(print)
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from ssbench.errors import BadInputError, wrong
from ssbench.experiment.budget_spec import BudgetSpec
from ssbench.experiment.stage import Run, Stage, Start, make_stage
from ssbench.experiment.variant import Variant
from ssbench.method.contract import Method
from ssbench.models.architecture import Architecture
from ssbench.models.state_dict import restore
from ssbench.pipeline.feasibility import check_reach
from ssbench.pipeline.own_result import Cutter, Pruned
from ssbench.pipeline.own_workbench import NAME, OwnWorkbench
from ssbench.pipeline.precheck import try_method, try_network
from ssbench.pipeline.prune import attached, missed_budget
from ssbench.pipeline.stages import carry_out, hooks_of
from ssbench.pipeline.state import State, Tensors
from ssbench.pruning.budget import FLOOR, Budget
from ssbench.training.loop import Epoch
from ssbench.training.optimiser import optimiser_groups
from ssbench.training.recipe import Recipe

SOURCE = "ssbench.prune"


def budget_of(asked: Mapping[str, Any], method: Method) -> Budget:
    """Return the budget of a method from some of ``unit``, ``kept``, ``scope``, ``protection``.

    With one threshold for the whole network every layer keeps `FLOOR` of its units by default.

    Raises:
        BadInputError: a value does not fit.
    """
    scope = asked.get("scope") or method.scope
    floor = FLOOR if scope == "global" and asked.get("kept") != "own" else 0.0
    try:
        spec = BudgetSpec.model_validate({"protection": floor, **asked})
    except ValidationError as error:
        raise BadInputError(wrong(error, "kept")) from error
    (budget,) = spec.expand(BudgetSpec(), method.scope)
    return budget


@dataclass(frozen=True)
class Plan:
    """How to prune a network.

    Attributes:
        train: the recipe before pruning; None: none.
        finetune: the recipe after pruning; None: none.
        trained: whether the network was trained before; otherwise methods set initial values.
    """

    variant: Variant
    train: Recipe | None
    finetune: Recipe | None
    trained: bool
    seed: int

    def run(self, name: str) -> Run:
        """Return the run; ``name`` is the network's."""
        variant, (budget,) = self.variant, self.variant.budgets
        weights = "given" if self.trained else ""
        assert budget is not None
        start = Start(NAME, "", name, self.seed, Architecture(name), weights)
        last: Stage | None = None
        if self.train and not variant.method.before_training:
            own = variant if variant.method.changes_training() else None
            during = budget if variant.prunes_in_training else None
            last = make_stage(start, "train", None, own, self.train, budget=during)
        last = make_stage(start, "prune", last, variant, budget)
        after = self.train if variant.method.before_training else self.finetune
        if after:
            last = make_stage(start, "finetune", last, None, after)
        label = variant.label or variant.file.name
        return Run("", "", variant.file, variant.method, label, budget, "finetune", last)


class Own:
    """A user's network on the way to a pruned one; the network itself stays as it is."""

    def __init__(self, workbench: OwnWorkbench, run: Run, home: torch.device) -> None:
        self.workbench, self.run, self.home = workbench, run, home

    def check(self) -> None:
        """Try the network, the method and the budget on noise, before any training.

        Raises:
            BadInputError: something does not work; says what, and where.
        """
        self._refuse_frozen()
        small, name = self.workbench.small(), self.run.stage.model
        with apart(torch.device("cpu")):
            if reason := try_network(self.run.stage, small).reason:
                raise BadInputError(f"{SOURCE}: {name}: {reason}")
            trial = try_method(self.run.stage, small)
            if trial.reason:
                by = self.run.file.name
                raise BadInputError(f"{SOURCE}: {name}: {by}: {trial.reason}")
            check_reach([self.run], self.workbench, SOURCE, lambda *_: trial)

    def _refuse_frozen(self) -> None:
        """Refuse frozen parameters where a method puts others in their place."""
        frozen = [n for n, p in self.workbench.network.named_parameters() if not p.requires_grad]
        if frozen and self.run.method.changes_training():
            raise BadInputError(
                f"model: {frozen[0]} is frozen (requires_grad is False), but {self.run.file.name} "
                "changes how weights are trained; unfreeze it, or choose a method that only scores"
            )

    def carry_out(self, listen: Callable[[str, Epoch], None]) -> Pruned:
        """Carry out all stages; ``listen`` gets each finished epoch and the kind of its stage.

        Raises:
            RunFailedError: a stage cannot be finished.
        """
        tensors: Tensors = {}
        record: dict[str, Any] = {}
        with apart(self.workbench.device):
            for stage in self.run.stages:
                tensors, measured = carry_out(
                    stage, self.workbench, tensors, partial(listen, stage.kind)
                )
                record |= _renamed(measured, stage, self.run)
                _warn(stage, measured)
            return self._result(tensors, record)

    def prune_now(self, weights: Tensors, zeros: Tensors) -> Pruned:
        """Carry out the pruning alone, on weights that a user trained."""
        stage = next(stage for stage in self.run.stages if stage.kind == "prune")
        with apart(self.workbench.device):
            before = State(weights, zeros).pack()
            tensors, record = carry_out(stage, self.workbench, before, lambda _: None)
            _warn(stage, record)
            return self._result(tensors, record)

    def _result(self, tensors: Tensors, record: Mapping[str, Any]) -> Pruned:
        state = State.of(tensors)
        masked = self.workbench.model(self.run.stage.architecture, self.run.stage.seed)
        restore(masked, state.weights)
        assert self.run.budget is not None
        cutter = Cutter(self.workbench.certificate_images, self.home, self.run.budget.unit)
        return cutter.cut(masked, state.zeros, record)


class Attached:
    """A copy of a network with what a method adds to its training, for a loop of your own.

    Attributes:
        model: the copy: train this one.
    """

    def __init__(self, own: Own) -> None:
        stage = own.run.stages[0]
        assert stage.recipe is not None
        self._own, self._recipe = own, stage.recipe
        with apart(own.workbench.device):
            self.model = attached(stage, own.workbench, {}).train()
            self._hooks, self._zeros = hooks_of(stage, own.workbench, self.model, {})
            self._hooks.after_step(0.0)

    def parameter_groups(self, lr: float, weight_decay: float = 0.0) -> list[dict[str, Any]]:
        """Return all parameters for an optimiser of torch.

        Args:
            lr: the learning rate; a method may scale it for its own parameters.
            weight_decay: likewise.
        """
        recipe = self._recipe.model_copy(update={"lr": lr, "weight_decay": weight_decay})
        groups = optimiser_groups(self.model, recipe, self._hooks.groups)
        return [{"lr": lr, "weight_decay": weight_decay} | group for group in groups]

    def penalty(self) -> Tensor:
        """Return what to add to the mean loss of every batch, a scalar."""
        found = self._hooks.penalty()
        return torch.zeros((), device=self._own.workbench.device) if found is None else found

    def after_step(self, progress: float) -> None:
        """Call this after every step of the optimiser.

        Args:
            progress: the share of all steps that is done, up to 1.
        """
        self._hooks.after_step(progress)

    def prune(self) -> Pruned:
        """Prune what you trained. ``model`` stays as it is, so that you can go on.

        Raises:
            RunFailedError: the method cannot score it, or an output is not finite.
        """
        weights = {name: t.detach().clone() for name, t in self.model.state_dict().items()}
        return self._own.prune_now(weights, dict(self._zeros()))


@contextmanager
def apart(device: torch.device) -> Iterator[None]:
    """Leave the caller's random numbers and gradient mode as they are."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.enable_grad():
        yield


def _renamed(measured: Mapping[str, Any], stage: Stage, run: Run) -> dict[str, Any]:
    """Return measurements of one stage, the error after pruning also under a name of its own."""
    error = measured.get("validation_top1_error")
    between = stage.kind == "prune" and stage is not run.stage and error is not None
    return dict(measured) | ({"before_finetuning": error} if between else {})


def _warn(stage: Stage, measured: Mapping[str, Any]) -> None:
    if said := missed_budget(stage, measured):
        warnings.warn(said, stacklevel=4)
