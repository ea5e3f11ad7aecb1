"""``ssbench check``: try every method on a network, for two steps each, before any experiment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from ssbench.cli.check_output import CheckOutput, MethodCheck
from ssbench.data.registry import check as check_dataset
from ssbench.data.registry import open_dataset
from ssbench.errors import NotFiniteError
from ssbench.experiment.plan import plan
from ssbench.experiment.spec import Experiment
from ssbench.experiment.stage import Run
from ssbench.method.contract import GRAINS
from ssbench.method.registry import Registry, discover
from ssbench.pipeline.precheck import check_networks, reason_text, tiny
from ssbench.pipeline.stages import carry_out
from ssbench.pipeline.state import Tensors
from ssbench.pipeline.workbench import Workbench

STEPS, BATCH = 2, 2
KEPT = 0.5
"""The share of the parameters that every method has to keep."""
_REASONS = 2


@dataclass(frozen=True)
class Asked:
    """What to try.

    Attributes:
        network: as the key ``models`` of an experiment names it.
        dataset: its images' shape and its classes count; the images themselves are noise.
    """

    network: str
    dataset: str
    root: Path
    model_files: Sequence[Path] = ()
    method_files: Sequence[Path] = ()


def check(asked: Asked) -> CheckOutput:
    """Try every method on a network: train, prune, count, certify and finetune it.

    Raises:
        BadInputError: no such network or data set.
    """
    check_dataset(asked.dataset, "--data")
    images = STEPS * BATCH
    workbench = tiny(Workbench(open_dataset(asked.dataset, asked.root, "--data"), _CPU), images)
    registry = discover(asked.method_files)
    runs = _runs(asked, registry, workbench)
    name = runs[0].stage.model
    refused = check_networks(runs[:1], workbench, [])
    methods = [
        MethodCheck(method=n, verdict="refused", reason=r) for n, r in registry.broken.items()
    ]
    if refused:
        reason = refused[runs[0].id].removeprefix(f"models: {name}: ")
        return CheckOutput(network=name, data=asked.dataset, reason=reason, methods=methods)
    dense = workbench.dense(runs[0].stage.architecture)
    done: dict[str, Tensors] = {}
    return CheckOutput(
        network=name,
        data=asked.dataset,
        image=list(workbench.train.image_shape),
        params=dense.params,
        macs=dense.macs,
        methods=[*(_tried(run, workbench, done) for run in runs), *methods],
    )


_CPU = torch.device("cpu")


def _runs(asked: Asked, registry: Registry, workbench: Workbench) -> list[Run]:
    recipe = {"epochs": 1, "batch_size": BATCH, "lr": 1e-3, "schedule": "constant"}
    experiment = Experiment.model_validate(
        {
            "name": "check", "dataset": asked.dataset, "models": [asked.network], "seeds": [0],
            "methods": list(_methods(registry)), "train": recipe, "finetune": recipe,
            "budget": {"unit": "params", "kept": [KEPT], "protection": 0.0},
        }
    )  # fmt: skip
    place = Path.cwd() / "check"
    return plan(experiment, registry, workbench.dataset.fingerprint, str(place), asked.model_files)


def _methods(registry: Registry) -> Iterator[dict[str, Any]]:
    """Yield every method that prunes, at each of its grains."""
    for name, file in registry.methods.items():
        has_grains = any(each.name == "grain" for each in fields(file.cls))
        if has_grains:
            yield {"name": name, "grain": [each for each in GRAINS if each != "none"]}
        elif file.cls().grain != "none":
            yield {"name": name}


def _tried(run: Run, workbench: Workbench, done: dict[str, Tensors]) -> MethodCheck:
    """Carry out one run; ``done`` holds the tensors of stages that runs share."""
    record: dict[str, Any] = {}
    tensors: Tensors = {}
    found: dict[str, Any] = {}
    try:
        for stage in run.stages:
            if stage.id in done:
                tensors = done[stage.id]
                continue
            tensors, record = carry_out(stage, workbench, tensors, lambda _: None)
            if stage.kind == "train":
                done[stage.id] = tensors
            found |= {key: value for key, value in record.items() if value is not None}
    except NotFiniteError as error:
        return MethodCheck(
            method=run.label, verdict="refused", reason=f"after two steps on noise, {error}"
        )
    except Exception as error:  # torch, methods and networks raise any kind
        return MethodCheck(method=run.label, verdict="refused", reason=reason_text(error))
    left = found["params_nonzero"] / found["params_dense"]
    gone = found.get("untouched", {})
    return MethodCheck(
        method=run.label,
        verdict="partly" if gone else "works",
        params_kept=left,
        difference=found["surgery_difference"],
        untouched=gone,
        reason=_stays(gone, found),
    )


def _stays(untouched: dict[str, str], found: dict[str, Any]) -> str:
    """Say which layers a method leaves alone, and why."""
    if not untouched:
        return ""
    layers: dict[str, list[str]] = {}
    for name, why in untouched.items():
        layers.setdefault(why, []).append(name)
    most = sorted(layers.items(), key=lambda item: -len(item[1]))
    words = [
        f"{names[0]}{f' and {len(names) - 1} more' if names[1:] else ''}: {why}"
        for why, names in most[:_REASONS]
    ]
    share = found["params_untouched"] / found["params_dense"]
    more = "; …" if len(most) > _REASONS else ""
    plural = "" if len(untouched) == 1 else "s"
    return f"{len(untouched)} layer{plural} ({share:.1%} of params) stay: {'; '.join(words)}{more}"


def show(found: CheckOutput, console: Console) -> None:
    """Print the matrix of methods and verdicts."""
    size = "" if found.params is None else f", {found.params:,} params, {found.macs:,} MACs"
    shape = "" if found.image is None else f" ({' x '.join(map(str, found.image))})"
    console.print(f"{found.network} on {found.data}{shape}{size}", markup=False, soft_wrap=True)
    if found.reason:
        console.print(f"refused: {found.reason}", markup=False, soft_wrap=True)
    if not found.methods:
        return
    table = Table("method", "verdict", "params left %", "difference", "why")
    for each in found.methods:
        kept = "-" if each.params_kept is None else f"{100 * each.params_kept:.1f}"
        difference = "-" if each.difference is None else f"{each.difference:.0e}"
        table.add_row(each.method, each.verdict, kept, difference, each.reason)
    console.print(table, markup=False)
    counts = {
        verdict: sum(each.verdict == verdict for each in found.methods)
        for verdict in ("works", "partly", "refused")
    }
    console.print(", ".join(f"{verdict} {count}" for verdict, count in counts.items()))


def works(found: CheckOutput) -> bool:
    """Whether any method works."""
    return any(each.verdict != "refused" for each in found.methods)
