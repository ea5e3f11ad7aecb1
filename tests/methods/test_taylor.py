"""Taylor pruning against finite differences of the loss."""

import copy

import pytest
import torch
import torch.nn.functional as F

from ssbench.method.registry import discover
from tests.methods.nets import Tiny, data

Taylor = discover().methods["taylor"].cls


def test_a_filter_is_worth_its_first_order_change_squared_and_averaged_over_batches() -> None:
    model = Tiny().double().eval()
    images, labels = data()
    parts = list(zip(images.double().split(10), labels.split(10), strict=True))
    found = Taylor(minibatches=2).scores(model, batches=lambda: parts)
    assert found["conv.weight"].shape == (3, 1, 1, 1)
    step = 1e-5
    for number in range(3):
        changes = []
        for some, classes in parts[:2]:
            ends = []
            for sign in (1, -1):
                changed = copy.deepcopy(model)
                changed.conv.weight.data[number] *= 1 + sign * step
                ends.append(float(F.cross_entropy(changed(some), classes).detach()))
            changes.append(((ends[0] - ends[1]) / (2 * step)) ** 2)
        expected = sum(changes) / 2
        assert float(found["conv.weight"][number]) == pytest.approx(expected, rel=1e-5, abs=1e-15)


def test_without_images_it_says_so() -> None:
    with pytest.raises(ValueError, match="needs training images"):
        Taylor().scores(Tiny())


@pytest.mark.parametrize("grain", ["weight", "connection", "filter"])
def test_grains(grain: str) -> None:
    images, labels = data()
    found = Taylor(grain=grain).scores(Tiny(), batches=lambda: [(images, labels)])
    shapes = {"weight": (3, 2, 3, 3), "connection": (3, 2, 1, 1), "filter": (3, 1, 1, 1)}
    assert found["conv.weight"].shape == shapes[grain]
    assert all((score >= 0).all() and torch.isfinite(score).all() for score in found.values())
