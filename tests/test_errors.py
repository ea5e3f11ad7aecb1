"""Suggestions: at most three names, wherever a name is unknown."""

import pytest

from ssbench.data.registry import check as check_data
from ssbench.errors import MOST_NAMES, BadInputError, few, nearest
from ssbench.models.registry import check as check_model


def test_near_names_are_suggested_and_the_rest_is_counted() -> None:
    known = ["vgg16", "vgg19", "vgg6", "vgg11", "resnet20"]
    found = nearest("vgg1", known, "ssbench list models")
    assert found == "did you mean 'vgg19', 'vgg16' or 'vgg11'? ssbench list models shows all 5"
    assert nearest("zzzz", known, "ssbench list models") == "ssbench list models shows all 5"
    assert nearest("zzzz", known) == "known: resnet20, vgg11, vgg16 and 2 more"
    assert nearest("zzzz", ["a", "b"]) == "known: a, b"
    assert nearest("lable", ["label", "lr"]) == "did you mean 'label'?"


def test_a_list_of_names_ends_after_three() -> None:
    assert few(["a", "b", "c"]) == "a; b; c"
    assert few(["a", "b", "c", "d", "e"]) == "a; b; c and 2 more"


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("timm:resnet_50", "timm.list_models() shows all 1,"),
        ("timm:qqqqqqqq", "timm.list_models() shows all 1,"),
        ("torchvision:resnet5", "'resnet50'"),
        ("vgg7", "ssbench list models shows all"),
    ],
)
def test_a_wrong_network_costs_one_short_message(name: str, remedy: str) -> None:
    with pytest.raises(BadInputError) as caught:
        check_model(name, "models.0")
    text = str(caught.value)
    assert remedy in text
    assert len(text) < 300  # a wrong name of timm listed 1,300 names: 26,409 characters
    assert text.count("'") <= 2 * (MOST_NAMES + 1)


def test_a_wrong_data_set_names_the_list() -> None:
    with pytest.raises(BadInputError, match=r"'cifar10' or 'cifar100'.*ssbench list datasets"):
        check_data("cifar", "dataset")
