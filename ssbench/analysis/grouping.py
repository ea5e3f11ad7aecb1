"""Group runs that differ only in the seed, and name what distinguishes the groups.

Two runs belong to one row unless records give a reason against it: the same plan, the same training
on the same kind of device, and the same `row_id` (a hash of everything that can change a result,
including the method's file), which older records lack.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

from ssbench.storage.records import RunRecords
from ssbench.storage.schema import Record

UNPROTECTED = "unprotected"
"""Part of the name of a row that one threshold prunes without a floor, if one with a floor exists.
"""


def alike(runs: Iterable[RunRecords]) -> tuple[list[list[RunRecords]], list[RunRecords]]:
    """Group runs that differ only in the seed, one per seed.

    Returns:
        The groups, and the older runs that newer ones replace: a changed method that runs again
        leaves both in the folder.
    """
    plans: dict[str, list[RunRecords]] = defaultdict(list)
    for run in runs:
        plans[plan_of(run.final)].append(run)
    groups: list[list[RunRecords]] = []
    older: list[RunRecords] = []
    for _, planned in sorted(plans.items()):
        for group in _trained_alike(planned):
            newest, replaced = _newest(group)
            groups.append(newest)
            older += replaced
    return groups, older


def plan_of(record: Record, *, floor: bool = True) -> str:
    """Write a run's plan without the seed; without ``floor`` also without its protection.

    Runs with the same plan without protection are twins: one threshold prunes both.
    """
    parts = (
        record.dataset, record.model, record.label, record.method, record.settings,
        record.grain, record.budget_unit, record.budget_asked, record.scope,
        *([record.protection] if floor else []),
        record.passes, record.retrain or "finetune", record.start or "random",
        *([record.schedule] if record.schedule else []),
        *([record.tuning.model_dump()] if record.tuning else []),
    )  # fmt: skip
    return json.dumps(parts, sort_keys=True)


def _trained_alike(runs: Sequence[RunRecords]) -> list[list[RunRecords]]:
    """Group runs of one plan by their training; a failed run joins the best fitting group."""
    groups: dict[Hashable, list[RunRecords]] = defaultdict(list)
    for run in runs:
        if not run.failed:
            groups[_how(run)].append(run)
    trained = list(groups.values())
    for run in runs:
        if run.failed and trained:
            max(trained, key=lambda group: _nearness(run, group[0])).append(run)
    return trained or [list(runs)]


def _how(run: RunRecords) -> Hashable:
    final = run.final
    return (
        run.recipe,
        devices_of(run),
        tuple(_step(run, stage) for stage in run.stages),
        (final.train_images, final.validation_images, final.test_images),
        (final.params_dense, final.connections_dense, final.macs_dense),
    )


def _step(run: RunRecords, stage: Record) -> Hashable:
    # The length of this retraining depends on the pruned network, which differs by seed.
    epochs = None if run.final.retrain == "scratch-b" else stage.epochs
    return (stage.stage, stage.lr, stage.precision or "fp32", bool(stage.compile), epochs,
            str(stage.micro_batch))  # fmt: skip


def _nearness(failed: RunRecords, other: RunRecords) -> tuple[bool, int]:
    """Return how well a failed run fits the row of another run."""
    same = failed.final.row_id is not None and failed.final.row_id == other.final.row_id
    steps = zip(failed.stages, other.stages, strict=False)
    equal = sum(_step(failed, one) == _step(other, two) for one, two in steps)
    return same, equal + (failed.recipe == other.recipe)


def _newest(runs: Sequence[RunRecords]) -> tuple[list[RunRecords], list[RunRecords]]:
    """Return the runs of the newest row id, the newest per seed; and the others."""
    ordered = sorted(runs, key=lambda run: (run.final.time or "", run.final.run))
    last = next((run.final.row_id for run in reversed(ordered) if run.final.row_id), None)
    seeds: dict[int, RunRecords] = {}
    for run in ordered:
        if run.final.row_id in (None, last):
            seeds[run.final.seed] = run
    kept = [seeds[seed] for seed in sorted(seeds)]
    taken = {id(run) for run in kept}  # comparing 10,000 runs key by key takes a minute
    return kept, [run for run in ordered if id(run) not in taken]


def devices_of(run: RunRecords) -> tuple[str, ...]:
    """Return the devices of a run's trainings: 'cpu', 'cuda', '4 x cuda'; empty if unknown."""
    trained = [stage for stage in run.stages if stage.device and stage.epochs != 0]
    return tuple(sorted({_place(stage) for stage in trained}))


def _place(stage: Record) -> str:
    count = device_count(stage)
    return f"{count} x {stage.device}" if count > 1 else f"{stage.device}"


def device_count(stage: Record) -> int:
    """Return the number of devices that trained a stage."""
    return stage.devices or 1


