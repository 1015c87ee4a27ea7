"""lmms-eval asks drawn scenes by two tasks of its own, and gets the figures of our bench.

In an environment with lmms-eval and `laser-tools[engine]`; nothing is downloaded:

    python tests/frameworks/lmms_tasks.py --n 32 --methods plain laser
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}

import yaml
from lmms_eval.evaluator import simple_evaluate
from lmms_eval.tasks import TaskManager

from laser_tools.evaluation.arms import Arm, run_arm
from laser_tools.evaluation.benchmarks.base import Item
from laser_tools.evaluation.benchmarks.microscenes.benchmark import MicroScenes
from laser_tools.evaluation.run.local import LoadModel
from laser_tools.evaluation.subject import VLMSubject
from laser_tools.options import LaserOptions

TYPES = ("reading", "attribute")
TASK = {
    "dataset_path": "json",
    "test_split": "test",
    "output_type": "generate_until",
    "doc_to_visual": "image",
    "doc_to_text": "question",
    "doc_to_target": "answer",
    "generation_kwargs": {"max_new_tokens": 16, "temperature": 0, "do_sample": False},
    "metric_list": [
        {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True,
         "ignore_case": True, "ignore_punctuation": True},
    ],
}  # fmt: skip


def write_task(folder: Path, name: str, items: Sequence[Item]) -> None:
    """The pictures, a line for each question, and the task that names them."""
    lines = []
    for item in items:
        path = folder / f"{name}.{item.id}.png"
        item.image().pixels.save(path)
        (answer,) = item.references
        lines.append(json.dumps({"image": str(path), "question": item.question, "answer": answer}))
    documents = folder / f"{name}.jsonl"
    documents.write_text("\n".join(lines) + "\n", encoding="utf-8")
    task = {"task": name, **TASK, "dataset_kwargs": {"data_files": {"test": str(documents)}}}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(task), encoding="utf-8")


def by_lmms_eval(folder: Path, method: str, names: Sequence[str]) -> dict[str, Any]:
    """Its results and samples."""
    found: dict[str, Any] = simple_evaluate(
        model="laser_tools",
        model_args=f"pretrained=pico,method={method}",
        tasks=list(names),
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        batch_size=4,
        bootstrap_iters=0,
    )
    return found


def compared(found: dict[str, Any], name: str, method: Any, items: Sequence[Item]) -> bool:  # noqa: ANN401
    """Print both figures; true where they are the same, and so is every answer."""
    subject = VLMSubject(LoadModel("pico").vlm())
    ours = run_arm(subject.ask, Arm(method, LaserOptions(), method), items)
    right = sum(outcome.score for outcome in ours) / len(ours)
    theirs: float = found["results"][name]["exact_match,none"]
    said = [sample["filtered_resps"][0] for sample in found["samples"][name]]
    same = sum(a.strip() == b.result.answer.strip() for a, b in zip(said, ours, strict=True))
    sys.stdout.write(
        f"{name} {method}: lmms-eval {theirs:.3f}, bench {right:.3f}, "
        f"{same} of {len(items)} answers the same\n"
    )
    return same == len(items) and abs(theirs - right) < 1e-9


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--n", type=int, default=16, help="questions of each task")
    parser.add_argument("--methods", nargs="+", default=["plain", "laser"])
    given = parser.parse_args()
    tasks = {f"drawn_{t}": list(MicroScenes((t,)).items("test", given.n)) for t in TYPES}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LMMS_EVAL_DATASETS_CACHE"] = folder
        for name, items in tasks.items():
            write_task(Path(folder), name, items)
        fine = [
            compared(found, name, method, items)
            for method in given.methods
            for found in [by_lmms_eval(Path(folder), method, list(tasks))]
            for name, items in tasks.items()
        ]
    sys.stdout.write(f"lmms-eval {version('lmms_eval')}: {sum(fine)} of {len(fine)}\n")
    sys.exit(not all(fine))


if __name__ == "__main__":
    main()
