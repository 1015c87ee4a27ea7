"""The packaged model behind the app: what HTTP gives is what the engine gives."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from laser_tools.client import WorkerClient
from laser_tools.engine import LocalEngine
from laser_tools.evaluation.benchmarks.microscenes.items import draw_items
from laser_tools.evaluation.same_answer import differences
from laser_tools.images.upright import UprightImage
from laser_tools.progress import Event, StageEvent, TokenEvent
from laser_tools.schema import AnswerRequest, GroundedAnswer, ZoomRequest, ZoomResult
from laser_tools.worker.backends.local import load_engine
from tests.worker.harness import ALICE, house, settings, sha256
from tests.worker.loopback import loopback

N_ITEMS = 3


async def test_answers_over_http_are_those_in_process() -> None:
    """They are equal in every field; with an upload in between, as a client does it."""
    engine = LocalEngine.from_pretrained("pico")
    served = load_engine(settings())
    async with house(served) as home:
        for item in draw_items("validation", N_ITEMS, 0):
            data = png_of(item.image)
            body = {"image": sha256(data), "question": item.question}
            first = await home.client.post("/v1/answer", json=body)
            assert (first.status_code, first.json()["error"]["code"]) == (404, "image_not_found")
            await home.upload(data)
            over = await home.client.post("/v1/answer", json=body)
            here = engine.answer(
                [AnswerRequest(image=UprightImage.of(item.image), question=item.question)]
            )[0]
            answer = GroundedAnswer.model_validate_json(over.content)
            assert differences(answer, here) == []
            assert answer.prefix_hits == here.prefix_hits
            assert answer.timings_s["total"] > 0
            assert list(over.json()) == list(GroundedAnswer.model_fields)
            look = {"image": sha256(data), "what": "circle"}
            over = await home.client.post("/v1/zoom", json=look)
            found = engine.zoom([ZoomRequest(image=UprightImage.of(item.image), what="circle")])[0]
            assert differences(ZoomResult.model_validate_json(over.content), found) == []
        outside = {**body, "box": {"x0": 0, "y0": 0, "x1": 99_999, "y1": 9}}
        refused = await home.client.post("/v1/answer", json=outside)
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "invalid_request")
        metrics = await home.metrics()
    assert 'laser_stage_seconds_count{stage="decode"}' in metrics
    assert "laser_prefix_hits_total 0.0" not in metrics


@pytest.mark.enable_socket
@pytest.mark.allow_hosts(["127.0.0.1"])
@pytest.mark.parametrize("method", ["plain", "laser"])
def test_a_streamed_answer_is_the_one_without_a_stream(method: str) -> None:
    """By a real server and the client; the tokens of an answer that is not doubted are its text."""
    heard: list[list[Event]] = [[] for _ in range(N_ITEMS)]
    asked = [
        AnswerRequest.model_validate(
            {
                "image": UprightImage.of(item.image),
                "question": item.question,
                "method": method,
                "listener": events.append,
            }
        )
        for item, events in zip(draw_items("validation", N_ITEMS, 0), heard, strict=True)
    ]
    with (
        loopback(load_engine(settings())) as worker,
        WorkerClient(worker.url, ALICE) as client,
    ):
        plain = client.answer([r.model_copy(update={"listener": None}) for r in asked])
        streamed = client.answer(asked)
    for before, after, events in zip(plain, streamed, heard, strict=True):
        assert differences(after, before) == []
        assert StageEvent(stage="decode") in events
        told = "".join(event.token for event in events if isinstance(event, TokenEvent))
        assert told == after.answer or (method == "laser" and told == "")


def png_of(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
