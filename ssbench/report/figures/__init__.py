"""Rows -> figures: each a function that gives a Vega-Lite spec, drawn only where its data exist.

>>> [figure.stem for figure in draw(rows, Looks.of(rows))]
['error-digits-vgg6', 'sizes-digits-vgg6', ...]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ssbench.analysis.rows import Row, differing, twins
from ssbench.report.captions import DOTTED
from ssbench.report.figures.chart import Figure, theme
from ssbench.report.figures.cost import cost
from ssbench.report.figures.error_size import (
    Reference,
    error_against_shares,
    error_against_sizes,
    unplaced,
)
from ssbench.report.figures.export import KINDS, convert, script
from ssbench.report.figures.finetuning import before_and_after
from ssbench.report.figures.layers import collapse_map, kept_by_layer
from ssbench.report.figures.mask_overlap import mask_overlap
from ssbench.report.figures.pareto import pareto_front
from ssbench.report.figures.ranks import rank_diagram
from ssbench.report.figures.scores import score_histograms
from ssbench.report.figures.style import Looks
from ssbench.report.figures.sweep import sweeps
from ssbench.report.figures.training_curves import training_curves

__all__ = ["FIRST", "KINDS", "Figure", "Looks", "Reference", "convert", "draw", "draw_overall",
           "script", "theme"]  # fmt: skip

FIRST = "error"
"""The kind of figure that stands beside every table."""
_SEEDS = (
    "Means over seeds, bands (bars where no line joins a mark to others) ± 1 sample standard "
    "deviation."
)
_BY_SIZE = (FIRST, "sizes", "pareto")
_WITH_TWINS = (*_BY_SIZE, "layers", "collapse")
"""Kinds that also show rows without a floor beside their twins with one; see `ssbench.report`."""
_KINDS: tuple[
    tuple[str, str, str, Callable[[Sequence[Row], Looks], dict[str, Any] | None]], ...
] = (
    (
        FIRST,
        "Error against what is kept",
        "test error of the last epoch against the share of params, connections (2-D kernels) and "
        f"MACs of nonzero weights that is kept. {_SEEDS} Dashed: the dense network.",
        error_against_shares,
    ),
    (
        "sizes",
        "Error against size",
        "test error of the last epoch against nonzero params, MACs of nonzero weights (1 per "
        "multiply-add, one image) and bytes of the compact network with each tensor in its "
        f"smallest format. {_SEEDS} Dashed: the dense network.",
        error_against_sizes,
    ),
    (
        "pareto",
        "Pareto front",
        "filled marks are the rows that no other row beats in both test error and size, joined by "
        "a step line (the dense network counts too); open marks are all others. The means decide: "
        "whether two rows of the front can be told apart is for the verdicts to say.",
        pareto_front,
    ),
    (
        "finetuning",
        "Before and after finetuning",
        "test error against the share of the budget's unit (connections, params or MACs) that was "
        f"to be kept, right after pruning and at the end. {_SEEDS}",
        before_and_after,
    ),
    (
        "layers",
        "Kept in each layer",
        "the share of its weights that every prunable layer keeps, means over seeds, a panel for "
        "each share that was to be kept. Crosses: the layer lost all weights in some seed.",
        kept_by_layer,
    ),
    (
        "collapse",
        "Layers without a weight",
        "in how many seeds a layer lost all its weights; the number in a cell is the share of its "
        "weights that it keeps, in %, mean over seeds. Methods without such a layer are left out.",
        collapse_map,
    ),
    (
        "scores",
        "Scores and thresholds",
        "the scores of all units (weights, connections or filters: the method's grain) when they "
        "were pruned, at the first seed; lines are the thresholds of the shares that were to be "
        "kept.",
        score_histograms,
    ),
    (
        "masks",
        "Overlap of masks",
        "weights kept by both of two methods as a share of those kept by either, at the same seed, "
        "mean over seeds, from a sample of 4,096 prunable weights. Chance alone gives two masks "
        "that keep a share s of the weights an overlap of s / (2 - s).",
        mask_overlap,
    ),
    (
        "sweep",
        "Hyper-parameters",
        "test error of the last epoch against the hyper-parameter that was swept. Means over "
        "seeds, bars ± 1 sample standard deviation.",
        sweeps,
    ),
    (
        "cost",
        "Error against cost",
        "test error of the last epoch against the seconds that one seed took on the hardware of "
        "the records, all stages together, shared ones included; against the epochs in total where "
        "rows differ in them; and against energy where a counter could be read. That is the "
        "GPU's (of several that trained jointly, all of them) or else the CPU's packages', without "
        "the rest of the machine, and of all that ran there, other stages and other people's work "
        "too.",
        cost,
    ),
    (
        "training",
        "Training",
        "loss (mean cross-entropy) and error on the training images, as they were trained on, by "
        "epoch, each method at its smallest budget, means over seeds. Marks: error on the "
        "validation images at the end of a stage. Dashed lines part the stages. Methods that share "
        "a stage share its line: the last one drawn hides the others. A stage of one epoch is "
        "a short stroke.",
        training_curves,
    ),
)


def draw(
    rows: Sequence[Row], looks: Looks, label: str, published: Sequence[Reference] = ()
) -> list[Figure]:
    """Draw every figure of a (data set, model) whose data are there.

    Args:
        rows: of one table, in printing order.
        looks: of all methods of the report.
        label: ends the names of the figures' files.
        published: results from papers for the same network and data.
    """
    # Altair checks each part of a chart when it is made, over and over.
    from altair.utils.schemapi import debug_mode

    where = f"{rows[0].like.model} on {rows[0].like.dataset}"
    without_floor = twins(rows)
    alone = [row for row in rows if row not in without_floor]
    both = differing(rows)
    figures = []
    for kind, title, caption, make in _KINDS:
        quoted = published if make is error_against_sizes else ()
        shown = both if kind in _WITH_TWINS else alone
        with debug_mode(False):
            spec = error_against_sizes(shown, looks, quoted) if quoted else make(shown, looks)
        if spec is not None:
            said = f"{where}: {caption}"
            said += f" Crosses: {', '.join(sorted({r.source for r in quoted}))}." if quoted else ""
            said += unplaced(rows) if kind in _BY_SIZE else ""
            said += DOTTED if len(both) > len(alone) and kind in _WITH_TWINS else ""
            figures.append(Figure(f"{kind}-{label}", title, said, spec))
    return figures


def draw_overall(tables: Sequence[Sequence[Row]], looks: Looks) -> list[Figure]:
    """Draw the figures of all tables of a report together, given the rows of each."""
    spec = rank_diagram(tables, looks)
    caption = (
        "Average rank by mean test error over all (data set, model, share kept) of tables with "
        "the same total epochs and initial weights. A thick line joins methods whose ranks differ "
        "by less than Nemenyi's critical difference (95 %), which takes all of these for "
        "independent: the shares of one network are not, and it is too small by so much."
    )
    return [] if spec is None else [Figure("ranks", "Average ranks", caption, spec)]
