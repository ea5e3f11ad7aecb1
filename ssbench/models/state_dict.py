"""Give a network the tensors of a stored ``state_dict()``."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from torch import Tensor, nn


def restore(model: nn.Module, tensors: Mapping[str, Tensor], *, assign: bool = False) -> None:
    """Give a network the tensors of a ``state_dict()`` that was stored without its metadata.

    Some networks (torchvision's MNASNet) ask there for the version of their layout: it is theirs.

    Raises:
        RuntimeError: the tensors are those of another network.
    """
    complete = OrderedDict(tensors)
    complete._metadata = model.state_dict()._metadata  # type: ignore[attr-defined]
    model.load_state_dict(complete, assign=assign)
