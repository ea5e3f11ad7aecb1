"""What there is, where the modules that define it have to be imported to know it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from ssbench.data import DATASETS
from ssbench.models import IMAGENET, MODELS, build
from ssbench.registry import MethodFile, discover
from ssbench.sources import Described


def methods(files: Sequence[Path]) -> tuple[list[Described], dict[str, str]]:
    """Import every method; return what they say of themselves, and why others are broken."""
    registry = discover(files)
    return [_described(name, file) for name, file in registry.methods.items()], registry.broken


def _described(name: str, file: MethodFile) -> Described:
    method = file.cls()
    summary = (file.cls.__doc__ or "").strip().splitlines()[0]
    search = dict(method.search)
    return Described(name, method.grain, method.settings, summary, method.paper, search)


def models(console: Console) -> None:
    """List every network with its size."""
    table = Table("model", "image", "classes", "parameters", "what it is")
    for name in (*MODELS, *IMAGENET):
        channels = 1 if name == "lenet5" else 3
        image = "224" if name in IMAGENET else "28" if name == "lenet5" else "8 to 32"
        classes = 1000 if name in IMAGENET else 10
        with torch.device("meta"):  # no weights are drawn
            model = build(name, channels, classes)
        params = sum(parameter.numel() for parameter in model.parameters())
        theirs = IMAGENET.get(name)
        said = theirs.summary if theirs else (MODELS[name].__doc__ or "").strip().splitlines()[0]
        table.add_row(name, image, str(classes), f"{params:,}", said)
    table.add_row("torchvision:NAME", "-", "-", "-", "any classifier of torchvision's")
    table.add_row("timm:NAME", "-", "-", "-", "any model of timm's that torch.fx can trace")
    console.print(table)


def datasets(console: Console) -> None:
    """List every data set."""
    table = Table("data set", "image", "classes", "train / validation / test", "what it is")
    for name, source in DATASETS.items():
        shape = " x ".join(map(str, source.shape))
        images = " / ".join(f"{count:,}" for count in source.images)
        table.add_row(name, shape, str(source.classes), images, source.summary)
    summary = "a folder of your own: PATH/train/CLASS/*.jpg, PATH/val/CLASS/*.jpg"
    table.add_row("imagefolder:PATH", "3 x 224 x 224", "-", "-", summary)
    console.print(table)
