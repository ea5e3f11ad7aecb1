"""Runs to rows: the seeds of one (data set, model, method, budget) together."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from ssbench.report.records import Record
from ssbench.stats import deviation, mean


@dataclass
class Row:
    """One line of a table; by seed the last record, the one before finetuning, or the failure."""

    dataset: str
    model: str
    method: str
    label: str
    grain: str
    unit: str | None
    asked: float | str | None
    results: dict[int, Record] = field(default_factory=dict)
    pruned: dict[int, Record] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str | None, str]:
        """What tells this row from others of its table."""
        return self.label, self.unit, str(self.asked)

    @property
    def n(self) -> int:
        """The number of seeds with a result."""
        return len(self.results)

    @property
    def test_images(self) -> int:
        """The smallest number of images that an error was measured on."""
        return min(int(value) for value in self.column("test_images").values())

    @property
    def errors(self) -> dict[int, float]:
        """Test error in percent, by seed."""
        return self.column("test_top1_error")

    def column(self, key: str) -> dict[int, float]:
        """The values of a record's key by seed, those that are there."""
        found = {seed: record.get(key) for seed, record in self.results.items()}
        return {seed: float(value) for seed, value in found.items() if value is not None}

    def mean(self, key: str) -> float | None:
        """The mean of a key over seeds."""
        values = list(self.column(key).values())
        return mean(values) if values else None

    def deviation(self, key: str) -> float | None:
        """The sample standard deviation of a key over seeds."""
        return deviation(list(self.column(key).values()))

    def share(self, unit: str, what: str = "nonzero") -> float | None:
        """The mean kept share of a unit, from 0 to 1."""
        kept, dense = self.column(f"{unit}_{what}"), self.column(f"{unit}_dense")
        shares = [kept[seed] / dense[seed] for seed in kept if dense.get(seed)]
        return mean(shares) if shares else None

    @property
    def before_finetuning(self) -> float | None:
        """The mean test error right after pruning, in percent."""
        found = [record["test_top1_error"] for record in self.pruned.values()]
        return mean(found) if found else None

    @property
    def layers(self) -> dict[str, float]:
        """The mean share of weights kept, by layer."""
        found: dict[str, list[float]] = {}
        for record in self.results.values():
            for layer, share in (record.get("layers") or {}).items():
                found.setdefault(layer, []).append(share)
        return {layer: mean(shares) for layer, shares in found.items()}

    @property
    def collapsed(self) -> int:
        """The number of seeds in which a layer lost all its weights."""
        return sum(0 in (record.get("layers") or {}).values() for record in self.results.values())


def rows(runs: Iterable[list[Record]]) -> list[Row]:
    """Group runs into rows: dense first, then by falling budget, controls before methods."""
    found: dict[str, Row] = {}
    for run in runs:
        last = run[-1]
        row = found.setdefault(_key(last), _row(last))
        if last["status"] == "failed":
            row.failures[last["seed"]] = str(last["reason"])
            continue
        row.results[last["seed"]] = last
        row.pruned |= {record["seed"]: record for record in run if record["stage"] == "prune"}
    return sorted(found.values(), key=_order)


def _key(record: Record) -> str:
    names = ("dataset", "model", "label", "settings", "budget_unit", "budget_asked", "scope")
    return json.dumps([record[name] for name in names], sort_keys=True)


def _row(record: Record) -> Row:
    return Row(
        dataset=record["dataset"],
        model=record["model"],
        method=record["method"],
        label=record["label"],
        grain=record["grain"],
        unit=record["budget_unit"],
        asked=record["budget_asked"],
    )


def _order(row: Row) -> tuple[object, ...]:
    asked = 2.0 if row.asked is None else row.asked if isinstance(row.asked, float) else -1.0
    control = {"dense": 0, "random": 1, "magnitude": 2}.get(row.method, 3)
    return row.dataset, row.model, -asked, control, row.label, row.unit or ""
