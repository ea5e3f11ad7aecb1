"""`ssbench.prune` and `ssbench.attach`: a user's own network, in a loop of the user's own."""

import copy
import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import ssbench
from ssbench.data.digits import digits
from ssbench.errors import RunFailedError
from ssbench.method import Method, prunable_weights, to_grain
from ssbench.method.contract import Grain
from ssbench.pipeline.own_data import LoadedBatches, as_split
from ssbench.pruning.counting import count
from tests.support.pretended_gpu import Pretended

DATA = digits()
MEAN, SD = DATA.normalisation
IMAGES, LABELS = (DATA.train.images - MEAN) / SD, DATA.train.labels
HELD_OUT = ((DATA.validation.images - MEAN) / SD, DATA.validation.labels)


class Net(nn.Module):
    """A small residual classifier that ssbench does not know."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.down = nn.Sequential(nn.Conv2d(16, 32, 3, stride=2), nn.BatchNorm2d(32), nn.ReLU())
        self.head = nn.Linear(32, 10)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.stem(images)
        logits: Tensor = self.head(self.down(maps + self.body(maps)).mean((2, 3)))
        return logits


def error(model: nn.Module) -> float:
    with torch.no_grad():
        return 100 * float((model(HELD_OUT[0]).argmax(1) != HELD_OUT[1]).float().mean())


@pytest.fixture(scope="module")
def trained() -> Net:
    """The network, trained by a plain loop."""
    torch.manual_seed(0)
    net = Net()
    optimiser = torch.optim.SGD(net.parameters(), 0.05, momentum=0.9)
    for _ in range(12):
        for part in torch.randperm(len(IMAGES)).split(64):
            optimiser.zero_grad()
            F.cross_entropy(net(IMAGES[part]), LABELS[part]).backward()
            optimiser.step()
    assert error(net.eval()) < 8
    return net


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_pruning_without_training_is_what_the_method_says(trained: Net) -> None:
    pruned = ssbench.prune(trained, IMAGES, LABELS, method="magnitude", grain="connection",
                           kept=0.25, protection=0.0)  # fmt: skip
    weights = prunable_weights(trained)
    scores = {name: to_grain(w.abs(), "connection") for name, w in weights.items()}
    every = torch.cat([score.flatten() for score in scores.values()])
    line = every.topk(round(0.25 * every.numel())).values.min()
    for name, score in scores.items():
        assert torch.equal(pruned.masks[name], (score >= line).expand_as(weights[name]))
        kept = weights[name] * pruned.masks[name]
        assert torch.equal(pruned.masked.get_parameter(name), kept)
    assert pruned.record["budget_reached"] == pytest.approx(0.25, abs=0.005)


def test_both_networks_are_plain_certified_and_counted(trained: Net) -> None:
    pruned = ssbench.prune(trained, IMAGES, LABELS, method="magnitude", grain="filter",
                           kept=0.3, unit="params")  # fmt: skip
    with torch.no_grad():
        assert torch.allclose(pruned.model(IMAGES), pruned.masked(IMAGES), atol=1e-5)
    assert 0 <= pruned.certificate.difference <= pruned.certificate.allowed == 1e-5
    for network, which in ((trained, "dense"), (pruned.model, "compact")):
        found = count(network, torch.zeros(1, 1, 8, 8))
        for unit in ("params", "connections", "macs"):
            assert getattr(pruned.counts[unit], which) == getattr(found, unit), (unit, which)
    assert pruned.counts["params"].compact < 0.35 * pruned.counts["params"].dense
    assert not pruned.model.training
    assert all(p.requires_grad for p in pruned.model.parameters())
    assert "params: 7,578 -> " in repr(pruned)
    assert "<table>" in pruned._repr_html_()
    again = pickle.loads(pickle.dumps(pruned))  # noqa: S301
    assert same(state(again.model), state(pruned.model))


def test_the_model_the_images_and_random_numbers_stay_as_they_are(trained: Net) -> None:
    net = copy.deepcopy(trained).train()
    net.stem[0].weight.requires_grad_(False)
    images, before = IMAGES[:200].clone(), state(net)
    torch.manual_seed(7)
    draws = torch.get_rng_state()
    with torch.no_grad():  # a notebook may have switched gradients off
        ssbench.prune(net, images, LABELS[:200], method="taylor", epochs=1, finetune=1, quiet=True)
        with pytest.raises(ssbench.BadInputError, match=r"model: stem.0.weight is frozen"):
            ssbench.prune(net, images, LABELS[:200])
    assert torch.equal(torch.get_rng_state(), draws)
    assert same(state(net), before)
    assert net.training
    assert not net.stem[0].weight.requires_grad
    assert torch.equal(images, IMAGES[:200])
    assert not any(p.grad is not None for p in net.parameters())


def test_a_method_that_learns_is_trained_and_the_result_finetuned(
    trained: Net, capsys: pytest.CaptureFixture[str]
) -> None:
    pruned = ssbench.prune(
        trained, IMAGES, LABELS, kept=0.1, epochs=3, finetune=3, validation=HELD_OUT, lambda_=1e-3,
    )  # fmt: skip
    end, before = (pruned.record[key] for key in ("validation_top1_error", "before_finetuning"))
    assert end == pytest.approx(error(pruned.model), abs=0.01)
    assert end < 12
    assert before >= end
    assert pruned.record["epochs_total"] == 6
    assert "train, epoch 3 of 3: loss" in capsys.readouterr().err
    zero = sum(int((~mask).sum()) for mask in pruned.masks.values())
    assert zero > 0
    for name, mask in pruned.masks.items():
        assert not pruned.masked.get_parameter(name)[~mask].any()


def test_a_data_loader_is_used_as_it_is(trained: Net) -> None:
    """Twice the same: its random order depends on the seed alone."""
    loader = DataLoader(TensorDataset(IMAGES, LABELS), batch_size=111, shuffle=True)
    held_out = DataLoader(TensorDataset(*HELD_OUT), batch_size=100)
    found = [
        ssbench.prune(trained, loader, kept=0.2, epochs=1, validation=held_out, quiet=True)
        for _ in range(2)
    ]
    assert same(state(found[0].model), state(found[1].model))
    assert found[0].record["validation_top1_error"] == pytest.approx(
        error(found[0].model), abs=0.01
    )


@pytest.mark.parametrize(("images", "drop_last"), [(21, False), (21, True), (20, False)])
def test_every_image_of_a_data_loader_is_seen_once_and_no_batch_has_one(
    images: int, drop_last: bool
) -> None:
    loader = DataLoader(
        TensorDataset(IMAGES[:images], LABELS[:images]), 10, True, drop_last=drop_last
    )
    split = as_split(loader, None, "images")
    assert len(split) == (20 if drop_last else images)
    batches = LoadedBatches(split, torch.device("cpu"))
    order = torch.Generator().manual_seed(0)
    epochs = [list(batches.shuffled(order, order)) for _ in range(2)]
    for epoch in epochs:
        assert [len(labels) for _, labels in epoch] == ([10, 11] if len(split) == 21 else [10, 10])
    first, second = (torch.cat([x for x, _ in epoch]) for epoch in epochs)
    assert not torch.equal(first, second)
    assert sum(len(labels) for _, labels in batches.in_order()) == len(split)


@pytest.mark.parametrize("method", ["synaptic-strength", "network-slimming", "gradual-magnitude",
                                    "l0", "magnitude"])  # fmt: skip
def test_a_loop_of_ones_own(method: str, trained: Net) -> None:
    before = state(trained)
    attached = ssbench.attach(
        trained, IMAGES, LABELS, method=method, kept=0.3,
        unit="params" if method in ("network-slimming", "l0") else "connections",
    )  # fmt: skip
    optimiser = torch.optim.SGD(attached.parameter_groups(lr=0.02), momentum=0.9)
    own = {id(p) for group in optimiser.param_groups for p in group["params"]}
    assert own == {id(p) for p in attached.model.parameters() if p.requires_grad}
    steps = 32
    for step, part in enumerate(torch.randperm(1024).remainder(1000).split(32)):
        optimiser.zero_grad()
        loss = F.cross_entropy(attached.model(IMAGES[part]), LABELS[part]) + attached.penalty()
        loss.backward()
        optimiser.step()
        attached.after_step((step + 1) / steps)
    assert attached.penalty().shape == ()
    trained_so = state(attached.model)
    pruned = attached.prune()
    assert same(state(attached.model), trained_so)
    assert same(state(trained), before)
    assert pruned.record["budget_reached"] == pytest.approx(0.3, abs=0.02)
    assert type(pruned.model) is Net
    assert not any("parametrizations" in name for name in pruned.model.state_dict())


def test_the_masked_network_can_be_finetuned_in_a_loop_of_ones_own(trained: Net) -> None:
    pruned = ssbench.prune(trained, IMAGES, LABELS, method="magnitude", kept=0.1)
    before = error(pruned.model)
    optimiser = torch.optim.SGD(pruned.masked.parameters(), 0.02, momentum=0.9)
    pruned.masked.train()
    for part in torch.randperm(1000).split(50):
        optimiser.zero_grad()
        F.cross_entropy(pruned.masked(IMAGES[part]), LABELS[part]).backward()
        optimiser.step()
        pruned.hold()
    again = pruned.compacted()
    assert error(again.model) < before
    assert again.counts == pruned.counts
    with torch.no_grad():
        pruned.masked.stem[0].weight.add_(1)
    with pytest.raises(
        RunFailedError, match=r"stem.0.weight: a pruned weight is no longer zero; call hold"
    ):
        pruned.compacted()


@dataclass(frozen=True, kw_only=True)
class Smallest(Method):
    """A method of a notebook: it keeps what others prune."""

    grain: Grain = "connection"

    def scores(self, model: nn.Module) -> dict[str, Tensor]:
        weights = prunable_weights(model)
        return {name: -to_grain(w.abs(), self.grain) for name, w in weights.items()}


def test_a_method_of_ones_own_needs_no_file(trained: Net) -> None:
    one, other = (
        ssbench.prune(trained, IMAGES, LABELS, method=method, kept=0.5, protection=0.0, **settings)
        for method, settings in (("magnitude", {"grain": "connection"}), (Smallest(), {}))
    )
    for name in prunable_weights(trained):
        assert torch.equal(one.masks[name], ~other.masks[name])


def test_layers_that_a_method_leaves_alone_are_named() -> None:
    """Network slimming scores by batch norms, and the first convolution has none."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip
    slimmed = ssbench.prune(
        net, IMAGES[:64], LABELS[:64], method="network-slimming", kept=0.9, unit="params",
        epochs=1, quiet=True,
    )  # fmt: skip
    assert "\n  left alone: 0\n" in repr(slimmed)


