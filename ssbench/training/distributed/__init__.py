"""One training in several processes, each with its own device and a shard of every batch.

`single.SingleProcess` is a training in one process; `ddp.DataParallel`
is one in several.
"""
