"""Hyper-parameters chosen on the validation split, by equally many trials for every method."""
