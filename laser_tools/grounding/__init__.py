"""The papers' formulas as pure tensors: from attention to boxes, from two streams to margins.

A map has grid rows x columns; `regions` is the one place where it becomes pixels. Nothing here
knows a model. May import the hall, and no transformers.
"""
