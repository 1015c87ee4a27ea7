"""`WorkerClient`: the two methods of a `LocalEngine`, answered by a worker over HTTP.

One body for sync and async: everything runs as coroutines on one background loop, which both kinds
of method wait for. So one connection pool serves every thread and every event loop, cancelling a
call closes its connections (the worker sees that and stops), and a deadline ends a call wherever
it is.

Redirects are not followed, and proxy variables are not read: keys and pictures go where the base
URL says. A proxy or a private authority is a `transport`, such as
`httpx.AsyncHTTPTransport(proxy=...)`; SSL_CERT_FILE works without one.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, Self, TypeVar
from uuid import uuid4

import httpx
from httpx_retries import RetryTransport
from PIL import Image
from pydantic import BaseModel

from laser_tools.deadline_transport import BoundedRetry, Deadline, DeadlineTransport
from laser_tools.errors import (
    Cancelled,
    DeadlineExceeded,
    LaserError,
    Misconfigured,
    ModelUnavailable,
    UnknownImage,
)
from laser_tools.loop_thread import LoopThread
from laser_tools.png_files import PngFile, PngFiles
from laser_tools.refusals import refusal_of, result_of, worker_name
from laser_tools.schema import AnswerRequest, GroundedAnswer, ZoomRequest, ZoomResult
from laser_tools.settings import DEFAULT_TIMEOUT_S, MAX_TIMEOUT_S, read_settings
from laser_tools.wire import (
    ANSWER_PATH,
    IMAGES_PATH,
    REQUEST_ID_HEADER,
    ZOOM_PATH,
    AnswerBody,
    ImageInfo,
    ZoomBody,
)
from laser_tools.worker_address import checked_url, key_header

TRACE_HEADERS = ("traceparent", "tracestate")  # W3C Trace Context
LIMITS = httpx.Limits(
    max_connections=16,
    max_keepalive_connections=16,
    keepalive_expiry=2.0,  # uvicorn closes after 5 s; closing first, we never meet a dead one
)
_MAX_REMEMBERED = 4096

Result = TypeVar("Result", bound=BaseModel)
TraceHeaders = Callable[[], Mapping[str, str]]


@dataclass(frozen=True)
class _Endpoint(Generic[Result]):
    path: str
    body: type[AnswerBody] | type[ZoomBody]
    result: type[Result]


@dataclass(frozen=True)
class _Call:
    """What the HTTP requests for one question share."""

    deadline: Deadline
    headers: dict[str, str]


_ANSWER = _Endpoint(ANSWER_PATH, AnswerBody, GroundedAnswer)
_ZOOM = _Endpoint(ZOOM_PATH, ZoomBody, ZoomResult)


class WorkerClient:
    """An `Engine` whose model runs in a worker. Threads and event loops may share one.

    A call gives up after `deadline_s` (default: `timeout_s`), uploads and retries included. Its
    requests run at the same time; the first error ends it and cancels the others.

    Args:
        base_url: such as "https://worker.example" or "http://127.0.0.1:8000".
        api_key: the worker's key, if it wants one.
        timeout_s: seconds that a call may take.
        allow_http: accept plain http to another machine.
        trace: gives the W3C trace headers of a call, such as `{"traceparent": "00-..."}`.
        transport: what opens connections; it is closed with the client.

    Raises (from the constructor):
        Misconfigured: an argument that cannot be used.
    Raises (from the four methods):
        Unauthorized, QuotaExceeded, Busy, ImageRejected, InvalidRequest ...: the worker's refusal.
        DeadlineExceeded: the time is over.
        ModelUnavailable: no worker there, or it does not speak our contract.
        Cancelled: the client was closed meanwhile.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        allow_http: bool = False,
        trace: TraceHeaders | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._url = checked_url(base_url, allow_http=allow_http)
        self._headers = {**key_header(api_key), "Accept-Encoding": "identity"}
        self._timeout_s = _checked_seconds(timeout_s, "timeout_s")
        self._trace = trace
        self._transport = transport
        self._files = PngFiles()
        self._held: dict[str, None] = {}  # hashes of files the worker has had, oldest first
        self._uploads: weakref.WeakValueDictionary[str, asyncio.Lock] = (
            weakref.WeakValueDictionary()
        )
        self._http: httpx.AsyncClient
        self._thread: LoopThread | None = None
        self._starting = threading.Lock()
        self._closed = False

    @classmethod
    def from_env(cls, base_url: str | None = None) -> Self:
        """The client that LASER_BASE_URL, LASER_API_KEY, LASER_TIMEOUT_S and LASER_ALLOW_HTTP say.

        Raises:
            Misconfigured: a variable cannot be used, or there is no address.
        """
        settings = read_settings()
        url = base_url or settings.base_url
        if url is None:
            raise Misconfigured("LASER_BASE_URL must be the worker's URL. Set it.")
        key = settings.api_key
        return cls(
            url,
            None if key is None else key.get_secret_value(),
            timeout_s=settings.timeout_s,
            allow_http=settings.allow_http,
        )

    def answer(
        self, requests: Sequence[AnswerRequest], *, deadline_s: float | None = None
    ) -> list[GroundedAnswer]:
        """Answer each question from its image, with the evidence."""
        return self._wait(self._submit(_ANSWER, requests, deadline_s))

    def zoom(
        self, requests: Sequence[ZoomRequest], *, deadline_s: float | None = None
    ) -> list[ZoomResult]:
        """Say where in each image to look."""
        return self._wait(self._submit(_ZOOM, requests, deadline_s))

    async def aanswer(
        self, requests: Sequence[AnswerRequest], *, deadline_s: float | None = None
    ) -> list[GroundedAnswer]:
        """`answer`, awaited; cancelling it cancels the work at the worker."""
        return await self._await(self._submit(_ANSWER, requests, deadline_s))

    async def azoom(
        self, requests: Sequence[ZoomRequest], *, deadline_s: float | None = None
    ) -> list[ZoomResult]:
        """`zoom`, awaited; cancelling it cancels the work at the worker."""
        return await self._await(self._submit(_ZOOM, requests, deadline_s))

    def close(self) -> None:
        """Cancel what runs and close all connections. A client that is forgotten does the same."""
        with self._starting:
            self._closed = True
            thread = self._thread
        if thread is not None:
            thread.close()

    async def aclose(self) -> None:
        """`close`, awaited."""
        await asyncio.to_thread(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"WorkerClient({str(self._url)!r}, timeout_s={self._timeout_s:g})"

    # --- from the caller's thread to the loop's and back

    def _submit(
        self,
        endpoint: _Endpoint[Result],
        requests: Sequence[AnswerRequest] | Sequence[ZoomRequest],
        deadline_s: float | None,
    ) -> Future[list[Result]]:
        seconds = self._timeout_s
        if deadline_s is not None:
            seconds = _checked_seconds(deadline_s, "deadline_s")
        thread, deadline, trace = self._running(), Deadline(seconds), self._trace_headers()
        try:
            return thread.submit(self._ask_all(endpoint, requests, deadline, trace))
        except RuntimeError:  # closed between the two lines above
            raise Cancelled from None

    def _running(self) -> LoopThread:
        """The loop's thread, started when first needed: building a client costs nothing."""
        with self._starting:
            if self._closed:
                raise ModelUnavailable("This WorkerClient is closed. Make a new one.")
            if self._thread is None:
                self._http = _http_client(self._transport, self._headers)
                self._thread = LoopThread(self._http, name="laser-worker-client")
                weakref.finalize(self, self._thread.close)
            return self._thread

    def _trace_headers(self) -> dict[str, str]:
        """Asked in the caller's context, where its span is."""
        given = {} if self._trace is None else self._trace()
        return {name: given[name] for name in TRACE_HEADERS if name in given}

    def _wait(self, future: Future[list[Result]]) -> list[Result]:
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise Cancelled from None
        except BaseException:  # Ctrl-C while waiting, too: nobody wants the answer any more
            future.cancel()
            raise

    async def _await(self, future: Future[list[Result]]) -> list[Result]:
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if self._closed:  # it was not the caller who cancelled
                raise Cancelled from None
            raise

    # --- on the loop

    async def _ask_all(
        self,
        endpoint: _Endpoint[Result],
        requests: Sequence[AnswerRequest] | Sequence[ZoomRequest],
        deadline: Deadline,
        trace: dict[str, str],
    ) -> list[Result]:
        try:
            async with asyncio.timeout(deadline.left_s()), asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._ask(endpoint, request, deadline, trace))
                    for request in requests
                ]
        except TimeoutError:
            raise DeadlineExceeded(deadline.seconds) from None
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _ask(
        self,
        endpoint: _Endpoint[Result],
        request: AnswerRequest | ZoomRequest,
        deadline: Deadline,
        trace: dict[str, str],
    ) -> Result:
        call = _Call(deadline, {REQUEST_ID_HEADER: uuid4().hex, **trace})
        try:
            return await self._ask_about_file(endpoint, request, call)
        except LaserError as error:
            error.add_note(f"{REQUEST_ID_HEADER}: {call.headers[REQUEST_ID_HEADER]}")
            raise

    async def _ask_about_file(
        self, endpoint: _Endpoint[Result], request: AnswerRequest | ZoomRequest, call: _Call
    ) -> Result:
        """By hash; where the worker does not know it, once more after an upload."""
        file = await self._file(request.image)
        content = endpoint.body(image=file.sha256, **request.model_dump()).model_dump_json()
        await self._upload_once(file, call)
        try:
            response = await self._send("POST", endpoint.path, content.encode(), call)
        except UnknownImage:
            self._held.pop(file.sha256, None)
            await self._upload_once(file, call)
            response = await self._send("POST", endpoint.path, content.encode(), call)
        return result_of(response, endpoint.result)

    async def _file(self, image: Image.Image) -> PngFile:
        return await asyncio.to_thread(self._files.file_of, image)

    async def _upload_once(self, file: PngFile, call: _Call) -> None:
        """Give the worker the file unless it has had it; twins wait for one upload."""
        lock = self._uploads.setdefault(file.sha256, asyncio.Lock())
        async with lock:
            if file.sha256 in self._held:
                return
            path = f"{IMAGES_PATH}/{file.sha256}"
            response = await self._send("PUT", path, file.content, call, "image/png")
            result_of(response, ImageInfo)
            self._held[file.sha256] = None
            if len(self._held) > _MAX_REMEMBERED:
                del self._held[next(iter(self._held))]

    async def _send(
        self,
        method: str,
        path: str,
        content: bytes,
        call: _Call,
        content_type: str = "application/json",
    ) -> httpx.Response:
        request = self._http.build_request(
            method,
            self._url.copy_with(path=self._url.path.rstrip("/") + path),
            content=content,
            headers={**call.headers, "Content-Type": content_type},
            extensions={"retry": BoundedRetry(call.deadline)},
        )
        try:
            response = await self._http.send(request)
        except httpx.HTTPError as error:
            raise _broken(error, self._url, call.deadline) from None
        if refusal := refusal_of(response):
            raise refusal
        return response


def _http_client(
    transport: httpx.AsyncBaseTransport | None, headers: dict[str, str]
) -> httpx.AsyncClient:
    inner = httpx.AsyncHTTPTransport(limits=LIMITS) if transport is None else transport
    return httpx.AsyncClient(
        transport=RetryTransport(transport=DeadlineTransport(inner)),
        headers=headers,
        trust_env=False,
        follow_redirects=False,
    )


def _broken(error: httpx.HTTPError, url: httpx.URL, deadline: Deadline) -> LaserError:
    """Why there was no response; never the library's text, which may hold anything."""
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout) and deadline.left_s() > 0:
        return ModelUnavailable(
            f"{worker_name(url)} cannot be reached. Check LASER_BASE_URL and that it runs."
        )
    if isinstance(error, httpx.TimeoutException | httpx.ConnectError):
        return DeadlineExceeded(deadline.seconds)
    return ModelUnavailable(f"{worker_name(url)} broke off before it had answered. Try once more.")


def _checked_seconds(seconds: float, name: str) -> float:
    if not 0 < seconds <= MAX_TIMEOUT_S:  # false for NaN, too
        raise Misconfigured(f"{name} must be above 0 and at most {MAX_TIMEOUT_S:g} seconds.")
    return seconds
