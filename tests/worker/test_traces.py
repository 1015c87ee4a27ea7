"""One key learns nothing of what another has asked: no hits, no totals."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from laser_tools.engine import LocalEngine
from laser_tools.evaluation.benchmarks.microscenes.items import draw_items
from laser_tools.images.upright import UprightImage
from laser_tools.schema import AnswerRequest
from laser_tools.worker.backends.local import load_engine
from tests.hardening.credentials import ROUTES
from tests.worker.harness import (
    ALICE,
    BOB,
    JSON,
    OPERATOR,
    House,
    client_of,
    house,
    raw,
    settings,
    sha256,
)
from tests.worker.test_pico import png_of


async def ask(client: httpx.AsyncClient, data: bytes, question: str) -> dict[str, Any]:
    await client.put(f"/v1/images/{sha256(data)}", content=data)
    reply = await client.post("/v1/answer", json={"image": sha256(data), "question": question})
    said: dict[str, Any] = reply.json()
    return said


async def test_hits_tell_of_the_callers_own_questions_alone() -> None:
    """Bob asks about a picture that Alice has asked about: as if nobody had; then his own hit."""
    item = next(draw_items("validation", 1, 0))
    data = png_of(item.image)
    async with house(load_engine(settings())) as home, bob_of(home) as bob:
        alices = [await ask(home.client, data, item.question) for _ in range(2)]
        bobs = [await ask(bob, data, item.question) for _ in range(2)]
    assert [said["prefix_hits"] > 0 for said in alices] == [False, True]
    assert [said["prefix_hits"] > 0 for said in bobs] == [False, True]
    assert bobs[0]["answer"] == alices[0]["answer"]


def test_two_keys_in_one_batch_share_no_prefix() -> None:
    item = next(draw_items("validation", 1, 0))
    engine = LocalEngine.from_pretrained("pico")
    asked = [
        AnswerRequest(image=UprightImage.of(item.image), question=item.question, cache_salt=salt)
        for salt in ("key 0", "key 1")
    ]
    assert [answer.prefix_hits for answer in engine.answer(asked)] == [0, 0]
    assert len(engine.vlm.prefixes) == 2
    assert [answer.prefix_hits for answer in engine.answer(asked)] == [1, 1]


async def test_a_caller_cannot_choose_the_salt() -> None:
    async with house() as home:
        body = {"image": await home.upload(), "question": "what?", "cache_salt": "key 1"}
        assert (await home.client.post("/v1/answer", json=body)).status_code == 422


METRICS_KEYS = pytest.mark.parametrize("metrics_key", [OPERATOR, None])


@METRICS_KEYS
async def test_no_callers_key_opens_the_metrics(metrics_key: str | None) -> None:
    """They tell of all callers. A path that the router takes for theirs does not open them."""
    async with house(metrics_key=metrics_key) as home:
        for path, status in (("/metrics", 401), ("/metrics\n", 404)):
            for key in (ALICE, BOB):
                reply = await raw(home.app, "GET", path, key=key)
                assert (reply.status, b"laser_" in reply.body) == (status, False), path


async def test_the_metrics_key_opens_the_metrics_and_nothing_else() -> None:
    async with house() as home:
        assert b"laser_ready 1.0" in (await raw(home.app, "GET", "/metrics", key=OPERATOR)).body
        for method, path in ROUTES:
            if path != "/metrics":
                reply = await raw(home.app, method, path, headers=[JSON], key=OPERATOR)
                assert reply.status == 401, path


async def test_a_worker_for_this_machine_can_have_a_metrics_key() -> None:
    async with house(api_keys="") as home:
        assert (await raw(home.app, "GET", "/metrics", key=None)).status == 401
        assert (await raw(home.app, "GET", "/readyz", key=None)).status == 200


def bob_of(home: House) -> httpx.AsyncClient:
    return client_of(httpx.ASGITransport(home.app), BOB)
