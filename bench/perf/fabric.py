"""Compare a training step through Lightning Fabric with the same step without it.

uv run --with lightning-fabric python -m bench.perf.fabric [--model vgg6]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor

from bench.perf.measure import heading, interleaved, quartiles, ratio
from ssbench.data.digits import digits
from ssbench.pipeline.workbench import Workbench
from ssbench.training.device import resolve


def main() -> None:
    """Print the ratio of both steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="vgg6")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    device = resolve("auto")
    print(f"{heading(device)}; {options.model} on digits, batch 64")
    workbench = Workbench(digits(), device)
    batches = list(workbench.loader(workbench.train, 64).in_order())
    fabric = Fabric(accelerator="auto", devices=1)

    def steps(*, by_fabric: bool) -> Callable[[], None]:
        model: Any = workbench.place(workbench.model(options.model, 0)).train()
        optimiser: Any = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True)
        if by_fabric:
            model, optimiser = fabric.setup(model, optimiser)

        def backward(loss: Tensor) -> None:
            if by_fabric:
                fabric.backward(loss)
            else:
                loss.backward()  # type: ignore[no-untyped-call]

        def run() -> None:
            for number in range(options.steps):
                images, labels = batches[number % (len(batches) - 1)]
                optimiser.zero_grad()
                backward(F.cross_entropy(model(images), labels))
                optimiser.step()

        return run

    seconds = interleaved(
        {"plain": steps(by_fabric=False), "fabric": steps(by_fabric=True)}, options.rounds
    )
    for name, values in seconds.items():
        print(f"{name:8} {1000 * quartiles(values)[1] / options.steps:8.3f} ms/step")
    print(f"fabric over plain: {ratio(seconds['fabric'], seconds['plain'])}")


if __name__ == "__main__":
    main()
