"""The routes of `laser_tools.wire`, and the probes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST

from laser_tools.errors import DeadlineExceeded, InvalidRequest
from laser_tools.images.box import clamp
from laser_tools.progress import Listener
from laser_tools.schema import AnswerRequest, Box, GroundedAnswer, ZoomRequest, ZoomResult
from laser_tools.wire import (
    ANSWER_PATH,
    DEADLINE_HEADER,
    ZOOM_PATH,
    AnswerBody,
    ImageInfo,
    Sha256,
    ZoomBody,
)
from laser_tools.worker.http.described import (
    EVENTS,
    HEADERS,
    IMAGE_BODY,
    PNG,
    PROBES,
    REFUSALS,
    TEXT,
    TOLD,
)
from laser_tools.worker.http.event_stream import EventStream, wants_events
from laser_tools.worker.http.record import (
    IMAGE_ROUTE,
    LIVEZ,
    METRICS,
    READYZ,
    Record,
    header,
    record_of,
)
from laser_tools.worker.http.state import Worker

_CROP = re.compile(r"\d{1,6},\d{1,6},\d{1,6},\d{1,6}", re.ASCII)


async def _worker_of(request: Request) -> Worker:
    worker: Worker = request.app.state.worker
    return worker


async def _record_of(request: Request) -> Record:
    return record_of(request.scope)


TheWorker = Annotated[Worker, Depends(_worker_of)]
TheRecord = Annotated[Record, Depends(_record_of)]
ImagePath = Annotated[Sha256, Path(description="The SHA-256 of the image file's bytes.")]

open_routes = APIRouter(responses=TOLD)
routes = APIRouter(
    responses=REFUSALS,
    dependencies=[Depends(HTTPBearer(auto_error=False))],  # for the page; auth.py decides
)


@routes.put(
    IMAGE_ROUTE,
    response_model=ImageInfo,
    responses={201: {**TOLD[200], "model": ImageInfo, "description": "It is new here"}},
    tags=["images"],
    openapi_extra={"requestBody": IMAGE_BODY, "parameters": HEADERS},
)
async def put_image(
    sha256: ImagePath, request: Request, worker: TheWorker, record: TheRecord
) -> Response:
    """Hold an image. 201 if it is new here, 200 if it was here already."""
    data, key = await request.body(), record.key or 0
    record.image = sha256[:8]
    async with _in_time(request, worker, record):
        await worker.codec.checked(data, sha256)
        known = worker.images.holds(key, sha256)
        if not known:
            worker.images.put(key, await worker.codec.decoded(key, data, sha256))
    info = ImageInfo(image=sha256, size=worker.images.get(key, sha256).size)
    return _json(info.model_dump_json(), 200 if known else 201)


@routes.get(
    IMAGE_ROUTE,
    response_class=Response,
    responses={200: {**TOLD[200], "content": PNG}},
    tags=["images"],
    openapi_extra={"parameters": HEADERS},
)
async def get_image(
    sha256: ImagePath,
    request: Request,
    worker: TheWorker,
    record: TheRecord,
    crop: Annotated[str | None, Query(description="x0,y0,x1,y1 in upright pixels")] = None,
) -> Response:
    """The pixels of an image that the caller has put here, or of a box in it."""
    record.image = sha256[:8]
    key = record.key or 0
    image = worker.images.get(key, sha256)
    box = None if crop is None else clamp(_box(crop), image.size)
    async with _in_time(request, worker, record):
        pixels = await worker.codec.png(key, image, box)
    return Response(pixels, media_type="image/png")


@routes.post(
    ANSWER_PATH,
    response_model=GroundedAnswer,
    responses={200: {**TOLD[200], "content": EVENTS}},
    tags=["questions"],
    openapi_extra={"parameters": HEADERS},
)
async def answer(
    body: AnswerBody, request: Request, worker: TheWorker, record: TheRecord
) -> Response:
    """Answer a question about an image, with the evidence; who accepts events hears of progress."""
    asked, deadline_s = _about(worker, record, body), _deadline_s(request, worker, record)

    async def answering(listener: Listener | None = None) -> str:
        heard = AnswerRequest(**asked, listener=listener)
        return _noted(worker, record, await worker.backend.serve(heard, deadline_s))

    if wants_events(request.scope):
        return EventStream(record, answering)
    return _json(await answering(), 200)


@routes.post(
    ZOOM_PATH,
    response_model=ZoomResult,
    tags=["questions"],
    openapi_extra={"parameters": HEADERS},
)
async def zoom(body: ZoomBody, request: Request, worker: TheWorker, record: TheRecord) -> Response:
    """Say where in an image to look."""
    asked = ZoomRequest(**_about(worker, record, body))
    result = await worker.backend.serve(asked, _deadline_s(request, worker, record))
    return _json(_noted(worker, record, result), 200)


@open_routes.get(LIVEZ, responses=PROBES, tags=["operation"])
async def livez(worker: TheWorker) -> JSONResponse:
    """Says whether this process works. Anyone may ask."""
    return _probe(worker.health.fault())


@routes.get(READYZ, responses=PROBES, tags=["operation"])
async def readyz(worker: TheWorker) -> JSONResponse:
    """Says whether this worker takes work now, and if not, why."""
    return _probe(worker.health.why_not_ready())


@routes.get(
    METRICS,
    response_class=Response,
    responses={200: {**TOLD[200], "content": TEXT}},
    tags=["operation"],
)
async def metrics(worker: TheWorker) -> Response:
    """Prometheus' text format."""
    return Response(worker.metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})


