"""A sample of the networks that `bench.zoo` pushes through everything."""

import pytest

from bench import zoo

SAMPLE = {
    "timm:mobilenetv2_050": "works",
    "timm:dpn48b": "works",
    "timm:resnetblur18": "works",
    "torchvision:regnet_y_400mf": "works",
    "timm:efficientvit_m0": "refused",
}


def test_there_are_many_networks_each_once() -> None:
    assert len(set(zoo.NAMES)) == len(zoo.NAMES) >= 80
    assert SAMPLE.keys() <= set(zoo.NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLE)
def test_a_network_of_the_zoo(name: str) -> None:
    pytest.importorskip("timm")
    line = zoo.examine(name)
    assert (line.verdict, line.difference < 1e-5) == (SAMPLE[name], True), line.reason
    assert name in zoo.table([line])
