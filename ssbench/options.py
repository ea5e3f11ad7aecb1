"""What several commands share: options for typer, and where results are printed."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

WIDTH = 160

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
Named = Annotated[
    str, typer.Argument(help="A TOML file, or the name of one that ships with ssbench.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY.PATH=VALUE", help="Change a value of the experiment."),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Cache = Annotated[
    str | None,
    typer.Option(help="Folder of the stage checkpoints, or its URL (s3://…) [RESULTS/.cache]."),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")]


def console() -> Console:
    """A console for results: a file or pipe has no width, so tables get all they need."""
    made = Console()
    return made if made.is_terminal else Console(width=WIDTH)
