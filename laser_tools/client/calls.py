"""Calls of a `WorkerClient` on its loop: upload an image unless the worker has it, ask, read."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import uuid4

import httpx
from httpx_retries import RetryTransport

from laser_tools.client.deadline_transport import BoundedRetry, Deadline, DeadlineTransport
from laser_tools.client.event_stream import read_whole
from laser_tools.client.image_files import ImageFile, ImageFiles
from laser_tools.client.plausible import check_plausible
from laser_tools.client.refusals import refusal_of, result_of, worker_name
from laser_tools.engine.base import Request, Result, listener_of
from laser_tools.errors import DeadlineExceeded, LaserError, ModelUnavailable, UnknownImage
from laser_tools.images.upright import UprightImage
from laser_tools.progress import Listener
from laser_tools.schema import AnswerRequest, GroundedAnswer, ZoomRequest, ZoomResult
from laser_tools.wire import (
    ANSWER_PATH,
    EVENT_STREAM,
    IMAGES_PATH,
    REQUEST_ID_HEADER,
    ZOOM_PATH,
    AnswerBody,
    ImageInfo,
    ZoomBody,
)

LIMITS = httpx.Limits(
    max_connections=16,
    max_keepalive_connections=16,
    keepalive_expiry=2.0,  # uvicorn closes after 5 s; closing first, we never meet a dead one
)
_MAX_REMEMBERED = 4096


@dataclass(frozen=True)
class Endpoint:
    """A path of the worker, the body it takes and the result it gives."""

    path: str
    body: type[AnswerBody] | type[ZoomBody]
    result: type[GroundedAnswer] | type[ZoomResult]


@dataclass(frozen=True)
class Call:
    """Deadline and headers that the HTTP requests for one question share."""

    deadline: Deadline
    headers: Mapping[str, str]


ENDPOINTS: dict[type[Request], Endpoint] = {
    AnswerRequest: Endpoint(ANSWER_PATH, AnswerBody, GroundedAnswer),
    ZoomRequest: Endpoint(ZOOM_PATH, ZoomBody, ZoomResult),
}


class WorkerCalls:
    """Coroutines of one event loop; `http` is entered and closed by whoever runs it."""

    def __init__(
        self, url: httpx.URL, headers: dict[str, str], transport: httpx.AsyncBaseTransport | None
    ) -> None:
        self.http = _http_client(transport, headers)
        self._url = url
        self._files = ImageFiles()
        self._held: dict[str, None] = {}  # hashes of files the worker has had, oldest first
        self._uploads: weakref.WeakValueDictionary[str, asyncio.Lock] = (
            weakref.WeakValueDictionary()
        )

    async def ask_all(
        self, requests: Sequence[Request], deadline: Deadline, trace: Mapping[str, str]
    ) -> list[Result]:
        """Send all requests at once; results in order. The first error cancels the rest."""
        try:
            async with asyncio.timeout(deadline.left_s()), asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._ask(request, deadline, trace)) for request in requests
                ]
        except TimeoutError:
            raise DeadlineExceeded(deadline.seconds) from None
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _ask(self, request: Request, deadline: Deadline, trace: Mapping[str, str]) -> Result:
        call = Call(deadline, {REQUEST_ID_HEADER: uuid4().hex, **trace})
        try:
            return await self._ask_about_file(request, call)
        except LaserError as error:
            error.add_note(f"{REQUEST_ID_HEADER}: {call.headers[REQUEST_ID_HEADER]}")
            raise

    async def _ask_about_file(self, request: Request, call: Call) -> Result:
        """Ask by the file's hash; if the worker does not know it, upload it and ask once more."""
        endpoint, file = ENDPOINTS[type(request)], await self._file(request.image)
        content = endpoint.body(image=file.sha256, **request.model_dump()).model_dump_json()
        listener = listener_of(request)
        for _ in range(2):
            await self._upload_once(file, call)
            try:
                response = await self._send(
                    "POST", endpoint.path, content.encode(), call, listener=listener
                )
                result = result_of(response, endpoint.result)
                check_plausible(result, request, file.size, worker_name(self._url))
                return result
            except UnknownImage:
                self._held.pop(file.sha256, None)
        raise ModelUnavailable(
            f"{worker_name(self._url)} did not keep the image for as long as a question takes. "
            "Give it more room for images."
        )

    async def _file(self, image: UprightImage) -> ImageFile:
        return await asyncio.to_thread(self._files.file_of, image)

    async def _upload_once(self, file: ImageFile, call: Call) -> None:
        """Give the worker the file unless it has had it; concurrent calls wait for one upload."""
        lock = self._uploads.setdefault(file.sha256, asyncio.Lock())
        async with lock:
            if file.sha256 in self._held:
                return
            path = f"{IMAGES_PATH}/{file.sha256}"
            response = await self._send("PUT", path, file.content, call, file.content_type)
            result_of(response, ImageInfo)
            self._held[file.sha256] = None
            if len(self._held) > _MAX_REMEMBERED:
                del self._held[next(iter(self._held))]

    async def _send(
        self,
        method: str,
        path: str,
        content: bytes,
        call: Call,
        content_type: str = "application/json",
        listener: Listener | None = None,
    ) -> httpx.Response:
        accept = "*/*" if listener is None else EVENT_STREAM
        request = self.http.build_request(
            method,
            self._url.copy_with(path=self._url.path.rstrip("/") + path),
            content=content,
            headers={**call.headers, "Content-Type": content_type, "Accept": accept},
            extensions={"retry": BoundedRetry(call.deadline)},
        )
        try:
            response = await self.http.send(request, stream=True)
            response = await read_whole(response, listener)
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
    """The error for a missing response; without the library's text, which may hold anything."""
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout) and deadline.left_s() > 0:
        return ModelUnavailable(
            f"{worker_name(url)} cannot be reached. Check LASER_BASE_URL and that it runs."
        )
    if isinstance(error, httpx.TimeoutException | httpx.ConnectError):
        return DeadlineExceeded(deadline.seconds)
    return ModelUnavailable(f"{worker_name(url)} broke off before it had answered. Try once more.")
