"""Load a stored ``state_dict()`` into a network."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from torch import Tensor, nn


def restore(model: nn.Module, tensors: Mapping[str, Tensor], *, assign: bool = False) -> None:
    """Load a ``state_dict()`` that was stored without its metadata.

    Some networks (torchvision's MNASNet) read the version of their layout from the metadata, so use
    the network's own.

    Raises:
        RuntimeError: the tensors belong to another network.
    """
    complete = OrderedDict(tensors)
    complete._metadata = model.state_dict()._metadata  # type: ignore[attr-defined]
    model.load_state_dict(complete, assign=assign)
