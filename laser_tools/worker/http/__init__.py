"""The HTTP surface of a worker: routes, and what a request must pass on its way to them.

Authentication, admission, bodies, images by hash, refusals, logs and metrics. It asks a `Backend`
and never a model. May import `worker.backends.base`, `images` and the hall.
"""
