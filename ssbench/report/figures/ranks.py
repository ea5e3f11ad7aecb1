"""Draw the rank diagram: average ranks, and which of them do not differ significantly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ssbench.analysis.ranking import Ranks, rankings
from ssbench.analysis.rows import Row
from ssbench.report.figures.chart import finish, tooltip, values
from ssbench.report.figures.style import Looks

WIDTH, STEP = 300, 24
_BRACKET = "#84898f"


def rank_diagram(tables: Sequence[Sequence[Row]], looks: Looks) -> dict[str, Any] | None:
    """Draw the average rank of each method, a panel for each unit of budgets.

    A line at the right joins methods whose ranks differ by less than the critical difference.

    Args:
        tables: the rows of each table of a report.
        looks: the colours and marks of all its methods.

    Returns:
        A spec; None if no two methods share at least two cells.
    """
    import altair as alt

    # A single cell has no average, and the table shows it already.
    several = [ranks for ranks in rankings(tables) if ranks.ranking.cells > 1]
    panels = [_panel(ranks, looks) for ranks in several]
    return (
        finish(alt.hconcat(*panels).resolve_scale(color="independent", shape="independent"))
        if panels
        else None
    )


def _panel(ranks: Ranks, looks: Looks) -> Any:
    import altair as alt

    averages = ranks.ranking.average
    names = list(averages)
    points = [{"method": name, "rank": rank} for name, rank in averages.items()]
    cliques = ranks.ranking.cliques()
    brackets = [
        {"method": name, "place": number, "to": group[-1], "from": group[0]}
        for number, group in enumerate(cliques)
        for name in (group[0], group[-1])
    ]
    end = len(names) + 0.3 + 0.2 * len(cliques)
    scale = alt.Scale(domain=[0.8, end], nice=False)
    axis = alt.Axis(values=list(range(1, len(names) + 1)), format="d")
    x = alt.X("rank:Q", title="average rank (1 is best)", scale=scale, axis=axis)
    y = alt.Y("method:N", sort=names, title=None, axis=alt.Axis(labelLimit=0, ticks=False))
    shown = tooltip(("method:N", "method"), ("rank:Q", "average rank"))
    layers: list[Any] = [
        alt.Chart(values(points)).mark_rule(color=_BRACKET, strokeWidth=0.8).encode(
            alt.X("rank:Q", scale=scale), x2=alt.datum(0.8), y=y
        ),
        alt.Chart(values(points)).mark_point(filled=True, size=80, opacity=1).encode(
            x, y, looks.colour(names, legend=None), looks.shape(names, legend=None), tooltip=shown
        ),
    ]  # fmt: skip
    layers += [
        alt.Chart(values(part for part in brackets if part["place"] == number))
        .mark_line(color=_BRACKET, strokeWidth=4, strokeCap="round")
        .encode(alt.XDatum(len(names) + 0.25 + 0.2 * number, scale=scale), y)
        for number in range(len(cliques))
    ]
    critical = ranks.ranking.critical
    subtitle = "no test" if critical is None else f"critical difference {critical:.2f}"
    title = alt.Title(ranks.title, subtitle=subtitle)
    return alt.layer(*layers).properties(width=WIDTH, height=STEP * len(names), title=title)
