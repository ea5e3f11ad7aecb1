"""Named seeds: every kind of chance has its own stream, drawn from the run's seed and its name.

Initial weights, batch order and augmentation are thereby the same for every method.
"""

import hashlib


def derive(seed: int, purpose: str) -> int:
    """Return a 63-bit seed for one purpose, for instance ``derive(0, "initial weights")``."""
    digest = hashlib.sha256(f"{purpose}:{seed}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
