"""Who runs the model for a worker: `base` says what is asked of it, `local` runs it here.

Waiting callers, the watch over a stuck model and its threads live here. May import `engine` and
what lies below.
"""
