"""Run many stages: one after the other, in processes, jointly on several devices, or on Ray.

`session` prepares an experiment and picks an executor; `stage_runner` runs and saves one stage;
`progress` and `estimate` say what is left.
"""
