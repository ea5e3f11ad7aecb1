"""List methods and networks by importing them; imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ssbench.cli.outputs import NetworkFacts
from ssbench.experiment.model_spec import ModelSpec
from ssbench.experiment.networks import find_architecture
from ssbench.experiment.networks import own_networks as networks_of
from ssbench.method.describe import Described
from ssbench.method.registry import MethodFile, discover
from ssbench.models.own import packaged
from ssbench.pipeline.examine import CLASSES, examine


def imported_methods(files: Sequence[Path]) -> tuple[list[Described], dict[str, str]]:
    """Import every method; return their descriptions, and the reasons why others are broken."""
    registry = discover(files)
    return [_described(name, file) for name, file in registry.methods.items()], registry.broken


def own_networks(files: Sequence[Path]) -> list[NetworkFacts]:
    """Describe the networks of packages and of users' files, for colour images and ten classes.

    Raises:
        BadInputError: a file cannot be imported, or defines no network.
    """
    offered: list[tuple[str, tuple[Path, ...]]] = [(name, ()) for name in packaged()]
    offered += [(name, (path,)) for path in files for name in networks_of(path)]
    return [_network(name, owner) for name, owner in offered]


def _network(name: str, files: Sequence[Path]) -> NetworkFacts:
    architecture = find_architecture(ModelSpec(name=name), name, Path(), files)
    maker = architecture.code.maker() if architecture.code else None
    summary = (getattr(maker, "__doc__", None) or "").strip().partition("\n")[0]
    found = examine(architecture)
    refused = f"refused: {found.refused}" if found.refused else ""
    return NetworkFacts(
        name=name,
        image=str(found.pixels) if found.pixels else None,
        classes=CLASSES if found.pixels else None,
        params=found.params,
        summary="; ".join(part for part in (summary, refused) if part),
        untouched=found.untouched,
    )


def _described(name: str, file: MethodFile) -> Described:
    method = file.cls()
    summary = (file.cls.__doc__ or "").strip().splitlines()[0]
    search = dict(method.search)
    return Described(name, method.grain, method.settings, summary, method.paper, search)