def names(groups: Sequence[Sequence[RunRecords]]) -> list[str]:
    """Name each group by its label and, if others share it, by what differs."""
    firsts = [min(group, key=lambda run: run.failed) for group in groups]
    by_label: dict[Hashable, list[RunRecords]] = defaultdict(list)
    for run in firsts:
        by_label[_label(run)].append(run)
    found = {id(run): _name(run, by_label[_label(run)]) for run in firsts}
    for say in _FURTHER:
        for same in _of_one_name(firsts, found):
            parts = [say(run) for run in same]
            if len(set(parts)) > 1:
                found |= {
                    id(run): ", ".join([found[id(run)], *([words] if words else [])])
                    for run, words in zip(same, parts, strict=True)
                }
    for same in _of_one_name(firsts, found):
        found |= {id(run): f"{found[id(run)]}, no. {n}" for n, run in enumerate(same, 1)}
    return [found[id(run)] for run in firsts]


def _of_one_name(runs: Sequence[RunRecords], found: Mapping[int, str]) -> list[list[RunRecords]]:
    """Return groups of several runs with one name, network and budget."""
    places: dict[Hashable, list[RunRecords]] = defaultdict(list)
    for run in runs:
        final = run.final
        place = (final.dataset, final.model, final.budget_asked, final.budget_unit)
        places[found[id(run)], place].append(run)
    return [same for same in places.values() if len(same) > 1]


def _label(run: RunRecords) -> Hashable:
    final = run.final
    return final.label, final.dataset, final.model, final.budget_asked is None


def _name(run: RunRecords, peers: Sequence[RunRecords]) -> str:
    def differs(get: Callable[[RunRecords], object]) -> bool:
        return any(get(peer) != get(run) for peer in peers)

    final = run.final
    extra = [final.method] if differs(lambda peer: peer.final.method) else []
    extra += [
        f"{key}={value}"
        for key, value in final.settings.items()
        if differs(lambda peer, key=key: peer.final.settings.get(key))  # type: ignore[misc]
    ]
    extra += [say(run) for say in _FACTS if differs(say)]
    extra += [_floor(run, peers)]
    return ", ".join([final.label, *(words for words in extra if words)])


def _unit(run: RunRecords) -> str:
    unit = f"by {run.final.budget_unit}"
    return "" if run.final.budget_unit is None or unit in run.final.label else unit


def _each(run: RunRecords, key: str) -> str:
    values = [str(getattr(stage, key)) for stage in run.stages if getattr(stage, key)]
    return "/".join(dict.fromkeys(values))


def _grain(run: RunRecords) -> str:
    return "" if run.final.grain in run.final.label else f"by {run.final.grain}"


def _floor(run: RunRecords, peers: Sequence[RunRecords]) -> str:
    """Return what a run's floor adds to its name, compared with runs of its label."""
    final = run.final
    floors = {peer.final.protection for peer in peers if peer.final.protection}
    if final.protection:
        return f"protection={final.protection:g}" if len(floors) > 1 else ""
    free = final.budget_asked in (None, "own") or final.scope == "layerwise"
    return UNPROTECTED if floors and not free else ""


def _compiled(run: RunRecords) -> str:
    return "compiled" if any(stage.compile for stage in run.stages) else ""


def _micro_batch(run: RunRecords) -> str:
    size = _each(run, "micro_batch")
    return f"micro-batch {size}" if size else ""


def _passes(run: RunRecords) -> str:
    if run.final.schedule:
        return f"passes to {', '.join(f'{100 * share:g} %' for share in run.final.schedule)}"
    return f"{run.final.passes} passes" if run.final.passes else ""


def _epochs(run: RunRecords) -> str:
    total = run.final.epochs_total
    return "" if total is None or run.final.retrain == "scratch-b" else f"{total} epochs"


_FACTS: tuple[Callable[[RunRecords], str], ...] = (
    lambda run: run.final.scope or "",
    _passes,
    _unit,
    _grain,
    lambda run: run.final.retrain or "",
)
"""Facts for a name if rows of its label differ in them; empty if unknown."""
_FURTHER: tuple[Callable[[RunRecords], str], ...] = (
    lambda run: f"from {run.final.start}" if run.final.start else "",
    lambda run: "tuned" if run.final.tuning else "not tuned",
    lambda run: " and ".join(devices_of(run)),
    lambda run: _each(run, "precision"),
    _compiled,
    _micro_batch,
    lambda run: f"lr={_each(run, 'lr')}",
    _epochs,
    lambda run: f"{run.final.train_images:,} images" if run.final.train_images else "",
    lambda run: run.final.experiment,
)
"""Further facts for a name if two rows of one budget would share it otherwise."""
