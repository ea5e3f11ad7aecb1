"""Steps that are recorded and replayed, on a pretended GPU, against the same steps uncaptured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ssbench.data.dataset import DataSet
from ssbench.method.contract import Method, offer
from ssbench.pipeline.workbench import Workbench
from ssbench.pruning.masking import keep_masked
from ssbench.training.loop import Hooks, Trained, train
from ssbench.training.recipe import Recipe
from ssbench.training.step_state import alike
from ssbench.training.steps import uncaptured
from tests.support.fake_cuda import CUDA, REGISTRY, images
from tests.support.pretended_gpu import Graph, Pretended, pretended

SGD = Recipe(
    epochs=3, batch_size=16, lr=0.05, schedule="one-cycle", shift=1, flip=True, weight_decay=1e-3
)
COUNT = 16 * 9 + 8
"""Nine whole batches and a smaller one."""
Step = Callable[[float], None]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pretended]:
    with pretended(monkeypatch) as device:
        yield device


def nothing(_: float) -> None:
    pass


def trained(
    recipe: Recipe,
    method: Method | None = None,
    change: Callable[[nn.Module], nn.Module] = lambda model: model,
    after: Callable[[nn.Module], Step] = lambda _: nothing,
    records: bool = True,
) -> tuple[Trained, dict[str, Tensor]]:
    workbench = Workbench(DataSet("noise", 4, images(COUNT), images(8), images(8)), CUDA)
    model = workbench.model("vgg6", 0)
    if method:
        offer(method.attach, model)
    model = workbench.place(change(model))
    torch.manual_seed(1)
    step = partial(method.after_step, model) if method else after(model)
    hooks = Hooks(after_step=step, records_after_step=records)
    if method:
        penalty = partial(offer, method.penalty, model, images=100, weight_decay=1e-3)
        hooks = Hooks(offer(method.parameter_groups, model), penalty, step)
    told = train(model, recipe, workbench.augmented(recipe), 0, hooks, lambda _: None)
    state = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    return told, state | {"drawn": torch.random.get_rng_state()}


def both_ways(*given: Any, **more: Any) -> tuple[Trained, Trained]:
    """Train uncaptured and captured; all numbers must be equal."""
    with uncaptured():
        plain, expected = trained(*given, **more)
    captured, found = trained(*given, **more)
    assert plain.captured is False
    assert captured.curve_loss == plain.curve_loss
    assert captured.curve_error == plain.curve_error
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
    return plain, captured


@pytest.fixture
def replays(monkeypatch: pytest.MonkeyPatch) -> list[Graph]:
    """Every replay of a recording."""
    done: list[Graph] = []
    replay = Graph.replay

    def counted(self: Graph) -> None:
        done.append(self)
        replay(self)

    monkeypatch.setattr(Graph, "replay", counted)
    return done


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(
    "name", ["dense", "synaptic-strength", "l0", "network-slimming", "connection-lasso"]
)
def test_a_captured_training_is_the_training(name: str, replays: list[Graph]) -> None:
    _, captured = both_ways(SGD, REGISTRY.methods[name].cls())
    assert captured.captured is True
    assert captured.notes is None
    assert len(replays) == 3 * 9 - 1  # the first step makes the optimiser's memory
    assert len(set(replays)) == 1  # and the three smaller batches are not worth a recording


@pytest.mark.usefixtures("gpu")
def test_the_penalty_of_replays_is_timed(replays: list[Graph]) -> None:
    _, captured = both_ways(SGD, REGISTRY.methods["synaptic-strength"].cls())
    assert replays
    assert captured.penalty_seconds == pytest.approx(0.001 * (3 * 10 + 3))  # 3 steps both ways


@pytest.mark.usefixtures("gpu")
def test_smaller_batches_are_captured_too_if_there_are_many(replays: list[Graph]) -> None:
    recipe = SGD.model_copy(update={"batch_size": 64, "epochs": 20})
    _, captured = both_ways(recipe)
    assert captured.captured is True
    assert len(set(replays)) == 2


@pytest.mark.usefixtures("gpu")
def test_adam_dropout_and_masks_are_captured() -> None:
    def masked(model: nn.Module) -> Step:
        weight = model.get_parameter("0.features.3.weight")
        return keep_masked(model, {"0.features.3.weight": torch.rand(weight.shape) < 0.5})

    recipe = Recipe(epochs=3, batch_size=16, lr=0.01, optimizer="adam", precision="bf16")
    changed = partial(lambda model: nn.Sequential(model, nn.Dropout(0.3)))
    _, captured = both_ways(recipe, change=changed, after=masked)
    assert captured.captured is True


class Deciding:
    """Does something at the 20th step, by the progress that it is given."""

    def __init__(self, model: nn.Module) -> None:
        self._weight = model.get_parameter("features.0.weight")

    def __call__(self, progress: float) -> None:
        if progress > 0.6:
            self._weight.data.mul_(0.9)


@pytest.mark.usefixtures("gpu")
def test_what_decides_on_the_host_stays_there(replays: list[Graph]) -> None:
    _, captured = both_ways(SGD, after=Deciding)
    assert captured.captured is True
    assert captured.notes == ["captured without after_step: called a synchronizing CUDA operation"]
    assert len(replays) == 3 * 9 - 1


class Cooling(nn.Module):
    """Reads a number that an ``after_step`` on the host changes once."""

    factor = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.factor = 1.0

    def forward(self, pixels: Tensor) -> Tensor:
        return pixels * self.factor


def cooled(model: nn.Module) -> Step:
    def after_step(progress: float) -> None:
        if progress > 0.3:
            vars(model.get_submodule("0"))["factor"] = 0.5

    return after_step


def replaced(model: nn.Module) -> Step:
    """Once, put a parameter into other memory."""

    def after_step(progress: float) -> None:
        if 0.3 < progress < 0.335:
            weight = model.get_parameter("0.features.0.weight")
            weight.data = weight.data * 0.5

    return after_step


@pytest.mark.usefixtures("gpu")
def test_what_the_host_changes_is_recorded_anew(replays: list[Graph]) -> None:
    change = partial(lambda model: nn.Sequential(Cooling(), model))
    _, captured = both_ways(SGD, change=change, after=cooled)
    assert captured.captured is True
    assert len(set(replays)) > 1
    replays.clear()
    change = partial(lambda model: nn.Sequential(model, nn.Dropout(0.1)))
    _, captured = both_ways(SGD, change=change, after=replaced)
    assert captured.captured is True
    assert len(set(replays)) > 1


class Skipped(nn.Module):
    """Its layer is first used at the 7th step, when Adam first makes a state for it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.passed = nn.Linear(8, 8), torch.zeros((), device="cuda")

    def forward(self, pixels: Tensor) -> Tensor:
        self.passed = self.passed + 1
        return self.layer(pixels) if float(self.passed) > 6 else pixels


