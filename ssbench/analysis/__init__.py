"""Draw conclusions from records: rows, rankings, verdicts, claims, findings. Imports no torch.

`rows` gathers the seeds of a row; `stats` holds the statistics.
"""
