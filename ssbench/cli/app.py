"""The command line: each command parses its arguments and calls one function.

Commands import what they need when called, so that help and lists do not wait for torch.

Exit codes: 0 done, 1 some run failed, 2 bad input, 130 interrupted (SIGINT), 143 terminated
(SIGTERM), 129 the terminal was closed (SIGHUP).
"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from ssbench.cli import inspect
from ssbench.cli.options import (
    Cache,
    DataRoot,
    Device,
    MethodFiles,
    Named,
    Overrides,
    Quiet,
    Results,
    console,
    log,
)
from ssbench.errors import BadInputError
from ssbench.training.interrupt import SAVE_EVERY, STOP, Stopped


class Commands(TyperGroup):
    """The group of commands; stops on signals at any moment."""

    def invoke(self, ctx: Any) -> Any:
        """Call a command, and report how it was stopped; typer would print only "Aborted!"."""
        try:
            with STOP.signals():
                return super().invoke(ctx)
        except Stopped as stopped:
            resumes = ctx.invoked_subcommand in ("run", "tune")
            log().print(str(stopped) if resumes else "stopped", soft_wrap=True, highlight=False)
            raise typer.Exit(128 + stopped.signal) from None


app = typer.Typer(
    name="ssbench",
    cls=Commands,
    help="Pruning methods head to head: one pipeline, exact counts, honest tables.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # rich doubles the time of --help, and cuts long lines
    context_settings={"max_content_width": 110},
    pretty_exceptions_enable=False,
)


class ExportFormat(StrEnum):
    """Formats of an exported network."""

    SAFETENSORS = "safetensors"
    ONNX = "onnx"
    PT2 = "pt2"


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
    quiet: Quiet = False,
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
            help="local, processes, ray (a cluster: pip install 'ssbench[ray]'), or an installed "
            "package's.",
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
        dry_run=dry_run,
        quiet=quiet,
        retry_failed=retry_failed,
        data_root=data_root_,
        tuned=tuned,
        concurrency=_concurrency(concurrency),
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
    outcome = run_.run(experiment, options, console(), log())
    if pair is not None and not dry_run:
        outcome = separate.run(experiment, options, pair, max_seeds or 20, console(), log())
    if outcome.failed:
        raise typer.Exit(1)


@app.command()
def tune(
    experiment: Named,
    trials: Annotated[
        int, typer.Option(help="Trials per method, including those of earlier calls.")
    ] = 20,
    seeds: Annotated[
        list[int] | None,
        typer.Option(
            help="Seeds to tune on [tune.seeds, else one that the experiment does not use]."
        ),
    ] = None,
    set_: Overrides = None,
    device: Device = "auto",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the spaces and the cost; run nothing.")
    ] = False,
    results: Results = Path("results"),
    cache: Cache = None,
    data_root_: DataRoot = None,
    method_file: MethodFiles = None,
    quiet: Quiet = False,
) -> None:
    """Choose hyper-parameters on the validation split, with as many trials for every method."""
    from ssbench.executors.session import Options
    from ssbench.tuning.tune import tune as tune_

    options = Options(
        overrides=set_ or (),
        device=device,
        results=results,
        cache=cache,
        method_files=method_file or (),
        dry_run=dry_run,
        quiet=quiet,
        data_root=data_root_,
    )
    outcome = tune_(experiment, options, trials, seeds or (), console(), log())
    if outcome.failed:
        raise typer.Exit(1)


@app.command()
def export(
    run_id: str,
    to: Annotated[Path, typer.Option(help="A folder that does not exist yet, or is empty.")],
    format_: Annotated[
        ExportFormat, typer.Option("--format", help="safetensors: for ssbench.load.")
    ] = ExportFormat.SAFETENSORS,
    results: Results = Path("results"),
    cache: Cache = None,
) -> None:
    """Write a run's network without its pruned parts, for use outside ssbench."""
    from ssbench.cli import run as run_

    typer.echo(run_.export(run_id, to, format_.value, results, cache))


@app.command()
def data(
    name: Annotated[str, typer.Argument(help="A data set, or imagefolder:PATH.")],
    root: Annotated[
        Path | None,
        typer.Option(help="Folder of all data sets [$SSBENCH_DATA, else ~/.cache/ssbench/data]."),
    ] = None,
) -> None:
    """Fetch a data set if possible, and verify all its files."""
    from ssbench.cli import data as data_
    from ssbench.data.download import data_root

    data_.data(name, data_root(root), console())


@app.command("new-method")
def new_method(
    name: str,
    folder: Annotated[
        Path | None, typer.Option(help="Where to write it [methods/ of the checkout].")
    ] = None,
) -> None:
    """Write a working template for a new method."""
    from ssbench.method import template

    typer.echo(template.write_method(name, folder))


def _concurrency(text: str | None) -> int | Literal["auto"] | None:
    if text is None or text == "auto":
        return "auto" if text else None
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise BadInputError(f"--concurrency {text}: write a number of processes, at least 1, or auto")


app.command("list")(inspect.list_)
for _command in (inspect.report, inspect.compare, inspect.overlap, inspect.show):
    app.command()(_command)


def main() -> None:
    """Run the command line; bad input gives one message and exit code 2."""
    try:
        app()
    except BadInputError as error:
        log().print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(2)
    except PermissionError as error:
        place = f"error: {error.filename}: {error.strerror}; check its owner and mode, or choose "
        log().print(place + "another folder", style="red", markup=False, soft_wrap=True)
        sys.exit(2)
