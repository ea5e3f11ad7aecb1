"""LAMP against the sums written out, weight by weight."""

import torch

from ssbench.method.contract import prunable_weights
from ssbench.method.registry import discover
from ssbench.models.registry import MODELS
from tests.methods.nets import Tiny

Lamp = discover().methods["lamp"].cls


def test_scores_are_the_sums_written_out() -> None:
    model = Tiny()
    found = Lamp().scores(model)
    for name, weight in prunable_weights(model).items():
        squares = weight.double().square().flatten()
        expected = [float(one / squares[squares >= one].sum()) for one in squares]
        torch.testing.assert_close(found[name].flatten(), torch.tensor(expected), rtol=1e-5, atol=0)


def test_the_largest_weight_of_each_layer_outlives_all_others() -> None:
    for name, score in Lamp().scores(MODELS["vgg6"](1, 10)).items():
        assert float(score.max()) == 1, name
        assert int((score == 1).sum()) == 1, name


def test_of_equal_weights_the_later_one_counts_the_fewer() -> None:
    model = Tiny()
    with torch.no_grad():
        model.out.weight.fill_(2.0)
        model.hidden.weight.fill_(-3.0)
        model.conv.weight.zero_()
    found = Lamp().scores(model)
    count = model.hidden.weight.numel()
    expected = 1 / torch.arange(count, 0, -1)
    torch.testing.assert_close(found["hidden.weight"].flatten(), expected)
    assert not found["conv.weight"].any()  # and no division by nothing
