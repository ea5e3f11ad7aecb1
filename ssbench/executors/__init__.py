"""Run many stages: one after the other, in processes, jointly on several devices, or on Ray.

`session` prepares an experiment; `coordinator` gives its stages to an executor, which `registry`
finds by name and `protocol` defines; `stage_runner` runs and saves one stage; `progress` and
`estimate` say what is left.
"""
