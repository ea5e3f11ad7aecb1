"""Networks by name, pretrained weights and exported networks.

`registry` builds a network: a plain module from images [N, C, H, W] to logits [N, classes].
"""
