"""Sizes of the checks, and the workers that they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from laser_tools.progress import StageName
from tests.hardening.process import FAULTY, SERVE, WorkerProcess, Workers

Figures = Mapping[str, object]
"""A part of the JSON report. What is printed beside its key is in report.py."""

STAGES: tuple[StageName, ...] = ("encode", "attend", "crop", "decode")
N_CLIENTS = 16
HEARTBEAT_S = 8.0  # a stage may take seconds on a busy machine
UNBOUNDED = "100000"  # a quota that is not met: overload is to end in 503, not in 429


@dataclass(frozen=True)
class Sizes:
    """Counts and seconds of every check."""

    overhead: int = 100
    throughput: int = 96
    capacity: int = 96
    level_s: float = 8.0
    recovery_s: float = 60.0  # the longest that is waited for it
    shares: tuple[float, ...] = (0.5, 1.0, 2.0, 5.0, 10.0)
    restarts: int = 5
    fatal: tuple[str, ...] = ("cuda", "wedge", "kill")
    fatal_stages: tuple[str, ...] = ("attend", "decode")
    stops: int = 5  # deadlines, and as many hang-ups, in each stage
    storm: int = 1000
    mutations: int = 4000
    mutations_http: int = 400
    pictures: int = 64  # under load: as many as may wait in the worker by default
    truncation_step: int = 1
    concurrent: int = 200
    mixed: int = 1000
    kills: int = 1  # of replicas; none: no Ray is started


QUICK = Sizes(
    overhead=6,
    throughput=16,
    capacity=16,
    level_s=1.0,
    recovery_s=8.0,
    shares=(1.0, 5.0),
    restarts=1,
    fatal=("cuda",),
    fatal_stages=("attend",),
    stops=1,
    storm=60,
    mutations=300,
    mutations_http=40,
    pictures=16,
    truncation_step=29,
    concurrent=16,
    mixed=40,
    kills=0,
)
SOAK = Sizes(
    overhead=300,
    throughput=320,
    capacity=320,
    level_s=20.0,
    restarts=20,
    fatal_stages=STAGES,
    stops=25,
    mutations=20_000,
    mutations_http=2000,
    mixed=5000,
    kills=5,
)


@dataclass
class Bench:
    """Two workers that the checks share, started when the first check needs them.

    Both are supervised as systemd would: one that has ended is started again on its port.
    """

    workers: Workers
    sizes: Sizes
    model: str = "pico"
    _worker: WorkerProcess | None = field(default=None, repr=False)
    _faulty: WorkerProcess | None = field(default=None, repr=False)

    @property
    def worker(self) -> WorkerProcess:
        """The one that is loaded and attacked; ready."""
        quota = {"LASER_PER_KEY_IN_FLIGHT": UNBOUNDED}
        self._worker = self._running(self._worker, SERVE, quota)
        return self._worker

    @property
    def faulty(self) -> WorkerProcess:
        """The one that fails where a question says so (faulty.py); ready."""
        patience = {"LASER_HEARTBEAT_S": str(HEARTBEAT_S)}
        self._faulty = self._running(self._faulty, FAULTY, patience)
        return self._faulty

    def _running(
        self, last: WorkerProcess | None, command: Sequence[str], variables: dict[str, str]
    ) -> WorkerProcess:
        if last is not None and not last.ended:
            return last
        process = self.workers.start(command, last.port if last else 0, **variables)
        process.ready()
        return process
