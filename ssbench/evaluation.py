"""The one measurement of loss and error."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from ssbench.data.batches import Batches


@dataclass(frozen=True)
class Measured:
    """Mean cross-entropy per image and errors in percent (top-5: None under six classes)."""

    loss: float
    top1_error: float
    top5_error: float | None


@torch.no_grad()
def evaluate(model: nn.Module, loader: Batches) -> Measured:
    """Measure in eval mode, every image weighing the same; the mode is restored."""
    was_training = model.training
    model.eval()
    loss, wrong1, wrong5, classes = 0.0, 0, 0, 0
    for images, labels in loader.in_order():
        logits = model(images).float()
        classes = logits.shape[1]
        loss += float(F.cross_entropy(logits, labels, reduction="sum"))
        best = logits.topk(min(5, classes)).indices == labels.unsqueeze(1)
        wrong1 += int((~best[:, 0]).sum())
        wrong5 += int((~best.any(1)).sum())
    model.train(was_training)
    count = len(loader.split)
    top5 = 100 * wrong5 / count if classes > 5 else None
    return Measured(loss / count, 100 * wrong1 / count, top5)
