"""A client generated from docs/openapi.json uploads a picture and asks about it.

In an environment with `openapi-python-client` alone, while a worker runs without keys:

    laser-tools serve --port 8000
    python tests/frameworks/generated_client.py http://127.0.0.1:8000
"""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SCENE = ROOT / "laser_tools" / "pico" / "scene.png"
QUESTION, ANSWER = "What number is on the yellow square?", "511"

CONFIG = {"content_type_overrides": {"image/png": "application/octet-stream"}}  # else unknown to it


def generate(folder: Path) -> None:
    """Write the package `generated` into `folder`; the generator's warnings are errors."""
    arguments = ("--path", str(ROOT / "docs" / "openapi.json"), "--output-path", "generated")
    (folder / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    options = ("--meta", "none", "--fail-on-warning", "--config", "config.json")
    tools = Path(sys.executable).parent
    command = [str(tools / "openapi-python-client"), "generate", *arguments, *options]
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"  # it runs ruff
    subprocess.run(command, cwd=folder, check=True, env={**os.environ, "PATH": path})


def ask(url: str) -> Any:  # noqa: ANN401 (a type that does not exist yet)
    """The answer of the worker at `url`, through nothing but generated code."""
    generated, types = (importlib.import_module(name) for name in ("generated", "generated.types"))
    models = importlib.import_module("generated.models")
    put = importlib.import_module("generated.api.images.put_image")
    answer = importlib.import_module("generated.api.questions.answer")
    data = SCENE.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    with generated.Client(url, timeout=120) as client:
        upload = types.File(payload=io.BytesIO(data), mime_type="application/octet-stream")
        held = put.sync(sha256, client=client, body=upload, x_deadline_s=60)
        assert held.image == sha256, held
        body = models.AnswerBody(image=sha256, question=QUESTION)
        return answer.sync(client=client, body=body, x_request_id="generated.1")


def main() -> None:
    """Generate, ask, and fail unless the answer is right."""
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        sys.path.insert(0, folder)
        found = ask(sys.argv[1])
    sys.stdout.write(f"{found.answer} {found.confidence} {found.route}\n")
    assert found.answer == ANSWER, found


if __name__ == "__main__":
    main()
