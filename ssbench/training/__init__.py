"""The training loop, and all that belongs to one training.

`loop` trains by a `recipe`; `checkpoint`, `evaluation`, `precision`, `energy` and `rng` serve it;
`distributed` trains one network in several processes.
"""
