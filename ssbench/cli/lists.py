"""Collect what is available, and print it as tables or JSON; without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from ssbench.cli.outputs import DataSetFacts, ExperimentFacts, MethodFacts, NetworkFacts
from ssbench.data.registry import DATASETS, FORMS
from ssbench.errors import BadInputError
from ssbench.experiment.spec import load, shipped
from ssbench.method.describe import Described
from ssbench.models.registry import IMAGENET, MODELS

NARROW = 120
"""The width in characters below which a table shows names and descriptions alone in columns."""


def method_facts(found: Sequence[Described]) -> list[MethodFacts]:
    """Describe every method with its hyper-parameters."""
    return [
        MethodFacts(
            name=method.name,
            grain=method.grain,
            settings=dict(method.settings),
            search={name: str(values) for name, values in method.search.items()},
            summary=method.summary,
            source=method.paper,
        )
        for method in found
    ]


def network_facts() -> list[NetworkFacts]:
    """Describe every network with its size."""
    small = [
        NetworkFacts(name=name, image=its.image, classes=10, params=its.params, summary=its.summary)
        for name, its in MODELS.items()
    ]
    big = [
        NetworkFacts(
            name=name,
            image="224",
            classes=1000,
            params=its.params,
            summary=its.summary,
            untouched=its.untouched,
        )
        for name, its in IMAGENET.items()
    ]
    others = [
        NetworkFacts(name="torchvision:NAME", summary="any classifier of torchvision"),
        NetworkFacts(name="timm:NAME", summary="any model of timm that torch.fx can trace"),
        NetworkFacts(name="FILE.py:NAME", summary="a class or function of your own"),
    ]
    return [*small, *big, *others]


def dataset_facts() -> list[DataSetFacts]:
    """Describe every data set."""
    named = [
        DataSetFacts(
            name=name,
            image=its.shape,
            classes=its.classes,
            images=its.images,
            summary=its.summary,
        )
        for name, its in DATASETS.items()
    ]
    return [*named, *(DataSetFacts(name=name, summary=said) for name, said in FORMS.items())]


def experiment_facts() -> list[ExperimentFacts]:
    """Describe the experiments that ship with ssbench."""
    return [
        ExperimentFacts(
            name=name,
            title=found.title,
            dataset=found.dataset,
            models=found.model_names,
            seeds=found.seeds,
        )
        for name, path in shipped().items()
        for found in (load(path),)
    ]


def methods(console: Console, found: Sequence[MethodFacts]) -> None:
    """Print every method with its hyper-parameters."""
    columns = ("method", "grain", "hyper-parameters (defaults)", "description", "source")
    rows = [
        (
            each.name,
            each.grain,
            "\n".join(_setting(each, key, value) for key, value in each.settings.items()),
            each.summary,
            each.source,
        )
        for each in found
    ]
    _print(console, columns, rows)


def models(console: Console, found: Sequence[NetworkFacts]) -> None:
    """Print every network with its size."""
    rows = [
        (
            each.name,
            each.image or "",
            _number(each.classes),
            _number(each.params),
            "; ".join(part for part in (each.summary, each.untouched) if part),
        )
        for each in found
    ]
    _print(console, ("model", "image", "classes", "parameters", "description"), rows)


def datasets(console: Console, found: Sequence[DataSetFacts]) -> None:
    """Print every data set."""
    rows = [
        (
            each.name,
            " x ".join(map(str, each.image or ())),
            _number(each.classes),
            " / ".join(map(_number, each.images or ())),
            each.summary,
        )
        for each in found
    ]
    columns = ("data set", "image", "classes", "train / validation / test", "description")
    _print(console, columns, rows)


def experiments(console: Console, found: Sequence[ExperimentFacts]) -> None:
    """Print the experiments that ship with ssbench."""
    rows = [
        (each.name, each.title, each.dataset, ", ".join(each.models), str(len(each.seeds)))
        for each in found
    ]
    _print(console, ("experiment", "title", "data set", "models", "seeds"), rows)


def _print(console: Console, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table whose first column is never cut; on a narrow console with two columns."""
    table = Table(title_justify="left")
    table.add_column(columns[0], no_wrap=True)
    if console.width >= NARROW:
        for title in columns[1:]:
            table.add_column(title, overflow="fold")
        for row in rows:
            table.add_row(row[0], *(cell or "-" for cell in row[1:]))
    else:
        table.add_column("; ".join(columns[1:]), overflow="fold")
        for row in rows:
            table.add_row(row[0], _together(columns[1:], row[1:]))
    console.print(table, markup=False)


def _together(columns: Sequence[str], cells: Sequence[str]) -> str:
    """Write cells below each other; numbers say what they count."""
    named = zip(columns, cells, strict=True)
    return "\n".join(
        f"{cell} {column}" if cell.replace(",", "").isdigit() else cell
        for column, cell in named
        if cell
    )


def record(console: Console, stages: Sequence[Mapping[str, object]]) -> None:
    """Print the records of one run, a column per stage."""
    table = Table(title=str(stages[0]["run"]))
    table.add_column("key", no_wrap=True)
    for stage in stages:
        table.add_column(str(stage["stage"]), overflow="fold")
    for key in stages[0]:
        values = [_short(stage.get(key)) for stage in stages]
        if key not in ("run", "traceback"):
            table.add_row(key, *values)
    console.print(table)


def traceback(stages: Sequence[Mapping[str, object]]) -> str:
    """Return the traceback of a failed run.

    Raises:
        BadInputError: the run did not fail, or its record has none.
    """
    last = stages[-1]
    if last["status"] != "failed":
        raise BadInputError(f"{last['run']}: did not fail, so there is no traceback")
    if not last.get("traceback"):
        raise BadInputError(
            f"{last['run']}: its record has the reason alone ({last['reason']}); repeat it with "
            "ssbench run --retry-failed"
        )
    return str(last["traceback"])


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


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _setting(method: MethodFacts, name: str, value: object) -> str:
    tuned = f" (tune: {method.search[name]})" if name in method.search else ""
    return f"{name} = {_toml(value)}{tuned}"


def _toml(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower()