def test_methods_that_prune_before_training(trained: Net) -> None:
    torch.manual_seed(1)
    pruned = ssbench.prune(
        Net(), IMAGES, LABELS, method="snip", kept=0.3, epochs=3, trained=False, quiet=True,
        validation=HELD_OUT,
    )  # fmt: skip
    assert pruned.record["epochs_total"] == 3
    assert pruned.record["validation_top1_error"] < 50
    with pytest.raises(ssbench.BadInputError, match="snip prunes before training: call ssbench"):
        ssbench.attach(trained, IMAGES, LABELS, method="snip")


class Branches(Net):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images if images.sum() > 0 else -images)


class Pairs(Net):
    def forward(self, images: Tensor) -> Any:
        return super().forward(images), images


def of(**changed: Any) -> dict[str, Any]:
    return {"model": Net(), "images": IMAGES[:50], "labels": LABELS[:50]} | changed


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (of(model=Branches()), r"ssbench.prune: Branches: .*cannot be traced.*branching"),
        (of(model=Pairs()), r"model: gives tuple and not logits, \[N, classes\]"),
        (of(model=Net().double()), r"model: has parameters of torch.float64; give .*float\(\)"),
        (of(model=nn.Flatten()), "model: has no parameters"),
        (of(images=DATA.train.images[:50]), r"images: uint8 \[50, 1, 8, 8\]; give float images"),
        (of(images=IMAGES[:50, 0]), r"images: float32 \[50, 8, 8\]; give float"),
        (of(images=IMAGES[:50].repeat(1, 3, 1, 1)), r"model: cannot take images of \[3, 8, 8\]"),
        (of(images=IMAGES[:50] / 0), "images: the images are not finite"),
        (of(images="digits"), "images: .*give a tensor, an array or a DataLoader"),
        (of(labels=None), "images: labels are missing"),
        (of(labels=LABELS[:49]), r"labels are int64 \[49\] for 50 images"),
        (of(labels=LABELS[:50] + 1), "labels: 10 is no class: the model has 10 logits"),
        (of(labels=F.one_hot(LABELS[:50])), r"labels are int64 \[50, 10\]"),
        (of(images=DataLoader(TensorDataset(IMAGES), 5), labels=None), "must yield pairs"),
        (of(images=DataLoader(TensorDataset(IMAGES, LABELS), None), labels=None), "no batch_size"),
        (of(images=DataLoader(TensorDataset(IMAGES, LABELS), 5)), "leave out labels"),
        (of(method="magnitud"), "method: unknown method 'magnitud'; did you mean 'magnitude'"),
        (of(method="dense"), "method: dense prunes nothing"),
        (of(lamda=1), "lamda: unknown setting of synaptic-strength; did you mean 'lambda'"),
        (of(lambda_="x"), "synaptic-strength.lambda: input should be a valid number"),
        (of(kept=1.5), r"kept.*1.5 is outside \(0, 1\]"),
        (of(kept=1e-5), "budget.kept: 1e-05 of connections is out of reach"),
        (of(kept="own", method="taylor"), "taylor has no threshold of its own"),
        (of(unit="weights"), "unit: input should be 'connections'"),
        (of(epochs=0), "epochs: SynapticStrength learns what to prune in training"),
        (of(recipe={"bach_size": 3}), "recipe: bach_size"),
        (of(validation=3), "validation: give a pair"),
        (of(device="tpu"), "--device tpu: known"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_before_any_training(
    asked: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ssbench.BadInputError, match=message):
        ssbench.prune(asked.pop("model"), **asked)
    assert "epoch" not in capsys.readouterr().err


def test_arrays_of_numpy_are_taken_too(trained: Net) -> None:
    arrays = (np.asarray(IMAGES[:100], dtype=np.float64), np.asarray(LABELS[:100], dtype=np.uint8))
    one = ssbench.prune(trained, *arrays, method="taylor", kept=0.5)
    other = ssbench.prune(trained, IMAGES[:100], LABELS[:100], method="taylor", kept=0.5)
    assert same(state(one.model), state(other.model))


def test_the_result_is_where_the_network_was_wherever_it_was_computed(
    trained: Net, gpu: Pretended
) -> None:
    del gpu
    asked: dict[str, Any] = {"method": "network-slimming", "kept": 0.5, "unit": "params",
                             "epochs": 1, "quiet": True}  # fmt: skip
    there = ssbench.prune(trained, IMAGES[:200], LABELS[:200], device="cuda", **asked)
    here = ssbench.prune(trained, IMAGES[:200], LABELS[:200], device="cpu", **asked)
    assert there.record["images_per_second"] > 0
    for found in (there, here):
        tensors = [*found.model.state_dict().values(), *found.masks.values()]
        assert {tensor.device.type for tensor in tensors} == {"cpu"}
        assert found.model(IMAGES[:3]).shape == (3, 10)
    assert there.counts == here.counts
