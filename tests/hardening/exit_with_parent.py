"""A worker of the bench, which ends with it: however the bench ends, its end of a pipe is closed.

    python -m tests.hardening.exit_with_parent serve ...

It is `laser-tools` with these arguments.
"""

from __future__ import annotations

import os
import sys
import threading

from laser_tools import cli


def end_with_parent() -> None:
    """Ends this process, without a drain, once the parent has closed our standard input."""
    threading.Thread(target=_watch, name="leash", daemon=True).start()


def _watch() -> None:
    while os.read(0, 4096):  # nothing is ever written; not sys.stdin, whose lock exit wants
        pass
    os._exit(1)


if __name__ == "__main__":
    end_with_parent()
    sys.exit(cli.run(sys.argv[1:]))
