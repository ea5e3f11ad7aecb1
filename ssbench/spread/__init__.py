"""One training over several processes, each with a device of its own and a share of every batch.

`Alone` is what a training asks where there is one process; `ssbench.spread.jointly.Jointly` answers
the same questions where there are more.
"""

from ssbench.spread.alone import Alone
from ssbench.spread.share import WHOLE, Share

__all__ = ["WHOLE", "Alone", "Share"]
