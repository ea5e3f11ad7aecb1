"""One stage: train, prune or finetune a network on a `workbench.Workbench`.

`stages` runs a stage, `prune` is the prune stage, `record` holds the measurements, `resume` the
point to go on from, `state` the tensors that one stage leaves for the next.
"""
