"""Measure everything that matters on a GPU in one call of at most five minutes.

    uv run python -m bench.perf.gpu                                # rows for RESULTS.md
    uv run python -m bench.perf.gpu --only precision repeats       # seconds: is it right?
    uv run python -m bench.perf.gpu --device cpu --tiny            # minutes: does this script work?

GPU time is often short: each row is printed as soon as it is known, a part that fails or takes too
long says so in its row without stopping the others, and `--json FILE` gets all rows in the end.
"""

from __future__ import annotations

import argparse
import copy
import json
import signal
import tempfile
import time
import traceback
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import FrameType

import torch
import torch.nn.functional as F

from bench.perf import dataloader, images, trainings
from bench.perf.measure import heading, interleaved, quartiles, random_images, ratio
from ssbench.data.dataset import DataSet
from ssbench.method.contract import offer
from ssbench.method.registry import discover
from ssbench.pipeline.workbench import Workbench
from ssbench.training.checkpoint import UNSAVED, Checkpointer, TrainingState
from ssbench.training.device import peak_memory, resolve
from ssbench.training.loop import Epoch, Hooks, Trained, train
from ssbench.training.precision import products
from ssbench.training.recipe import Precision, Recipe
from ssbench.training.repeatable import unrepeatable
from ssbench.training.steps import uncaptured

PENALISED = ("synaptic-strength", "l0", "network-slimming", "connection-lasso")


@dataclass(frozen=True)
class Row:
    """A measured quantity; ``found`` is its text, ``value`` the median where there is one."""

    what: str
    found: str
    value: float | None = None


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--models", nargs="*", default=["vgg16", "resnet18"])
    parser.add_argument("--images", type=int, default=25_600, help="of an epoch")
    parser.add_argument("--batch-sizes", type=int, nargs="*", default=[128, 512])
    parser.add_argument("--epochs", type=int, default=6, help="of which the first two warm up")
    parser.add_argument("--photographs", type=int, default=1500, help="of the folder of images")
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--processes", type=int, nargs="*", default=[1, 4, 8])
    parser.add_argument("--seconds", type=int, default=290, help="for all parts together")
    parser.add_argument("--tiny", action="store_true", help="sizes that a CPU can do")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    if options.tiny:
        _shrink(options)
    device = resolve(options.device)
    print(f"{heading(device)}\n\n| benchmark | what | found |\n|---|---|---|", flush=True)
    end, rows = time.monotonic() + options.seconds, list[dict[str, object]]()
    for name in options.only:
        for row in _rows(name, options, device, end - time.monotonic()):
            print(f"| `{name}` | {row.what} | {row.found} |", flush=True)
            rows.append({"part": name, **asdict(row)})
    if options.json:
        options.json.write_text(json.dumps({"on": heading(device), "rows": rows}, indent=1))


def _shrink(options: Namespace) -> None:
    options.models, options.images, options.batch_sizes = ["vgg-small"], 64, [16]
    options.photographs, options.workers, options.processes, options.epochs = 40, 2, [1, 2], 3
    options.seconds = 3600


