"""What feeds what: norms before and after, flattening, groups, and graphs that are refused."""

import pytest
import torch
from torch import Tensor, nn

from ssbench.errors import BadInputError
from ssbench.models.registry import MODELS
from ssbench.pruning.graph.layers import Layer
from ssbench.pruning.graph.structure import Structure, structure_of


def layer(structure: Structure, name: str) -> Layer:
    return next(found for found in structure.layers if found.name == name)


def test_vgg_names_the_batch_norms_around_every_convolution() -> None:
    structure = structure_of(MODELS["vgg6"](1, 10))
    around = [(found.name, found.norm_before, found.norm_after) for found in structure.layers]
    assert around == [
        ("features.0", None, "features.1"),
        ("features.3", "features.1", "features.4"),
        ("features.7", "features.4", "features.8"),
        ("features.10", "features.8", "features.11"),
        ("features.14", "features.11", "features.15"),
        ("features.17", "features.15", "features.18"),
        ("classifier", None, None),
    ]
    assert [found.name for found in structure.layers if found.is_output] == ["classifier"]


def test_a_scale_is_not_moved_through_a_residual_sum() -> None:
    structure = structure_of(MODELS["resnet20"](3, 10))
    assert layer(structure, "blocks.1.conv1").norm_before is None
    assert layer(structure, "blocks.1.conv2").norm_before == "blocks.1.bn1"
    assert layer(structure, "blocks.3.shortcut.0").norm_before is None


def test_densenet_moves_the_scale_of_the_norm_behind_a_concatenation() -> None:
    structure = structure_of(MODELS["densenet40"](3, 10))
    convs = [found for found in structure.prunable if found.norm_before]
    assert len(convs) >= 38
    assert all(found.norm_after is None for found in convs if "blocks.0.1" in found.name)


class Flattened(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3, padding=1)
        self.hidden = nn.Linear(3 * 4 * 4, 5)
        self.head = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.conv(x)).flatten(1)
        result: Tensor = self.head(torch.relu(self.hidden(x)))
        return result


def test_a_flattened_channel_is_read_at_all_its_places() -> None:
    model = Flattened()
    structure = structure_of(model)
    hidden = layer(structure, "hidden")
    columns = hidden.columns(torch.tensor([True, False, True]))
    assert columns.shape == (1, 48)
    assert columns[0].tolist() == [True] * 16 + [False] * 16 + [True] * 16
    masks = {"hidden.weight": torch.zeros(5, 48, dtype=torch.bool)}
    masks["hidden.weight"][2, 20] = True  # one place of the second channel
    flow = structure.flow(masks)
    assert flow.needed["conv"].tolist() == [False, True, False]
    assert flow.emitted["hidden"].tolist() == [False, False, True, False, False]


def test_a_grouped_convolution_reads_its_own_group() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.Conv2d(4, 6, 1, groups=2), nn.Flatten(), nn.Linear(6, 2)
    )
    structure = structure_of(model)
    masks = {"0.weight": torch.ones(4, 3, 1, 1, dtype=torch.bool)}
    masks["0.weight"][:2] = False  # the whole first group is silent
    flow = structure.flow(masks)
    assert flow.emitted["1"].tolist() == [False] * 3 + [True] * 3
    keep = {"1.weight": torch.ones(6, 2, 1, 1, dtype=torch.bool)}
    keep["1.weight"][3:, 1] = False  # nobody in the second group reads its second channel
    assert structure.flow(keep).needed["0"].tolist() == [True, True, True, False]


@pytest.mark.parametrize("name", [n for n in MODELS if n != "lenet5"])
def test_nothing_is_silent_or_unneeded_in_a_whole_network(name: str) -> None:
    flow = structure_of(MODELS[name](3, 10)).flow({})
    for vectors in (flow.read, flow.emitted, flow.norms, flow.needed):
        assert all(vector.all() for vector in vectors.values())


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.head(x if x.sum() > 0 else -x)
        return result


class Twice(Branching):
    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.head(self.head(x))
        return result


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Branching(), "without branching"),
        (Twice(), "more than once"),
        (nn.Sequential(nn.ReLU()), "no convolution and no linear layer"),
        (nn.Sequential(nn.Conv1d(2, 2, 1), nn.ReLU()), "no convolution and no linear layer"),
    ],
)
def test_networks_that_have_no_fixed_graph_are_refused(model: nn.Module, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        structure_of(model)
