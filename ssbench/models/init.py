"""Initialisation of the built-in networks with batch norm."""

from torch import nn


def he_by_fan_out(model: nn.Module) -> None:
    """Draw convolutions from He's normal distribution by fan-out; keep torch's linear layers."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
