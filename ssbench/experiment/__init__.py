"""From a TOML file to content-addressed stages.

`spec` checks the file, `variants` expands sweeps, `plan` makes runs, `stage` names and hashes each
stage.
"""
