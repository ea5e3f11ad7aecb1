"""Handwritten digits of 8x8 pixels from scikit-learn (1,797 images of UCI's optdigits).

Reads scikit-learn's file directly, because importing ``sklearn.datasets`` takes seconds.
"""

import importlib.util
import itertools
from pathlib import Path

import numpy as np
import torch

from ssbench.data.dataset import DataSet, Split
from ssbench.errors import BadInputError

TRAIN, VALIDATION = 1000, 297


def digits(_root: Path | None = None) -> DataSet:
    """1,000 training, 297 validation and 500 test images; grey values 0 to 16.

    There is no official split; this one uses a fixed permutation (numpy's frozen RandomState, 0).

    Raises:
        BadInputError: scikit-learn's file is missing.
    """
    table = np.loadtxt(file_of_digits(), delimiter=",", dtype=np.uint8)
    table = table[np.random.RandomState(0).permutation(len(table))]
    images = torch.from_numpy(table[:, :-1].reshape(-1, 1, 8, 8).copy())
    labels = torch.from_numpy(table[:, -1].astype(np.int64))
    cuts = (0, TRAIN, TRAIN + VALIDATION, len(table))
    train, validation, test = (
        Split(images[start:end].clone(), labels[start:end].clone())
        for start, end in itertools.pairwise(cuts)
    )
    return DataSet("digits", 10, train, validation, test)


def file_of_digits() -> Path:
    """Return the path of scikit-learn's file of images.

    Raises:
        BadInputError: it is not installed as expected.
    """
    spec = importlib.util.find_spec("sklearn")
    path = Path(spec.origin if spec and spec.origin else "sklearn").parent
    path = path / "datasets" / "data" / "digits.csv.gz"
    if not path.is_file():
        raise BadInputError(f"dataset: {path} is missing; install scikit-learn 1.5 to 1.9 again")
    return path
