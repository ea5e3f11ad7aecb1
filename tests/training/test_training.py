"""The training loop against loops by hand; schedules, held zeros, evaluation."""

import math
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssbench.data.digits import digits
from ssbench.data.loader import Loader
from ssbench.errors import RunFailedError
from ssbench.models.registry import MODELS
from ssbench.pruning.masking import keep_masked
from ssbench.seeds import derive
from ssbench.training.evaluation import evaluate
from ssbench.training.loop import Epoch, Hooks, train
from ssbench.training.recipe import SCHEDULES, ParameterGroup, Recipe

DATA = digits()


def loader(batch_size: int = 64) -> Loader:
    return Loader(DATA.train, DATA.normalisation, batch_size)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def test_the_loop_is_sgd_with_the_schedule_step_by_step() -> None:
    recipe = Recipe(epochs=2, lr=0.1, schedule="cosine", weight_decay=1e-3)
    ours, theirs = network(), network()
    train(ours, recipe, loader(), 5, Hooks(), lambda _: None)
    optimiser = torch.optim.SGD(
        theirs.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-3
    )
    generators = [torch.Generator().manual_seed(derive(5, p)) for p in ("order", "augmentation")]
    steps = 2 * math.ceil(1000 / 64)
    step = 0
    for _ in range(2):
        for images, labels in loader().shuffled(*generators):
            optimiser.param_groups[0]["lr"] = 0.05 * (1 + math.cos(math.pi * step / steps))
            optimiser.zero_grad()
            F.cross_entropy(theirs(images), labels).backward()
            optimiser.step()
            step += 1
    for first, second in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(first, second)


def test_the_penalty_and_own_groups_reach_the_optimiser() -> None:
    model = network()
    free = model[3].bias
    before = free.detach().clone()
    hooks = Hooks(
        groups=[ParameterGroup([free], weight_decay=0.0, lr_scale=0.0)],
        penalty=lambda: 0.1 * model[1].weight.abs().sum(),
    )
    train(model, Recipe(epochs=3, lr=0.01, schedule="cosine"), loader(), 0, hooks, lambda _: None)
    assert torch.equal(free, before)  # learning rate 0
    assert float(model[1].weight.detach().abs().mean()) < 0.5 * float(
        network()[1].weight.detach().abs().mean()
    )


@pytest.mark.parametrize(("own", "kept"), [(0.0, True), (None, False)])
def test_a_group_has_its_own_weight_decay_or_else_the_recipes(
    own: float | None, kept: bool
) -> None:
    model = network()
    gate = nn.Parameter(torch.ones(4))
    model.register_parameter("gate", gate)
    hooks = Hooks(
        groups=[ParameterGroup([gate], weight_decay=own)],
        penalty=lambda: 0.0 * gate.sum(),  # a gradient of zero: only decay moves it
    )
    recipe = Recipe(epochs=1, lr=0.1, weight_decay=0.1)
    train(model, recipe, loader(), 0, hooks, lambda _: None)
    assert torch.equal(gate.detach(), torch.ones(4)) is kept


def test_order_and_augmentation_have_seeds_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []
    shuffled = Loader.shuffled

    def watched(
        self: Loader, order: torch.Generator, augmentation: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        seeds.extend([order.initial_seed(), augmentation.initial_seed()])
        return shuffled(self, order, augmentation)

    monkeypatch.setattr(Loader, "shuffled", watched)
    train(network(), Recipe(epochs=1, lr=0.1), loader(), 5, Hooks(), lambda _: None)
    assert seeds == [derive(5, "order"), derive(5, "augmentation")]


def test_the_progress_after_each_step_ends_at_one() -> None:
    seen: list[float] = []
    recipe = Recipe(epochs=2, lr=0.1, batch_size=300)
    train(network(), recipe, loader(300), 0, Hooks(after_step=seen.append), lambda _: None)
    assert seen == [step / 8 for step in range(1, 9)]


def test_the_loss_of_an_epoch_weighs_every_image_alike() -> None:
    epochs: list[Epoch] = []
    model = network()
    recipe = Recipe(epochs=1, lr=1e-10, batch_size=300)  # the last batch is smaller
    train(model, recipe, loader(), 0, Hooks(), epochs.append)
    measured = evaluate(model, loader())
    assert epochs[0].loss == pytest.approx(measured.loss, rel=1e-5)
    assert epochs[0].error == pytest.approx(measured.top1_error)


def test_evaluation_is_exact_for_any_batch_size_and_keeps_the_mode() -> None:
    model = MODELS["vgg6"](1, 10).train()
    images = torch.cat([x for x, _ in loader().in_order()])
    model.eval()
    with torch.no_grad():
        logits = model(images)
    model.train()
    labels = DATA.train.labels
    for batch_size in (7, 64, 1000):
        found = evaluate(model, loader(batch_size))
        assert found.loss == pytest.approx(float(F.cross_entropy(logits, labels)), rel=1e-5)
        wrong = float((logits.argmax(1) != labels).float().mean())
        assert found.top1_error == pytest.approx(100 * wrong)
        five = (logits.topk(5).indices == labels.unsqueeze(1)).any(1)
        assert found.top5_error == pytest.approx(100 * float((~five).float().mean()))
    assert model.training


def test_divergence_is_an_error_with_the_epoch() -> None:
    recipe = Recipe(epochs=3).model_copy(update={"lr": 1e30})  # no file may ask for that
    with pytest.raises(RunFailedError, match=r"diverged: .* in epoch \d of 3"):
        train(network(), recipe, loader(), 0, Hooks(), lambda _: None)


def test_held_zeros_stay_zero_under_momentum_and_decay() -> None:
    model = MODELS["vgg6"](1, 10).to(memory_format=torch.channels_last)
    torch.manual_seed(1)
    held = {
        name: torch.rand(p.shape) < 0.3 for name, p in model.named_parameters() if "weight" in name
    }
    for name, mask in held.items():
        model.get_parameter(name).data.mul_(mask)
    hooks = Hooks(after_step=keep_masked(model, held))
    train(model, Recipe(epochs=1), loader(), 0, hooks, lambda _: None)
    for name, mask in held.items():
        parameter = model.get_parameter(name)
        assert (parameter[~mask] == 0).all()
        assert (parameter[mask] != 0).float().mean() > 0.99


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_stay_between_zero_and_one(name: str) -> None:
    values = [SCHEDULES[name](step / 100) for step in range(100)]
    assert all(0 < value <= 1 for value in values)


def test_one_cycle_is_torch_s() -> None:
    parameter = nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([parameter], lr=1.0)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=1.0, total_steps=1001, final_div_factor=1e9
    )
    for step in range(1000):
        ours = SCHEDULES["one-cycle"](step / 1000)
        assert ours == pytest.approx(optimiser.param_groups[0]["lr"], abs=6e-3)
        optimiser.step()
        cycle.step()


def test_step_is_network_slimming_s() -> None:
    rates = [0.1 * SCHEDULES["step"](epoch / 160) for epoch in range(160)]
    assert rates[79] == pytest.approx(0.1)
    assert rates[80] == pytest.approx(0.01)
    assert rates[119] == pytest.approx(0.01)
    assert rates[120] == pytest.approx(0.001)


def test_named_seeds_differ_by_purpose_and_seed() -> None:
    made = {derive(seed, purpose) for seed in range(50) for purpose in ("a", "b", "c")}
    assert len(made) == 150
    assert derive(3, "a") == derive(3, "a")
