"""The ASGI application: routes, and around them, from the outside in, what a request must pass."""

from __future__ import annotations

import importlib.metadata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from laser_tools.errors import InvalidRequest, LaserError
from laser_tools.worker.backends.base import Backend
from laser_tools.worker.http.admission import Admission
from laser_tools.worker.http.auth import Auth
from laser_tools.worker.http.body import Bodies
from laser_tools.worker.http.described import SUMMARY, TAGS, operation_id
from laser_tools.worker.http.journal import Journal
from laser_tools.worker.http.record import OPENAPI
from laser_tools.worker.http.refusals import MethodNotAllowed, NotFound
from laser_tools.worker.http.routes import open_routes, routes
from laser_tools.worker.http.sentences import sentence
from laser_tools.worker.http.state import Worker
from laser_tools.worker.settings import WorkerSettings


def create_app(backend: Backend, settings: WorkerSettings) -> FastAPI:
    """The worker over a backend, which its lifespan starts and stops; parts at `app.state.worker`.

    No interactive page: it would fetch scripts from elsewhere. No redirects: they trust `Host`.
    """
    app = FastAPI(
        title="laser-tools worker",
        description=SUMMARY,
        version=importlib.metadata.version("laser-tools"),
        openapi_tags=TAGS,
        generate_unique_id_function=operation_id,
        openapi_url=OPENAPI,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
        exception_handlers={RequestValidationError: _invalid, HTTPException: _http},
    )
    worker = app.state.worker = Worker(backend, settings)
    app.include_router(open_routes)
    app.include_router(routes)
    # The last one added is the outermost.
    app.add_middleware(Bodies, settings=settings)
    app.add_middleware(Admission, gate=worker.gate, health=worker.health)
    app.add_middleware(Auth, keys=settings.keys, metrics_key=settings.metrics_key)
    app.add_middleware(Journal, metrics=worker.metrics, health=worker.health)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    worker: Worker = app.state.worker
    async with worker.running():
        yield


async def _invalid(request: Request, error: RequestValidationError) -> Response:
    raise InvalidRequest(sentence(error.errors()[0])) from None


async def _http(request: Request, error: HTTPException) -> Response:
    """Turn FastAPI's own refusals into the worker's errors."""
    raise _refusal(error) from None


def _refusal(error: HTTPException) -> LaserError:
    if error.status_code == 404:
        return NotFound()
    if error.status_code == 405:
        return MethodNotAllowed((error.headers or {}).get("Allow", ""))
    return InvalidRequest("The body must be one JSON object.")
