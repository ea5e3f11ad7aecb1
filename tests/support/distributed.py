"""Trainings that one process does alone, or several do jointly.

In double precision: what differs beyond the order of additions shows.
"""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from ssbench.data.dataset import Split
from ssbench.data.digits import digits
from ssbench.data.loader import Loader, MemoryFeed
from ssbench.errors import RunFailedError
from ssbench.method.contract import Method, offer
from ssbench.models.registry import MODELS
from ssbench.pruning.masking import keep_masked
from ssbench.training.distributed.launch import Place, joined
from ssbench.training.distributed.single import SingleProcess
from ssbench.training.loop import Epoch, Hooks, train
from ssbench.training.recipe import Recipe

DATA = digits()
Found = dict[str, Tensor]


@dataclass(frozen=True)
class Doubled:
    """A loader whose images are in double precision."""

    loader: Loader

    @property
    def split(self) -> Split:
        return self.loader.split

    def in_order(self) -> Iterator[tuple[Tensor, Tensor]]:
        return ((images.double(), labels) for images, labels in self.loader.in_order())

    def shuffled(self, *generators: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        return ((images.double(), labels) for images, labels in self.loader.shuffled(*generators))

    def feed(self) -> MemoryFeed:
        return DoubledFeed(self.loader)


class DoubledFeed(MemoryFeed):
    """Its batches."""

    def batch(self, size: int) -> tuple[Tensor, Tensor]:
        images, labels = super().batch(size)
        return images.double(), labels


def method(name: str, **settings: Any) -> Method:
    """Make a method without loading all the others."""
    module = importlib.import_module(f"ssbench.methods.{name}")
    found = next(
        thing
        for thing in vars(module).values()
        if isinstance(thing, type) and issubclass(thing, Method) and thing is not Method
    )
    return found(**settings)


def trained(
    spread: SingleProcess,
    model: nn.Module,
    hooks: Hooks,
    images: int,
    batch_size: int,
    epochs: int = 2,
) -> Found:
    """Train on the first images; return what a checkpoint would hold, and the epochs' sums."""
    split = Split(DATA.train.images[:images], DATA.train.labels[:images])
    loader = Loader(split, DATA.normalisation, batch_size, 1, True, share=spread.share)
    recipe = Recipe(epochs=epochs, lr=0.05, batch_size=batch_size, schedule="one-cycle")
    told: list[Epoch] = []
    torch.manual_seed(3)
    train(model, recipe, Doubled(loader), 5, hooks, told.append)
    sums = torch.tensor([[epoch.loss, epoch.error] for epoch in told], dtype=torch.double)
    return {name: t.detach().clone() for name, t in model.state_dict().items()} | {"sums": sums}


def by_method(
    spread: SingleProcess,
    name: str,
    images: int = 60,
    batch_size: int = 13,
    network: str = "vgg6",
    held: float = 0.0,
    **settings: Any,
) -> Found:
    """Train a network with what a method adds; ``held``: so much of the weights stays at zero."""
    torch.manual_seed(0)
    model = MODELS[network](1, 10).double().to(memory_format=torch.channels_last)
    masks = {k: torch.rand_like(p) >= held for k, p in model.named_parameters() if p.dim() == 4}
    of = method(name, **settings)
    offer(of.attach, model, fresh=True)
    model.double()
    keep = keep_masked(model, masks)
    keep(0.0)

    def after_step(progress: float) -> None:
        of.after_step(model, progress)
        keep(progress)

    hooks = Hooks(
        offer(of.parameter_groups, model),
        lambda: offer(of.penalty, model, images=images),
        after_step if held else lambda progress: of.after_step(model, progress),
        spread=spread,
    )
    return trained(spread, model, hooks, images, batch_size)


class Noisy(nn.Module):
    """Drops in every way, has a parameter without a part in the logits, and one in the penalty."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.BatchNorm2d(8, momentum=None),
            nn.Dropout2d(0.2),
            nn.ReLU(),
            nn.Dropout(0.1),
        )
        self.dropped = nn.Sequential(StochasticDepth(0.3, "row"), StochasticDepth(0.1, "batch"))
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(512, 10), nn.BatchNorm1d(10, affine=False)
        )
        self.unused = nn.Parameter(torch.ones(3))
        self.penalised = nn.Parameter(torch.ones(3))
        self.gates = nn.Parameter(torch.ones(8, 1, 1, 1))  # as many as a process may have images

    def forward(self, images: Tensor) -> Tensor:
        drawn = torch.empty_like(self.gates).bernoulli_(0.5)
        maps = self.body(images + (self.gates * drawn).sum())
        logits: Tensor = self.head(maps + self.dropped(maps))
        return logits


def noisy(spread: SingleProcess) -> Found:
    torch.manual_seed(0)
    model = Noisy().double().to(memory_format=torch.channels_last)
    hooks = Hooks(penalty=lambda: model.penalised.square().sum(), spread=spread)
    return trained(spread, model, hooks, 61, 15)


def drifting(spread: SingleProcess) -> Found:
    """A method that does after a step what another process does not do."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).double()

    def after_step(_: float) -> None:
        model[1].bias.data.add_(1e-15 * spread.share.rank)

    return failed(spread, model, Hooks(after_step=after_step, spread=spread))


class Jitter(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn_like(x)


def jittery(spread: SingleProcess) -> Found:
    """A layer with noise of a kind that nothing is known of."""
    model = nn.Sequential(nn.Flatten(), Jitter(), nn.Linear(64, 10)).double()
    return failed(spread, model, Hooks(spread=spread))


def failed(spread: SingleProcess, model: nn.Module, hooks: Hooks) -> Found:
    try:
        trained(spread, model, hooks, 21, 7, epochs=1)
    except RunFailedError as error:
        return {"error": torch.tensor(list(str(error).encode()))}
    return {}


def whole_sync(spread: SingleProcess) -> Found:
    """torch's own synchronised batch norm, on this device."""
    del spread
    try:
        nn.SyncBatchNorm(3)(torch.randn(4, 3, 2, 2))
    except ValueError as error:
        return {"error": torch.tensor(list(str(error).encode()))}
    return {}


QUICK: dict[str, Any] = {
    "l0": lambda spread: by_method(spread, "l0", lambda_=1e-2),
    "synaptic-strength": lambda spread: by_method(spread, "synaptic_strength", held=0.5),
    "one image": lambda spread: by_method(spread, "network_slimming", images=1, lambda_=1e-2),
    "noisy": noisy,
    "drifting": drifting,
    "jittery": jittery,
    "torch's own": whole_sync,
}
MATRIX: dict[str, Any] = {
    f"{name} {images}/{size} {network}": (
        lambda spread, name=name, images=images, size=size, network=network: by_method(
            spread, name, images, size, network
        )
    )
    for name in ("connection_lasso", "dense", "l0", "network_slimming", "synaptic_strength")
    for images, size in ((20, 6), (48, 16), (30, 7), (2, 2))
    for network in (("vgg6", "resnet20") if size == 6 else ("vgg6",))
}  # fmt: skip


def work(rank: int, of: int, port: int, folder: str, matrix: bool) -> None:
    """Do all trainings as one of several processes, and write down what they gave."""
    torch.set_num_threads(1)
    cases = MATRIX if matrix else QUICK
    with joined(Place(rank, of, port, 60.0), "cpu") as spread:
        found = {name: case(spread) for name, case in cases.items()}
    torch.save(found, Path(folder) / f"{rank}.pt")
