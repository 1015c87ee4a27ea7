"""A canary through every path of a worker; then everything that came out is searched for it."""

from __future__ import annotations

import asyncio
import json

from tests.hardening.caller import Caller
from tests.hardening.log import found_in
from tests.hardening.pictures import Asked, distinct
from tests.hardening.process import CANARY
from tests.hardening.sizes import Bench, Figures


def secrets(bench: Bench) -> Figures:
    """Refusals and metrics are searched here. Logs are always: `with_logs` adds them at the end."""
    return asyncio.run(_secrets(bench))


async def _secrets(bench: Bench) -> Figures:
    asked = distinct(1, seed=15)[0]
    async with Caller(bench.worker) as caller:
        await caller.upload(asked.data)
        await caller.ask(Asked(asked.data, f"What is {CANARY}?"))
        out = [await _refused(caller, method, path, body) for method, path, body in _paths(asked)]
        out.append((await caller.metrics()).body)
    lines = [line for body in out for line in body.decode(errors="replace").splitlines()]
    found = sum(found_in(line, (CANARY,)) for line in lines)
    return {"secrets": {"lines": len(lines), "matches": found}}


async def _refused(caller: Caller, method: str, path: str, body: dict[str, object]) -> bytes:
    headers = {
        "Content-Type": "application/json",
        "traceparent": CANARY,
        "Cookie": CANARY,
        "X-Deadline-S": CANARY,
        "Origin": f"http://{CANARY}",
    }
    reply = await caller.send(method, path, json.dumps(body).encode(), headers)
    return reply.body


def _paths(asked: Asked) -> list[tuple[str, str, dict[str, object]]]:
    question: dict[str, object] = {"image": asked.sha256, "question": CANARY}
    return [
        ("GET", f"/{CANARY}", {}),
        ("GET", f"/v1/images/{CANARY}", {}),
        ("GET", f"/v1/images/{asked.sha256}?crop={CANARY}", {}),
        (CANARY.upper(), "/livez", {}),
        ("PUT", f"/v1/images/{asked.sha256}", {CANARY: CANARY}),
        ("POST", "/v1/answer", question),
        ("POST", "/v1/answer", {**question, CANARY: CANARY}),
        ("POST", "/v1/answer", {**question, "choices": [CANARY]}),
        ("POST", "/v1/answer", {**question, "method": CANARY}),
        ("POST", "/v1/answer", {"image": CANARY, "question": CANARY}),
        ("POST", "/v1/zoom", {"image": asked.sha256, "what": CANARY, "n_regions": CANARY}),
    ]