class OutOfTimeError(Exception):
    """A part has used up its seconds."""


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    def end(_: int, __: FrameType | None) -> None:
        raise OutOfTimeError(f"stopped after {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.1))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _rows(name: str, options: Namespace, device: torch.device, left: float) -> Iterator[Row]:
    measure, limit = PARTS[name]
    if left < 1:
        yield Row("not measured", "no time was left")
        return
    began = time.monotonic()
    try:
        with _at_most(left if options.tiny else min(limit, left)):
            yield from measure(options, device)
    except Exception as error:
        traceback.print_exc()
        said = next(iter(str(error).splitlines()), "")
        yield Row("failed", f"{type(error).__name__}: {said}".replace("|", "/"))
    yield Row("seconds of this part", f"{time.monotonic() - began:.0f}", time.monotonic() - began)


@dataclass
class Training:
    """Trainings of one network on random images, and what one of them measured.

    Attributes:
        method: by name; its penalty and hooks belong to the step.
        captured: whether steps may be recorded.
        repeats: whether kernels must be deterministic.
    """

    model: str
    data: DataSet
    recipe: Recipe
    device: torch.device
    method: str = "dense"
    captured: bool = True
    repeats: bool = True

    def run(
        self, listen: Callable[[Epoch], None] = lambda _: None, saver: Checkpointer = UNSAVED
    ) -> Trained:
        """Train from the same start, in the same order."""
        workbench = Workbench(self.data, self.device)
        method = discover().methods[self.method].cls()
        network = workbench.model(self.model, 0)
        offer(method.attach, network)
        self.network = network = workbench.place(network)
        hooks = Hooks(
            offer(method.parameter_groups, network),
            partial(offer, method.penalty, network, images=50_000, weight_decay=1e-4),
            partial(method.after_step, network),
            saver=saver,
        )
        torch.manual_seed(0)
        with ExitStack() as stack:
            if not self.captured:
                stack.enter_context(uncaptured())
            if not self.repeats:
                stack.enter_context(unrepeatable())
            loader = workbench.augmented(self.recipe)
            return train(network, self.recipe, loader, 0, hooks, listen)

    def seconds(self) -> list[float]:
        """Train; return the seconds of each epoch after the first two."""
        taken: list[float] = []
        count = len(self.data.train)
        self.told = self.run(lambda epoch: taken.append(count / epoch.images_per_second))
        return taken[min(2, len(taken) - 1) :]

    def weights(self, saver: Checkpointer = UNSAVED) -> torch.Tensor:
        """Train; return all parameters."""
        self.told = self.run(saver=saver)
        return torch.cat([p.detach().flatten() for p in self.network.parameters()])


def _training(options: Namespace, device: torch.device, **given: object) -> Training:
    own = {f: given.pop(f) for f in ("method", "captured", "repeats") if f in given}
    model = str(given.pop("model", options.models[0]))
    settings = {"epochs": options.epochs, "batch_size": options.batch_sizes[0], "lr": 0.01}
    data = random_images(model, options.images)
    return Training(model, data, Recipe.model_validate(settings | given), device, **own)  # type: ignore[arg-type]


def _speed(count: int, seconds: list[float]) -> str:
    low, middle, high = quartiles(seconds)
    return f"{count / middle:,.0f} [{count / high:,.0f}, {count / low:,.0f}], n = {len(seconds)}"


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
        yield Row(f"largest relative error of {name}", ", ".join(found))


def speed(options: Namespace, device: torch.device) -> Iterator[Row]:
    """Compare the ways to train, all in this call; the first is an experiment's default."""
    for model in options.models:
        base = 0.0
        for number, batch in enumerate(options.batch_sizes):
            ways: list[dict[str, object]] = [
                {"precision": "fp32", "captured": False, "epochs": 3},
                {"precision": "tf32"},
                {"precision": "bf16", "captured": False, "epochs": 4},
                {"precision": "bf16", "repeats": False},
                {"precision": "bf16"},
                {"precision": "bf16", "compile": True},
            ]
            first = model == options.models[0]
            # A further network shows the first way and the usual one; to compile it takes long.
            chosen = ways[4:] if number else ways
            for way in chosen if first else [ways[0], ways[4]][number:]:
                training = _training(options, device, model=model, batch_size=batch, **way)
                began = time.perf_counter()
                seconds = training.seconds()
                whole = time.perf_counter() - began
                rate = options.images / quartiles(seconds)[1]
                base = base or rate
                what = ", ".join(f"{key} {value}" for key, value in way.items() if key != "epochs")
                found = f"{_speed(options.images, seconds)}; {rate / base:.2f} times the first"
                found += f"; training {whole:.1f} s" if way.get("compile") else ""
                notes = training.told.notes
                found += f"; {'; '.join(notes)}" if notes else ""
                yield Row(f"{model}, batch {batch}, {what}: images/s", found, rate)
    yield Row("peak memory by then", f"{peak_memory(device) / 2**30:.2f} GiB")


def kernels(options: Namespace, device: torch.device) -> Iterator[Row]:
    """Compare the wall clock of a step with the sum of its kernels."""
    if device.type != "cuda":
        yield Row("kernels of a step", "no GPU")
        return
    from torch.profiler import ProfilerActivity, profile

    for compiled in (False, True):
        how = {"precision": "bf16", "compile": compiled, "epochs": 4}
        training = _training(options, device, **how)
        steps = 20
        count = steps * options.batch_sizes[0]
        training.data = random_images(training.model, count)
        profiler = profile(activities=[ProfilerActivity.CUDA])
        wall = _third_epoch(training, profiler.start, profiler.stop) / steps
        found = profiler.key_averages()
        busy = sum(kernel.self_device_time_total for kernel in found) / steps / 1e6
        text = f"{wall / busy:.3f} ({1e6 * wall:.0f} us, kernels {1e6 * busy:.0f} us, "
        text += f"{sum(kernel.count for kernel in found) / steps:.0f} launches)"
        name = "compiled" if compiled else "not compiled"
        yield Row(f"a step of {training.model}, {name}: wall over kernels", text, wall / busy)


def _third_epoch(training: Training, start: Callable[[], None], stop: Callable[[], None]) -> float:
    """Train four epochs; return the seconds of the third. The profiler slows the fourth down."""
    seconds = [0.0]

    def listen(epoch: Epoch) -> None:
        if epoch.number == 3:
            seconds[0] = len(training.data.train) / epoch.images_per_second
            start()
        if epoch.number == 4:
            torch.cuda.synchronize()
            stop()

    training.run(listen)
    return seconds[0]


def repeats(options: Namespace, device: torch.device) -> Iterator[Row]:
    """Check that the same training gives the same weights, captured or not."""
    kinds: tuple[Precision, ...] = ("fp32", "tf32", "bf16") if device.type == "cuda" else ("fp32",)
    for kind in kinds:
        how = {"precision": kind, "epochs": 1}
        first = _training(options, device, **how).weights()
        for name, more in (("an epoch twice", {}), ("captured and not", {"captured": False})):
            again = _training(options, device, **how, **more).weights()
            apart = float((first - again).norm() / first.norm())
            same = "equal bits" if torch.equal(first, again) else f"{apart:.1e} apart"
            yield Row(f"{options.models[0]}, {kind}, {name}", same, apart)
    gated = _training(options, device, precision=kinds[-1], epochs=2, method="l0")
    kept = _Kept()
    weights = gated.weights(kept)
    same = "equal bits" if torch.equal(weights, gated.weights(kept)) else "other bits"
    yield Row(f"{options.models[0]}, l0, {kinds[-1]}, resumed after the first epoch", same)


class _Kept(Checkpointer):
    """Keeps the state after the first epoch on the host, and resumes from it."""

    def __init__(self) -> None:
        self._state: TrainingState | None = None

    def resume(self, network: torch.nn.Module) -> TrainingState | None:
        del network
        return self._state

    def after_epoch(self, number: int, of: int, take: Callable[[], TrainingState]) -> None:
        del of
        if number == 1:
            taken = take()
            tensors = {name: t.detach().cpu().clone() for name, t in taken.tensors.items()}
            self._state = TrainingState(tensors, copy.deepcopy(taken.facts))


def methods(options: Namespace, device: torch.device) -> Iterator[Row]:
    """Compare a method's step with a dense one, and say which steps are captured."""
    how: dict[str, object] = {"precision": "bf16", "epochs": 4}
    for model in options.models:
        dense = _training(options, device, **how, model=model).seconds()
        for name in PENALISED:
            training = _training(options, device, **how, model=model, method=name)
            yield _over(f"{model}, a step of {name} over the dense one", training, dense)
    how |= {"compile": True}
    dense = _training(options, device, **how).seconds()
    for name in PENALISED:
        training = _training(options, device, **how, method=name)
        yield _over(f"{training.model}, the same compiled, {name}", training, dense)


def _over(what: str, training: Training, dense: list[float]) -> Row:
    seconds = training.seconds()
    notes = "; ".join(training.told.notes or [])
    found = ratio(seconds, dense[: len(seconds)])
    return Row(what, f"{found}{'; ' * bool(notes)}{notes}", float(found.split()[0]))


def recipes(options: Namespace, device: torch.device) -> Iterator[Row]:
    """Compare the training loop with torch's loader and torchvision's transforms, at bf16."""
    data = random_images(options.models[0], min(options.images, 12_800))
    given = Namespace(
        model=options.models[0], workers=options.workers, rounds=3, precision="bf16", epochs=4
    )
    found = dataloader.measured(given, data, device)
    what = f"{given.model}, bf16, over a DataLoader with {given.workers} workers; images/s"
    text = f"{ratio(found['usual'], found['ours'])}; {_speed(len(data.train) * 4, found['ours'])}"
    yield Row(what, text)


def photographs(options: Namespace, device: torch.device) -> Iterator[Row]:
    """Compare photographs decoded by processes with those that the GPU decodes."""
    with tempfile.TemporaryDirectory() as folder:
        images.make(Path(folder), options.photographs)
        found = interleaved(images.decoders(Path(folder), device, options.workers), 3)
        for name, seconds in found.items():
            what = f"{options.photographs} photographs, {name}; images/s"
            yield Row(what, _speed(options.photographs, seconds))


def side_by_side(options: Namespace, device: torch.device) -> Iterator[Row]:
    """Count how many small trainings a GPU finishes in an hour, by number of processes."""
    for processes in options.processes:
        count, seconds = trainings.finished(processes, str(device), tiny=options.tiny)
        rate = 3600 * count / seconds
        what = f"trainings per hour, {trainings.WHAT}, {processes} processes"
        yield Row(what, f"{rate:,.0f} ({count} in {seconds:.1f} s)", rate)


Part = Callable[[Namespace, torch.device], Iterator[Row]]
PARTS: dict[str, tuple[Part, float]] = {
    "precision": (precision, 10),
    "speed": (speed, 110),
    "kernels": (kernels, 30),
    "repeats": (repeats, 40),
    "sharing": (side_by_side, 60),
    "dataloader": (recipes, 25),
    "images": (photographs, 25),
    "methods": (methods, 110),
}
"""The parts by name with the most seconds that each may take, in the order of importance."""


if __name__ == "__main__":
    began = time.monotonic()
    main()
    print(f"\n{time.monotonic() - began:.0f} s in all")
