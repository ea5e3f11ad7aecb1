"""Find the layers that died, and at which budget: a layer without a weight cuts the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ssbench.analysis import wording
from ssbench.analysis.rows import Row, twins


@dataclass(frozen=True)
class Dead:
    """A layer that lost all its weights in ``seeds`` of ``of`` seeds.

    Attributes:
        errors: the test error in words, beside that with a floor if there is one.
    """

    name: str
    budget: str
    layer: str
    seeds: int
    of: int
    errors: str = ""


CAPTION = (
    "A threshold that empties a layer says little about the scores: such rows do not compete, and "
    "beating them proves nothing."
)


def collapses(rows: Sequence[Row]) -> list[Dead]:
    """List the layers of a (data set, model) that died, in the order of the rows and layers."""
    dead_layers = []
    floors = twins(rows)
    for row in rows:
        for layer in layers_in_order([row]):
            dead = sum(run.final.layers.get(layer) == 0 for run in row.done)
            if dead:
                budget, errors = wording.asked(*row.budget), _errors(row, floors.get(row))
                dead_layers.append(Dead(row.name, budget, layer, dead, len(row.done), errors))
    return dead_layers


def _errors(row: Row, twin: Row | None) -> str:
    """Return the test error of a row that lost a layer, and that of its twin with a floor."""
    own = f"test error {wording.error(row.spread('test_top1_error'))} %"
    if twin is None:
        return own
    return f"{own}, with a floor in every layer {wording.error(twin.spread('test_top1_error'))} %"


def layers_in_order(rows: Sequence[Row]) -> list[str]:
    """Return the prunable layers of a network in call order; for old records by name."""
    names = {name for row in rows for run in row.done for name in run.final.layers}
    orders = (run.final.layer_order for row in rows for run in row.done)
    called = next((order for order in orders if order and names.issubset(order)), None)
    return sorted(names, key=called.index if called else _natural)


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a sort key with numbers as numbers: records have sorted keys, 10 before 2."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in name.split(".")]


def lines(dead: Sequence[Dead]) -> list[str]:
    """Return one line per row: 'random at 2 % of connections: features.10 (3 of 3)'."""
    places: dict[tuple[str, str], list[Dead]] = {}
    for entry in dead:
        places.setdefault((entry.name, entry.budget), []).append(entry)
    return [
        f"{name} at {budget}: "
        + ", ".join(f"{e.layer} ({e.seeds} of {e.of} seeds)" for e in found)
        + f"; {found[0].errors}"
        for (name, budget), found in places.items()
    ]
