"""Ask about an image from Python, plainly and through LASER, and draw the evidence.

Run it as `python examples/ask.py`; it writes evidence.png where it is run.
"""

from __future__ import annotations

import json
from pathlib import Path

from laser_tools import AnswerRequest, LocalEngine
from laser_tools.figures.evidence import evidence_figure
from laser_tools.images import open_image_file
from laser_tools.pico import SCENE


def main() -> None:
    """Two answers to one question."""
    scene = json.loads(SCENE.with_suffix(".json").read_text(encoding="utf-8"))
    image, question = open_image_file(SCENE), scene["question"]
    engine = LocalEngine.from_pretrained("pico")
    plain, laser = engine.answer(
        [
            AnswerRequest(image=image, question=question, method="plain"),
            AnswerRequest(image=image, question=question, method="laser"),
        ]
    )
    print(f"{question} The true answer is {scene['answer']}.")
    for answer in (plain, laser):
        print(f"{answer.method}: {answer.answer} (confidence {answer.confidence})")
    evidence_figure(image.pixels, laser, plain, Path("evidence.png"), question)


if __name__ == "__main__":
    main()
