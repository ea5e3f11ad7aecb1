"""An index in front of a module, which then reads only some of its source's channels.

This is the channel selection of network slimming (Liu et al. 2017, section 3.4): a batch norm
loses a channel that its source keeps for other readers. It also serves linear layers that read
some of the places behind a flattening.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

INDEX = ".0.index"
"""The suffix of an index's name in a ``state_dict``, after the name of its module."""


class ChannelSelection(nn.Module):
    """Select channels: [N, C, ...] to [N, len(index), ...]."""

    index: Tensor

    def __init__(self, index: Tensor) -> None:
        """Take the channels' numbers, ascending."""
        super().__init__()
        self.register_buffer("index", index)

    def forward(self, maps: Tensor) -> Tensor:
        """Read the selected channels."""
        return maps.index_select(1, self.index)


def insert_selection(network: nn.Module, name: str, index: Tensor) -> None:
    """Put a channel selection in front of a module of a network, in place."""
    module = network.get_submodule(name)
    device = next(iter(module.state_dict().values())).device
    pair = nn.Sequential(ChannelSelection(index.to(device)), module)
    pair.training = module.training
    pair[0].training = module.training
    owner, _, own = name.rpartition(".")
    setattr(network.get_submodule(owner), own, pair)


def match_widths(module: nn.Module) -> None:
    """Set a module's widths to those of its tensors; a convolution's groups must be right."""
    if isinstance(module, nn.Conv2d):
        module.out_channels = module.weight.shape[0]
        module.in_channels = module.weight.shape[1] * module.groups
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, _BatchNorm) and module.weight is not None:
        module.num_features = module.weight.shape[0]
    elif isinstance(module, nn.PReLU):
        module.num_parameters = module.weight.shape[0]


def insert_selections(network: nn.Module, names: set[str]) -> None:
    """Insert the selections that tensors of these names belong to."""
    norms_and_layers = {
        name for name, module in network.named_modules() if isinstance(module, _MAY_SELECT)
    }
    selected = {name.removesuffix(INDEX) for name in names if name.endswith(INDEX)}
    for name in sorted(selected & norms_and_layers):
        insert_selection(network, name, torch.empty(0, dtype=torch.long))


_MAY_SELECT = (nn.Linear, _BatchNorm)
