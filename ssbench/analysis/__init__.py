"""From records to conclusions: rows, rankings, verdicts, claims, findings. Imports no torch.

`rows` makes one row of all seeds; `stats` holds the statistics.
"""
