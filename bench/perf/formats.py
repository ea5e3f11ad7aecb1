"""Number formats, memory formats and compilation beside float32, channels last, not compiled.

uv run python -m bench.perf.formats [--model vgg-small] [--compile]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch

from bench.perf.measure import heading, interleaved, quartiles, random_images, ratio, steady_clock
from ssbench.device import resolve
from ssbench.recipe import Recipe
from ssbench.training import Hooks, train
from ssbench.workbench import Bench


def main() -> None:
    """Print what each choice does to the speed of training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="vgg-small")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--compile", action="store_true", help="also compiled (takes minutes)")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device = resolve(options.device)
    print(f"{heading(device)}; {options.model}, batch {options.batch_size}")
    bench = Bench(random_images(options.model, options.images), device)

    def epoch(memory: torch.memory_format, **settings: object) -> Callable[[], None]:
        model = bench.model(options.model, 0).to(device=device, memory_format=memory)
        recipe = Recipe.model_validate(
            {"epochs": 1, "lr": 0.01, "batch_size": options.batch_size, **settings}
        )
        loader = bench.augmented(recipe)
        return lambda: train(model, recipe, loader, 0, Hooks(), lambda _: None) and None

    last = torch.channels_last
    subjects = {
        "fp32, channels last": epoch(last),
        "fp32, contiguous": epoch(torch.contiguous_format),
        "bf16, channels last": epoch(last, precision="bf16"),
    }
    if device.type == "cuda":
        subjects["tf32, channels last"] = epoch(last, precision="tf32")
    if options.compile:
        subjects["fp32, compiled"] = epoch(last, compile=True)
        subjects["bf16, compiled"] = epoch(last, compile=True, precision="bf16")
    seconds = interleaved(subjects, options.rounds, clock=steady_clock(device))
    base = seconds["fp32, channels last"]
    for name, values in seconds.items():
        speed = options.images / quartiles(values)[1]
        print(f"{name:20} {speed:9,.0f} images/s, time over fp32's {ratio(values, base)}")


if __name__ == "__main__":
    main()
