"""How much is done, and with which workers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from laser_tools.evaluation.worker.process import WorkerProcess, Workers

Figures = Mapping[str, object]
"""A part of the JSON report. What is printed beside its key is in report.py."""

STAGES = ("encode", "attend", "crop", "decode")
N_CLIENTS = 16
UNBOUNDED = "100000"  # a quota that is not met: overload is to end in 503, not in 429


@dataclass(frozen=True)
class Sizes:
    """Counts and seconds of every check."""

    overhead: int = 100
    throughput: int = 96
    capacity: int = 96
    level_s: float = 8.0
    shares: tuple[float, ...] = (0.5, 1.0, 2.0, 5.0, 10.0)
    restarts: int = 5
    fatal: tuple[str, ...] = ("cuda", "wedge", "kill")
    fatal_stages: tuple[str, ...] = ("attend", "decode")
    stops: int = 5  # deadlines, and as many hang-ups, in each stage
    storm: int = 1000
    mutations: int = 4000
    mutations_http: int = 400
    truncation_step: int = 1
    concurrent: int = 200
    mixed: int = 1000


QUICK = Sizes(
    overhead=12,
    throughput=32,
    capacity=24,
    level_s=1.5,
    shares=(1.0, 5.0),
    restarts=1,
    fatal=("cuda",),
    fatal_stages=("attend",),
    stops=1,
    storm=60,
    mutations=300,
    mutations_http=40,
    truncation_step=29,
    concurrent=24,
    mixed=80,
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
)


@dataclass
class Bench:
    """What the checks share. The main worker starts when the first of them needs it."""

    workers: Workers
    sizes: Sizes
    model: str = "pico"
    _main: WorkerProcess | None = field(default=None, repr=False)

    @property
    def worker(self) -> WorkerProcess:
        """A worker that is ready."""
        if self._main is None or self._main.ended:
            self.replace(self.workers.start(LASER_PER_KEY_IN_FLIGHT=UNBOUNDED))
        assert self._main is not None
        return self._main

    def replace(self, process: WorkerProcess) -> WorkerProcess:
        """From now on `process`, once ready, is the main worker."""
        process.ready()
        self._main = process
        return process
