"""``ssbench tune``: choose hyper-parameters on validation, with as many trials for every method.

`tune` runs a study, `sampler` proposes trials, `outcome` is the file that ``run --tuned`` reads.
"""
