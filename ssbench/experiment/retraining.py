"""What happens to a network after it is pruned: which weights it goes on with, and which schedule.

Renda, Frankle, Carbin, ICLR 2020, compare finetuning with rewinding the learning rate and with
rewinding weights too; Liu et al., ICLR 2019, train the pruned architecture from random weights.
"""

from __future__ import annotations

from typing import Literal, get_args

from ssbench.training.recipe import Recipe

Retrain = Literal["finetune", "lr-rewind", "weight-rewind", "scratch-e", "scratch-b"]
"""``finetune``: the weights that are left, by the recipe ``finetune``. ``lr-rewind``: the same
weights, by the last part of the training's schedule. ``weight-rewind``: in addition these weights
are set back to what they were when that part began. ``scratch-e``: new random weights, trained for
all epochs of a run. ``scratch-b``: the same, for as many multiply-adds as the dense network costs.
"""
RETRAINS: tuple[Retrain, ...] = get_args(Retrain)
REWINDS: tuple[Retrain, ...] = ("lr-rewind", "weight-rewind")
SCRATCH: tuple[Retrain, ...] = ("scratch-e", "scratch-b")


def retraining(retrain: Retrain, train: Recipe, finetune: Recipe) -> Recipe:
    """The recipe by which a pruned network is trained.

    A rewound schedule takes as many epochs as the finetuning would: the last ones of the training,
    or the whole training stretched where it is no longer than that.
    """
    if retrain in REWINDS:
        begin = rewind_epoch(train, finetune) / train.epochs
        return train.model_copy(update={"epochs": finetune.epochs, "begin": begin})
    return whole(train, finetune) if retrain in SCRATCH else finetune


def rewind_epoch(train: Recipe, finetune: Recipe) -> int:
    """The epoch of the training that is gone back to; 0: before the first step."""
    return max(train.epochs - finetune.epochs, 0)


def whole(train: Recipe, finetune: Recipe) -> Recipe:
    """One training, by the training's schedule, for all the epochs that a run has."""
    return train.model_copy(update={"epochs": train.epochs + finetune.epochs})


def scratch_b(recipe: Recipe, dense_macs: int, macs: int, limit: float) -> Recipe:
    """Lengthen a training until it costs what the dense network's would have cost.

    Args:
        recipe: the training of the dense network.
        dense_macs: multiply-adds of the dense network.
        macs: those of the pruned network's nonzero weights.
        limit: the most that the epochs are multiplied by.
    """
    factor = min(dense_macs / max(macs, 1), limit)
    return recipe.model_copy(update={"epochs": round(recipe.epochs * factor)})


def portions(recipe: Recipe, count: int) -> list[Recipe]:
    """Divide a recipe's epochs as evenly as whole epochs allow; each portion has all its schedule.

    Args:
        recipe: has at least ``count`` epochs.
        count: of portions.
    """
    least, more = divmod(recipe.epochs, count)
    return [
        recipe.model_copy(update={"epochs": least + (number >= count - more)})
        for number in range(count)
    ]
