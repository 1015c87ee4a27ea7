"""A client that is used before and after `os.fork()`: a script, given a worker's URL and key.

It prints one line for the parent and one for the child: what each was answered.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import httpx

from laser_tools.client import WorkerClient
from laser_tools.errors import LaserError
from laser_tools.images import decode_image
from laser_tools.images.upright import UprightImage
from laser_tools.schema import AnswerRequest
from tests.tools.fakes import scene

PATIENCE_S = 60  # a child that hangs is ended


def said(client: WorkerClient, question: str) -> str:
    request = AnswerRequest(image=UprightImage.of(decode_image(scene())), question=question)
    try:
        once = client.answer([request])[0].answer
        again = asyncio.run(client.aanswer([request]))[0].answer
    except LaserError as error:
        return type(error).__name__
    return f"{once}, {again}"


def main(url: str, key: str, transport: str) -> None:
    own = httpx.AsyncHTTPTransport() if transport == "own" else None
    client = WorkerClient(url, key, timeout_s=PATIENCE_S / 2, transport=own)
    said(client, "before")
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        signal.alarm(PATIENCE_S)
        print("child:", said(client, "child"), flush=True)  # noqa: T201
        client.close()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print("parent:", said(client, "parent"), os.waitstatus_to_exitcode(status))  # noqa: T201
    client.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
