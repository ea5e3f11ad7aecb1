"""Compare number formats, memory formats and compilation with float32, channels last, uncompiled.

uv run python -m bench.perf.formats [--model vgg-small] [--compile]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch

from bench.perf.measure import heading, interleaved, quartiles, random_images, ratio, steady_clock
from ssbench.pipeline.workbench import Workbench
from ssbench.training.device import resolve
from ssbench.training.loop import Epoch, Hooks, train
from ssbench.training.recipe import Recipe

WARM_UP = 3
"""Epochs for compiling code and recording CUDA graphs."""


def main() -> None:
    """Print the effect of each choice on the speed of training."""
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
    seconds = measured(options, device)
    base = seconds["fp32, channels last"]
    for name, values in seconds.items():
        speed = options.images / quartiles(values)[1]
        print(f"{name:24} {speed:9,.0f} images/s, time over fp32's {ratio(values, base)}")


def measured(options: argparse.Namespace, device: torch.device) -> dict[str, list[float]]:
    """Return the seconds of an epoch, by choice; the options are those of `main`.

    Compiled variants do not take turns, because every training compiles again; their seconds are
    those of the later epochs of one training.
    """
    workbench = Workbench(random_images(options.model, options.images), device)

    def training(
        memory: torch.memory_format, epochs: int = 1, **settings: object
    ) -> Callable[[], list[float]]:
        model = workbench.model(options.model, 0).to(device).to(memory_format=memory)
        recipe = Recipe.model_validate(
            {"epochs": epochs, "lr": 0.01, "batch_size": options.batch_size, **settings}
        )
        loader, taken = workbench.augmented(recipe), list[float]()

        def train_() -> list[float]:
            def listen(epoch: Epoch) -> None:
                taken.append(options.images / epoch.images_per_second)

            train(model, recipe, loader, 0, Hooks(), listen)
            return taken

        return train_

    last = torch.channels_last
    subjects: dict[str, Callable[[], object]] = {
        "fp32, channels last": training(last),
        "fp32, contiguous": training(torch.contiguous_format),
        "bf16, channels last": training(last, precision="bf16"),
    }
    if device.type == "cuda":
        subjects["tf32, channels last"] = training(last, precision="tf32")
        subjects["tf32, contiguous"] = training(torch.contiguous_format, precision="tf32")
        subjects["fp32, cuDNN's benchmark"] = _tried_out(training(last))
    seconds = interleaved(subjects, options.rounds, clock=steady_clock(device))
    if options.compile:
        precisions = ("fp32", "tf32", "bf16") if device.type == "cuda" else ("fp32", "bf16")
        for precision in precisions:
            compiled = training(last, options.rounds + WARM_UP, compile=True, precision=precision)
            seconds[f"{precision}, compiled"] = compiled()[WARM_UP:]
    return seconds


def _tried_out(call: Callable[[], object]) -> Callable[[], None]:
    """Let cuDNN search for the fastest convolution, unlike ssbench: results would vary."""

    def trying() -> None:
        torch.backends.cudnn.benchmark = True
        try:
            call()
        finally:
            torch.backends.cudnn.benchmark = False

    return trying


if __name__ == "__main__":
    main()
