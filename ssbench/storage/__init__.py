"""What lies on disk: atomic files, locks, checkpoints, records and results folders.

`records` is the schema of a record, `results` a folder of them, `checkpoints` the finished stages.
"""
