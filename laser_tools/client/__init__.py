"""The worker's client: `WorkerClient` answers like a `LocalEngine`, over HTTP, and needs no torch."""

from laser_tools.client.worker_client import WorkerClient

__all__ = ["WorkerClient"]
