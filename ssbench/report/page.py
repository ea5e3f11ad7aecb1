"""Collect the content of a report from runs, independent of the format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ssbench.analysis import claims as claims_
from ssbench.analysis import facts as facts_
from ssbench.analysis import images, wording
from ssbench.analysis.findings import Findings, Overall, findings, overall
from ssbench.analysis.headline import headline
from ssbench.analysis.limits import limits
from ssbench.analysis.merge import Merged, Part
from ssbench.analysis.notes import devices, superseded, versions
from ssbench.analysis.published import Published
from ssbench.analysis.rows import Row, by_table, make_rows, twins
from ssbench.report.captions import figure_caption
from ssbench.report.figures import FIRST
from ssbench.report.formats.escape import slug
from ssbench.report.selection import check_rows
from ssbench.report.tables import Table, make_table
from ssbench.storage.records import RunRecords
from ssbench.storage.view import USUAL, View


@dataclass(frozen=True)
class Section:
    """One (data set, model): its rows, its table and the stem of its figure's files."""

    rows: tuple[Row, ...]
    table: Table
    stem: str
    figure_caption: str
    findings: Findings

    @property
    def title(self) -> str:
        """The network and its data set."""
        return f"{self.table.model} on {self.table.dataset}"

    @property
    def label(self) -> str:
        """The key for references to the table and figure."""
        return self.stem.removeprefix(f"{FIRST}-")


@dataclass(frozen=True)
class Failure:
    """A run without a result; ``epoch`` is the one in which training diverged, or empty."""

    run: str
    stage: str
    epoch: str
    reason: str

    @classmethod
    def of(cls, run: RunRecords) -> Failure:
        """Describe a failed run by its last record."""
        last = run.final
        epoch = "" if last.diverged_epoch is None else str(last.diverged_epoch)
        return cls(last.run, last.stage, epoch, last.reason or "no reason given")


@dataclass(frozen=True)
class Page:
    """A report: facts on the runs, tables, figures, failures and limits.

    ``headline`` says in two sentences which method wins and how sure that is; ``limits`` says what
    does not follow from the records.
    """

    title: str
    headline: tuple[str, str]
    facts: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]
    sections: tuple[Section, ...]
    failures: tuple[Failure, ...]
    rows: tuple[Row, ...]
    overall: Overall
    limits: tuple[str, ...]
    published: tuple[Published, ...]
    view: View


@dataclass(frozen=True)
class Beside:
    """Content of a report besides the records.

    Attributes:
        claims: files of claims.
        published: rows of the literature.
        view: what the tables show, and how.
    """

    claims: Sequence[Path] = ()
    published: Sequence[Published] = ()
    view: View = USUAL


def make_page(
    runs: Sequence[RunRecords],
    claims: Sequence[Path] = (),
    published: Sequence[Published] = (),
    view: View = USUAL,
) -> Page:
    """Make the report of all runs of an experiment, at least one.

    Args:
        runs: of one experiment.
        claims: files of claims; those about other experiments are ignored.
        published: rows of the literature; a table shows those of its network and data set.
        view: what the tables show, and how.

    Raises:
        BadInputError: the view names a row or column that does not exist.
    """
    beside = Beside(claims, published, view)
    return _page(runs[0].final.experiment, [("", runs)], (), beside)


def make_merged_page(
    merged: Merged,
    claims: Sequence[Path] = (),
    published: Sequence[Published] = (),
    view: View = USUAL,
) -> Page:
    """Make one report of several experiments; incomparable ones get separate tables."""
    experiments = list(dict.fromkeys(run.final.experiment for run in merged.runs))
    groups = [
        (_apart(part) if len(parts) > 1 else "", part.runs)
        for parts in merged.parts.values()
        for part in parts
    ]
    beside = Beside(claims, published, view)
    return _page(wording.listing(experiments), groups, merged.warnings, beside)


def _apart(part: Part) -> str:
    """Return what distinguishes a table from others of the same network and data."""
    return f" ({wording.listing(list(part.folders))}, {part.conditions.epochs} epochs)"


