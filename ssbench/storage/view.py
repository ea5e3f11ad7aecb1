"""How a report shows its tables; changes no result. A run keeps it beside the records."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ssbench.errors import BadInputError, wrong
from ssbench.storage.files import write

FILE = "report.json"
_LIMIT = 2**16
Caption = Literal["full", "short", "none"]


class View(BaseModel):
    """How a report shows its tables.

    Attributes:
        columns: of every table, besides name, test error and number of seeds; None: the usual ones.
        rows: names or methods, with * for any characters, or NAME@SHARE; None: all.
        sort: what sorts the rows of a budget: error, name or a column; a leading - reverses it.
        caption: full explains everything, short the table alone.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    columns: list[str] | None = Field(default=None, min_length=1)
    rows: list[str] | None = Field(default=None, min_length=1)
    sort: str | None = None
    caption: Caption = "full"


USUAL = View()


def keep(folder: Path, view: View) -> None:
    """Write a view beside the records, or remove an older one if it is the usual view."""
    path = folder / FILE
    if view == USUAL:
        path.unlink(missing_ok=True)
        return
    text = view.model_dump_json(indent=1, exclude_defaults=True) + "\n"
    with suppress(OSError):
        if path.read_text(encoding="utf-8") == text:
            return
    write(path, text)


def kept(folder: Path) -> View:
    """Read the view beside the records; without one, the usual view.

    Raises:
        BadInputError: the file is not a view.
    """
    path = folder / FILE
    if not path.is_file():
        return USUAL
    try:
        return View.model_validate_json(path.read_bytes()[:_LIMIT])
    except ValidationError as error:
        raise BadInputError(f"{path}: {wrong(error)}; correct or remove it") from error
