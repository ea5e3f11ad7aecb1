"""Training after pruning: which weights it starts from, and which schedule it follows.

Renda, Frankle, Carbin, ICLR 2020, compare finetuning with rewinding the learning rate and with
rewinding weights too; Liu et al., ICLR 2019, train the pruned architecture from random weights.
"""

from __future__ import annotations

from typing import Literal, get_args

from ssbench.training.recipe import Recipe

Retrain = Literal["finetune", "lr-rewind", "weight-rewind", "scratch-e", "scratch-b"]
"""``finetune``: the remaining weights, by the recipe ``finetune``. ``lr-rewind``: the same weights,
by the last part of the training's schedule. ``weight-rewind``: also sets these weights back to
their values at the start of that part. ``scratch-e``: new random weights, for all epochs of a run.
``scratch-b``: the same, for as many multiply-adds as the dense network costs.
"""
RETRAINS: tuple[Retrain, ...] = get_args(Retrain)
REWINDS: tuple[Retrain, ...] = ("lr-rewind", "weight-rewind")
SCRATCH: tuple[Retrain, ...] = ("scratch-e", "scratch-b")


def retraining(retrain: Retrain, train: Recipe, finetune: Recipe) -> Recipe:
    """Return the recipe of the training after pruning.

    A rewound schedule takes as many epochs as the finetuning would: the last epochs of the
    training, or the whole training stretched if it is not longer.
    """
    if retrain in REWINDS:
        begin = rewind_epoch(train, finetune) / train.epochs
        return train.model_copy(update={"epochs": finetune.epochs, "begin": begin})
    return whole(train, finetune) if retrain in SCRATCH else finetune


def rewind_epoch(train: Recipe, finetune: Recipe) -> int:
    """Return the epoch of the training to rewind to; 0: before the first step."""
    return max(train.epochs - finetune.epochs, 0)


def whole(train: Recipe, finetune: Recipe) -> Recipe:
    """Return one training by the training's schedule for all epochs of a run."""
    return train.model_copy(update={"epochs": train.epochs + finetune.epochs})


def scratch_b(recipe: Recipe, dense_macs: int, macs: int, limit: float) -> Recipe:
    """Lengthen a training until it costs as much as the dense network's.

    Args:
        recipe: the training of the dense network.
        dense_macs: multiply-adds of the dense network.
        macs: multiply-adds of the pruned network's nonzero weights.
        limit: the largest factor for the epochs.
    """
    factor = min(dense_macs / max(macs, 1), limit)
    return recipe.model_copy(update={"epochs": round(recipe.epochs * factor)})


def portions(recipe: Recipe, count: int) -> list[Recipe]:
    """Divide a recipe's epochs evenly in whole epochs; each portion has the whole schedule.

    Args:
        recipe: has at least ``count`` epochs.
        count: of portions.
    """
    least, more = divmod(recipe.epochs, count)
    return [
        recipe.model_copy(update={"epochs": least + (number >= count - more)})
        for number in range(count)
    ]
