"""The worker's OpenAPI document. `python -m tests.worker.openapi` writes docs/openapi.json."""

from __future__ import annotations

import json
from pathlib import Path

from laser_tools.worker.backends.local import local_backend
from laser_tools.worker.http.app import create_app
from laser_tools.worker.settings import worker_settings

FILE = Path(__file__).parents[2] / "docs" / "openapi.json"


def document() -> str:
    """The document as JSON text; no model is loaded for it."""
    settings = worker_settings()
    app = create_app(local_backend(settings), settings)
    return json.dumps(app.openapi(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(document(), encoding="utf-8")
