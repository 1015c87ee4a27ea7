"""A process that runs the application on a Ray of its own, until its input is closed."""

from __future__ import annotations

import os
import secrets
import sys

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_SERVE_QUEUE_LENGTH_RESPONSE_DEADLINE_S"] = "5"  # or a busy machine re-routes
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 (Ray spells it so)
os.environ["RAY_AUTH_MODE"] = "token"
os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)

import ray
from ray import serve

from laser_tools.worker.ray.app import application
from laser_tools.worker.ray.options import RayOptions
from tests.worker.ray_engine import load


def main(port: int) -> None:
    ray.init(address="local", num_cpus=3, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    options = RayOptions(replicas=2, max_ongoing_requests=2, max_queued_requests=2)
    serve.run(application(options, {"max_wait_ms": 0}, load), name="laser", route_prefix="/")
    sys.stdin.read()
    serve.shutdown()  # type: ignore[no-untyped-call]
    ray.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]))
