"""A framework's lines, run by its own Python, with a chat model of ours and pico at a worker."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from laser_tools.pico import SCENE
from tests.frameworks.page import Framework
from tests.frameworks.planner import FILE, StepPlanner
from tests.providers.apis import Json
from tests.providers.server import serving

PATIENCE_S = 1200  # a busy machine takes ten times what an idle one does
ANSWER = json.loads(SCENE.with_suffix(".json").read_text(encoding="utf-8"))["answer"]
ALWAYS = {
    "LASER_TIMEOUT_S": "300",
    "OMP_NUM_THREADS": "1",
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
    "OTEL_SDK_DISABLED": "true",
}


def failure(framework: Framework, python: Path, worker: dict[str, str]) -> str | None:
    """Why the framework did not come to the right answer by our tools; None where it did."""
    planner = StepPlanner()
    with tempfile.TemporaryDirectory() as folder, serving(planner) as url:
        shutil.copy(SCENE, Path(folder) / FILE)
        done = subprocess.run(
            [python, "-c", framework.lines], cwd=folder, stdin=subprocess.DEVNULL,
            env=_variables(python, folder, f"{url}/v1") | worker,
            capture_output=True, text=True, check=False, timeout=PATIENCE_S,
        )  # fmt: skip
    if done.returncode or planner.refusals:
        return "; ".join([*planner.refusals, *done.stderr.strip().splitlines()[-1:]])
    return _missing(planner, done.stdout)


def _missing(planner: StepPlanner, printed: str) -> str | None:
    if not planner.bodies:
        return "the chat model was not asked"
    unread = [name for name, schema in planner.offered.items() if not _typed(schema)]
    if unread:
        return f"the chat model is not told the types of {', '.join(unread)}"
    if not any("regions" in text for text in planner.heard):
        return f"zoom_to_evidence was not called: {planner.heard[-1][:200]}"
    if ANSWER not in planner.heard[-1]:
        return f"grounded_vqa did not answer: {planner.heard[-1][:200]}"
    return None if ANSWER in printed else "the answer is not printed"


def _typed(schema: Json) -> bool:
    return all("type" in argument for argument in schema.get("properties", {}).values())


def _variables(python: Path, folder: str, url: str) -> dict[str, str]:
    """Of a shell with that environment; `laser-tools` of ours stands behind what it has."""
    path = os.pathsep.join(map(str, (python.parent, Path(sys.executable).parent, "/usr/bin:/bin")))
    own = ("PYTHON", "LASER_", "OPENAI_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    model = {"OPENAI_API_KEY": "stub", "OPENAI_BASE_URL": url, "OPENAI_API_BASE": url}
    return {**kept, **ALWAYS, **model, "PATH": path, "HOME": folder}
