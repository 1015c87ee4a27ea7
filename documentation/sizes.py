"""The disk that an installation takes, extra by extra, each in a fresh environment.

    python -m documentation.sizes --into FOLDER

installs this checkout into one environment after the other, from the package index, and prints a
table. `engine` can be named as well; it is torch above all.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import venv
from datetime import date
from pathlib import Path

EXTRAS = ("", "agents", "mcp", "demo")
ROOT = Path(__file__).parents[1]


def main() -> None:
    """A row for each of the extras that were asked for, as they are measured."""
    parser = argparse.ArgumentParser(description="Install sizes, extra by extra.")
    parser.add_argument("--into", type=Path, required=True, help="made and removed again")
    parser.add_argument("extras", nargs="*", default=EXTRAS, help="default: the light ones")
    given = parser.parse_args()
    print(f"{date.today()}, Python {sys.version_info.major}.{sys.version_info.minor}\n")
    print("| install | MB | packages |\n|---|---:|---:|")
    try:
        for extra in given.extras:
            megabytes, packages = measured(given.into, extra)
            named = f"laser-tools[{extra}]" if extra else "laser-tools"
            print(f"| `{named}` | {megabytes:.0f} | {packages} |", flush=True)
    finally:
        shutil.rmtree(given.into, ignore_errors=True)


def measured(folder: Path, extra: str) -> tuple[float, int]:
    """Megabytes (10^6 bytes) and packages that `extra` adds to an empty environment."""
    venv.create(folder, clear=True, with_pip=True)
    python = folder / "bin" / "python"
    install = (str(python), "-m", "pip", "install", "--quiet", "--no-compile")
    empty, before = _bytes(folder), _packages(folder)
    _run(*install, f"{ROOT}[{extra}]" if extra else str(ROOT))
    return (_bytes(folder) - empty) / 1e6, _packages(folder) - before


def _bytes(folder: Path) -> int:
    """Of all files but compiled ones, which are made when a module is first imported."""
    files = (file for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
    return sum(file.stat().st_size for file in files if file.suffix != ".pyc")


def _packages(folder: Path) -> int:
    return len(list(folder.glob("lib/python*/site-packages/*.dist-info")))


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
