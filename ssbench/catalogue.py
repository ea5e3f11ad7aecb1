"""What there is, as tables on a console: methods, models, data sets, experiments, records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from ssbench.data import DATASETS
from ssbench.experiment import load, shipped
from ssbench.method import Method
from ssbench.models import IMAGENET, MODELS, build
from ssbench.registry import discover


def methods(console: Console, files: Sequence[Path]) -> dict[str, str]:
    """List every method with its hyper-parameters; return the broken ones with the reasons."""
    registry = discover(files)
    table = Table("method", "grain", "hyper-parameters (defaults)", "what it does", "source")
    for name, file in registry.methods.items():
        method = file.cls()
        settings = "\n".join(_setting(method, key, value) for key, value in method.settings.items())
        summary = (file.cls.__doc__ or "").strip().splitlines()[0]
        table.add_row(name, method.grain, settings or "-", summary, method.paper or "-")
    console.print(table)
    for name, reason in registry.broken.items():
        console.print(f"{name}: cannot be loaded: {reason}", style="red", markup=False)
    return registry.broken


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


def experiments(console: Console) -> None:
    """List the experiments that ship with ssbench."""
    table = Table("experiment", "title", "data set", "models", "seeds")
    for name, path in shipped().items():
        found = load(path)
        models_ = ", ".join(found.models)
        table.add_row(name, found.title, found.dataset, models_, str(len(found.seeds)))
    console.print(table)


def record(console: Console, stages: Sequence[Mapping[str, object]]) -> None:
    """Print the records of one run, a column per stage."""
    columns = [str(stage["stage"]) for stage in stages]
    table = Table("key", *columns, title=str(stages[0]["run"]))
    for key in stages[0]:
        values = [_short(stage.get(key)) for stage in stages]
        if key != "run":
            table.add_row(key, *values)
    console.print(table)


def _short(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, Mapping):
        return "\n".join(f"{key}: {_short(item)}" for key, item in value.items()) or "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


def _setting(method: Method, name: str, value: object) -> str:
    tuned = f" (tune: {method.search[name]})" if name in method.search else ""
    return f"{name} = {_toml(value)}{tuned}"


def _toml(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower()
