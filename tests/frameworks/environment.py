"""A virtual environment with a framework and the built wheel, which is gone afterwards."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


class NotInstalled(Exception):
    """The last words of pip."""


@contextmanager
def environment(folder: Path, needs: Sequence[str], keep: bool) -> Iterator[Path]:
    """The Python of a new environment in `folder`, or of the one that was kept there."""
    python = folder / "bin" / "python"
    try:
        if not python.exists():
            venv.create(folder, symlinks=True)
            _install(python, needs)
        yield python
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def _install(python: Path, needs: Sequence[str]) -> None:
    """Raises NotInstalled where pip does not find versions that go together."""
    # by the pip of our own Python; what it compiles would be used once
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--quiet",
        "--no-compile",
    ]
    done = subprocess.run([*pip, *needs], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotInstalled(done.stderr.strip().splitlines()[-1])


def version(python: Path, package: str) -> str:
    """The installed version of `package`."""
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()
