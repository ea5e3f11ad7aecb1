"""Compare a joint step of several processes with one process of as many threads in total.

uv run python -m bench.perf.devices [--model vgg-small] [--batch-size 128]
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection

import torch

from bench.perf.measure import heading, interleaved, quartiles, random_images, ratio
from ssbench.pipeline.workbench import Workbench
from ssbench.training.device import resolve
from ssbench.training.distributed.launch import Place, joined, meeting_point
from ssbench.training.distributed.single import SingleProcess
from ssbench.training.loop import Hooks, train
from ssbench.training.recipe import Recipe


@dataclass(frozen=True)
class What:
    """A training, the same in every process."""

    model: str
    images: int
    batch_size: int
    threads: int


def main() -> None:
    """Print the ratio of both steps, in wall-clock and in processor time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="vgg-small")
    parser.add_argument("--devices", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, help="of the single process [as many as devices]")
    options = parser.parse_args()
    of = options.devices
    images = options.steps * options.batch_size
    what = What(options.model, images, options.batch_size, 1)
    torch.set_num_threads(options.threads or of)
    print(f"{heading(resolve('cpu'))}; {what}; {of} processes")
    processor: dict[str, list[float]] = {"alone": [], "jointly": []}
    epoch = trainer(what, SingleProcess())

    def alone() -> None:
        began = time.process_time()
        epoch()
        processor["alone"].append(time.process_time() - began)

    with ExitStack() as stack:
        pipes = members(what, of, stack)

        def jointly() -> None:
            for pipe in pipes:
                pipe.send(True)
            processor["jointly"].append(sum(pipe.recv() for pipe in pipes))

        seconds = interleaved({"alone": alone, "jointly": jointly}, options.rounds)
        for pipe in pipes:
            pipe.send(False)
    for name, values in seconds.items():
        print(f"{name:8} {1000 * quartiles(values)[1] / options.steps:8.1f} ms/step")
    print(f"jointly over alone, wall clock:     {ratio(seconds['jointly'], seconds['alone'])}")
    spent = {name: values[-options.rounds :] for name, values in processor.items()}
    print(f"jointly over alone, processor time: {ratio(spent['jointly'], spent['alone'])}")


def trainer(what: What, spread: SingleProcess) -> Callable[[], None]:
    """Make a function that trains for one epoch."""
    torch.set_num_threads(what.threads if spread.share.of > 1 else torch.get_num_threads())
    workbench = Workbench(random_images(what.model, what.images), resolve("cpu"), spread)
    model = workbench.place(workbench.model(what.model, 0))
    recipe = Recipe(epochs=1, lr=0.01, batch_size=what.batch_size, shift=0, flip=False)

    def epoch() -> None:
        train(model, recipe, workbench.augmented(recipe), 0, Hooks(spread=spread), lambda _: None)

    return epoch


def members(what: What, of: int, stack: ExitStack) -> list[Connection]:
    """Start the processes; each trains an epoch for every True, and answers with its seconds."""
    context, meeting = multiprocessing.get_context("spawn"), meeting_point()
    pipes = []
    for rank in range(of):
        ours, theirs = context.Pipe()
        place = Place(rank, of, meeting.port, 600.0)
        process = context.Process(target=member, args=(what, place, theirs))
        process.start()
        stack.callback(process.join)
        stack.callback(lambda _: None, meeting)  # must outlive them
        pipes.append(ours)
    return pipes


def member(what: What, place: Place, pipe: Connection) -> None:
    """Run one of the processes."""
    with joined(place, "cpu") as spread:
        epoch = trainer(what, spread)
        while pipe.recv():
            began = time.process_time()
            epoch()
            pipe.send(time.process_time() - began)


if __name__ == "__main__":
    main()
