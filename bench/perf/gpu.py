"""Run all measurements on a GPU in one call, as rows for RESULTS.md.

    uv run python -m bench.perf.gpu                                # some 20 minutes on one GPU
    uv run python -m bench.perf.gpu --only precision waits loop    # seconds: does it work at all?
    uv run python -m bench.perf.gpu --device cpu --tiny            # minutes: does this script?

GPU time is often short: each row is printed as soon as it is known, and a failing part says so in
its row without stopping the others.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import traceback
import warnings
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F

from bench.perf import dataloader, formats, images, loop, overhead, sharing
from bench.perf.measure import heading, quartiles, random_images, ratio
from ssbench.pipeline.workbench import Workbench
from ssbench.training.device import peak_memory, resolve
from ssbench.training.loop import Hooks, train
from ssbench.training.precision import products
from ssbench.training.recipe import Precision, Recipe

Row = tuple[str, str]
"""The measured quantity, and its result."""


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--models", nargs="*", default=["vgg16", "resnet18"])
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--images", type=int, default=12_800, help="of an epoch")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--photographs", type=int, default=2000, help="of the folder of images")
    parser.add_argument("--workers", type=int, nargs="*", default=[4, 8, 16])
    parser.add_argument("--concurrency", nargs="*", default=["2", "4", "auto"])
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--tiny", action="store_true", help="sizes that a CPU can do")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    if options.tiny:
        _shrink(options)
    device = resolve(options.device)
    print(f"{heading(device)}\n\n| benchmark | what | found |\n|---|---|---|", flush=True)
    for part in options.only:
        for what, found in _rows(PARTS[part], options, device):
            print(f"| `{part}` | {what} | {found} |", flush=True)


def _shrink(options: Namespace) -> None:
    options.models, options.images, options.batch_size, options.rounds = ["vgg-small"], 64, 16, 2
    options.photographs, options.workers, options.concurrency = 40, [0, 2], ["2"]


def _rows(part: Part, options: Namespace, device: torch.device) -> Iterator[Row]:
    try:
        yield from part(options, device)
    except Exception as error:
        traceback.print_exc()
        said = next(iter(str(error).splitlines()), "")
        yield "failed", f"{type(error).__name__}: {said}".replace("|", "/")


def precision(_: Namespace, device: torch.device) -> Iterator[Row]:
    """Check that float32 is float32: the error of products against double precision."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(8, 64, 32, 32, generator=generator).to(device)
    kernels = torch.randn(64, 64, 3, 3, generator=generator).to(device)
    kinds: tuple[Precision, ...] = ("fp32", "tf32")
    products_: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
        "a convolution": lambda x, w: F.conv2d(x, w, padding=1),
        "a linear layer": lambda x, w: F.linear(x.flatten(1)[:, :4096], w.reshape(9, -1)),
    }
    for name, product in products_.items():
        exact = product(pixels.double(), kernels.double())
        scale = exact.abs().max()
        found = []
        for kind in kinds:
            with products(kind):
                difference = (product(pixels, kernels).double() - exact).abs().max()
            found.append(f"{kind} {float(difference / scale):.1e}")
        yield f"largest relative error of {name}", ", ".join(found)


def waits(options: Namespace, device: torch.device) -> Iterator[Row]:
    """Count how often a training step waits for the GPU, by torch's own warnings."""
    if device.type != "cuda":
        yield "waits of a step", "no GPU"
        return
    for name in overhead.METHODS:
        counts = []
        for steps in (2, 6):
            workbench = Workbench(
                random_images(options.models[0], steps * options.batch_size), device
            )
            recipe = Recipe(epochs=1, batch_size=options.batch_size, lr=0.01)
            epoch = overhead.epoch(name, workbench, recipe, options.models[0])
            epoch()
            torch.cuda.set_sync_debug_mode("warn")
            try:
                with warnings.catch_warnings(record=True) as said:
                    warnings.simplefilter("always")
                    epoch()
            finally:
                torch.cuda.set_sync_debug_mode("default")
            counts.append(sum("synchroniz" in str(each.message) for each in said))
        each = (counts[1] - counts[0]) / 4
        yield f"waits of a step, {name}", f"{each:g}; of an epoch {counts[0] - 2 * each:g}"


