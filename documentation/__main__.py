"""Build the site into site/html; any warning ends it. `make docs` runs it.

python -m documentation
"""

from __future__ import annotations

import shutil
import subprocess
import sys

from documentation import check, notebook
from documentation.gather import DOCS, ROOT, gather

SITE = ROOT / "site"
PAGES, HTML = SITE / "pages", SITE / "html"


def main() -> int:
    """The exit code: 0 if the whole site is there and nothing is wrong with it."""
    shutil.rmtree(SITE, ignore_errors=True)
    PAGES.mkdir(parents=True)
    gather(PAGES)
    notebook.write_page(DOCS / "quickstart.ipynb", PAGES / "quickstart.md")
    build = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
    if code := subprocess.run(build, cwd=ROOT, check=False).returncode:
        return code
    troubles = [*check.astray(PAGES), *check.foreign(HTML)]
    print(*troubles, f"{len(troubles)} troubles", sep="\n", file=sys.stderr)
    return 1 if troubles else 0


if __name__ == "__main__":
    raise SystemExit(main())