@pytest.mark.usefixtures("gpu")
def test_a_state_that_the_optimiser_makes_later_is_undone_with_its_step() -> None:
    recipe = Recipe(epochs=3, batch_size=16, lr=0.01, optimizer="adam")
    told, _ = trained(recipe, change=partial(lambda model: nn.Sequential(Skipped(), model)))
    assert told.captured is False
    assert told.notes == ["not captured: called a synchronizing CUDA operation"]


def counted(model: nn.Module) -> Step:
    """Counts in a closure, where nobody can see it."""
    calls: list[float] = []
    weight = model.get_parameter("features.0.weight")

    def after_step(progress: float) -> None:
        calls.append(progress)
        if len(calls) % 10 == 0:
            weight.data.mul_(0.5)

    return after_step


@pytest.mark.usefixtures("gpu")
def test_what_keeps_count_in_python_stays_on_the_host() -> None:
    _, captured = both_ways(SGD, after=counted, records=False)
    assert captured.captured is True


class Waiting(nn.Module):
    def forward(self, pixels: Tensor) -> Tensor:
        return pixels * 2 if float(pixels.sum()) > 0 else pixels


class Counting(nn.Module):
    calls = 0

    def forward(self, pixels: Tensor) -> Tensor:
        self.calls += 1
        return pixels if self.calls % 7 else pixels * 2


class Remembering(nn.Module):
    """Keeps a tensor that is neither parameter nor buffer, so that nobody restores it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = [torch.zeros((), device="cuda")]

    def forward(self, pixels: Tensor) -> Tensor:
        self.seen[0] = self.seen[0] + 1
        return pixels * self.seen[0].cos()


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (Waiting, "called a synchronizing CUDA operation"),
        (Counting, "a step changes 0.calls, which lies on the host"),
        (Remembering, "a captured step gave other numbers than the same step uncaptured"),
    ],
)
def test_what_cannot_be_captured_says_why(layer: type[nn.Module], why: str) -> None:
    recipe, made = SGD, partial(lambda model: nn.Sequential(layer(), model))
    if layer is not Remembering:  # its own state moves on with the step that is undone
        _, captured = both_ways(recipe, change=made)
    else:
        captured, _ = trained(recipe, change=made)
    assert captured.captured is False
    assert captured.notes == [f"not captured: {why}"]


@pytest.mark.usefixtures("gpu")
def test_short_trainings_are_not_captured(replays: list[Graph]) -> None:
    _, captured = both_ways(SGD.model_copy(update={"epochs": 1}))
    assert (captured.captured, captured.notes, replays) == (False, None, [])


def test_on_a_cpu_there_is_nothing_to_capture() -> None:
    workbench = Workbench(
        DataSet("noise", 4, images(64), images(8), images(8)), torch.device("cpu")
    )
    model = workbench.place(workbench.model("vgg6", 0))
    recipe = SGD.model_copy(update={"epochs": 1})
    told = train(model, recipe, workbench.augmented(recipe), 0, Hooks(), lambda _: None)
    assert (told.captured, told.notes) == (None, None)


def test_numbers_are_alike_where_both_are_none() -> None:
    one = torch.tensor([1.0, float("nan")])
    assert alike(one, one.clone(), exact=True)
    assert not alike(one, torch.tensor([1.0, 2.0]), exact=True)
    assert alike(torch.ones(4), torch.ones(4) + 1e-4, exact=False)
    assert not alike(torch.ones(4), torch.ones(4) + 1e-2, exact=False)
