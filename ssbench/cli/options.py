"""What several commands share: options for typer, and where results and progress are printed."""

import sys
from contextlib import suppress
from pathlib import Path
from typing import IO, Annotated, Any, cast

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


def log() -> Console:
    """A console for progress and errors, on standard error. Where nobody reads it, that is no harm.

    A terminal may be closed, or a pipe's reader end, while a training has hours to go.
    """
    return Console(file=cast("IO[str]", _Unheeded()))


class _Unheeded:
    """Standard error, whichever it is by then; what cannot be written there is dropped."""

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()

    @property
    def _stream(self) -> Any:
        """The stream behind rich's, which stands in for it while a live display is shown."""
        return getattr(sys.stderr, "rich_proxied_file", sys.stderr)

    def __getattr__(self, name: str) -> Any:
        if name == "rich_proxied_file":  # rich would write to that and not to this
            raise AttributeError(name)
        return getattr(self._stream, name)
