"""`ssbench overlap`: how much the masks of every two methods agree."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from ssbench.analysis.mask_overlap import CAPTION, Overlap, has_masks, overlaps, whole_overlaps
from ssbench.analysis.rows import by_table, make_rows
from ssbench.cli.outputs import MaskPair, OverlapOutput
from ssbench.errors import BadInputError
from ssbench.storage.records import read_runs

Tables = dict[tuple[str, str], list[Overlap]]
"""The pairs of rows, by data set and model."""


def overlap(folder: Path, cache: Path | str | None) -> Tables:
    """Compare the masks of every two methods, from checkpoints if they exist.

    Args:
        folder: the folder of an experiment's records.
        cache: the stage checkpoints; None: ``.cache`` beside the folder, if it has them.

    Raises:
        BadInputError: no records, or neither checkpoints nor samples of masks.
    """
    rows, _ = make_rows(read_runs(folder))
    store = cache or folder.resolve().parent / ".cache"
    found: Tables = {}
    for (dataset, model), group in by_table(rows).items():
        whole = cache is not None or has_masks(group, store)
        found[dataset, model] = whole_overlaps(group, store) if whole else overlaps(group)
    if not any(found.values()):
        raise BadInputError(
            f"{folder}: its records hold no samples of masks, and {store} no checkpoints; run the "
            "experiment again"
        )
    return found


def show(found: Tables, console: Console) -> None:
    """Print a line for each pair."""
    lines: list[str] = []
    for (dataset, model), pairs in found.items():
        lines += [f"{model} on {dataset}:", *(f"  {pair}" for pair in pairs)] if pairs else []
    for line in [*lines, CAPTION]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def output(found: Tables) -> OverlapOutput:
    """Return the pairs for ``--json``."""
    return OverlapOutput(
        pairs=[
            MaskPair(
                dataset=dataset,
                model=model,
                budget=pair.budget,
                first=pair.first,
                second=pair.second,
                overlap=pair.jaccard,
                chance=pair.chance,
                within=pair.within,
                standard_error=pair.error,
                seeds=pair.seeds,
            )
            for (dataset, model), pairs in found.items()
            for pair in pairs
        ]
    )
