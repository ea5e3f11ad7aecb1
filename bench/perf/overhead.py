"""Compare a method's training step with the dense step of the same network.

uv run python -m bench.perf.overhead [--model vgg16] [--batch-size 128] [--methods l0 ...]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch

from bench.perf.measure import heading, interleaved, quartiles, random_images, ratio, steady_clock
from ssbench.method.contract import offer
from ssbench.method.registry import discover
from ssbench.pipeline.workbench import Workbench
from ssbench.training.device import resolve
from ssbench.training.loop import Hooks, train
from ssbench.training.recipe import Recipe

METHODS = ["synaptic-strength", "l0", "network-slimming", "connection-lasso"]


def main() -> None:
    """Print the ratio for each method."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="vgg16")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=1, help="in each turn")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--methods", nargs="*", default=METHODS)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device = resolve(options.device)
    print(f"{heading(device)}; {options.model}, batch {options.batch_size}")
    seconds = measured(options, device)
    for name, values in seconds.items():
        step = 1000 * quartiles(values)[1] / options.steps
        print(f"{name:18} {step:9.1f} ms/step, of dense {ratio(values, seconds['dense'])}")


def measured(options: argparse.Namespace, device: torch.device) -> dict[str, list[float]]:
    """Return the seconds of ``steps`` steps, by method; the options are those of `main`."""
    data = random_images(options.model, options.batch_size * options.steps)
    workbench = Workbench(data, device)
    recipe = Recipe(epochs=1, batch_size=options.batch_size, lr=0.01)
    epochs = {name: epoch(name, workbench, recipe, options.model) for name in options.methods}
    dense = {"dense": epoch("dense", workbench, recipe, options.model)}
    return interleaved(dense | epochs, options.rounds, clock=steady_clock(device))


def epoch(name: str, workbench: Workbench, recipe: Recipe, network: str) -> Callable[[], object]:
    """Make an epoch of the training loop with a method's hooks."""
    method = discover().methods[name].cls()
    model = workbench.place(workbench.model(network, 0))
    torch.manual_seed(0)
    offer(method.attach, model)
    model = workbench.place(model)
    hooks = Hooks(
        offer(method.parameter_groups, model),
        lambda: offer(method.penalty, model, images=50_000),
        lambda progress: method.after_step(model, progress),
    )
    loader = workbench.augmented(recipe)
    return lambda: train(model, recipe, loader, 0, hooks, lambda _: None)


if __name__ == "__main__":
    main()
