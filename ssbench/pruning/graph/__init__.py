"""The traced network.

`roles` says what each operation does, `layers` and `structure` what feeds what, `liveness` which
channels are dead, `coupling` which ones are pruned together.
"""
