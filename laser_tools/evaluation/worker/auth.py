"""Every route, every wrong credential, every spoofed `Host`, over a socket."""

from __future__ import annotations

import asyncio
import itertools

import httpx

from laser_tools.evaluation.worker.caller import BROKEN, Caller, Reply
from laser_tools.evaluation.worker.credentials import HOSTS, ROUTES, TOO_LONG, credentials
from laser_tools.evaluation.worker.process import KEY
from laser_tools.evaluation.worker.setting import Bench, Figures

JSON = ("content-type", "application/json")


def auth(bench: Bench) -> Figures:
    """A bypass is any reply but a refusal of the credential."""
    return asyncio.run(_auth(bench))


async def _auth(bench: Bench) -> Figures:
    tried, bypasses = 0, list[str]()
    async with Caller(bench.worker) as caller:
        caller.http.headers.pop("Authorization")
        for (method, path), (name, headers), host in itertools.product(
            ROUTES, credentials(KEY).items(), HOSTS
        ):
            all_headers = [("host", host), ("x-forwarded-host", "127.0.0.1"), JSON, *headers]
            raw = [(key.encode(), _bytes(value)) for key, value in all_headers]
            reply = await caller.send(method, _absolute(caller, path), b"", raw)
            tried += 1
            if is_bypass(reply, too_long=name == TOO_LONG):
                bypasses.append(f"{method} {path} {name} {host!r}: {reply.status}")
    return {"auth": {"tried": tried, "bypasses": len(bypasses), "which": bypasses[:10]}}


def is_bypass(reply: Reply, *, too_long: bool = False) -> bool:
    """A server may refuse what it cannot parse; it breaks off what never ends."""
    if reply.status == 401:
        return reply.code != "unauthorized"
    return reply.status not in ((400, 431, BROKEN) if too_long else (400,))


def _absolute(caller: Caller, path: str) -> str:
    """httpx would take "//livez" for a host."""
    return str(httpx.URL(str(caller.http.base_url)).copy_with(raw_path=path.encode()))


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()
