"""Retraining after pruning: from which weights, and with which schedule.

Renda, Frankle, Carbin, ICLR 2020, compare finetuning with rewinding the learning rate and with
rewinding weights too; Liu et al., ICLR 2019, train the pruned architecture from random weights.
"""

from __future__ import annotations

from typing import Literal, get_args

from ssbench.training.recipe import Recipe

Retrain = Literal["finetune", "lr-rewind", "weight-rewind", "scratch-e", "scratch-b"]
"""``finetune``: the remaining weights, with the recipe ``finetune``. ``lr-rewind``: the same
weights, with the last part of the training schedule. ``weight-rewind``: also resets these weights
to their values at the start of that part. ``scratch-e``: new random weights, trained for all
epochs of a run. ``scratch-b``: the same, for as many multiply-adds as the dense network costs.
"""
RETRAINS: tuple[Retrain, ...] = get_args(Retrain)
REWINDS: tuple[Retrain, ...] = ("lr-rewind", "weight-rewind")
SCRATCH: tuple[Retrain, ...] = ("scratch-e", "scratch-b")


def retraining(retrain: Retrain, train: Recipe, finetune: Recipe) -> Recipe:
    """Return the recipe that retrains a pruned network.

    A rewound schedule lasts as many epochs as finetuning: the last ones of the training, or the
    whole training stretched if it is no longer than that.
    """
    if retrain in REWINDS:
        begin = rewind_epoch(train, finetune) / train.epochs
        return train.model_copy(update={"epochs": finetune.epochs, "begin": begin})
    return whole(train, finetune) if retrain in SCRATCH else finetune


def rewind_epoch(train: Recipe, finetune: Recipe) -> int:
    """Return the epoch to rewind to; 0: before the first step."""
    return max(train.epochs - finetune.epochs, 0)


def whole(train: Recipe, finetune: Recipe) -> Recipe:
    """Return the training recipe, stretched over all epochs of a run."""
    return train.model_copy(update={"epochs": train.epochs + finetune.epochs})


def scratch_b(recipe: Recipe, dense_macs: int, macs: int, limit: float) -> Recipe:
    """Lengthen a training to the cost of training the dense network.

    Args:
        recipe: the training to lengthen, at the dense network's epochs.
        dense_macs: multiply-adds of the dense network.
        macs: multiply-adds of the pruned network's nonzero weights.
        limit: the largest factor for the epochs.
    """
    factor = min(dense_macs / max(macs, 1), limit)
    return recipe.model_copy(update={"epochs": round(recipe.epochs * factor)})


def portions(recipe: Recipe, count: int) -> list[Recipe]:
    """Divide a recipe's epochs as evenly as whole epochs allow; each portion has a full schedule.

    Args:
        recipe: has at least ``count`` epochs.
        count: the number of portions.
    """
    least, more = divmod(recipe.epochs, count)
    return [
        recipe.model_copy(update={"epochs": least + (number >= count - more)})
        for number in range(count)
    ]
