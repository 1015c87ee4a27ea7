"""The worker's client: `WorkerClient` answers as a `LocalEngine` does, over HTTP, without torch."""

from laser_tools.client.worker_client import WorkerClient

__all__ = ["WorkerClient"]
