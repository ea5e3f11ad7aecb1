"""The commands that train nothing: lists, and reports from records."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ssbench.cli.options import (
    ExitCode,
    Json,
    MethodFiles,
    ModelFiles,
    Results,
    console,
    tell,
)

if TYPE_CHECKING:
    from ssbench.cli.outputs import NetworkFacts
    from ssbench.method.describe import Described


class Listing(StrEnum):
    """Kinds of lists."""

    METHODS = "methods"
    MODELS = "models"
    DATASETS = "datasets"
    EXPERIMENTS = "experiments"


def list_(
    what: Annotated[
        Listing | None, typer.Argument(help="methods, models, datasets or experiments [all].")
    ] = None,
    method_file: MethodFiles = None,
    model_file: ModelFiles = None,
    json_: Json = False,
) -> None:
    """List methods, models, datasets and experiments."""
    from ssbench.cli import lists
    from ssbench.cli.outputs import ListOutput

    wanted = [what] if what else [*Listing]
    found: dict[str, Any] = {}
    broken: dict[str, str] = {}
    if Listing.METHODS in wanted:
        described, broken = _methods(method_file or [])
        found["methods"] = lists.method_facts(described)
    if Listing.MODELS in wanted:
        found["models"] = [*lists.network_facts(), *_own_networks(model_file or [])]
    if Listing.DATASETS in wanted:
        found["datasets"] = lists.dataset_facts()
    if Listing.EXPERIMENTS in wanted:
        found["experiments"] = lists.experiment_facts()
    if json_:
        tell(ListOutput(**found, broken=broken or None))
    else:
        for kind, facts in found.items():
            getattr(lists, kind)(console(), facts)
        for name, reason in broken.items():
            line = f"{name}: cannot be loaded: {reason}"
            console().print(line, style="red", markup=False, soft_wrap=True)
    if broken:
        raise typer.Exit(ExitCode.BAD_INPUT)


def _own_networks(files: list[Path]) -> list[NetworkFacts]:
    from importlib.metadata import entry_points

    if not files and not entry_points(group="ssbench.models"):  # torch need not be imported
        return []
    from ssbench.cli import inventory

    return inventory.own_networks(files)


def _methods(files: list[Path]) -> tuple[list[Described], dict[str, str]]:
    from ssbench.method import describe

    found = None if files else describe.described()
    if found is not None:
        return found, {}
    from ssbench.cli import inventory

    return inventory.imported_methods(files)


def report(
    results_dirs: Annotated[
        list[Path],
        typer.Argument(help="Folder of records, or of such folders; several give one report."),
    ],
    format_: Annotated[
        str,
        typer.Option(
            "--format", help="Any of md,tex,html,csv,parquet,svg,png,pdf, separated by commas."
        ),
    ] = "md,tex,html,csv",
    out: Annotated[Path | None, typer.Option(help="Where to write [beside the records].")] = None,
    claims: Annotated[
        list[Path] | None, typer.Option(help="A TOML file with claims of your own to test.")
    ] = None,
    table: Annotated[
        int | None,
        typer.Option(min=1, max=3, help="Render one of the paper's tables instead of the report."),
    ] = None,
    published: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="Published rows of your own, in the format of bench/published.csv."
        ),
    ] = None,
    no_published: Annotated[
        bool,
        typer.Option("--no-published", help="Leave out the published rows that ship with ssbench."),
    ] = False,
    columns: Annotated[
        str | None,
        typer.Option(help="Columns of the tables, separated by commas: params,macs,threshold."),
    ] = None,
    rows: Annotated[
        str | None,
        typer.Option(help="Rows to show, separated by commas: names, methods, NAME@SHARE, l0*."),
    ] = None,
    sort: Annotated[
        str | None, typer.Option(help="Sort each budget by error, name or a column; - reverses.")
    ] = None,
    caption: Annotated[
        str | None, typer.Option(metavar="full|short|none", help="Captions of the tables.")
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    json_: Json = False,
) -> None:
    """Render tables and figures from records."""
    from ssbench.cli import report as report_

    options = report_.Rendering(
        formats=format_.split(","),
        table=table,
        out=out,
        claims=claims or (),
        published=published or (),
        shipped=not no_published,
        view=report_.view(columns, rows, sort, caption),
    )
    paths = report_.render_folders(results_dirs, options)
    written(paths, json_)
    if open_:
        report_.open_page(paths)


def written(paths: Sequence[Path], as_json: bool) -> None:
    """Print the paths of what a command wrote."""
    if not as_json:
        for path in paths:
            typer.echo(path)
        return
    from ssbench.cli.outputs import FilesOutput

    tell(FilesOutput(written=[str(path) for path in paths]))


def compare(
    first: Annotated[str, typer.Argument(help="A folder of records, or NAME@SHARE of a row.")],
    second: Annotated[str, typer.Argument(help="The other folder or row.")],
    results: Results = Path("results"),
    model: Annotated[str | None, typer.Option(help="The rows' network.")] = None,
    dataset: Annotated[str | None, typer.Option(help="The rows' data set.")] = None,
    json_: Json = False,
) -> None:
    """Compare two folders of results, or two rows: is the difference significant?"""
    from ssbench.cli import compare as compare_

    found = compare_.compare(first, second, compare_.Where(results, model, dataset))
    if json_:
        tell(compare_.output(found))
    else:
        compare_.show(found, console())


def overlap(
    results_dir: Annotated[Path, typer.Argument(help="A folder of records.")],
    cache: Annotated[
        str | None,
        typer.Option(help="Folder of the stage checkpoints, or its URL [beside the folder]."),
    ] = None,
    json_: Json = False,
) -> None:
    """Compare the masks of every two methods: does one just prune by magnitude?"""
    from ssbench.cli import overlap as overlap_

    found = overlap_.overlap(results_dir, cache)
    if json_:
        tell(overlap_.output(found))
    else:
        overlap_.show(found, console())


def show(
    run_id: str,
    results: Results = Path("results"),
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Print the traceback of a failed run.")
    ] = False,
    json_: Json = False,
) -> None:
    """Print the records of a run, by its id or a part of it."""
    from ssbench.cli import lists
    from ssbench.cli.outputs import ShowOutput
    from ssbench.storage.results import find_run

    stages = find_run(run_id, results)
    if json_:
        tell(ShowOutput(run=str(stages[0]["run"]), stages=stages))
    elif traceback:
        typer.echo(lists.traceback(stages))
    else:
        lists.record(console(), stages)
