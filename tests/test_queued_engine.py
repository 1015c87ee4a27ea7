"""Many callers over one engine. The fake engine stops at a gate, so nothing depends on time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Semaphore, get_ident

import pytest
from PIL import Image

from laser_tools.engine import LocalEngine
from laser_tools.errors import (
    Busy,
    Cancelled,
    DeadlineExceeded,
    InvalidRequest,
    LaserError,
    ModelUnavailable,
)
from laser_tools.protocol import Engine
from laser_tools.queued_engine import QueuedEngine
from laser_tools.schema import AnswerRequest, Box, GroundedAnswer, ZoomRequest, ZoomResult
from laser_tools.schema import Localisation as Map
from laser_tools.stop import ShouldStop, never, within
from tests.toys import picture, toy_llava

IMAGE = Image.new("RGB", (8, 8))
MAP = Map(layer_idx=0, vaq=(1.0,), map=((1.0,),), map_box=Box(x0=0, y0=0, x1=8, y1=8))


class GatedEngine:
    """Echoes questions, once `gate` is open; `batches` are the questions of each call.

    "bad" is refused, "bug" is a fault of the engine, and "gone" is asked by nobody any more.
    """

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.threads: set[int] = set()
        self.entered = Semaphore(0)
        self.gate = Event()

    def answer(
        self, requests: Sequence[AnswerRequest], should_stop: ShouldStop
    ) -> list[GroundedAnswer]:
        self._run([request.question for request in requests], should_stop)
        return [answered(request) for request in requests]

    def zoom(self, requests: Sequence[ZoomRequest], should_stop: ShouldStop) -> list[ZoomResult]:
        self._run([request.what for request in requests], should_stop)
        found = ZoomResult(
            model="fake", image_size=(8, 8), evidence=(), crop_boxes=(), localisation=MAP
        )
        return [found for _ in requests]

    def _run(self, questions: list[str], should_stop: ShouldStop) -> None:
        self.batches.append(questions)
        self.threads.add(get_ident())
        self.entered.release()
        while not self.gate.wait(0.001):  # as a model asks at every token
            if should_stop():
                raise Cancelled
        if "bad" in questions:
            raise InvalidRequest("This is a bad question.")
        if "bug" in questions:
            raise ZeroDivisionError


def answered(request: AnswerRequest) -> GroundedAnswer:
    return GroundedAnswer(
        answer=request.question,
        confidence=None,
        route="plain",
        method=request.method,
        model="fake",
        image_size=(8, 8),
    )


def ask(*questions: str, method: str = "laser") -> list[AnswerRequest]:
    fields = [{"image": IMAGE, "question": one, "method": method} for one in questions]
    return [AnswerRequest.model_validate(one) for one in fields]


def look(*names: str) -> list[ZoomRequest]:
    return [ZoomRequest(image=IMAGE, what=name) for name in names]


@pytest.fixture
def gated() -> Iterator[GatedEngine]:
    engine = GatedEngine()
    yield engine
    engine.gate.set()


class Callers:
    """Tasks that call a queue one after the other: each waits there before the next one asks."""

    def __init__(self, queue: QueuedEngine) -> None:
        self.queue = queue
        self.tasks: list[asyncio.Task[list[GroundedAnswer]]] = []

    async def ask(
        self, *questions: str, method: str = "laser", should_stop: ShouldStop = never
    ) -> asyncio.Task[list[GroundedAnswer]]:
        requests = ask(*questions, method=method)
        task = asyncio.create_task(self.queue.aanswer(requests, should_stop))
        self.tasks.append(task)
        await asyncio.sleep(0)  # up to its await
        return task

    async def said(self) -> list[list[str] | type[BaseException]]:
        """What each caller got, in order: its answers, or the kind of its error."""
        results = await asyncio.gather(*self.tasks, return_exceptions=True)
        return [
            type(one) if isinstance(one, BaseException) else [a.answer for a in one]
            for one in results
        ]


async def running(queue: QueuedEngine, gated: GatedEngine) -> Callers:
    """Callers, of whom one ("first") is being served and holds up the others."""
    callers = Callers(queue)
    await callers.ask("first")
    await asyncio.to_thread(gated.entered.acquire)
    return callers


async def closed(queue: QueuedEngine) -> None:
    await asyncio.to_thread(queue.close)


async def test_sixteen_callers_share_one_batch_in_one_thread(gated: GatedEngine) -> None:
    queue = QueuedEngine(gated, max_wait_ms=0)
    callers = await running(queue, gated)
    names = [f"q{i}" for i in range(16)]
    for name in names:
        await callers.ask(name)
    assert queue.numbers().queue_depth == 16
    assert queue.numbers().in_flight == 1
    gated.gate.set()
    assert await callers.said() == [["first"], *([name] for name in names)]
    assert gated.batches == [["first"], names]
    assert len(gated.threads) == 1
    assert get_ident() not in gated.threads
    await closed(queue)
    numbers = queue.numbers()
    assert (numbers.queue_depth, numbers.in_flight, numbers.batch_sizes) == (0, 0, (1, 16))
    assert len(numbers.waits_s) == 17
    assert min(numbers.waits_s) >= 0.0


async def test_a_full_batch_does_not_wait_for_more(gated: GatedEngine) -> None:
    gated.gate.set()
    queue = QueuedEngine(gated, max_batch_size=3, max_wait_ms=3_600_000)
    callers = Callers(queue)
    for name in ("a", "b", "c"):
        await callers.ask(name)
    assert await callers.said() == [["a"], ["b"], ["c"]]
    assert gated.batches == [["a", "b", "c"]]
    await closed(queue)


async def test_the_oldest_goes_first_with_its_kind(gated: GatedEngine) -> None:
    queue = QueuedEngine(gated, max_batch_size=3, max_wait_ms=0)
    callers = await running(queue, gated)
    await callers.ask("a1", "a2")
    await callers.ask("p1", method="plain")
    zoomed = asyncio.create_task(queue.azoom(look("z1")))
    await asyncio.sleep(0)
    await callers.ask("b1", "b2", "b3")
    await callers.ask("p2", method="plain")
    gated.gate.set()
    said = await callers.said()
    assert said == [["first"], ["a1", "a2"], ["p1"], ["b1", "b2", "b3"], ["p2"]]
    assert (await zoomed)[0].localisation == MAP
    assert gated.batches[1:] == [["a1", "a2", "b1"], ["p1", "p2"], ["z1"], ["b2", "b3"]]
    await closed(queue)


async def test_a_request_that_fails_does_not_fail_its_neighbours(gated: GatedEngine) -> None:
    queue = QueuedEngine(gated, max_wait_ms=0)
    callers = await running(queue, gated)
    for name in ("a", "bad", "b", "bug", "c"):
        await callers.ask(name)
    gated.gate.set()
    said = await callers.said()
    assert said == [["first"], ["a"], InvalidRequest, ["b"], ZeroDivisionError, ["c"]]
    assert gated.batches[1:] == [
        ["a", "bad", "b", "bug", "c"],
        ["a"],
        ["bad"],
        ["b"],
        ["bug"],
        ["c"],
    ]
    await closed(queue)


async def test_an_engine_that_loses_a_result_fails_the_call(gated: GatedEngine) -> None:
    def forgetful(requests: Sequence[AnswerRequest], should_stop: ShouldStop) -> list[object]:
        return []

    gated.answer = forgetful  # type: ignore[method-assign, assignment]
    with QueuedEngine(gated) as queue, pytest.raises(ValueError, match="zip"):
        queue.answer(ask("a"))


async def test_a_cancelled_await_leaves_the_queue(gated: GatedEngine) -> None:
    queue = QueuedEngine(gated, max_wait_ms=0, max_queued=2)
    callers = await running(queue, gated)
    gone, _ = await callers.ask("gone"), await callers.ask("b")
    gone.cancel()
    await asyncio.sleep(0)
    assert queue.numbers().queue_depth == 1
    await callers.ask("c")  # there is room again
    gated.gate.set()
    assert await callers.said() == [["first"], asyncio.CancelledError, ["b"], ["c"]]
    assert gated.batches[1:] == [["b", "c"]]
    await closed(queue)


async def test_a_caller_that_stops_leaves_the_queue_while_another_is_served(
    gated: GatedEngine,
) -> None:
    queue = QueuedEngine(gated, max_wait_ms=0)
    callers = await running(queue, gated)
    stopped = await callers.ask("gone", should_stop=lambda: True)
    late = await callers.ask("gone", should_stop=within(0.0))
    await callers.ask("b")
    await asyncio.wait([stopped, late])
    assert gated.batches == [["first"]]  # still at its gate
    gated.gate.set()
    assert await callers.said() == [["first"], Cancelled, DeadlineExceeded, ["b"]]
    assert gated.batches[1:] == [["b"]]
    await closed(queue)


async def test_a_running_batch_stops_when_all_of_its_callers_have(gated: GatedEngine) -> None:
    queue = QueuedEngine(gated, max_batch_size=2, max_wait_ms=3_600_000)
    callers = Callers(queue)
    first, second = Event(), Event()
    one = await callers.ask("gone", should_stop=first.is_set)
    two = await callers.ask("gone too", should_stop=second.is_set)
    await asyncio.to_thread(gated.entered.acquire)
    first.set()
    await asyncio.wait([one])  # told at once, though its batch runs on for the other
    assert queue.numbers().in_flight == 1
    assert not two.done()
    second.set()
    await asyncio.wait([two])
    await closed(queue)  # the gate is shut: the batch has ended by itself
    assert await callers.said() == [Cancelled, Cancelled]
    assert gated.batches == [["gone", "gone too"]]


async def test_an_error_of_should_stop_is_its_callers_own(gated: GatedEngine) -> None:
    def broken() -> bool:
        raise KeyError

    queue = QueuedEngine(gated, max_wait_ms=0)
    callers = await running(queue, gated)
    await callers.ask("gone", should_stop=broken)
    await callers.ask("b")
    gated.gate.set()
    assert await callers.said() == [["first"], KeyError, ["b"]]
    await closed(queue)


async def test_a_full_queue_says_when_to_try_again(gated: GatedEngine) -> None:
    queue = QueuedEngine(gated, max_wait_ms=0, max_queued=2)
    callers = await running(queue, gated)
    await callers.ask("a", "b")
    with pytest.raises(Busy, match=r"Try again in 1 s\.") as busy:
        await queue.aanswer(ask("c"))
    assert (busy.value.http_status, busy.value.retry_after_s) == (503, 1)
    with pytest.raises(InvalidRequest, match="at most 2 requests"):
        await queue.aanswer(ask("c", "d", "e"))
    gated.gate.set()
    assert await callers.said() == [["first"], ["a", "b"]]
    assert (await queue.aanswer(ask("c")))[0].answer == "c"
    await closed(queue)


async def test_close_finishes_what_is_in_and_takes_no_more(gated: GatedEngine) -> None:
    queue = QueuedEngine(gated, max_batch_size=2, max_wait_ms=3_600_000)
    callers = Callers(queue)
    await callers.ask("a", "b")
    await asyncio.to_thread(gated.entered.acquire)
    await callers.ask("c")  # would wait an hour for company
    closing = asyncio.create_task(closed(queue))
    while not isinstance(await refusal(queue), ModelUnavailable):
        await asyncio.sleep(0)
    gated.gate.set()
    assert await callers.said() == [["a", "b"], ["c"]]
    await closing


async def refusal(queue: QueuedEngine) -> LaserError | None:
    """Why the queue takes no call, if it does not; the call asks nothing."""
    try:
        await queue.aanswer([])
    except LaserError as error:
        return error
    return None


def test_threads_wait_for_their_own_answers(gated: GatedEngine) -> None:
    gated.gate.set()
    names = [f"q{i}" for i in range(16)]
    with QueuedEngine(gated, max_wait_ms=3_600_000) as queue, ThreadPoolExecutor(16) as pool:
        assert isinstance(queue, Engine)
        said = pool.map(lambda name: queue.answer(ask(name))[0].answer, names)
        assert list(said) == names
    assert len(gated.batches) == 1


def test_a_call_that_fails_leaves_nothing_in_the_queue(gated: GatedEngine) -> None:
    gated.gate.set()
    with QueuedEngine(gated, max_wait_ms=0) as queue:
        with pytest.raises(InvalidRequest, match="bad question"):
            queue.answer(ask("a", "bad", "b"))
        assert queue.answer([]) == queue.zoom([]) == []
        assert queue.answer(ask("c"))[0].answer == "c"


@pytest.mark.parametrize("name", ["max_batch_size", "max_queued"])
def test_sizes_are_at_least_one(gated: GatedEngine, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        QueuedEngine(gated, **{name: 0})  # type: ignore[arg-type]


def test_answers_of_a_model_are_those_of_direct_calls() -> None:
    local = LocalEngine(toy_llava())
    asked = [
        AnswerRequest(image=picture(seed=seed), question=question, max_new_tokens=2)
        for seed, question in enumerate(("where is the star?", "is it red?", "how many?"))
    ]
    wanted = ZoomRequest(image=picture(), what="the star")
    with QueuedEngine(local, max_batch_size=3, max_wait_ms=3_600_000) as queue:
        with ThreadPoolExecutor(3) as pool:
            answers = list(pool.map(lambda one: queue.answer([one])[0], asked))
        assert queue.numbers().batch_sizes == (3,)
    for answer, one in zip(answers, asked, strict=True):
        (direct,) = local.answer([one])
        assert (answer.answer, answer.crop_box) == (direct.answer, direct.crop_box)
    with QueuedEngine(local, max_wait_ms=0) as queue:
        assert queue.zoom([wanted])[0].crop_boxes == local.zoom([wanted])[0].crop_boxes
        with pytest.raises(DeadlineExceeded):
            queue.answer(asked, within(0.0))
