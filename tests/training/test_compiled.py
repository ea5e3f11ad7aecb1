"""The gradient as one function: equal to torch's own, and compiled once for equal trainings."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ssbench.data.dataset import DataSet
from ssbench.method.contract import offer
from ssbench.pipeline.workbench import Workbench
from ssbench.training import compiled
from ssbench.training.loop import Hooks, Trained, train
from ssbench.training.recipe import Recipe
from tests.support.fake_cuda import CPU, REGISTRY, images

RECIPE = Recipe(epochs=1, batch_size=16, lr=0.05, weight_decay=1e-3, compile=True)
PENALISED = ["dense", "synaptic-strength", "l0", "network-slimming", "connection-lasso"]
Change = Callable[[nn.Module], nn.Module]


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The functions that were given to the compiler, which here returns them as they are."""
    given: list[object] = []

    def as_it_is(graph: Any, **how: object) -> Any:
        assert how == {"dynamic": False, "options": {"fallback_random": True}}
        given.append(graph)
        return graph

    monkeypatch.setattr(torch, "compile", as_it_is)
    monkeypatch.setattr(compiled, "_functions", {})
    return given


def trained(
    recipe: Recipe, name: str = "dense", change: Change = lambda model: model, **settings: Any
) -> tuple[Trained, dict[str, Tensor]]:
    workbench = Workbench(DataSet("noise", 4, images(40), images(8), images(8)), CPU)
    method = REGISTRY.methods[name].cls(**settings)
    model = workbench.model("vgg6", 0)
    offer(method.attach, model)
    model = workbench.place(change(model))
    torch.manual_seed(1)
    hooks = Hooks(
        offer(method.parameter_groups, model),
        partial(offer, method.penalty, model, images=100, weight_decay=1e-3),
        partial(method.after_step, model),
    )
    told = train(model, recipe, workbench.augmented(recipe), 0, hooks, lambda _: None)
    return told, {name: t.detach().clone() for name, t in model.state_dict().items()}


@pytest.mark.usefixtures("graphs")
@pytest.mark.parametrize("name", PENALISED)
def test_a_training_by_one_function_is_the_training(name: str) -> None:
    plain, expected = trained(RECIPE.model_copy(update={"compile": False}), name)
    told, found = trained(RECIPE, name)
    assert (plain.compiled, told.compiled, told.notes) == (False, True, None)
    assert told.penalty_seconds is None  # it has no time of its own
    assert plain.penalty_seconds is not None
    assert told.loss == pytest.approx(plain.loss, rel=1e-4)
    for key, tensor in expected.items():
        torch.testing.assert_close(found[key], tensor, rtol=1e-3, atol=1e-4)


def test_equal_trainings_share_a_function_and_others_have_their_own(graphs: list[object]) -> None:
    trained(RECIPE, "synaptic-strength", lambda_=1e-3)
    trained(RECIPE, "synaptic-strength", lambda_=1e-3)
    assert len(graphs) == 1
    trained(RECIPE, "synaptic-strength", lambda_=1e-2)
    assert len(graphs) == 2  # lambda is a number in the function
    trained(RECIPE.model_copy(update={"precision": "bf16"}))
    trained(RECIPE)
    assert len(graphs) == 4
    trained(RECIPE.model_copy(update={"batch_size": 8}))
    assert len(graphs) == 5


def test_old_functions_make_room(graphs: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "MOST", 1)
    trained(RECIPE)
    trained(RECIPE, "network-slimming")
    assert len(compiled._functions) == 1
    trained(RECIPE)
    assert len(graphs) == 3


class Scaled(nn.Module):
    """Holds a tensor that is neither parameter nor buffer."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factors = [torch.full((1, 1, 8, 8), factor)]

    def forward(self, pixels: Tensor) -> Tensor:
        return pixels * self.factors[0]


def test_tensors_of_a_network_are_arguments(graphs: list[object]) -> None:
    for factor in (1.0, 3.0):
        change = partial(lambda factor, model: nn.Sequential(Scaled(factor), model), factor)
        plain, _ = trained(RECIPE.model_copy(update={"compile": False}), change=change)
        told, _ = trained(RECIPE, change=change)
        assert told.loss == pytest.approx(plain.loss, rel=1e-4)
    assert len(graphs) == 1


class Rounded(torch.autograd.Function):
    """Its gradient is not that of what it computes."""

    @staticmethod
    def forward(ctx: Any, pixels: Tensor) -> Tensor:
        del ctx
        return pixels.round()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        del ctx
        return 2 * gradients[0]


class StraightThrough(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, 1, 8, 8))

    def forward(self, pixels: Tensor) -> Tensor:
        return Rounded.apply(pixels * self.scale)  # type: ignore[no-any-return]


@pytest.mark.usefixtures("graphs")
def test_a_gradient_of_ones_own_stays() -> None:
    change = partial(lambda model: nn.Sequential(StraightThrough(), model))
    _, expected = trained(RECIPE.model_copy(update={"compile": False}), change=change)
    told, found = trained(RECIPE, change=change)
    assert told.compiled
    assert not torch.equal(expected["0.scale"], torch.ones(1, 1, 8, 8))
    torch.testing.assert_close(found["0.scale"], expected["0.scale"], rtol=1e-4, atol=1e-5)


class Deciding(nn.Module):
    def forward(self, pixels: Tensor) -> Tensor:
        return pixels * 2 if pixels.mean() > 0 else pixels


class Twice(nn.Module):
    """Holds one module under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.again = self.norm

    def forward(self, pixels: Tensor) -> Tensor:
        return self.again(self.norm(pixels))  # type: ignore[no-any-return]


