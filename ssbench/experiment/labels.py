"""Label the variants of one method so that they differ."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from ssbench.experiment.retraining import Retrain
from ssbench.experiment.variant import Variant
from ssbench.method.contract import Method

MOST_VALUES = 3
"""Number of values that show whether a setting differs; there are three units."""


def labelled(found: list[Variant]) -> list[Variant]:
    """Label each variant by its method and, if a method has several, by what differs."""
    by_file: dict[str, list[Variant]] = {}
    alike: dict[tuple[str, Method], list[Variant]] = {}
    for variant in found:
        by_file.setdefault(variant.file.name, []).append(variant)
        alike.setdefault((variant.file.name, variant.method), []).append(variant)
    samples = {name: _sample(peers) for name, peers in by_file.items()}

    def peers(variant: Variant) -> list[Variant]:
        same = alike[variant.file.name, variant.method]
        return same + [v for v in samples[variant.file.name] if v.method != variant.method]

    labels = [variant.label or _label(variant, peers(variant)) for variant in found]
    return [replace(variant, label=label) for variant, label in zip(found, labels, strict=True)]


def _sample(peers: list[Variant]) -> list[Variant]:
    """Return a few peers that differ in every aspect in which any two peers differ.

    Comparing each of thousands with all others would take minutes.
    """
    examples: dict[str, list[tuple[Any, Variant]]] = {}
    for peer in peers:
        aspects = {f.name: getattr(peer, f.name) for f in fields(peer) if f.name != "file"}
        units = sorted({budget.unit for budget in peer.budgets if budget})
        for name, value in (aspects | peer.method.settings | {"units": units}).items():
            values = examples.setdefault(name, [])
            if len(values) < MOST_VALUES and all(value != other for other, _ in values):
                values.append((value, peer))
    return [peer for values in examples.values() for _, peer in values]


def _label(variant: Variant, peers: list[Variant]) -> str:
    settings = variant.method.settings
    differing = [
        f"{value}" if name == "grain" else f"{name}={value}"
        for name, value in settings.items()
        if any(peer.method.settings[name] != value for peer in peers) or name == "grain"
    ]
    if any(peer.retrain != variant.retrain for peer in peers) or variant.retrain != "finetune":
        differing.append(variant.retrain)
    others = {peer.finetune_lr for peer in peers} - {variant.finetune_lr}
    if others and variant.finetune_lr is not None:
        differing.append(f"finetune_lr={variant.finetune_lr:g}")
    units = {budget.unit for peer in peers for budget in peer.budgets if budget}
    same = [p for p in peers if _trained(p) == _trained(variant)]
    if len(same) > 1 and len(units) > 1 and variant.budgets[0]:
        differing.append(f"by {variant.budgets[0].unit}")
    return f"{variant.file.name} ({', '.join(differing)})" if differing else variant.file.name


def _trained(variant: Variant) -> tuple[Method, Retrain, float | None]:
    """Return what distinguishes variants besides their budgets."""
    return variant.method, variant.retrain, variant.finetune_lr
