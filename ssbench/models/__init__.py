"""Networks by name; each is a plain module from images [N, C, H, W] to logits [N, classes]."""

from ssbench.models.catalogue import MODELS, build, check
from ssbench.models.published import fetch, load, published_url, weights_folder
from ssbench.names import IMAGENET

__all__ = [
    "IMAGENET",
    "MODELS",
    "build",
    "check",
    "fetch",
    "load",
    "published_url",
    "weights_folder",
]
