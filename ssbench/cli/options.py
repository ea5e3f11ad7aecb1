"""Options that several commands share, and consoles for results and progress."""

import sys
from contextlib import suppress
from pathlib import Path
from typing import IO, Annotated, Any, cast

import typer
from rich.console import Console

WIDTH = 160

Results = Annotated[Path, typer.Option(help="Folder of records and reports.")]
DataRoot = Annotated[
    Path | None,
    typer.Option(
        "--data-root", help="Folder of all data sets [$SSBENCH_DATA, else ~/.cache/ssbench/data]."
    ),
]
MethodFiles = Annotated[
    list[Path] | None, typer.Option("--method-file", help="A .py file with a method of your own.")
]
DataFile = Annotated[
    Path | None,
    typer.Option("--data-file", help="A .py file with the function that dataset names."),
]
Named = Annotated[
    str, typer.Argument(help="A TOML file, or the name of an experiment that ships with ssbench.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY.PATH=VALUE", help="Change a value of the experiment."),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Cache = Annotated[
    str | None,
    typer.Option(help="Folder or URL (s3://…) of stage checkpoints [RESULTS/.cache]."),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")]


def console() -> Console:
    """Make a console for results; files and pipes have no width, so tables get what they need."""
    made = Console()
    return made if made.is_terminal else Console(width=WIDTH)


def log() -> Console:
    """Make a console for progress and errors on standard error; failed writes are ignored.

    A terminal may close, or a pipe's reader may end, hours before a training ends.
    """
    return Console(file=cast("IO[str]", _Unheeded()))


class _Unheeded:
    """The current standard error; drops what cannot be written."""

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()

    @property
    def _stream(self) -> Any:
        """The stream behind rich's replacement of standard error during a live display."""
        return getattr(sys.stderr, "rich_proxied_file", sys.stderr)

    def __getattr__(self, name: str) -> Any:
        if name == "rich_proxied_file":  # rich would bypass this object
            raise AttributeError(name)
        return getattr(self._stream, name)
