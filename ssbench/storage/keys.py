"""What the schema says about a key besides its type: its meaning, and where it is shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, Field

Group = Literal["size", "budget", "quality", "cost", "run", "file", ""]
"""The table of docs/metrics.md that explains a key; none: the key explains itself."""
Csv = Literal["error", "spread", "size", "total", "joules", "last", ""]
"""How the CSV writes a key over the seeds of a row.

``error`` and ``spread`` give mean, sd, min and max, ``error`` also before finetuning; ``size`` and
``last`` give the mean after the last stage; ``total`` and ``joules`` sum the stages first.
"""


@dataclass(frozen=True)
class Key:
    """What the schema says about a key besides its type.

    Attributes:
        meaning: one sentence for docs/metrics.md.
        group: the table that explains it.
        measured: a stage measures it; the pipeline writes it with every record, empty if need be.
        kept: a finetuning keeps the value of the pruning before it, as the masks stay.
        csv: the form in the CSV.
        details: the page shows it among the further details of a run.
    """

    meaning: str
    group: Group = ""
    measured: bool = False
    kept: bool = False
    csv: Csv = ""
    details: bool = False


def key(
    meaning: str, group: Group = "", *, kept: bool = False, csv: Csv = "", details: bool = False
) -> Any:
    """Make a key that a stage measures; None if it does not apply."""
    return field(Key(meaning, group, True, kept, csv, details), default=None)


def said(meaning: str, group: Group = "", *, csv: Csv = "", details: bool = False) -> Any:
    """Make a key that follows from the plan of a run; older records may lack it."""
    return field(Key(meaning, group, csv=csv, details=details), default=None)


def always(meaning: str = "", group: Group = "", *, csv: Csv = "") -> Any:
    """Make a key that every record has."""
    return field(Key(meaning, group, csv=csv))


def field(about: Key, **more: Any) -> Any:
    """Make a field of the schema."""
    return Field(description=about.meaning, json_schema_extra={"key": asdict(about)}, **more)


@dataclass(frozen=True)
class Keys:
    """The keys of a model with fields from `key`, `said` and `always`, in order."""

    model: type[BaseModel]

    @cached_property
    def about(self) -> dict[str, Key]:
        """What the schema says about every key."""
        return {name: Key(**_extra(field)) for name, field in self.model.model_fields.items()}

    @cached_property
    def measured(self) -> tuple[str, ...]:
        """The keys that stages measure."""
        return tuple(name for name, about in self.about.items() if about.measured)

    @cached_property
    def kept(self) -> tuple[str, ...]:
        """The keys whose value a finetuning takes from the pruning before it."""
        return tuple(name for name, about in self.about.items() if about.kept)

    @cached_property
    def nested(self) -> frozenset[str]:
        """The keys that hold more than one value."""
        fields = self.model.model_fields.items()
        return frozenset(name for name, field in fields if _holds_many(field.annotation))

    def in_csv(self, kind: Csv) -> tuple[str, ...]:
        """Return the keys with one form in the CSV."""
        return tuple(name for name, about in self.about.items() if about.csv == kind)

    def table(self, group: Group) -> str:
        """Return a table of docs/metrics.md: the keys of a group and their meanings."""
        lines = [
            f"| `{name}` | {about.meaning} |"
            for name, about in self.about.items()
            if about.group == group
        ]
        return "\n".join(["| key | meaning |", "|---|---|", *lines])


def _extra(field: Any) -> dict[str, Any]:
    about: dict[str, Any] = field.json_schema_extra["key"]
    return about


def _holds_many(kind: Any) -> bool:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return True
    if get_origin(kind) in (list, dict):
        return True
    return any(_holds_many(part) for part in _members(kind))


def _members(kind: Any) -> Iterator[Any]:
    if get_origin(kind) is not Literal:
        yield from (part for part in get_args(kind) if part is not NoneType)
