"""What lies on disk: atomic files, locks, checkpoints, records and results folders.

`schema` lists the keys of a record, `records` reads and checks them, `results` is a folder of them,
`checkpoints` keeps the finished stages.
"""