def repeats(options: Namespace, device: torch.device) -> Iterator[Row]:
    """Check that the same training gives the same weights, by number format."""
    name = options.models[0]
    kinds: tuple[Precision, ...] = ("fp32", "tf32", "bf16") if device.type == "cuda" else ("fp32",)
    for kind in kinds:
        found = []
        for _ in range(2):
            workbench = Workbench(random_images(name, options.images), device)
            model = workbench.place(workbench.model(name, 0))
            torch.manual_seed(0)
            recipe = Recipe(epochs=1, batch_size=options.batch_size, lr=0.01, precision=kind)
            train(model, recipe, workbench.augmented(recipe), 0, Hooks(), lambda _: None)
            found.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
        same = torch.equal(*found)
        apart = float((found[0] - found[1]).norm() / found[0].norm())
        yield f"{name}, {kind}, an epoch twice", "equal bits" if same else f"{apart:.1e} apart"


def loops(options: Namespace, device: torch.device) -> Iterator[Row]:
    """Compare the training loop with a bare one."""
    for model in options.models:
        given = _given(options, model=model, epochs=1)
        found = loop.measured(given, device)
        for name in ("ours", "ours, augmented"):
            yield (
                f"{model}, {name}, over a bare loop; images/s",
                f"{ratio(found['bare'], found[name])}; {_speed(options.images, found[name])}",
            )


def recipes(options: Namespace, device: torch.device) -> Iterator[Row]:
    """Compare the training loop with torch's loader and torchvision's transforms."""
    for model in options.models:
        for workers in options.workers:
            data = random_images(model, options.images)
            found = dataloader.measured(_given(options, model=model, workers=workers), data, device)
            yield (
                f"{model}, over a DataLoader with {workers} workers; images/s",
                f"{ratio(found['usual'], found['ours'])}; {_speed(options.images, found['ours'])}",
            )


def choices(options: Namespace, device: torch.device) -> Iterator[Row]:
    """Compare number formats, memory formats and compilation."""
    for model in options.models:
        found = formats.measured(_given(options, model=model), device)
        base = found["fp32, channels last"]
        for name, values in found.items():
            yield (
                f"{model}, {name}: time over fp32, channels last; images/s",
                f"{ratio(values, base)}; {_speed(options.images, values)}",
            )
        yield f"{model}: peak memory by then", f"{peak_memory(device) / 2**30:.2f} GiB"


def methods(options: Namespace, device: torch.device) -> Iterator[Row]:
    """Compare a method's step with a dense one."""
    steps = max(options.images // options.batch_size, 1)
    for model in options.models:
        given = _given(options, model=model, steps=steps, methods=overhead.METHODS)
        found = overhead.measured(given, device)
        for name in overhead.METHODS:
            yield (
                f"{model}, a step of {name} over the dense one",
                ratio(found[name], found["dense"]),
            )


def photographs(options: Namespace, device: torch.device) -> Iterator[Row]:
    """Compare images from the disk resized by the workers and on the GPU."""
    with tempfile.TemporaryDirectory() as folder:
        images.make(Path(folder), options.photographs)
        for workers in options.workers:
            found = images.resized(Path(folder), device, workers, options.rounds)
            yield (
                f"{options.photographs} photographs, {workers} workers, resized by them; images/s",
                _speed(options.photographs, found["by workers"]),
            )
            yield (
                "the same resized on the device; over that",
                f"{_speed(options.photographs, found['on the device'])}; "
                f"{ratio(found['by workers'], found['on the device'])}",
            )


def side_by_side(options: Namespace, device: torch.device) -> Iterator[Row]:
    """Compare whole commands with several stages at a time and with one."""
    short = ["--set", "seeds=[0]", *sharing.SHORT[:4]] if options.tiny else sharing.SHORT
    taken = {}
    for concurrency in ("1", *options.concurrency):
        with tempfile.TemporaryDirectory() as folder:
            how = [*short, "--concurrency", concurrency, "--device", str(device)]
            taken[concurrency] = sharing.timed("quickstart", Path(folder), *how)
        what = f"quickstart cut short, --concurrency {concurrency}, over 1 (n = 1)"
        yield what, f"{taken['1'] / taken[concurrency]:.2f}; {taken[concurrency]:.0f} s"


def _given(options: Namespace, **more: object) -> Namespace:
    return Namespace(**(vars(options) | more))


def _speed(count: int, seconds: list[float]) -> str:
    low, middle, high = quartiles(seconds)
    return f"{count / middle:,.0f} [{count / high:,.0f}, {count / low:,.0f}]"


Part = Callable[[Namespace, torch.device], Iterator[Row]]
PARTS: dict[str, Part] = {
    "precision": precision,
    "waits": waits,
    "repeats": repeats,
    "loop": loops,
    "dataloader": recipes,
    "formats": choices,
    "overhead": methods,
    "images": photographs,
    "sharing": side_by_side,
}
"""The parts by name, in the order of importance; most have the name of their own script."""


if __name__ == "__main__":
    began = time.monotonic()
    main()
    print(f"\n{time.monotonic() - began:.0f} s in all")
