"""Data sets by name, read and verified; see `ssbench.data.catalogue`."""

from ssbench.data.catalogue import DATASETS, check, open_dataset
from ssbench.data.dataset import Augmentation, DataSet, Split
from ssbench.data.files import data_root
from ssbench.data.folder import Files

__all__ = [
    "DATASETS",
    "Augmentation",
    "DataSet",
    "Files",
    "Split",
    "check",
    "data_root",
    "open_dataset",
]
