"""An agent that gives up on a tool stops the model, wherever it runs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import pytest
from langchain.agents import create_agent

from laser_tools.client import WorkerClient
from laser_tools.engine import LocalEngine
from laser_tools.engine import lazy as lazy_engine
from laser_tools.engine.lazy import LazyEngine
from laser_tools.engine.queued import QueuedEngine
from laser_tools.errors import Cancelled
from laser_tools.images.store import ImageStore
from laser_tools.methods import METHODS
from laser_tools.methods.base import Method
from laser_tools.options import LaserOptions
from laser_tools.schema import AnswerRequest, GroundedAnswer
from laser_tools.stop import ShouldStop, never
from laser_tools.tools import LaserToolkit
from laser_tools.tools.io import AsyncIO, SyncIO, run_sync
from laser_tools.tools.planner import ScriptedPlanner
from laser_tools.vlm.call import ModelCall
from tests.gated import GatedEngine, ask
from tests.tools.fakes import ColourEngine, scene
from tests.tools.test_tools import tool_named
from tests.toys import toy_llava
from tests.worker.harness import ALICE, ScriptedEngine
from tests.worker.loopback import loopback

CALLS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("grounded_vqa", {"image": "img_1", "question": "slow"}),
    ("zoom_to_evidence", {"image": "img_1", "what": "slow"}),
)
PATIENCE_S = 30.0


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not true():
            await asyncio.sleep(0.002)


async def cancelled(call: Awaitable[object], entered: threading.Semaphore) -> None:
    """Give up on a call that the model has begun with."""
    task = asyncio.ensure_future(call)
    assert await asyncio.to_thread(entered.acquire, timeout=PATIENCE_S)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


class Watched(GatedEngine):
    """Knows how many of its calls were stopped."""

    def __init__(self) -> None:
        super().__init__()
        self.stopped = 0

    def _run(self, questions: list[str], should_stop: ShouldStop) -> None:
        try:
            super()._run(questions, should_stop)
        except Cancelled:
            self.stopped += 1
            raise


@pytest.fixture
def watched() -> Iterator[Watched]:
    engine = Watched()
    yield engine
    engine.gate.set()


@pytest.fixture
def lazy(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> LazyEngine:
    monkeypatch.setattr(lazy_engine, "_load", lambda _: watched)
    return LazyEngine("pico")


@pytest.mark.parametrize(("tool", "args"), CALLS)
async def test_in_this_process(
    lazy: LazyEngine, watched: Watched, tool: str, args: dict[str, Any]
) -> None:
    toolkit = LaserToolkit(engine=lazy)
    toolkit.add_image(scene())
    await cancelled(tool_named(toolkit, tool).ainvoke(args), watched.entered)
    await until(lambda: watched.stopped == 1)
    assert "img_1.c1" not in toolkit.images.sizes()


async def test_an_agent_that_is_cancelled(lazy: LazyEngine, watched: Watched) -> None:
    toolkit = LaserToolkit(engine=lazy)
    handle = toolkit.add_image(scene())
    asked = {"messages": [("user", f"What colour is it?\nThe image is {handle}.")]}
    agent: Any = create_agent(ScriptedPlanner(), toolkit.get_tools())
    await cancelled(agent.ainvoke(asked), watched.entered)
    await until(lambda: watched.stopped == 1)


@pytest.mark.parametrize(("tool", "args"), CALLS)
async def test_through_a_queue(watched: Watched, tool: str, args: dict[str, Any]) -> None:
    with QueuedEngine(watched) as queue:
        toolkit = LaserToolkit(engine=queue)
        toolkit.add_image(scene())
        await cancelled(tool_named(toolkit, tool).ainvoke(args), watched.entered)
        await until(lambda: watched.stopped == 1)


async def test_a_local_engine_stops(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lock is free again, and the next call is served."""

    def method(
        call: ModelCall, requests: Sequence[AnswerRequest], options: LaserOptions
    ) -> list[GroundedAnswer]:
        return watched.answer(requests, call.should_stop)

    monkeypatch.setitem(METHODS, "laser", Method(method, LaserOptions))
    engine = LocalEngine(toy_llava())
    await cancelled(engine.aanswer(ask("slow")), watched.entered)
    await until(lambda: watched.stopped == 1)
    watched.gate.set()
    assert (await engine.aanswer(ask("next")))[0].answer == "next"


@pytest.mark.enable_socket
@pytest.mark.allow_hosts(["127.0.0.1"])
@pytest.mark.parametrize(("tool", "args"), CALLS)
async def test_at_a_worker(tool: str, args: dict[str, Any]) -> None:
    engine = ScriptedEngine()
    with loopback(engine) as worker, WorkerClient(worker.url, ALICE) as client:
        toolkit = LaserToolkit(engine=client)
        toolkit.add_image(scene())
        await cancelled(tool_named(toolkit, tool).ainvoke(args), engine.entered)
        await until(lambda: engine.stopped == 1)
        engine.gate.set()
        assert await tool_named(toolkit, tool).ainvoke(args)


@pytest.mark.parametrize("index", [0, 1])
async def test_an_engine_that_cannot_be_awaited_does_not_hold_up_the_loop(index: int) -> None:
    """Somebody else's engine with `serve` alone, which never asks whether to stop."""
    inside, go_on = threading.Event(), threading.Event()

    class Slow(ColourEngine):
        def _wait(self) -> None:
            inside.set()
            assert go_on.wait(PATIENCE_S)

        def serve(self, requests: Any, should_stop: Any = never) -> Any:  # noqa: ANN401
            self._wait()
            return super().serve(requests, should_stop)

    toolkit = LaserToolkit(engine=Slow(), images=ImageStore())
    toolkit.add_image(scene())
    tool, args = CALLS[index]
    asked = asyncio.create_task(tool_named(toolkit, tool).ainvoke(args))
    await until(inside.is_set)  # this loop goes on meanwhile
    go_on.set()
    assert '"img_1"' in await asked


def test_a_body_that_waits_is_no_blocking_one(toolkit: LaserToolkit) -> None:
    async def body() -> str:
        return await SyncIO(toolkit.engine).work(str, 7)

    assert run_sync(body()) == "7"

    async def waiting() -> str:
        return await AsyncIO(toolkit.engine).work(str, 7)

    async def inside() -> None:
        with pytest.raises(RuntimeError, match="waited"):
            run_sync(waiting())

    asyncio.run(inside())
