"""Compare the training loop with torch's DataLoader, torchvision's transforms and workers.

Both train the same network on the same images with random crops and flips.

    uv run python -m bench.perf.dataloader [--model vgg-small] [--dataset fashion-mnist]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from bench.perf.measure import heading, interleaved, quartiles, random_images, ratio
from ssbench.data.dataset import DataSet, Split
from ssbench.data.download import data_root
from ssbench.data.registry import open_dataset
from ssbench.pipeline.workbench import Workbench
from ssbench.training.device import resolve
from ssbench.training.loop import Hooks, train
from ssbench.training.precision import products
from ssbench.training.recipe import Recipe


def main() -> None:
    """Print the ratio of both ways."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="vgg-small")
    parser.add_argument("--dataset", default="random", help="or a data set by name")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--images", type=int, default=4096)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--epochs", type=int, default=1, help="of each round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device = resolve(options.device)
    print(heading(device))
    if options.dataset == "random":
        found = random_images(options.model, options.images)
    else:
        found = _first(options)
    seconds = measured(options, found, device)
    for name, values in seconds.items():
        print(f"{name:8} {options.epochs * options.images / quartiles(values)[1]:10,.0f} images/s")
    print(f"ours over usual: {ratio(seconds['usual'], seconds['ours'])}")


def measured(
    options: argparse.Namespace, found: DataSet, device: torch.device
) -> dict[str, list[float]]:
    """Return the seconds of an epoch, by recipe; the options are those of `main`."""
    workbench = Workbench(found, device)
    precision, epochs = options.precision, options.epochs
    recipe = Recipe(epochs=epochs, batch_size=128, lr=0.01, shift=4, flip=True, precision=precision)
    networks = [workbench.place(workbench.model(options.model, 0)).train() for _ in range(2)]
    usual_ = usual(networks[0], found, device, options.workers)
    lower = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
    loader = workbench.augmented(recipe)

    def ours() -> None:
        train(networks[1], recipe, loader, 0, Hooks(), lambda _: None)

    def as_ours() -> None:  # torch would round convolutions to TF32 by itself
        with products("fp32"), lower:
            for _ in range(epochs):
                usual_()

    return interleaved({"usual": as_ours, "ours": ours}, options.rounds)


def _first(options: argparse.Namespace) -> DataSet:
    """The first images of a data set."""
    whole = open_dataset(options.dataset, data_root(options.data_root), "--dataset")
    train_, few = whole.train, whole.validation
    if not isinstance(train_, Split):
        raise SystemExit("--dataset: one that lies in memory")
    part = Split(train_.images[: options.images], train_.labels[: options.images])
    return DataSet(whole.name, whole.classes, part, few, few, fixed=whole.normalisation)


class Images(Dataset[tuple[torch.Tensor, int]]):
    """Like torchvision's data sets: a PIL image each, then the transforms."""

    def __init__(self, split: Split, transform: v2.Transform) -> None:
        self.images = split.images.permute(0, 2, 3, 1).squeeze(3).contiguous().numpy()
        self.labels, self.transform = split.labels.tolist(), transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def usual(
    model: torch.nn.Module, found: DataSet, device: torch.device, workers: int
) -> Callable[[], None]:
    """Make an epoch as in tutorials: workers stay alive between epochs."""
    split = found.train
    assert isinstance(split, Split)  # the callers make no other
    mean, sd = ([value / 255 for value in part.flatten().tolist()] for part in found.normalisation)
    transform = v2.Compose(
        [
            v2.RandomCrop(split.images.shape[2], padding=4),
            v2.RandomHorizontalFlip(),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(mean, sd),
        ]
    )
    loader = DataLoader(
        Images(split, transform),
        batch_size=128,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device.type == "cuda",
    )
    optimiser = torch.optim.SGD(
        model.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-4
    )

    def epoch() -> None:
        total = 0.0
        for images, labels in loader:
            inputs = images.to(device, non_blocking=True)
            loss = F.cross_entropy(model(inputs), labels.to(device, non_blocking=True))
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            total += loss.item()

    return epoch


if __name__ == "__main__":
    main()
