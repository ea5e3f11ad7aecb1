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
    """Measure in eval mode with equal weight for every image; restores the mode."""
    was_training = model.training
    model.eval()
    sums, classes = [], 0  # stays on the device, so that no batch waits
    for images, labels in loader.in_order():
        logits = model(images).float()
        classes = logits.shape[1]
        best = logits.topk(min(5, classes)).indices == labels.unsqueeze(1)
        summed = F.cross_entropy(logits, labels, reduction="sum")
        sums.append(torch.stack([summed.double(), (~best[:, 0]).sum(), (~best.any(1)).sum()]))
    model.train(was_training)
    loss, wrong1, wrong5 = torch.stack(sums).sum(0).tolist()
    count = len(loader.split)
    top5 = 100 * wrong5 / count if classes > 5 else None
    return Measured(loss / count, 100 * wrong1 / count, top5)
