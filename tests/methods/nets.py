"""Small networks that oracles can be computed for in full."""

import torch
from torch import Tensor, nn


class Tiny(nn.Module):
    """conv - tanh - flatten - linear - tanh - linear: smooth, some 260 weights."""

    def __init__(self, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3, padding=1)
        self.act = activation or nn.Tanh()
        self.flatten = nn.Flatten()
        self.hidden = nn.Linear(3 * 4 * 4, 4)
        self.out = nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.act(self.hidden(self.flatten(self.act(self.conv(images)))))
        result: Tensor = self.out(hidden)
        return result


def data(count: int = 30) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    return torch.randn(count, 2, 4, 4, generator=generator), torch.arange(count) % 3
