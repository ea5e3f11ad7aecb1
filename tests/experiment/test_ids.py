"""Ids change where a change of the harness changes results, and nowhere else."""

import pytest

from ssbench.experiment.stage import Start, make_stage
from ssbench.models.architecture import Architecture
from ssbench.pruning.budget import Budget
from ssbench.training.recipe import Recipe


@pytest.mark.parametrize(
    ("model", "changed"),
    [("vgg6", False), ("resnet20", False), ("mobilenet", False), ("densenet40", True),
     ("lenet5", True), ("torchvision:regnet_x_400mf", True), ("timm:mobilenetv2_050", True)],
)  # fmt: skip
def test_only_prunings_of_networks_that_are_cut_otherwise_have_new_ids(
    model: str, changed: bool
) -> None:
    start = Start("digits", "data", model, 0, Architecture(model))
    train = make_stage(start, "train", None, None, Recipe(epochs=1))
    while_pruning = make_stage(
        start, "train", None, None, Recipe(epochs=1), budget=Budget(kept=0.5)
    )
    prune = make_stage(start, "prune", train, None, Budget(kept=0.5))
    said = ["surgery" in stage.said for stage in (train, while_pruning, prune)]
    assert said == [False, changed, changed]
