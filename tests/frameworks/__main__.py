"""Asks pico by each framework of docs/frameworks.md, in an environment of its own.

python -m tests.frameworks                      all of them
python -m tests.frameworks haystack-ai --keep   that package, its environment kept
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests import wheel
from tests.frameworks.asking import failure
from tests.frameworks.environment import NotInstalled, environment, version
from tests.frameworks.page import OURS, PAGE, ROOT, Framework, frameworks
from tests.hardening.process import KEY, Workers

FOLDER = ROOT / "runs" / "frameworks"


def main(arguments: list[str]) -> int:
    """Print a line for each and how many went well; 1 unless all did."""
    given = _parser().parse_args(arguments)
    every = frameworks(PAGE.read_text(encoding="utf-8"))
    chosen = [each for each in every if not given.packages or each.package in given.packages]
    with tempfile.TemporaryDirectory() as folder, Workers({"LASER_API_KEYS": KEY}) as workers:
        built, worker = wheel.build(Path(folder)), workers.start()
        worker.ready(look_s=1.0)
        at = {"LASER_BASE_URL": worker.url, "LASER_API_KEY": KEY}
        fine = sum(_tried(framework, built, at, given.keep) for framework in chosen)
    print(f"frameworks: {fine} of {len(chosen)}")
    return int(fine < len(chosen))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.frameworks")
    parser.add_argument("packages", nargs="*", help="default: all that the page names")
    parser.add_argument("--keep", action="store_true", help="use the environments once more")
    return parser


def _tried(framework: Framework, built: Path, worker: dict[str, str], keep: bool) -> bool:
    needs = [str(built) if need == OURS else need for need in framework.needs]
    which, why = framework.requirement, None
    try:
        with environment(FOLDER / framework.package, needs, keep) as python:
            which = f"{framework.package} {version(python, framework.package)}"
            why = failure(framework, python, worker)
    except NotInstalled as error:
        why = str(error)
    print(f"{which} {'ok' if why is None else f'failed: {why}'}", flush=True)
    return why is None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
