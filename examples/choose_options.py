"""Score a few settings of LASER on validation items, as docs/choices.md was made.

Run it as `python examples/choose_options.py`; takes a minute on two cores.
"""

from __future__ import annotations

from laser_tools.evaluation.benchmarks import benchmark
from laser_tools.evaluation.subject import VLMSubject
from laser_tools.evaluation.sweep import sweep
from laser_tools.options import PAPER, LaserOptions
from laser_tools.vlm.load import load_vlm

VARIANTS = {
    "defaults": LaserOptions(),
    "paper": PAPER,
    "question tokens read": LaserOptions(readout="question"),
    "no contrastive decoding": LaserOptions(alpha=0.0),
}


def main(n: int = 120) -> None:
    """Print accuracy and box hit rate of each variant on the same `n` items."""
    subject = VLMSubject(load_vlm("pico"))
    items = benchmark("microscenes").items("validation", n)
    for row in sweep(subject.ask, items, VARIANTS):
        hit = "-" if row.box_hit_rate is None else f"{row.box_hit_rate:.2f}"
        print(f"{row.name}: {row.accuracy['overall']:.2f} right, box hit {hit}")


if __name__ == "__main__":
    main()
