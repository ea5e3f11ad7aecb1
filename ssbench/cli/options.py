"""Options that several commands share, exit codes, and consoles for results and progress."""

import sys
from contextlib import suppress
from enum import IntEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.console import Console

from ssbench.paths import bench_folder, method_folder

if TYPE_CHECKING:
    from pydantic import BaseModel

WIDTH = 160


class ExitCode(IntEnum):
    """How a command ended; `docs/command-line.md` lists them."""

    DONE = 0, "done"
    FAILED = 1, "some run failed; the other runs are finished"
    BAD_INPUT = 2, "bad input; one message names the place and the remedy"
    HUNG_UP = 129, "the terminal was closed (SIGHUP); the same command goes on"
    INTERRUPTED = 130, "interrupted by Ctrl-C (SIGINT); the same command goes on"
    TERMINATED = 143, "terminated (SIGTERM); the same command goes on"

    meaning: str

    def __new__(cls, code: int, meaning: str) -> "ExitCode":
        """Make a member with its meaning."""
        member = int.__new__(cls, code)
        member._value_, member.meaning = code, meaning
        return member


def experiment_names() -> list[str]:
    """Return the names of the experiments that ship with ssbench, without reading them."""
    return sorted(path.stem for path in bench_folder().glob("*.toml"))


def method_names() -> list[str]:
    """Return the names of the methods that ship with ssbench, without importing them."""
    return sorted(path.stem.replace("_", "-") for path in method_folder().glob("[!_]*.py"))


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
ModelFiles = Annotated[
    list[Path] | None,
    typer.Option("--model-file", help="A .py file with networks of your own, then used by name."),
]
Named = Annotated[
    str,
    typer.Argument(
        help="A TOML file, or the name of an experiment that ships with ssbench.",
        autocompletion=experiment_names,
    ),
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
Json = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON; see ssbench schema --command.")
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="METHOD",
        help="Take only these of the experiment's methods, by name or label.",
        autocompletion=method_names,
    ),
]
Smoke = Annotated[
    bool,
    typer.Option(
        "--smoke", help="Try it: one seed, one epoch, one budget; results go to NAME-smoke."
    ),
]
Live = Annotated[
    bool, typer.Option("--live", help="Let the report's page show what runs, and reload itself.")
]
TensorBoardFolder = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Write event files for TensorBoard (extra tensorboard)."),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")]


def tell(output: "BaseModel") -> None:
    """Print the result of a command as JSON."""
    typer.echo(output.model_dump_json(indent=2, exclude_none=True))


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
