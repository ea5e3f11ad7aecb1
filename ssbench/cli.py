"""The command line: parse arguments, call one function each.

Exit codes: 0 done, 1 some run failed, 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ssbench import catalogue, commands, comparing, fetching, separating, skeleton
from ssbench.data import data_root
from ssbench.errors import BadInputError

WIDTH = 160

app = typer.Typer(
    name="ssbench",
    help="Pruning methods head to head: one pipeline, exact counts, honest tables.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Results = Annotated[Path, typer.Option(help="Folder of the records and reports.")]
DataRoot = Annotated[
    Path | None,
    typer.Option(
        "--data-root", help="Folder of all data sets [$SSBENCH_DATA, else ~/.cache/ssbench/data]."
    ),
]
MethodFiles = Annotated[
    list[Path] | None, typer.Option("--method-file", help="A method of your own, one .py file.")
]


class Listing(StrEnum):
    """What can be listed."""

    METHODS = "methods"
    MODELS = "models"
    DATASETS = "datasets"
    EXPERIMENTS = "experiments"


class ExportFormat(StrEnum):
    """What an exported network can be written as."""

    SAFETENSORS = "safetensors"
    ONNX = "onnx"
    PT2 = "pt2"


@app.command()
def run(
    experiment: Annotated[
        str, typer.Argument(help="A TOML file, or the name of one that ships with ssbench.")
    ] = "bench/quickstart.toml",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY.PATH=VALUE", help="Change a value of the experiment."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the stages and their cost; run nothing.")
    ] = False,
    results: Results = Path("results"),
    cache: Annotated[
        Path | None, typer.Option(help="Folder of the stage checkpoints [RESULTS/.cache].")
    ] = None,
    data_root_: DataRoot = None,
    method_file: MethodFiles = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try failed runs again.")
    ] = False,
    until_separated: Annotated[
        str | None,
        typer.Option(
            "--until-separated",
            metavar="ROW_A,ROW_B",
            help="Then add seeds to two rows until it is known which of them errs less.",
        ),
    ] = None,
    max_seeds: Annotated[
        int, typer.Option("--max-seeds", min=3, help="The seeds at which --until-separated ends.")
    ] = 20,
) -> None:
    """Train, prune, finetune, count and report every run of an experiment that is not done."""
    options = commands.Options(
        overrides=set_ or (),
        device=device,
        results=results,
        cache=cache,
        method_files=method_file or (),
        dry_run=dry_run,
        quiet=quiet,
        retry_failed=retry_failed,
        data_root=data_root_,
    )
    log = Console(stderr=True)
    try:
        outcome = commands.run(experiment, options, _console(), log)
        if until_separated is not None and not dry_run:
            pair = separating.rows_of(until_separated)
            outcome = separating.run(experiment, options, pair, max_seeds, _console(), log)
    except KeyboardInterrupt:  # caught here, as typer would say only "Aborted!"
        log.print("stopped; finished stages are kept: start again to go on")
        raise typer.Exit(130) from None
    if outcome.failed:
        raise typer.Exit(1)


@app.command("list")
def list_(what: Listing, method_file: MethodFiles = None) -> None:
    """List methods, models, datasets or experiments."""
    console = _console()
    if what is Listing.METHODS:
        broken = catalogue.methods(console, method_file or ())
        if broken:
            raise typer.Exit(2)
    elif what is Listing.MODELS:
        catalogue.models(console)
    elif what is Listing.DATASETS:
        catalogue.datasets(console)
    else:
        catalogue.experiments(console)


@app.command()
def report(
    results_dirs: Annotated[
        list[Path],
        typer.Argument(help="A folder of records, or of such folders; several make one report."),
    ],
    format_: Annotated[
        str, typer.Option("--format", help="Some of md,tex,html,csv,parquet,svg,png,pdf.")
    ] = "md,tex,html,csv",
    out: Annotated[Path | None, typer.Option(help="Where to write [beside the records].")] = None,
    claims: Annotated[
        list[Path] | None, typer.Option(help="Claims of your own to be decided, a TOML file.")
    ] = None,
) -> None:
    """Render tables and figures from records; the records are only read."""
    for path in commands.render(results_dirs, format_.split(","), out, claims or ()):
        typer.echo(path)


@app.command()
def compare(
    first: Annotated[str, typer.Argument(help="A folder of records, or NAME@SHARE of a row.")],
    second: Annotated[str, typer.Argument(help="The other folder or row.")],
    results: Results = Path("results"),
    model: Annotated[str | None, typer.Option(help="The rows' network.")] = None,
    dataset: Annotated[str | None, typer.Option(help="The rows' data set.")] = None,
) -> None:
    """Compare two folders of results, or two rows: what differs, and is it beyond noise?"""
    comparing.compare(first, second, comparing.Where(results, model, dataset), _console())


@app.command()
def overlap(
    results_dir: Annotated[Path, typer.Argument(help="A folder of records.")],
    cache: Annotated[
        Path | None, typer.Option(help="Folder of the stage checkpoints [beside the folder].")
    ] = None,
) -> None:
    """Compare the masks of all methods, two by two: is it just magnitude?"""
    comparing.overlap(results_dir, cache, _console())


@app.command()
def show(run_id: str, results: Results = Path("results")) -> None:
    """Print the records of one run, given by its id or a part of it."""
    catalogue.record(_console(), commands.find_run(run_id, results))


@app.command()
def export(
    run_id: str,
    to: Annotated[Path, typer.Option(help="A folder that does not exist yet, or is empty.")],
    format_: Annotated[
        ExportFormat, typer.Option("--format", help="safetensors: for ssbench.load.")
    ] = ExportFormat.SAFETENSORS,
    results: Results = Path("results"),
    cache: Annotated[
        Path | None, typer.Option(help="Folder of the stage checkpoints [RESULTS/.cache].")
    ] = None,
) -> None:
    """Write a run's network without what was pruned, for use outside of ssbench."""
    typer.echo(commands.export(run_id, to, format_.value, results, cache))


@app.command()
def data(
    name: Annotated[str, typer.Argument(help="A data set, or imagefolder:PATH.")],
    root: Annotated[
        Path | None,
        typer.Option(help="Folder of all data sets [$SSBENCH_DATA, else ~/.cache/ssbench/data]."),
    ] = None,
) -> None:
    """Fetch a data set where that can be done, and verify every file of it."""
    fetching.data(name, data_root(root), _console())


@app.command("new-method")
def new_method(
    name: str,
    folder: Annotated[
        Path | None, typer.Option(help="Where to write it [methods/ of the checkout].")
    ] = None,
) -> None:
    """Write the file of a new method: it works as it is, to be changed."""
    typer.echo(skeleton.write_method(name, folder))


def _console() -> Console:
    """A console for results: a file or pipe has no width, so tables get all they need."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH)


def main() -> None:
    """Run the command line; bad input ends in one message and exit code 2."""
    try:
        app()
    except BadInputError as error:
        Console(stderr=True).print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(2)