@asynccontextmanager
async def _in_time(request: Request, worker: Worker, record: Record) -> AsyncIterator[None]:
    """A context that raises DeadlineExceeded once the request's deadline is over."""
    deadline_s = _deadline_s(request, worker, record)
    try:
        async with asyncio.timeout(deadline_s):
            yield
    except TimeoutError:
        raise DeadlineExceeded(deadline_s) from None


def _about(worker: Worker, record: Record, body: AnswerBody | ZoomBody) -> dict[str, Any]:
    """The request's fields: the image of that name, for the caller's key alone."""
    record.image, key = body.image[:8], record.key or 0
    image = worker.images.get(key, body.image)
    return {**body.model_dump(exclude={"image"}), "image": image, "cache_salt": f"key {key}"}


def _deadline_s(request: Request, worker: Worker, record: Record) -> float:
    """Seconds left until the request's deadline, which counts from its arrival."""
    given = header(request.scope, DEADLINE_HEADER)
    settings = worker.settings
    wanted_s = _positive(given) if given else settings.default_deadline_s
    return max(round(min(wanted_s, settings.max_deadline_s) - record.age_s, 3), 0.0)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < float("inf"):
        raise InvalidRequest(f"{DEADLINE_HEADER} must be a number of seconds above 0.")
    return value


def _box(text: str) -> Box:
    if not _CROP.fullmatch(text):
        raise InvalidRequest("A crop must be four whole numbers of pixels: crop=x0,y0,x1,y1.")
    x0, y0, x1, y1 = map(int, text.split(","))
    if x1 <= x0 or y1 <= y0:
        raise InvalidRequest("A crop must have x0 < x1 and y0 < y1.")
    return Box(x0=x0, y0=y0, x1=x1, y1=y1)


def _noted(worker: Worker, record: Record, result: GroundedAnswer | ZoomResult) -> str:
    """The result as JSON, once it has been counted."""
    record.stages_s = result.timings_s
    worker.metrics.served(result)
    return result.model_dump_json()


def _json(text: str, status: int) -> Response:
    return Response(text, status, media_type="application/json")


def _probe(trouble: str | None) -> JSONResponse:
    """A probe's answer, for machines: a status, and a word instead of a sentence."""
    if trouble is None:
        return JSONResponse({"status": "ok"})
    return JSONResponse({"status": trouble}, 503, headers={"Retry-After": "5"})
