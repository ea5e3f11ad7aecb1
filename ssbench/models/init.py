"""What the built-in networks share: initial weights, and channels at another width."""

from torch import nn


def he_by_fan_out(model: nn.Module) -> None:
    """Draw convolutions from He's normal distribution by fan-out; keep torch's linear layers."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def scaled(channels: int, width: float) -> int:
    """Return a number of channels times ``width``, at least one.

    Raises:
        ValueError: the width is not over zero.
    """
    if not width > 0:
        raise ValueError(f"width must be over 0 (found {width})")
    return max(round(channels * width), 1)
