"""Read and check published results from CSV files.

>>> [row.macs for row in collect() if row.line.variant == "VGG-16-A"]
[206000000.0]
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from ssbench.errors import BadInputError, nearest, wrong
from ssbench.paths import bench_folder

DENSE = "dense"
"""The method of a row with the dense size of its source's other rows."""
_PER_MULTIPLY_ADD = {"mul+add": 2, "mac": 1}

Word = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Percent = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
Size = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Line(BaseModel):
    """One line of a file: a source's result for one network, pruned or dense.

    Errors are in percent, params and flops (of one image) are counts; None if the source has no
    value. ``flops_convention`` is the count of a multiply-add: 2 (``mul+add``) or 1 (``mac``).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: Word
    model: Word
    method: Word
    variant: Word | None = None
    top1_error: Percent | None = None
    top5_error: Percent | None = None
    params: Size | None = None
    flops: Size | None = None
    flops_convention: Literal["mul+add", "mac"] | None = None
    source: Word
    note: Word | None = None

    @property
    def macs(self) -> float | None:
        """Multiply-adds; None if the source gives no FLOPs or no convention."""
        if self.flops is None or self.flops_convention is None:
            return None
        return self.flops / _PER_MULTIPLY_ADD[self.flops_convention]


@dataclass(frozen=True, eq=False)
class Published:
    """A published row.

    Attributes:
        line: the source's result, with ssbench's name of the model.
        dense: the same source's dense network; for a dense row itself; None if there is none.
    """

    line: Line
    dense: Line | None

    @property
    def name(self) -> str:
        """The method and the source's name of the variant."""
        return ", ".join(part for part in (self.line.method, self.line.variant) if part)

    @property
    def is_dense(self) -> bool:
        """Whether the network is not pruned."""
        return self.line.method == DENSE

    @property
    def macs(self) -> float | None:
        """Multiply-adds of one image, converted by the source's convention; None if unknown."""
        return self.line.macs

    @property
    def params_pruned(self) -> float | None:
        """The pruned share of the params of the source's dense network."""
        return _gone(self.line.params, self.dense.params if self.dense else None)

    @property
    def macs_pruned(self) -> float | None:
        """The pruned share of the MACs; if both use one convention, it does not matter which."""
        if self.dense is None:
            return None
        if self.line.flops_convention == self.dense.flops_convention:
            return _gone(self.line.flops, self.dense.flops)
        return _gone(self.line.macs, self.dense.macs)


def _gone(left: float | None, dense: float | None) -> float | None:
    return None if left is None or dense is None else 1 - left / dense


def matching(published: Iterable[Published], dataset: str, model: str) -> list[Published]:
    """Return the published rows of a network on a data set."""
    return [row for row in published if (row.line.dataset, row.line.model) == (dataset, model)]


def collect(files: Sequence[Path] = (), *, shipped: bool = True) -> list[Published]:
    """Return the published rows that ship with ssbench, then those of the user's files.

    Args:
        files: in the columns of `Line`.
        shipped: whether to include those that ship with ssbench.

    Raises:
        BadInputError: a file is unreadable or has an impossible value; names file, line and column.
    """
    return read(*([bench_folder() / "published.csv"] if shipped else []), *files)


def read(*files: Path) -> list[Published]:
    """Return the published rows of some files, in order.

    Raises:
        BadInputError: as `collect`.
    """
    names = _names()
    lines: dict[Key, tuple[str, Line]] = {}
    for file in files:
        for place, cells in _cells(file, Line.model_fields):
            line = _line(cells, place, names)
            if _key(line) in lines:
                raise BadInputError(
                    f"{place}: repeats {lines[_key(line)][0]} (the same data set, model, method, "
                    "variant and source; a source has one dense network of a model); "
                    "remove one, or give the source or variant another name"
                )
            lines[_key(line)] = (place, line)
    dense = {_origin(line): line for _, line in lines.values() if line.method == DENSE}
    return [Published(line, dense.get(_origin(line))) for _, line in lines.values()]


Origin = tuple[str, str, str]
Key = tuple[Origin, str, str | None]


def _origin(line: Line) -> Origin:
    return line.dataset, line.model, line.source


def _key(line: Line) -> Key:
    return _origin(line), line.method, None if line.method == DENSE else line.variant


def _names() -> dict[str, str]:
    """Return ssbench's names of networks, by their names in the literature."""
    path = bench_folder() / "published_names.csv"
    return {cells["published"]: cells["model"] for _, cells in _cells(path, ("published", "model"))}


def _line(cells: Mapping[str, str], place: str, names: Mapping[str, str]) -> Line:
    given = {key: cell for key, cell in cells.items() if cell}
    if "model" in given:
        given["model"] = names.get(given["model"], given["model"])
    try:
        line = Line.model_validate(given)
    except ValidationError as error:
        raise BadInputError(f"{place}: {wrong(error)}; correct the cell") from error
    if line.top1_error is None and line.top5_error is None:
        raise BadInputError(f"{place}: neither top1_error nor top5_error; give one, in percent")
    return line


def _cells(path: Path, columns: Collection[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the place and the stripped cells of each line of a CSV file with a header."""
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(
            f"{path}: cannot be read ({error}); give a CSV file in UTF-8"
        ) from error
    reader = csv.reader(StringIO(content, newline=""), strict=True)
    header: list[str] = []
    try:
        for raw in reader:
            place, cells = f"{path}, line {reader.line_num}", [cell.strip() for cell in raw]
            if not any(cells):
                continue
            if not header:
                header = cells
                _check_header(header, columns, place)
            elif len(cells) != len(header):
                raise BadInputError(
                    f"{place}: {len(cells)} cells under {len(header)} columns; quote text that "
                    "contains a comma"
                )
            else:
                yield place, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise BadInputError(f"{path}, line {reader.line_num}: not CSV ({error})") from error
    if not header:
        raise BadInputError(
            f"{path}: empty; its first line must name columns: {', '.join(columns)}"
        )


def _check_header(header: Sequence[str], columns: Collection[str], place: str) -> None:
    for column in header:
        if column not in columns:
            raise BadInputError(f"{place}: unknown column {column!r}; {nearest(column, columns)}")
        if header.count(column) > 1:
            raise BadInputError(f"{place}: the column {column!r} occurs twice; remove one")