class Averaging(nn.Module):
    """Puts another tensor in the place of a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, pixels: Tensor) -> Tensor:
        mean: Tensor = 0.9 * self.get_buffer("mean") + 0.1 * pixels.detach().mean()
        self.mean = mean
        return pixels - mean


class Counting(nn.Module):
    calls = 0

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, pixels: Tensor) -> Tensor:
        self.calls += 1
        return pixels / self.calls


@pytest.mark.usefixtures("graphs")
@pytest.mark.parametrize("layer", [Deciding, Twice, Averaging, Counting])
def test_what_one_function_cannot_do_is_not_compiled(layer: type[nn.Module]) -> None:
    """Noise, buffers and numbers are those of a training that was never to be compiled."""
    change = partial(lambda model: nn.Sequential(layer(), nn.Dropout(0.1), model))
    plain, expected = trained(RECIPE.model_copy(update={"compile": False}), change=change)
    told, found = trained(RECIPE, change=change)
    assert told.compiled is False
    assert told.notes is not None
    assert told.notes[0].startswith("not compiled: ")
    assert told.penalty_seconds is not None
    assert told.loss == plain.loss
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor)


class Cooling(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.factor = 1.0

    def forward(self, pixels: Tensor) -> Tensor:
        return pixels * self.factor


@pytest.mark.usefixtures("graphs")
def test_a_number_that_after_step_changes_ends_the_compiled_gradient() -> None:
    found = []
    for compiles in (False, True):
        workbench = Workbench(DataSet("noise", 4, images(64), images(8), images(8)), CPU)
        cooling = Cooling()
        model = workbench.place(nn.Sequential(cooling, workbench.model("vgg6", 0)))

        def after_step(progress: float, cooling: Cooling = cooling) -> None:
            cooling.factor = 0.5 if progress > 0.4 else 1.0

        recipe = RECIPE.model_copy(update={"compile": compiles})
        hooks = Hooks(after_step=after_step)
        found.append(train(model, recipe, workbench.augmented(recipe), 0, hooks, lambda _: None))
    plain, told = found
    assert told.notes == ["not compiled any more: after_step changes a number that a module holds"]
    assert told.loss == pytest.approx(plain.loss, rel=1e-4)


def test_a_wrong_gradient_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(graph: Any, **_: object) -> Any:
        def doubled(*given: Tensor) -> list[Any]:
            loss, logits, *gradients = graph(*given)
            return [loss, logits, *(g if g is None else 2 * g for g in gradients)]

        return doubled

    monkeypatch.setattr(torch, "compile", wrong)
    monkeypatch.setattr(compiled, "_functions", {})
    plain, expected = trained(RECIPE.model_copy(update={"compile": False}))
    told, found = trained(RECIPE)
    assert told.notes == ["not compiled: the compiled gradient differs by 1e+02 %"]
    assert compiled._functions
    assert (told.compiled, told.loss) == (False, plain.loss)
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor)


def test_a_compiler_that_fails_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def failing(graph: object, **_: object) -> Any:
        asked.append(graph)

        def run(*_: Tensor) -> None:
            raise AssertionError("expected stride 9==1 at dim=1")

        return run

    monkeypatch.setattr(torch, "compile", failing)
    monkeypatch.setattr(compiled, "_functions", {})
    plain, expected = trained(RECIPE.model_copy(update={"compile": False}))
    for _ in range(2):
        told, found = trained(RECIPE)
        assert told.notes == ["not compiled: expected stride 9==1 at dim=1"]
        assert told.loss == plain.loss
        for name, tensor in expected.items():
            assert torch.equal(found[name], tensor)
    assert len(asked) == 1


@pytest.mark.slow
def test_with_torchs_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "_functions", {})
    plain, expected = trained(RECIPE.model_copy(update={"compile": False}), "l0")
    told, found = trained(RECIPE, "l0")
    assert (told.compiled, told.notes) == (True, None)
    assert told.loss == pytest.approx(plain.loss, rel=1e-3)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-2, atol=1e-3)


def test_a_missing_gradient_differs() -> None:
    one = torch.ones(3)
    assert compiled._difference([one, None], [one, None]) == 0
    assert compiled._difference([one, None], [one, one]) == float("inf")
