"""The criterion alone equals the strengths that the method starts with."""

import copy

import pytest
import torch
from torch import nn

from ssbench.method.registry import discover
from ssbench.models.registry import MODELS

METHODS = discover().methods
Criterion = METHODS["connection-strength"].cls
Strength = METHODS["synaptic-strength"].cls
CHANNELS = {"vgg6": 1, "lenet5": 1}


@pytest.mark.parametrize("name", ["vgg6", "resnet20", "densenet40", "mobilenet", "lenet5"])
def test_scores_are_the_strengths_of_the_rewritten_network(name: str) -> None:
    model = MODELS[name](CHANNELS.get(name, 3), 10)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(-1.5, 1.5)
    rewritten = copy.deepcopy(model)
    Strength().attach(rewritten)
    expected, found = Strength().scores(rewritten), Criterion().scores(model)
    assert list(found) == list(expected)
    for weight, score in found.items():
        torch.testing.assert_close(score, expected[weight], rtol=1e-5, atol=1e-7)


def test_the_scale_changes_the_order_of_kernels() -> None:
    """With equal kernels, a connection is worth what the batch norm of its input map says."""
    model = MODELS["vgg6"](1, 10)
    conv, norm = model.features[3], model.features[1]
    with torch.no_grad():
        conv.weight.fill_(1.0)
        norm.weight.copy_(torch.linspace(-1, 1, norm.weight.numel()))
    score = Criterion().scores(model)["features.3.weight"]
    torch.testing.assert_close(score[0, :, 0, 0], 3 * norm.weight.detach().abs())
