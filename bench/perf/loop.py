"""Compare the training loop with a bare loop for the same network, in images per second.

The bare loop has normalised float images in memory and does not track loss or errors.

    uv run python -m bench.perf.loop [--model vgg-small] [--batch-size 128] [--images 2048]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
import torch.nn.functional as F

from bench.perf.measure import heading, interleaved, quartiles, random_images, ratio, steady_clock
from ssbench.pipeline.workbench import Workbench
from ssbench.training.device import resolve
from ssbench.training.loop import Hooks, train
from ssbench.training.precision import products
from ssbench.training.recipe import Recipe


def main() -> None:
    """Print the ratio of both loops."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="vgg-small")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--epochs", type=int, default=5, help="of one training")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device = resolve(options.device)
    print(heading(device))
    seconds = measured(options, device)
    for name, values in seconds.items():
        speed = options.epochs * options.images / quartiles(values)[1]
        print(
            f"{name:16} {speed:10,.0f} images/s, of the bare loop {ratio(seconds['bare'], values)}"
        )


def measured(options: argparse.Namespace, device: torch.device) -> dict[str, list[float]]:
    """Return the seconds of ``epochs`` epochs, by loop; the options are those of `main`."""
    workbench = Workbench(random_images(options.model, options.images), device)
    recipe = Recipe(
        epochs=options.epochs, batch_size=options.batch_size, lr=0.01, shift=0, flip=False
    )
    augmented = recipe.model_copy(update={"shift": 4, "flip": True})

    def ours(how: Recipe) -> None:
        model = networks[how is augmented]
        train(model, how, workbench.augmented(how), 0, Hooks(), lambda _: None)

    networks = [workbench.place(workbench.model(options.model, 0)).train() for _ in range(3)]
    return interleaved(
        {
            "bare": bare(networks[2], workbench, recipe),
            "ours": lambda: ours(recipe),
            "ours, augmented": lambda: ours(augmented),
        },
        options.rounds,
        clock=steady_clock(device),
    )


def bare(model: torch.nn.Module, workbench: Workbench, recipe: Recipe) -> Callable[[], None]:
    """Make a minimal hand-written loop."""
    (batch,) = workbench.loader(workbench.train, len(workbench.train)).in_order()
    inputs, labels = batch[0], batch[1]

    def loop() -> None:
        optimiser = torch.optim.SGD(
            model.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-4, fused=True
        )
        for _ in range(recipe.epochs):
            epoch(optimiser)

    def epoch(optimiser: torch.optim.Optimizer) -> None:
        order = torch.randperm(len(labels), device=labels.device)
        for where in torch.split(order, recipe.batch_size):
            images = inputs[where].contiguous(memory_format=torch.channels_last)
            loss = F.cross_entropy(model(images), labels[where])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()

    def in_float32() -> None:  # as ours: torch would round convolutions to TF32
        with products("fp32"):
            loop()

    return in_float32


if __name__ == "__main__":
    main()
