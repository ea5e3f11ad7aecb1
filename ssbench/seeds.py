"""Named seeds: each use of randomness gets its own seed, derived from the run's seed and a name.

Every method therefore gets the same initial weights, batch order and augmentation.
"""

import hashlib


def derive(seed: int, purpose: str) -> int:
    """Return a 63-bit seed for one purpose, for instance ``derive(0, "initial weights")``."""
    digest = hashlib.sha256(f"{purpose}:{seed}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
