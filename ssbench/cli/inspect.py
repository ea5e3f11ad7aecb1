"""The commands that train nothing: lists, and reports from records."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ssbench.cli.options import MethodFiles, Results, console


class Listing(StrEnum):
    """Kinds of lists."""

    METHODS = "methods"
    MODELS = "models"
    DATASETS = "datasets"
    EXPERIMENTS = "experiments"


def list_(what: Listing, method_file: MethodFiles = None) -> None:
    """List methods, models, datasets or experiments."""
    from ssbench.cli import lists

    out = console()
    if what is Listing.METHODS:
        _list_methods(out, method_file or [])
    elif what is Listing.EXPERIMENTS:
        lists.experiments(out)
    elif what is Listing.MODELS:
        lists.models(out)
    else:
        lists.datasets(out)


def _list_methods(console: Console, files: list[Path]) -> None:
    from ssbench.cli import lists
    from ssbench.method import describe

    found, broken = None if files else describe.described(), dict[str, str]()
    if found is None:
        from ssbench.cli import inventory

        found, broken = inventory.imported_methods(files)
    lists.methods(console, found)
    for name, reason in broken.items():
        console.print(f"{name}: cannot be loaded: {reason}", style="red", markup=False)
    if broken:
        raise typer.Exit(2)


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
    )
    for path in report_.render_folders(results_dirs, options):
        typer.echo(path)


def compare(
    first: Annotated[str, typer.Argument(help="A folder of records, or NAME@SHARE of a row.")],
    second: Annotated[str, typer.Argument(help="The other folder or row.")],
    results: Results = Path("results"),
    model: Annotated[str | None, typer.Option(help="The rows' network.")] = None,
    dataset: Annotated[str | None, typer.Option(help="The rows' data set.")] = None,
) -> None:
    """Compare two folders of results, or two rows: what differs, and is it significant?"""
    from ssbench.cli import compare as compare_

    compare_.compare(first, second, compare_.Where(results, model, dataset), console())


def overlap(
    results_dir: Annotated[Path, typer.Argument(help="A folder of records.")],
    cache: Annotated[
        str | None,
        typer.Option(help="Folder of the stage checkpoints, or its URL [beside the folder]."),
    ] = None,
) -> None:
    """Compare the masks of every two methods: does it just prune by magnitude?"""
    from ssbench.cli import compare as compare_

    compare_.overlap(results_dir, cache, console())


def show(run_id: str, results: Results = Path("results")) -> None:
    """Print the records of a run, by its id or a part of it."""
    from ssbench.cli import lists
    from ssbench.storage.results import find_run

    lists.record(console(), find_run(run_id, results))


def data(
    name: Annotated[
        str, typer.Argument(help="A data set, or a folder, .npz file or FILE.py:FUNCTION.")
    ],
    root: Annotated[
        Path | None,
        typer.Option(help="Folder of all data sets [$SSBENCH_DATA, else ~/.cache/ssbench/data]."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of the table [data]."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print all that was found as JSON.")] = False,
) -> None:
    """Fetch a data set if possible, verify all its files and describe it."""
    from ssbench.cli import data as data_
    from ssbench.data.download import data_root

    if not data_.data(name, data_root(root), console(), set_ or (), as_json=json):
        raise typer.Exit(2)
