"""The traced network.

`roles` says what each operation does, `layers` and `structure` what feeds what, `liveness` what is
dead, `coupling` which channels are pruned together.
"""
