"""One training in several processes, each with its own device and a shard of every batch.

`single.SingleProcess` is what a training asks where there is one process; `ddp.DataParallel`
answers the same questions where there are more.
"""
