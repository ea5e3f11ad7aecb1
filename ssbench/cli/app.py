"""The command line: each command parses its arguments and calls one function.

Commands import what they need when called, so that help and lists do not wait for torch. Exit
codes: `ssbench.cli.options.ExitCode`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ssbench import __version__
from ssbench.cli import inspect, tools
from ssbench.cli.group import Commands
from ssbench.cli.options import (
    Cache,
    DataFile,
    DataRoot,
    Device,
    ExitCode,
    Json,
    Live,
    MethodFiles,
    ModelFiles,
    Named,
    Only,
    Overrides,
    Quiet,
    Results,
    Smoke,
    TensorBoardFolder,
    console,
    log,
    tell,
)
from ssbench.cli.run_options import concurrency_of
from ssbench.errors import BadInputError
from ssbench.training.interrupt import SAVE_EVERY

app = typer.Typer(
    name="ssbench",
    cls=Commands,
    help="Pruning methods head to head: one pipeline, exact counts, honest tables.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # rich doubles the time of --help, and cuts long lines
    context_settings={"max_content_width": 110, "help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ssbench {__version__}")
        raise typer.Exit


@app.callback()
def _group(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", is_eager=True, callback=_version),
    ] = False,
) -> None:
    """Pruning methods head to head: one pipeline, exact counts, honest tables."""
    del version


@app.command()
def run(
    experiment: Named = "bench/quickstart.toml",
    set_: Overrides = None,
    device: Device = "auto",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the stages and their cost; run nothing.")
    ] = False,
    results: Results = Path("results"),
    cache: Cache = None,
    data_root_: DataRoot = None,
    method_file: MethodFiles = None,
    model_file: ModelFiles = None,
    data_file: DataFile = None,
    quiet: Quiet = False,
    only: Only = None,
    smoke: Smoke = False,
    live: Live = False,
    tensorboard: TensorBoardFolder = None,
    json_: Json = False,
    tuned: Annotated[
        Path | None, typer.Option(help="Use the values of this tuned.json from ssbench tune.")
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Repeat failed runs.")
    ] = False,
    until_separated: Annotated[
        str | None,
        typer.Option(
            "--until-separated",
            metavar="ROW_A,ROW_B",
            help="Then add seeds to two rows until one has a significantly lower error.",
        ),
    ] = None,
    max_seeds: Annotated[
        int | None,
        typer.Option(min=3, help="Maximum number of seeds for --until-separated [20]."),
    ] = None,
    concurrency: Annotated[
        str | None,
        typer.Option(
            metavar="N|auto",
            help="Maximum number of stages to run in parallel, each in its own process; auto: as "
            "many as memory and cores allow [1; on Ray, one per GPU or core].",
        ),
    ] = None,
    save_every: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", min=0, help="Time between saves of a training; 0: every epoch."
        ),
    ] = SAVE_EVERY,
    devices: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="Number of devices that train each stage jointly."),
    ] = 1,
    executor: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="local, processes, ray (a cluster; needs the extra ray), or another package's.",
        ),
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(
            metavar="local|auto|HOST:PORT|ray://HOST:PORT",
            help="The Ray cluster [local: start one on this machine for this call].",
        ),
    ] = None,
) -> None:
    """Train, prune, finetune, count and report all missing runs of an experiment."""
    from ssbench.cli import run as run_
    from ssbench.cli import separate
    from ssbench.executors.session import Options

    options = Options(
        overrides=set_ or (),
        device=device,
        results=results,
        cache=cache,
        method_files=method_file or (),
        model_files=model_file or (),
        data_file=data_file,
        dry_run=dry_run,
        quiet=quiet,
        only=only or (),
        smoke=smoke,
        live=live,
        tensorboard=tensorboard,
        retry_failed=retry_failed,
        data_root=data_root_,
        tuned=tuned,
        concurrency=concurrency_of(concurrency),
        save_every=save_every,
        devices=devices,
        executor=executor,
        address=address,
    )
    pair = None if until_separated is None else separate.rows_of(until_separated)
    if pair is None and max_seeds is not None:
        raise BadInputError("--max-seeds ends --until-separated ROW_A,ROW_B; name two rows with it")
    if pair is not None:
        separate.check(experiment, options, pair)
    if dry_run and json_:
        tell(run_.planned(experiment, options))
        return
    out = Console(quiet=True) if json_ else console()
    outcome = run_.run(experiment, options, out, log())
    if pair is not None and not dry_run:
        outcome = separate.run(experiment, options, pair, max_seeds or 20, out, log())
    if json_:
        tell(run_.ended(experiment, options, outcome))
    if outcome.failed:
        raise typer.Exit(ExitCode.FAILED)


@app.command()
def data(
    name: Annotated[
        str, typer.Argument(help="A data set, a folder, an .npz file or FILE.py:FUNCTION.")
    ],
    root: Annotated[
        Path | None,
        typer.Option(help="Folder of all data sets [$SSBENCH_DATA, else ~/.cache/ssbench/data]."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of the table [data]."),
    ] = None,
    json_: Json = False,
) -> None:
    """Fetch a data set if possible, verify all its files and describe it."""
    from ssbench.cli import data as data_
    from ssbench.data.download import data_root

    found = data_.data(name, data_root(root), log() if json_ else console(), set_ or ())
    if json_:
        tell(found)
    else:
        data_.show(found, console())
    if not found.usable:
        raise typer.Exit(ExitCode.BAD_INPUT)


app.command("list")(inspect.list_)
for _command in (inspect.report, inspect.compare, inspect.overlap, inspect.show):
    app.command()(_command)
app.command("new-method")(tools.new_method)
_TOOLS = (
    tools.tune, tools.watch, tools.check, tools.export, tools.doctor, tools.schema,
    tools.completion,
)  # fmt: skip
for _tool in _TOOLS:
    app.command()(_tool)


def main() -> None:
    """Run the command line; bad input gives one message and exit code 2."""
    if tools.COMPLETE in os.environ:
        from typer import completion

        completion.completion_init()  # type: ignore[attr-defined]
    try:
        app()
    except BadInputError as error:
        _refuse(str(error))
    except PermissionError as error:
        place = f"{error.filename}: {error.strerror}; check its owner and mode, or choose "
        _refuse(place + "another folder")


def _refuse(message: str) -> None:
    """Say why nothing was done; with ``--json`` also as JSON, in place of the result."""
    log().print(f"error: {message}", style="red", markup=False, soft_wrap=True)
    if "--json" in sys.argv:
        typer.echo(json.dumps({"error": message, "exit_code": ExitCode.BAD_INPUT.value}, indent=2))
    sys.exit(ExitCode.BAD_INPUT)
