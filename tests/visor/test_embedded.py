"""pico-visor, the embedded model that looks as much as a question needs."""

from __future__ import annotations

import json

import pytest

from laser_tools.engine import LocalEngine
from laser_tools.images import open_image_file
from laser_tools.pico import SCENE
from laser_tools.schema import AnswerRequest, MethodName
from laser_tools.visor.model import VisorForConditionalGeneration
from laser_tools.vlm.load import EMBEDDED, WEIGHTS, load_vlm
from laser_tools.vlm.model import VLM

MAX_BYTES = 16 * 2**20


@pytest.fixture(scope="module")
def vlm() -> VLM:
    return load_vlm("pico-visor")


def test_what_is_embedded_is_there_and_small() -> None:
    for folder in EMBEDDED.values():
        assert (folder / WEIGHTS).stat().st_size < MAX_BYTES
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        assert "_name_or_path" not in json.dumps(config)  # of the machine it was trained on


def test_it_is_a_visor_model_with_a_router(vlm: VLM) -> None:
    assert vlm.name == "pico-visor"
    assert isinstance(vlm.model, VisorForConditionalGeneration)
    assert vlm.model.router is not None
    assert len(vlm.model.config.configurations) > 1


@pytest.mark.parametrize("method", ["plain", "laser"])
def test_it_is_asked_as_any_model(vlm: VLM, method: MethodName) -> None:
    image = open_image_file(SCENE)
    questions = ("Is there a yellow square?", "Is there a pink star?")
    requests = [AnswerRequest(image=image, question=q, method=method) for q in questions]
    answers = LocalEngine(vlm).answer(requests)
    assert [answer.answer for answer in answers] == ["yes", "no"]
    assert {answer.model for answer in answers} == {"pico-visor"}
