"""From scores to masks to a smaller network.

`select` picks what a budget keeps, `surgery` removes the rest, `equivalence` proves that the
outputs stay the same, `counting` counts params and MACs, `graph` is the traced network.
"""
