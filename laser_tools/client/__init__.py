"""The worker's client: `WorkerClient` is an engine that asks over HTTP.

It uploads an image once, retries what may be retried, holds deadlines and trusts no reply. It
needs no torch. May import `engine.base`, `images` and the hall.
"""

from laser_tools.client.worker_client import WorkerClient

__all__ = ["WorkerClient"]
