"""Data sets by name; each loader gives a `DataSet` of three splits that fits into memory."""

from collections.abc import Callable

from ssbench.data.dataset import DataSet, Split
from ssbench.data.digits import digits

DATASETS: dict[str, Callable[[], DataSet]] = {"digits": digits}

__all__ = ["DATASETS", "DataSet", "Split"]
