"""FPGM and group-norm importance, by way of torch-pruning, against sums by hand."""

import pytest
import torch
from torch import nn

from ssbench.method.contract import Method
from ssbench.method.registry import discover
from ssbench.models.registry import MODELS
from ssbench.pruning.graph.structure import structure_of

Fpgm = discover().methods["fpgm"].cls
GroupNorm = discover().methods["group-norm"].cls


def test_fpgm_is_the_distance_to_all_other_filters() -> None:
    model = MODELS["vgg6"](1, 10)
    found = Fpgm().scores(model)
    for layer in structure_of(model).prunable:
        filters = model.get_parameter(layer.weight).detach().flatten(1)
        expected = (filters[:, None] - filters[None]).norm(dim=2).sum(1)
        torch.testing.assert_close(found[layer.weight].flatten(), expected / expected.mean())


def test_fpgm_of_torch_pruning_is_what_its_docstring_says() -> None:
    model = nn.Sequential(
        nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Conv2d(6, 3, 3), nn.Flatten(), nn.Linear(3 * 16, 5)
    )
    method = Fpgm(distance="torch-pruning")
    found = method.scores(model, example=torch.zeros(1, 2, 8, 8))["0.weight"].flatten()
    filters = model[0].weight.detach().flatten(1).square()
    readers = model[2].weight.detach().transpose(0, 1).flatten(1).square()
    both = torch.cdist(filters, filters).sum(1) + torch.cdist(readers, readers).sum(1)
    torch.testing.assert_close(found, both / both.mean(), rtol=1e-4, atol=0)


def test_group_norm_counts_all_that_leaves_with_a_filter() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
        nn.Conv2d(4, 3, 3, bias=False),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 5),
    )  # fmt: skip
    model[1].weight.data.uniform_(0.5, 2)
    found = GroupNorm().scores(model, example=torch.zeros(1, 2, 8, 8))
    parts = torch.stack(
        [
            model[0].weight.detach().flatten(1).square().sum(1),
            model[1].weight.detach().square(),
            model[3].weight.detach().transpose(0, 1).flatten(1).square().sum(1),
        ]
    ).mean(0)
    torch.testing.assert_close(found["0.weight"].flatten(), parts / parts.mean())


@pytest.mark.parametrize("method", [Fpgm(), Fpgm(distance="torch-pruning"), GroupNorm()])
@pytest.mark.parametrize(("model", "shape"), [
    ("resnet20", (3, 16, 16)), ("densenet40", (3, 16, 16)), ("mobilenet", (3, 32, 32)),
    ("lenet5", (1, 28, 28)),
])  # fmt: skip
def test_every_kind_of_network(method: Method, model: str, shape: tuple[int, int, int]) -> None:
    network = MODELS[model](shape[0], 10)
    found = method.scores(network, example=torch.zeros(1, *shape))
    for layer in structure_of(network).prunable:
        score = found[layer.weight]
        assert score.shape[0] == score.numel() == layer.outputs
        assert torch.isfinite(score).all()
        assert layer.outputs == 1 or float(score.std()) > 0


def test_what_is_needed_is_asked_for() -> None:
    with pytest.raises(ValueError, match="shape of an image"):
        GroupNorm().scores(MODELS["vgg6"](1, 10))
