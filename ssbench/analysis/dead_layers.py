"""Which layers died, at which budget: a layer without a weight cuts the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ssbench.analysis import wording
from ssbench.analysis.rows import Row


@dataclass(frozen=True)
class Dead:
    """A layer that lost all its weights in ``seeds`` of ``of`` seeds."""

    name: str
    budget: str
    layer: str
    seeds: int
    of: int


def collapses(rows: Sequence[Row]) -> list[Dead]:
    """List the layers of a (data set, model) that died, in the order of the rows and layers."""
    found = []
    for row in rows:
        for layer in layers_in_order([row]):
            dead = sum(run.final.layers.get(layer) == 0 for run in row.done)
            if dead:
                found.append(Dead(row.name, wording.asked(*row.budget), layer, dead, len(row.done)))
    return found


def layers_in_order(rows: Sequence[Row]) -> list[str]:
    """The prunable layers of a network, in the order of their calls; of old records by name."""
    names = {name for row in rows for run in row.done for name in run.final.layers}
    orders = (run.final.layer_order for row in rows for run in row.done)
    called = next((order for order in orders if order and names.issubset(order)), None)
    return sorted(names, key=called.index if called else _natural)


def _natural(name: str) -> list[tuple[int, str]]:
    """Order by numbers as numbers: records are written with sorted keys, 10 before 2."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in name.split(".")]


def lines(dead: Sequence[Dead]) -> list[str]:
    """Say it in one line for each row: 'random at 2 % of connections: features.10 (3 of 3)'."""
    places: dict[tuple[str, str], list[Dead]] = {}
    for entry in dead:
        places.setdefault((entry.name, entry.budget), []).append(entry)
    return [
        f"{name} at {budget}: " + ", ".join(f"{e.layer} ({e.seeds} of {e.of} seeds)" for e in found)
        for (name, budget), found in places.items()
    ]