def _page(
    title: str,
    groups: Sequence[tuple[str, Sequence[RunRecords]]],
    warnings: tuple[str, ...],
    beside: Beside,
) -> Page:
    sections: list[Section] = []
    rows: list[Row] = []
    older: list[RunRecords] = []
    for apart, runs in groups:
        made, replaced = make_rows(runs)
        rows, older = rows + made, older + replaced
        tables = by_table(made).values()
        sections += [_section(group, apart, beside) for group in tables]
    check_rows(rows, beside.view)
    all_runs = [run for _, runs in groups for run in runs]
    whole = overall([s.rows for s in sections], _settled(all_runs, beside.claims))
    parts = [(section.title, section.rows, section.findings) for section in sections]
    return Page(
        title=title,
        headline=headline([(title, rows) for title, rows, _ in parts]).sentences,
        facts=tuple(facts(rows)),
        warnings=(
            *warnings,
            *images.warnings(row.like.dataset for row in rows),
            *superseded(older),
        ),
        sections=tuple(_named(sections)),
        failures=tuple(Failure.of(run) for row in rows for run in row.failed),
        rows=tuple(rows),
        overall=whole,
        limits=limits(parts, whole),
        published=tuple(beside.published),
        view=beside.view,
    )


def _section(rows: Sequence[Row], apart: str, beside: Beside) -> Section:
    table = make_table(rows, beside.published, beside.view)
    named = replace(table, dataset=f"{table.dataset}{apart}")
    caption = "" if beside.view.caption == "none" else figure_caption(rows)
    return Section(tuple(rows), named, "", caption, findings(rows))


def _settled(runs: Sequence[RunRecords], files: Sequence[Path]) -> list[claims_.Settled]:
    """Settle the claims about each experiment by its own rows, under the experiment's names."""
    found: list[claims_.Settled] = []
    for experiment in dict.fromkeys(run.final.experiment for run in runs):
        made = claims_.read(files, experiment)
        rows, _ = make_rows([run for run in runs if run.final.experiment == experiment])
        found += claims_.settle(made, rows)
    return found


def _named(sections: Sequence[Section]) -> list[Section]:
    """Give figures distinct names, even if two models' names differ only in a '/'."""
    named: list[Section] = []
    for section in sections:
        stem = slug(f"{FIRST}-{section.table.dataset}-{section.table.model}")
        taken = {other.stem for other in named}
        if stem in taken:
            stem = next(f"{stem}-{i}" for i in range(2, 10_000) if f"{stem}-{i}" not in taken)
        named.append(replace(section, stem=stem))
    return named


SETUP = ("Stages", "Measured", "Shared stages", "Hardware", "Versions", "Commit",
         "Operators that count as free")  # fmt: skip
"""Facts that a page shows on demand."""


def facts(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Return facts on the runs and their hardware, as far as the records have them."""
    runs = [run for row in rows for run in (*row.done, *row.failed)]
    stages = [stage for run in runs for stage in run.stages]
    finals = [run.final for row in rows for run in row.done]
    images = sorted({(r.train_images, r.validation_images, r.test_images) for r in finals}, key=str)
    epochs = sorted({r.epochs_total for r in finals if r.epochs_total is not None})
    free = sorted({operator for stage in stages for operator in stage.uncounted})
    found = [
        ("Data", wording.listing(sorted({run.final.dataset for run in runs}))),
        ("Images", wording.listing([_images(*parts) for parts in images])),
        ("Models", wording.listing(sorted({run.final.model for run in runs}))),
        ("Methods", wording.listing(_competing_names(rows))),
        (
            "Seeds",
            wording.listing([str(seed) for seed in sorted({run.final.seed for run in runs})]),
        ),
        ("Epochs in total", wording.listing([str(count) for count in epochs])),
        *facts_.protocol_facts(rows),
        *facts_.tuning_facts(rows),
        ("Shared stages", facts_.said(runs)),
        ("Hardware", " | ".join(devices(stages))),
        ("Versions", " | ".join(versions(stages))),
        ("Commit", wording.listing(sorted({stage.commit for stage in stages if stage.commit}))),
        ("Operators that count as free", wording.listing(free)),
    ]
    return [(name, value) for name, value in found if value]


def _competing_names(rows: Sequence[Row]) -> list[str]:
    without_floor = twins(rows)
    return list(dict.fromkeys(row.name for row in rows if row not in without_floor))


def _images(train: int | None, validation: int | None, test: int | None) -> str:
    parts = {"train": train, "validation": validation, "test": test}
    return ", ".join(f"{count:,} {name}" for name, count in parts.items() if count is not None)
