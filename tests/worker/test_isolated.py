"""A model in a process of its own: it answers, fails and comes back; the server stays."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from laser_tools.engine.base import Result
from laser_tools.errors import (
    Busy,
    Cancelled,
    DeadlineExceeded,
    LaserError,
    ModelUnavailable,
)
from laser_tools.images.upright import UprightImage
from laser_tools.progress import Event, StageEvent, TokenEvent
from laser_tools.schema import AnswerRequest, GroundedAnswer
from laser_tools.stop import ShouldStop, never, within
from laser_tools.worker.isolated.child import Load
from laser_tools.worker.isolated.process_engine import ProcessEngine
from tests.processes import alive
from tests.worker import process_faults
from tests.worker.harness import CANARY, png, settings, sha256
from tests.worker.processes import PICO, Process, process, until

WORKER = ("-m", "tests.worker.isolated_worker")
NAME = sha256(png())


@contextmanager
def model(load: Load = process_faults.load, **changes: object) -> Iterator[ProcessEngine]:
    engine = ProcessEngine(settings(**changes), load)
    try:
        yield engine.start()
    finally:
        engine.close()


@pytest.fixture(scope="module")
def engine() -> Iterator[ProcessEngine]:
    """An engine for tests whose requests end no process, or wait for the next one."""
    with model() as started:
        yield started


def request(word: str) -> AnswerRequest:
    return AnswerRequest(image=UprightImage.of(Image.linear_gradient("L")), question=word)


def said(engine: ProcessEngine, *words: str, should_stop: ShouldStop = never) -> list[str]:
    results: list[Result] = engine.serve([request(word) for word in words], should_stop)
    return [result.answer for result in results if isinstance(result, GroundedAnswer)]


def back(engine: ProcessEngine) -> bool:
    try:
        return said(engine, "here?") == ["here?"]
    except ModelUnavailable:
        return False


def test_another_process_answers_from_the_same_pixels(engine: ProcessEngine) -> None:
    pid, pixels, echo = said(engine, "pid", "pixels", "what?")
    assert int(pid) != os.getpid()
    assert pixels == process_faults.fingerprint(request("pixels"))
    assert echo == "what?"


def test_listeners_hear_what_the_process_tells(engine: ProcessEngine) -> None:
    """Each hears of its own request."""
    heard: list[Event] = []
    told = request("tell").model_copy(update={"listener": heard.append})
    unheard = request("what?").model_copy(update={"listener": pytest.fail})
    assert engine.serve([unheard, told]) == engine.serve([request("what?"), request("tell")])
    assert heard == [StageEvent(stage="decode"), TokenEvent(token="tell", start=0)]


def test_a_refusal_comes_back_as_it_was(engine: ProcessEngine) -> None:
    with pytest.raises(Busy, match=r"Try again in 7 s\.") as busy:
        said(engine, "busy")
    assert busy.value.retry_after_s == 7


def test_a_bug_is_internal_and_tells_nothing(engine: ProcessEngine) -> None:
    with pytest.raises(LaserError, match="failed on this request") as bug:
        said(engine, "bug")
    assert (bug.value.http_status, bug.value.code) == (500, "internal")
    assert CANARY not in str(vars(bug.value))


def broken() -> bool:
    raise KeyError


@pytest.mark.parametrize(
    ("should_stop", "error"),
    [(lambda: True, Cancelled), (within(0.0), DeadlineExceeded), (broken, KeyError)],
)
def test_who_stops_leaves_nothing_to_the_next_one(
    engine: ProcessEngine, should_stop: ShouldStop, error: type[Exception]
) -> None:
    (before,) = said(engine, "pid")
    for word in ("slow", "a while"):  # one asks whether to stop, the other does not
        with pytest.raises(error):
            said(engine, word, should_stop=should_stop)
        assert said(engine, "next") == ["next"]
    assert said(engine, "pid") == [before]


@pytest.mark.parametrize("word", ["crash", "cuda"])
def test_a_process_that_ends_is_replaced(engine: ProcessEngine, word: str) -> None:
    (before,) = said(engine, "pid")
    with pytest.raises(ModelUnavailable, match="Try again soon"):
        said(engine, word)
    until(lambda: back(engine))
    assert said(engine, "pid") != [before]
    assert not alive(int(before))
    assert engine.fault is None


def test_a_model_that_hangs_is_replaced() -> None:
    """A model that works for longer, but asks whether to go on, is not replaced."""
    with model(heartbeat_s=2.0) as engine:
        with pytest.raises(DeadlineExceeded):
            said(engine, "slow", should_stop=within(2.5))
        (before,) = said(engine, "pid")
        with pytest.raises(ModelUnavailable):
            said(engine, "wedge")
        until(lambda: back(engine))
        assert said(engine, "pid") != [before]


@pytest.mark.parametrize(
    ("load", "why"),
    [(process_faults.refuses, "no such model"), (process_faults.dies, "ended before the model")],
)
def test_a_model_that_cannot_be_loaded_says_why(load: Load, why: str) -> None:
    with pytest.raises(ModelUnavailable, match=why), model(load):
        pass


def test_a_model_that_cannot_be_loaded_again_is_a_fault(tmp_path: Path) -> None:
    with model(process_faults.once, model=str(tmp_path / "loads")) as engine:
        with pytest.raises(ModelUnavailable):
            said(engine, "crash")
        until(lambda: engine.fault == "model_lost")


@pytest.mark.enable_socket
@pytest.mark.allow_hosts(["127.0.0.1"])
class TestWorker:
    """The isolated engine over HTTP."""

    def test_a_crash_drops_no_connection(self) -> None:
        """503 to the one who asked, then answers again; who holds a connection keeps it."""
        with process(*WORKER) as worker, ThreadPoolExecutor(1) as threads:
            worker.ready()
            worker.upload(png())
            pid = child(worker)
            waiting = threads.submit(worker.ask, NAME, "slow")
            until(lambda: "laser_batch_in_flight 1.0" in worker.metrics())
            os.kill(pid, signal.SIGKILL)
            for reply in (waiting.result(60), worker.ask(NAME, "crash")):
                assert (reply.status_code, reply.json()["error"]["code"]) == (
                    503,
                    "model_unavailable",
                )
                assert int(reply.headers["retry-after"]) > 0
            assert worker.client.get("/livez").status_code == 200
            until(lambda: bool(worker.events("model_ended")))
            loading = worker.client.get("/readyz")
            assert (loading.status_code, loading.json()["status"]) == (503, "loading")
            worker.ready()
            assert worker.ask(NAME, "here?").status_code == 200
            assert child(worker) != pid
            assert [line["exit_code"] for line in worker.events("model_ended")] == [-9]
            worker.popen.send_signal(signal.SIGTERM)
            assert worker.exit_code() == 0
            assert worker.sentences == []

    def test_a_signal_to_all_processes_loses_nothing(self) -> None:
        """Terminals and service managers send a signal to all processes."""
        with process(*WORKER) as worker, ThreadPoolExecutor(1) as threads:
            worker.ready()
            worker.upload(png())
            pid = child(worker)
            asked = threads.submit(worker.ask, NAME, "a while")
            until(lambda: "laser_batch_in_flight 1.0" in worker.metrics())
            for number in (pid, worker.popen.pid):
                os.kill(number, signal.SIGTERM)
            assert asked.result(60).json()["answer"] == "a while"
            assert worker.exit_code() == 0
            assert not alive(pid)

    def test_the_model_ends_with_a_worker_that_is_killed(self) -> None:
        """It ends also in the middle of its work, when it reads nothing."""
        with process(*WORKER) as worker, ThreadPoolExecutor(1) as threads:
            worker.ready()
            worker.upload(png())
            pid = child(worker)
            asked = threads.submit(worker.ask, NAME, "wedge")
            until(lambda: "laser_batch_in_flight 1.0" in worker.metrics())
            worker.popen.kill()
            assert asked.exception(60)
            until(lambda: not alive(pid))

    def test_the_packaged_model_answers(self) -> None:
        with process(*PICO, LASER_ISOLATED="true") as worker:
            worker.ready()
            reply = worker.ask(worker.upload(png()), "What colour is the square?")
            assert reply.json()["model"] == "pico"
            assert worker.sentences == []


def child(worker: Process) -> int:
    """The id of the model's process."""
    return int(worker.ask(NAME, "pid").json()["answer"])
