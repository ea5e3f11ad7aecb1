"""The commands around a run: tune, watch, check, schema, completion, doctor, export, new-method."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ssbench.cli.inspect import written
from ssbench.cli.options import (
    Cache,
    DataFile,
    DataRoot,
    Device,
    ExitCode,
    Json,
    MethodFiles,
    ModelFiles,
    Named,
    Only,
    Overrides,
    Quiet,
    Results,
    Smoke,
    console,
    log,
    tell,
)
from ssbench.errors import BadInputError, nearest

COMPLETE = "_SSBENCH_COMPLETE"
"""The environment variable with which a completion script calls ssbench."""


class Shell(StrEnum):
    """Shells whose completion ssbench can write."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def schema(
    command: Annotated[
        str | None,
        typer.Option(help="Of what this command prints with --json [of experiment files]."),
    ] = None,
    method_file: MethodFiles = None,
    model_file: ModelFiles = None,
) -> None:
    """Print a JSON schema: of experiment files, so that editors complete and check them."""
    import json

    if command is None:
        from ssbench.experiment.networks import own_networks
        from ssbench.experiment.schema import experiment_schema
        from ssbench.method.registry import discover
        from ssbench.models.own import packaged

        own = [name for path in model_file or [] for name in own_networks(path)]
        found = experiment_schema(discover(method_file or []), [*packaged(), *own])
    else:
        from ssbench.cli.outputs import OUTPUTS

        if command not in OUTPUTS:
            raise BadInputError(f"--command {command}: {nearest(command, OUTPUTS)}")
        found = OUTPUTS[command].model_json_schema()
    typer.echo(json.dumps(found, indent=2))


def completion(shell: Shell) -> None:
    """Print a completion script: eval "$(ssbench completion bash)"."""
    from typer import completion as shells

    script = shells.get_completion_script  # type: ignore[attr-defined]
    typer.echo(script(prog_name="ssbench", complete_var=COMPLETE, shell=shell.value))


def watch(
    results_dir: Annotated[
        Path, typer.Argument(help="Folder of an experiment's records, or of such folders.")
    ] = Path("results"),
    json_: Json = False,
) -> None:
    """Show what runs now: curves of running stages, finished rows, the time left."""
    from ssbench.cli import watch as watch_

    if json_:
        tell(watch_.Watcher(watch_.choose(results_dir)).look()[1])
    else:
        watch_.watch(results_dir, console())


def doctor(results: Results = Path("results"), json_: Json = False) -> None:
    """Show versions, devices, packages and folders, and what is missing."""
    from ssbench.cli import doctor as doctor_

    found = doctor_.examine(results)
    if json_:
        tell(found)
    else:
        doctor_.show(found, console())
    if found.problems:
        raise typer.Exit(ExitCode.BAD_INPUT)


def check(
    network: Annotated[
        str, typer.Argument(help="A network as in models: vgg6, timm:NAME, FILE.py:NAME.")
    ],
    data: Annotated[str, typer.Option(help="The data set whose images it takes.")] = "digits",
    data_root_: DataRoot = None,
    method_file: MethodFiles = None,
    model_file: ModelFiles = None,
    json_: Json = False,
) -> None:
    """Try every method on a network for two steps, and show what works, in part or not, and why."""
    from ssbench.cli import check as check_
    from ssbench.data.download import data_root

    asked = check_.Asked(network, data, data_root(data_root_), model_file or (), method_file or ())
    found = check_.check(asked)
    if json_:
        tell(found)
    else:
        check_.show(found, console())
    if not check_.works(found):
        raise typer.Exit(ExitCode.FAILED)


class ExportFormat(StrEnum):
    """Formats of an exported network."""

    SAFETENSORS = "safetensors"
    ONNX = "onnx"
    PT2 = "pt2"


def export(
    run_id: str,
    to: Annotated[Path, typer.Option(help="A folder that does not exist yet, or is empty.")],
    format_: Annotated[
        ExportFormat, typer.Option("--format", help="safetensors: for ssbench.load.")
    ] = ExportFormat.SAFETENSORS,
    results: Results = Path("results"),
    cache: Cache = None,
    json_: Json = False,
) -> None:
    """Write a run's network without its pruned parts, for use outside ssbench."""
    from ssbench.cli import run as run_

    written([run_.export(run_id, to, format_.value, results, cache)], json_)


def new_method(
    name: str,
    folder: Annotated[
        Path | None, typer.Option(help="Where to write it [methods/ of the checkout].")
    ] = None,
    json_: Json = False,
) -> None:
    """Write a working template for a new method."""
    from ssbench.method import template

    written([template.write_method(name, folder)], json_)


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
    model_file: ModelFiles = None,
    data_file: DataFile = None,
    quiet: Quiet = False,
    only: Only = None,
    smoke: Smoke = False,
    json_: Json = False,
) -> None:
    """Choose hyper-parameters on the validation split, with as many trials for every method."""
    from ssbench.cli.run import tuned as tune_output
    from ssbench.executors.session import Options
    from ssbench.tuning.tune import tune as tune_

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
        data_root=data_root_,
    )
    out = Console(quiet=True) if json_ else console()
    outcome = tune_(experiment, options, trials, seeds or (), out, log())
    if json_:
        tell(tune_output(experiment, options, outcome))
    if outcome.failed:
        raise typer.Exit(ExitCode.FAILED)
