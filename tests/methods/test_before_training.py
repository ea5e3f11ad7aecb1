"""SNIP, GraSP and SynFlow against finite differences, a whole Hessian and conservation laws."""

import copy
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssbench.method.contract import offer, prunable_weights, to_grain
from ssbench.method.loss_gradients import balanced
from ssbench.method.registry import discover
from ssbench.models.registry import MODELS
from tests.methods.nets import Tiny, data

METHODS = {name: discover().methods[name].cls for name in ("snip", "grasp", "synflow")}


def batches() -> list[tuple[Tensor, Tensor]]:
    images, labels = data()
    return list(zip(images.double().split(7), labels.split(7), strict=True))


def loss_of(model: nn.Module, temperature: float = 1.0) -> Tensor:
    images, labels = balanced(batches, 10, 3)
    return F.cross_entropy(model(images) / temperature, labels)


def test_the_batch_has_the_requested_images_of_each_class() -> None:
    images, labels = balanced(batches, 4, 3)
    assert labels.bincount().tolist() == [4, 4, 4]
    everything, classes = data()
    for number in range(3):
        expected = everything[classes == number][:4].double()
        assert torch.equal(images[labels == number], expected)
    assert len(balanced(batches, 100, 3)[1]) == 30


def test_the_batch_is_taken_no_further_than_needed() -> None:
    asked = []

    def endless() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            asked.append(1)
            yield torch.zeros(6, 1, 2, 2), torch.arange(6) % 3

    assert len(balanced(endless, 4, 3)[1]) == 12
    assert len(asked) == 2


def test_snip_is_the_loss_change_of_each_weight_by_differences() -> None:
    model = Tiny().double()
    found = METHODS["snip"]().scores(model, batches=batches)
    step = 1e-5
    for name in prunable_weights(model):
        weight = model.get_parameter(name).data
        for place in range(0, weight.numel(), 7):
            ends = []
            for sign in (1, -1):
                changed = copy.deepcopy(model)
                # dL/da at a = 1 of the loss with a * w in the place of w
                changed.get_parameter(name).data.view(-1)[place] *= 1 + sign * step
                ends.append(float(loss_of(changed).detach()))
            expected = abs(ends[0] - ends[1]) / (2 * step)
            assert float(found[name].flatten()[place]) == pytest.approx(expected, abs=1e-8)


def test_grasp_is_the_weight_times_the_whole_hessian_times_the_gradient() -> None:
    """The classifier's weight belongs to gradient and Hessian, but has no score."""
    model = Tiny().double()
    names = [*prunable_weights(model), "out.weight"]
    sizes = [model.get_parameter(name).numel() for name in names]

    def loss(flat: Tensor) -> Tensor:
        parts = dict(model.named_parameters())
        pieces = zip(names, flat.split(sizes), strict=True)
        parts |= {name: piece.reshape(parts[name].shape) for name, piece in pieces}
        images, labels = balanced(batches, 10, 3)
        logits = torch.func.functional_call(model, parts, (images,))
        return F.cross_entropy(logits / 200, labels)

    flat = torch.cat([model.get_parameter(name).detach().flatten() for name in names])
    gradient = torch.func.grad(loss)(flat)
    hessian = torch.func.jacrev(torch.func.grad(loss))(flat)
    expected = flat * (hessian @ gradient)
    found = METHODS["grasp"]().scores(model, batches=batches)
    assert list(found) == names[:-1]
    flat_found = torch.cat([found[name].flatten() for name in found])
    torch.testing.assert_close(flat_found, expected[: len(flat_found)], rtol=1e-6, atol=1e-14)
    # Kept are those without which the gradient's squared norm falls most.
    weight = model.get_parameter(names[0])
    best, worst = (int(f(found[names[0]].flatten())) for f in (torch.argmax, torch.argmin))
    norms = {}
    for place in (best, worst):
        changed = flat.clone()
        changed[place] *= 1 - 1e-3
        norms[place] = float(torch.func.grad(loss)(changed).detach().square().sum())
    assert norms[best] < float(gradient.detach().square().sum()) < norms[worst]
    assert weight.requires_grad


def test_synflow_is_conserved_from_layer_to_layer() -> None:
    model = Tiny(nn.ReLU())
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.data.zero_()  # flow enters through biases too
    example = torch.zeros(1, 2, 4, 4)
    found = METHODS["synflow"]().scores(model, example=example)
    totals = [score.double().exp().sum() for score in found.values()]
    copied = copy.deepcopy(model).double()
    for parameter in copied.parameters():
        parameter.data.abs_()
    output = copied(torch.ones(1, 2, 4, 4, dtype=torch.double)).sum()
    for total in totals:
        assert float(total) == pytest.approx(float(output.detach()), rel=1e-4)


def test_synflow_is_the_sum_over_paths() -> None:
    model = nn.Sequential(nn.Linear(3, 2, bias=False), nn.Linear(2, 2, bias=False))
    found = METHODS["synflow"]().scores(model, example=torch.zeros(1, 3))
    first, second = (layer.weight.detach().abs() for layer in model)
    expected = first * second.sum(0).unsqueeze(1)
    torch.testing.assert_close(found["0.weight"].exp(), expected)


def test_synflow_does_not_leave_the_range_of_numbers_in_deep_networks() -> None:
    model = MODELS["resnet56"](3, 10)
    found = METHODS["synflow"]().scores(model, example=torch.zeros(1, 3, 8, 8))
    assert all(torch.isfinite(score).all() for score in found.values())


@pytest.mark.parametrize("name", METHODS)
def test_a_unit_is_worth_the_sum_of_its_weights(name: str) -> None:
    model = MODELS["vgg6"](1, 10)
    images = torch.randn(40, 1, 8, 8)
    facts = {
        "batches": lambda: [(images, torch.arange(40) % 10)],
        "example": images[:1],
    }
    single = offer(METHODS[name]().scores, model, **facts)
    whole = offer(METHODS[name](grain="connection").scores, model, **facts)
    for weight in single:
        if name == "synflow":
            expected = to_grain(single[weight].double().exp(), "connection").log().float()
        else:
            expected = to_grain(single[weight], "connection")
        torch.testing.assert_close(whole[weight], expected, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("name", METHODS)
def test_what_is_needed_is_asked_for(name: str) -> None:
    with pytest.raises(ValueError, match="needs"):
        METHODS[name]().scores(MODELS["vgg6"](1, 10))
