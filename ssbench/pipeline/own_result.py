"""What pruning a user's own network gives: two networks, sizes and a certificate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ssbench.errors import RunFailedError
from ssbench.pruning.equivalence import TOLERANCE, compact_certified
from ssbench.pruning.graph.structure import structure_of
from ssbench.pruning.masking import keep_masked

UNITS = ("params", "connections", "macs", "bytes")


@dataclass(frozen=True)
class Size:
    """What a network has of one unit.

    Attributes:
        dense: before pruning.
        nonzero: in the masked network; None for bytes.
        compact: in the compact network.
    """

    dense: int
    nonzero: int | None
    compact: int


@dataclass(frozen=True)
class Certificate:
    """Proof that the compact network computes what the masked one does.

    Attributes:
        difference: the largest difference of their outputs, in double precision, relative to the
            largest output (at least 1).
        allowed: a larger one would have been an error.
        images: the number of images, eight of them noise.
    """

    difference: float
    allowed: float
    images: int

    def __str__(self) -> str:
        """Return the certificate in one line."""
        return (
            f"outputs differ by {self.difference:.0e} on {self.images} images "
            f"(allowed: {self.allowed:.0e})"
        )


@dataclass(frozen=True, repr=False)
class Pruned:
    """A pruned network.

    Attributes:
        model: the compact network: a plain module in eval mode, without the pruned units.
        masked: the same function in the shapes of the original, pruned weights set to zero.
        masks: boolean, by parameter name of ``masked``; False is pruned.
        counts: by unit (params, connections, macs, bytes).
        certificate: of ``model`` against ``masked``.
        record: all measurements, by the keys of docs/metrics.md; with validation images
            ``validation_top1_error`` in percent at the end and ``before_finetuning``.
    """

    model: nn.Module
    masked: nn.Module
    masks: Mapping[str, Tensor]
    counts: Mapping[str, Size]
    certificate: Certificate
    record: Mapping[str, Any]
    _cutter: Cutter = field(compare=False)

    def hold(self) -> None:
        """Set pruned weights of ``masked`` to zero: call it after each step of a loop of your own.

        Then `compacted` gives the network that you trained.
        """
        keep_masked(self.masked, self.masks)(0.0)

    def compacted(self) -> Pruned:
        """Cut ``masked`` again, after you trained it, and certify the result.

        Raises:
            RunFailedError: a pruned weight is no longer zero: call `hold` after each step.
        """
        for name, mask in self.masks.items():
            if self.masked.get_parameter(name)[~mask].any():
                raise RunFailedError(
                    f"{name}: a pruned weight is no longer zero; call hold() after each step "
                    "of the optimiser"
                )
        return self._cutter.cut(self.masked, self.masks, self.record)

    def __repr__(self) -> str:
        lines = [f"{type(self.model).__name__} pruned to {self._reached()}"]
        for unit, size in self.counts.items():
            nonzero = "" if size.nonzero is None else f", {size.nonzero:,} nonzero"
            lines.append(f"  {unit}: {size.dense:,} -> {size.compact:,}{nonzero}")
        if alone := self.record.get("untouched"):
            lines.append(f"  left alone: {', '.join(alone)}")
        return "\n".join([*lines, f"  certificate: {self.certificate}"])

    def _reached(self) -> str:
        return f"{100 * self.record['budget_reached']:.3g} % of {self._cutter.unit}"

    def _repr_html_(self) -> str:
        """Return the sizes as a table, for a notebook."""
        rows = "".join(
            f"<tr><th>{unit}</th><td>{size.dense:,}</td>"
            f"<td>{'' if size.nonzero is None else f'{size.nonzero:,}'}</td>"
            f"<td>{size.compact:,}</td></tr>"
            for unit, size in self.counts.items()
        )
        head = "<tr><th></th><th>dense</th><th>nonzero</th><th>compact</th></tr>"
        return f"<p>pruned to {self._reached()}; {self.certificate}</p><table>{head}{rows}</table>"


@dataclass(frozen=True)
class Cutter:
    """Cuts masked networks, and certifies the results on some images.

    Attributes:
        home: the device of the user's network, where results go.
        unit: of the budget.
    """

    images: Tensor = field(repr=False)
    home: torch.device
    unit: str

    def cut(
        self, masked: nn.Module, masks: Mapping[str, Tensor], record: Mapping[str, Any]
    ) -> Pruned:
        """Cut a masked network into a compact one; ``record`` has the sizes of both.

        Raises:
            RunFailedError: their outputs differ.
        """
        masked = _plain(masked).to(self.home)
        masks = {name: mask.to(self.home) for name, mask in masks.items()}
        small, difference = compact_certified(masked, structure_of(masked), masks, self.images)
        counts = {
            unit: Size(record[f"{unit}_dense"], record.get(f"{unit}_nonzero"),
                       record[f"{unit}_compact"])
            for unit in UNITS
        }  # fmt: skip
        certificate = Certificate(difference, TOLERANCE, len(self.images))
        return Pruned(_plain(small), masked, masks, counts, certificate, record, self)


def _plain(network: nn.Module) -> nn.Module:
    """Return the network in eval mode, its tensors in the usual memory format."""
    return network.to(memory_format=torch.contiguous_format).eval()
