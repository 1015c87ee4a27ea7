"""`WorkerClient`: an engine whose model runs in a worker, asked over HTTP.

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
import os
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from time import monotonic
from typing import Self

import httpx

from laser_tools.client.address import checked_url, key_header
from laser_tools.client.calls import WorkerCalls
from laser_tools.client.deadline_transport import Deadline
from laser_tools.client.loop_thread import LoopThread
from laser_tools.engine.base import Engine, Request, Result
from laser_tools.errors import (
    Cancelled,
    DeadlineExceeded,
    InvalidRequest,
    LaserError,
    Misconfigured,
    ModelUnavailable,
)
from laser_tools.settings import DEFAULT_TIMEOUT_S, MAX_TIMEOUT_S, read_settings
from laser_tools.stop import ShouldStop, never

POLL_S = 0.05  # how often a waiting call polls `should_stop`
TRACE_HEADERS = ("traceparent", "tracestate")  # W3C Trace Context

TraceHeaders = Callable[[], Mapping[str, str]]

GRACE_S = 5.0  # past a call's deadline, for which its loop answers by itself
_starting = threading.Lock()
# Held while a process forks: the child never finds a client half started.
os.register_at_fork(
    before=_starting.acquire, after_in_parent=_starting.release, after_in_child=_starting.release
)


class WorkerClient(Engine):
    """An engine whose model runs in a worker. Threads and event loops may share one.

    After `os.fork()` the child opens connections of its own, unless it was given a `transport`.

    A request with a `listener` is answered by a stream of events. The listener is called in the
    client's own thread, on which all its calls wait: it must only take notes.

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
    Raises (from every method):
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
        self._timeout_s = _checked_seconds(timeout_s, "timeout_s", Misconfigured)
        self._trace = trace
        self._transport = transport
        self._calls: WorkerCalls
        self._thread: LoopThread | None = None
        self._closed = False

    @classmethod
    def from_env(cls, base_url: str | None = None) -> Self:
        """A client set up by LASER_BASE_URL, LASER_API_KEY, LASER_TIMEOUT_S and LASER_ALLOW_HTTP.

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

    def serve(
        self,
        requests: Sequence[Request],
        should_stop: ShouldStop = never,
        *,
        deadline_s: float | None = None,
    ) -> list[Result]:
        """One result per request, in order, of its kind."""
        return self._wait(self._submit(requests, deadline_s), should_stop)

    async def aserve(
        self,
        requests: Sequence[Request],
        should_stop: ShouldStop = never,
        *,
        deadline_s: float | None = None,
    ) -> list[Result]:
        """`serve`, without a thread; cancelling it cancels the work at the worker."""
        pending = self._submit(requests, deadline_s)
        future = asyncio.wrap_future(pending.future)
        try:
            async with asyncio.timeout(pending.limit_s):
                while should_stop is not never and not future.done():
                    await asyncio.wait([future], timeout=POLL_S)
                    if should_stop():
                        raise Cancelled
                return await future
        except TimeoutError:
            raise DeadlineExceeded(pending.deadline.seconds) from None
        except asyncio.CancelledError:
            if self._closed:  # it was not the caller who cancelled
                raise Cancelled from None
            raise
        finally:
            future.cancel()

    def close(self) -> None:
        """Cancel what runs and close all connections, as does garbage collection of the client."""
        with _starting:
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

    def _submit(self, requests: Sequence[Request], deadline_s: float | None) -> _Pending:
        seconds = self._timeout_s
        if deadline_s is not None:
            seconds = _checked_seconds(deadline_s, "deadline_s", InvalidRequest)
        thread, deadline, trace = self._running(), Deadline(seconds), self._trace_headers()
        try:
            future = thread.submit(self._calls.ask_all(requests, deadline, trace))
        except RuntimeError:  # closed between the two lines above
            raise Cancelled from None
        return _Pending(future, deadline)

    def _running(self) -> LoopThread:
        """The loop's thread, started when first needed: building a client costs nothing."""
        with _starting:
            if self._closed:
                raise ModelUnavailable("This WorkerClient is closed. Make a new one.")
            if self._thread is None or not self._thread.alive:
                self._thread = self._started()
            return self._thread

    def _started(self) -> LoopThread:
        if self._thread is not None and self._transport is not None:
            raise Misconfigured(
                "A WorkerClient with a transport of its own cannot go on after os.fork(): both "
                "processes would write to its connections. Make one in each process."
            )
        self._calls = WorkerCalls(self._url, self._headers, self._transport)
        try:
            thread = LoopThread(self._calls.http, name="laser-worker-client")
        except OSError:
            raise ModelUnavailable(
                "The client cannot start: this process has no file descriptors left. Close some "
                "files, or raise the limit (ulimit -n)."
            ) from None
        weakref.finalize(self, thread.close)
        return thread

    def _trace_headers(self) -> dict[str, str]:
        """The trace headers of the caller's span; to be called in the caller's context."""
        given = {} if self._trace is None else self._trace()
        return {name: given[name] for name in TRACE_HEADERS if name in given}

    def _wait(self, pending: _Pending, should_stop: ShouldStop) -> list[Result]:
        end_s = monotonic() + pending.limit_s
        try:
            while (left_s := end_s - monotonic()) > 0:
                patience_s = left_s if should_stop is never else min(POLL_S, left_s)
                if concurrent.futures.wait([pending.future], patience_s).done:
                    return pending.future.result()
                if should_stop():
                    raise Cancelled
            raise TimeoutError
        except concurrent.futures.CancelledError:
            raise Cancelled from None
        except BaseException as error:  # Ctrl-C while waiting, too: nobody wants the answer now
            pending.future.cancel()
            if isinstance(error, TimeoutError):
                raise DeadlineExceeded(pending.deadline.seconds) from None
            raise


@dataclass(frozen=True)
class _Pending:
    """A call on its way. Its loop keeps the deadline; `limit_s` is for a loop that does not run."""

    future: Future[list[Result]]
    deadline: Deadline

    @property
    def limit_s(self) -> float:
        return self.deadline.left_s() + GRACE_S


def _checked_seconds(seconds: float, name: str, error: type[LaserError]) -> float:
    if not 0 < seconds <= MAX_TIMEOUT_S:  # false for NaN, too
        raise error(f"{name} must be above 0 and at most {MAX_TIMEOUT_S:g} seconds.")
    return seconds
