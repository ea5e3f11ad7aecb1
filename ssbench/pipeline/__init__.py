"""One stage: train, prune or finetune a network on a `workbench.Workbench`.

`stages` runs a stage, `prune` is the prune stage, `record` holds the measurements, `resume` saves
unfinished trainings, `state` holds the tensors that one stage leaves for the next.
"""
