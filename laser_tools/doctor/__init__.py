"""Checks that a model does on this machine what LASER relies on.

One check per thing relied on, and the probes they use. It stands above the loader, which knows
nothing of it. May import `vlm`, `grounding` and the hall.
"""
