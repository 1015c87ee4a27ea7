"""Decodings and downloads: keys wait for themselves, and no longer than they said."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from threading import Event, Semaphore
from time import perf_counter

import httpx
import pytest
from PIL import Image

from laser_tools.worker.http import store
from laser_tools.worker.http.fair_pool import FairPool
from tests.hardening.image_files import encode
from tests.worker.harness import BOB, client_of, house, png, sha256

ALICES, BOBS, CAROLS = 0, 1, 2


@pytest.fixture
def pool() -> Iterator[FairPool]:
    made = FairPool(3, 2, "test")
    yield made
    made.close()


class Work:
    """Calls that note their order and wait until they are let go."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.entered = Semaphore(0)
        self.gate = Event()

    def __call__(self, name: str) -> str:
        self.begun.append(name)
        self.entered.release()
        self.gate.wait(10)
        return name

    async def until_begun(self, n: int) -> None:
        for _ in range(n):
            await asyncio.to_thread(self.entered.acquire)


async def test_no_key_takes_all_threads(pool: FairPool) -> None:
    work = Work()
    alices = [asyncio.create_task(pool.run(ALICES, work, f"a{n}")) for n in range(5)]
    await work.until_begun(2)
    bobs = asyncio.create_task(pool.run(BOBS, work, "b"))
    await work.until_begun(1)
    assert work.begun == ["a0", "a1", "b"]
    work.gate.set()
    assert await asyncio.gather(*alices, bobs) == ["a0", "a1", "a2", "a3", "a4", "b"]


async def test_keys_take_turns() -> None:
    pool, work = FairPool(1, 1, "test"), Work()
    first = asyncio.create_task(pool.run(ALICES, work, "a0"))
    await work.until_begun(1)
    order = [(ALICES, "a1"), (ALICES, "a2"), (BOBS, "b0"), (BOBS, "b1"), (CAROLS, "c0")]
    tasks = [asyncio.create_task(pool.run(key, work, name)) for key, name in order]
    await asyncio.sleep(0)
    work.gate.set()
    await asyncio.gather(first, *tasks)
    assert work.begun == ["a0", "a1", "b0", "c0", "a2", "b1"]
    pool.close()


async def test_who_has_gone_does_not_begin_and_frees_no_thread_twice(pool: FairPool) -> None:
    work = Work()
    tasks = [asyncio.create_task(pool.run(ALICES, work, f"a{n}")) for n in range(4)]
    await work.until_begun(2)
    for gone in (tasks[0], tasks[2]):  # one runs, one waits
        gone.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await gone
    assert work.begun == ["a0", "a1"]  # the thread of the first is still taken
    work.gate.set()
    assert await asyncio.gather(*tasks[1::2]) == ["a1", "a3"]
    assert work.begun == ["a0", "a1", "a3"]


async def test_an_error_is_the_callers(pool: FairPool) -> None:
    with pytest.raises(ZeroDivisionError):
        await pool.run(ALICES, divmod, 1, 0)
    assert await pool.run(ALICES, divmod, 7, 2) == (3, 1)


@contextlib.contextmanager
def held(monkeypatch: pytest.MonkeyPatch, name: str) -> Iterator[Event]:
    """A decoder or an encoder that waits until it is let go."""
    gate, real = Event(), getattr(store, name)

    def waiting(*given: object) -> object:
        gate.wait(10)
        return real(*given)

    with monkeypatch.context() as patched:
        patched.setattr(store, name, waiting)
        try:
            yield gate
        finally:
            gate.set()


async def test_a_deadline_holds_for_uploads_and_downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    patience = {"X-Deadline-S": "0.2"}
    async with house() as home:
        name = await home.upload()
        path, other = f"/v1/images/{name}", png("blue")
        with held(monkeypatch, "_png"):
            fetched = await home.client.get(path, headers=patience)
        with held(monkeypatch, "decode_image"):
            put = await home.client.put(
                f"/v1/images/{sha256(other)}", content=other, headers=patience
            )
        assert [(r.status_code, r.json()["error"]["code"]) for r in (fetched, put)] == [
            (504, "deadline_exceeded")
        ] * 2
        for given in ("0", "soon", "nan"):
            wrong = await home.client.get(path, headers={"X-Deadline-S": given})
            assert wrong.status_code == 422
        assert (await home.client.get(path, headers=patience)).status_code == 200


async def test_a_hash_waits_for_no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    async with house() as home:
        name = await home.upload()
        with held(monkeypatch, "decode_image"):
            files = [png(colour) for colour in ("blue", "green", "white")]
            waiting = [asyncio.create_task(home.upload(data)) for data in files]
            await asyncio.sleep(0.05)
            async with asyncio.timeout(5):
                again = await home.client.put(f"/v1/images/{name}", content=png())
            assert again.status_code == 200
        await asyncio.gather(*waiting)


async def test_one_key_does_not_hold_up_another(
    record_testsuite_property: Callable[[str, object], None],
) -> None:
    """32 tiny files of many pixels from one key; another uploads, and fetches, meanwhile."""
    files = [encode(Image.new("RGB", (2000, 1000 + n)), "WEBP", lossless=True) for n in range(32)]
    async with house() as home, client_of(httpx.ASGITransport(home.app), BOB) as bob:
        flood = [asyncio.create_task(home.upload(data)) for data in files]
        await asyncio.sleep(0.1)
        took_s = [await _round(bob, seed) for seed in range(5)]
        left = sum(not task.done() for task in flood)
        await asyncio.gather(*flood)
    record_testsuite_property("other_key_slowest_round_s", max(took_s))
    assert left > 16, (left, took_s)


async def _round(bob: httpx.AsyncClient, seed: int) -> float:
    since_s, data = perf_counter(), png(size=(64, 48 + seed))
    path = f"/v1/images/{sha256(data)}"
    assert (await bob.put(path, content=data)).status_code == 201
    assert (await bob.get(path)).status_code == 200
    return perf_counter() - since_s
