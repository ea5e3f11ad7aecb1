"""Handwritten digits of 8x8 pixels from scikit-learn (1,797 images of UCI's optdigits)."""

import numpy as np
import torch

from ssbench.data.dataset import DataSet, Split

TRAIN, VALIDATION = 1000, 297


def digits() -> DataSet:
    """1,000 training, 297 validation and 500 test images; grey values 0 to 16.

    There is no official split: this one is a fixed permutation (numpy's frozen RandomState, 0).
    """
    from sklearn.datasets import load_digits  # a second at start-up, for those who use it

    bunch = load_digits()
    order = np.random.RandomState(0).permutation(len(bunch.target))
    images = torch.from_numpy(bunch.images[order].astype(np.uint8)).unsqueeze(1)
    labels = torch.from_numpy(bunch.target[order].astype(np.int64))
    parts = [
        Split(images[part].clone(), labels[part].clone())
        for part in (
            slice(0, TRAIN),
            slice(TRAIN, TRAIN + VALIDATION),
            slice(TRAIN + VALIDATION, None),
        )
    ]
    return DataSet("digits", 10, *parts)
