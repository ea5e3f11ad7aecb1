"""Print lists of what is available as tables, without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from ssbench.data.registry import DATASETS
from ssbench.experiment.spec import load, shipped
from ssbench.method.describe import Described
from ssbench.models.registry import IMAGENET, MODELS


def methods(console: Console, found: Sequence[Described]) -> None:
    """List every method with its hyper-parameters."""
    table = Table("method", "grain", "hyper-parameters (defaults)", "description", "source")
    for method in found:
        settings = "\n".join(_setting(method, key, value) for key, value in method.settings.items())
        grain, summary = method.grain, method.summary
        table.add_row(method.name, grain, settings or "-", summary, method.paper or "-")
    console.print(table)


def models(console: Console) -> None:
    """List every network with its size."""
    table = Table("model", "image", "classes", "parameters", "description")
    for name, small in MODELS.items():
        table.add_row(name, small.image, "10", f"{small.params:,}", small.summary)
    for name, big in IMAGENET.items():
        table.add_row(name, "224", "1000", f"{big.params:,}", big.summary)
    table.add_row("torchvision:NAME", "-", "-", "-", "any classifier of torchvision")
    table.add_row("timm:NAME", "-", "-", "-", "any model of timm that torch.fx can trace")
    console.print(table)


def datasets(console: Console) -> None:
    """List every data set."""
    table = Table("data set", "image", "classes", "train / validation / test", "description")
    for name, facts in DATASETS.items():
        shape = " x ".join(map(str, facts.shape))
        images = " / ".join(f"{count:,}" for count in facts.images)
        table.add_row(name, shape, str(facts.classes), images, facts.summary)
    summary = "a folder of your own: PATH/train/CLASS/*.jpg, PATH/val/CLASS/*.jpg"
    table.add_row("imagefolder:PATH", "3 x 224 x 224", "-", "-", summary)
    console.print(table)


def experiments(console: Console) -> None:
    """List the experiments that ship with ssbench."""
    table = Table("experiment", "title", "data set", "models", "seeds")
    for name, path in shipped().items():
        found = load(path)
        models_ = ", ".join(found.model_names)
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


def _setting(method: Described, name: str, value: object) -> str:
    tuned = f" (tune: {method.search[name]})" if name in method.search else ""
    return f"{name} = {_toml(value)}{tuned}"


def _toml(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower()
