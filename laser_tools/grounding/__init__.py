"""Pure tensors: from attention rows to boxes, from two logit streams to margins.

Frames: a map has grid rows x columns; `regions` is the one place where it becomes pixels.
"""
