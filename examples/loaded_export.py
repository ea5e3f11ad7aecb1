"""A network that ``ssbench export`` wrote: a plain torch module without what was pruned.

>>> uv run python examples/loaded_export.py small
"""

import sys
from pathlib import Path
from typing import cast

import torch

import ssbench
from ssbench.data.dataset import Split
from ssbench.data.digits import digits
from ssbench.models.exported import read


def error(folder: Path) -> float:
    """The test error on digits, in percent."""
    network, about = ssbench.load(folder), read(folder)
    test = cast(Split, digits().test)  # in memory, not in files
    mean, sd = (torch.tensor(values)[:, None, None] for values in (about.mean, about.sd))
    with torch.no_grad():
        classes = network((test.images - mean) / sd).argmax(1)
    return 100 * float((classes != test.labels).float().mean())


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    params = sum(parameter.numel() for parameter in ssbench.load(folder).parameters())
    print(f"{params:,} params, test error {error(folder):.2f} %")
