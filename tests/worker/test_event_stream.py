"""Answers as streams of events, from a real server over loopback."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import pytest
from PIL import Image

from laser_tools.client import WorkerClient
from laser_tools.errors import DeadlineExceeded, InvalidRequest, LaserError, ModelUnavailable
from laser_tools.images.upright import UprightImage
from laser_tools.progress import Event, StageEvent, TokenEvent
from laser_tools.schema import AnswerRequest, GroundedAnswer
from laser_tools.worker.http import event_stream
from tests.worker.harness import ALICE, CANARY, OPERATOR, question
from tests.worker.loopback import Loopback, loopback, wait_until
from tests.worker.telling import TellingEngine, events, events_of, sse, streamed

pytestmark = [pytest.mark.enable_socket, pytest.mark.allow_hosts(["127.0.0.1"])]

N_CALLERS = 10
SIZE = (64, 48)
IMAGE = UprightImage.of(Image.new("RGB", SIZE))


@pytest.fixture(scope="module")
def house() -> Iterator[tuple[TellingEngine, Loopback]]:
    engine = TellingEngine()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(event_stream, "PING_S", 0.2)
        with loopback(engine) as worker:
            yield engine, worker


@pytest.fixture
def engine(house: tuple[TellingEngine, Loopback]) -> Iterator[TellingEngine]:
    yield house[0]
    house[0].gate.clear()
    while house[0].entered.acquire(blocking=False):
        pass


@pytest.fixture
def worker(house: tuple[TellingEngine, Loopback], engine: TellingEngine) -> Iterator[Loopback]:
    yield house[1]
    wait_until(lambda: house[1].worker.gate.in_flight == 0)


@pytest.fixture
def image(worker: Loopback) -> str:
    return worker.upload()


def metrics(worker: Loopback) -> dict[str, float]:
    told = worker.http.get("/metrics", headers={"Authorization": f"Bearer {OPERATOR}"}).text
    lines = [line.rpartition(" ") for line in told.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def test_the_last_event_is_the_body_without_a_stream(worker: Loopback, image: str) -> None:
    plain = worker.http.post(
        "/v1/answer",
        content=question(image, "told what?"),
        headers={"Content-Type": "application/json"},
    )
    with streamed(worker.http, image, "told what?") as response:
        got = events(response)
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-request-id"]
    assert got == [
        ("stage", {"stage": "decode"}),
        ("token", {"token": "told what?", "start": 0}),
        ("answer", plain.json()),
    ]


@pytest.mark.parametrize(
    "accept",
    ["*/*", "application/json", "text/event-stream-not", "text/event-stream; Q=0.0, text/html"],
)
def test_who_does_not_name_event_streams_gets_none(
    worker: Loopback, image: str, accept: str
) -> None:
    with streamed(worker.http, image, "told what?", Accept=accept) as response:
        response.read()
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize("accept", ["Text/Event-Stream", "application/json, text/event-stream;q=1"])
def test_accept_is_read_as_http_means_it(worker: Loopback, image: str, accept: str) -> None:
    with streamed(worker.http, image, "what?", Accept=accept) as response:
        assert [name for name, _ in events(response)] == ["answer"]


def test_a_second_accept_header_counts(worker: Loopback, image: str) -> None:
    accepted = [("Accept", "application/json"), ("Accept", "text/event-stream")]
    body = {"image": image, "question": "what?"}
    response = worker.http.post("/v1/answer", json=body, headers=httpx.Headers(accepted))
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"


@pytest.mark.parametrize(
    ("asked", "headers", "status", "code"),
    [
        ("what?", {"Authorization": "Bearer nobody"}, 401, "unauthorized"),
        ("what?", {"X-Deadline-S": "soon"}, 422, "invalid_request"),
        ("memory", {}, 503, "model_unavailable"),
        ("bug", {}, 500, "internal"),
    ],
)
def test_an_error_before_any_event_has_its_status(
    worker: Loopback, image: str, asked: str, headers: dict[str, str], status: int, code: str
) -> None:
    with streamed(worker.http, image, asked, **headers) as response:
        response.read()
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert ("retry-after" in response.headers) == (status == 503)


def test_an_unknown_image_is_a_plain_404(worker: Loopback) -> None:
    with streamed(worker.http, "0" * 64, "what?") as response:
        response.read()
    assert (response.status_code, response.json()["error"]["code"]) == (404, "image_not_found")


def test_an_error_after_events_is_the_last_one(worker: Loopback, image: str) -> None:
    plain = worker.http.post("/v1/answer", json={"image": image, "question": "told bug"})
    with streamed(worker.http, image, "told bug") as response:
        got = events(response)
    assert response.status_code == 200
    assert got[-1] == ("error", plain.json())
    assert CANARY not in str(got)


def test_a_deadline_ends_a_stream_and_stops_the_model(
    worker: Loopback, engine: TellingEngine, image: str
) -> None:
    stopped, late = engine.stopped, metrics(worker)["laser_deadline_exceeded_total"]
    with streamed(worker.http, image, "told slow", **{"X-Deadline-S": "0.5"}) as response:
        name, body = events(response)[-1]
    assert (name, body["error"]["code"]) == ("error", "deadline_exceeded")
    wait_until(lambda: engine.stopped == stopped + 1)
    assert metrics(worker)["laser_deadline_exceeded_total"] == late + 1


def test_who_hangs_up_stops_the_model(worker: Loopback, engine: TellingEngine, image: str) -> None:
    """The next one is answered, though nobody has opened the gate."""
    stopped, cancelled = engine.stopped, metrics(worker)["laser_cancelled_total"]
    with streamed(worker.http, image, "told slow") as response:
        got = sse(response)  # held: the end of an iterator hangs up
        assert next(got).event == "stage"
        assert worker.worker.gate.in_flight == 1
    wait_until(lambda: engine.stopped == stopped + 1)
    wait_until(lambda: worker.worker.gate.in_flight == 0)
    with streamed(worker.http, image, "told next") as response:
        assert events(response)[-1][0] == "answer"
    assert metrics(worker)["laser_cancelled_total"] == cancelled + 1


def test_who_hangs_up_while_waiting_frees_the_queue(
    worker: Loopback, engine: TellingEngine, image: str
) -> None:
    """A stream that waits for its turn is kept open by comments."""
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(
            worker.http.post, "/v1/answer", json={"image": image, "question": "slow"}
        )
        assert engine.entered.acquire(timeout=30)
        with streamed(worker.http, image, "told never") as response:
            lines = response.iter_lines()  # held, as above
            assert next(lines) == ": ping"
            wait_until(lambda: worker.worker.backend.numbers().queue_depth == 1)
        wait_until(lambda: worker.worker.backend.numbers().queue_depth == 0)
        engine.gate.set()
        assert first.result().status_code == 200
    assert "never" not in engine.asked


def test_who_does_not_read_holds_up_nobody(
    worker: Loopback, engine: TellingEngine, image: str
) -> None:
    """The model has finished, and answers another one, while nothing of its events was read."""
    host = urlsplit(worker.url)
    body = question(image, "flood")
    head = (
        f"POST /v1/answer HTTP/1.1\r\nHost: worker\r\nAuthorization: Bearer {ALICE}\r\n"
        "Accept: text/event-stream\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect((str(host.hostname), int(host.port or 0)))
        reader.sendall(head.encode() + body)
        wait_until(lambda: "flood" in engine.asked)
        with streamed(worker.http, image, "told next") as response:
            assert events(response)[-1][0] == "answer"
        assert worker.worker.backend.numbers().in_flight == 0
    wait_until(lambda: worker.worker.gate.in_flight == 0)


def ask(words: str, heard: list[Event] | None = None) -> AnswerRequest:
    listener = None if heard is None else heard.append
    return AnswerRequest(image=IMAGE, question=words, listener=listener)


def test_the_client_hears_of_its_own_questions(worker: Loopback) -> None:
    """Ten at once, which are answered in batches."""
    heard: list[list[Event]] = [[] for _ in range(N_CALLERS)]
    asked = [ask(f"told {n}", events) for n, events in enumerate(heard)]
    with WorkerClient(worker.url, ALICE) as client, ThreadPoolExecutor(N_CALLERS) as threads:
        answers = list(threads.map(lambda request: client.answer([request])[0], asked))
        assert client.answer([ask(f"told {n}") for n in range(N_CALLERS)]) == answers
    assert [answer.answer for answer in answers] == [str(n) for n in range(N_CALLERS)]
    assert heard == [events_of(f"told {n}") for n in range(N_CALLERS)]


@pytest.mark.parametrize(
    ("words", "kind", "n_events"),
    [
        ("told bug", LaserError, 2),
        ("memory", ModelUnavailable, 0),
        ("told slow", DeadlineExceeded, 2),
    ],
)
def test_the_client_raises_what_the_worker_says(
    worker: Loopback, words: str, kind: type[LaserError], n_events: int
) -> None:
    heard: list[Event] = []
    deadline_s = 0.5 if words == "told slow" else 30.0
    with WorkerClient(worker.url, ALICE) as client, pytest.raises(kind):
        client.serve([ask(words, heard)], deadline_s=deadline_s)
    assert len(heard) == n_events


ANSWER = GroundedAnswer(
    answer="511", confidence=None, route="plain", method="plain", model="fake", image_size=SIZE
).model_dump_json()


def lying(text: str) -> httpx.MockTransport:
    """A worker that has every image and streams `text`."""

    def handle(request: httpx.Request) -> httpx.Response:
        if request.method == "PUT":
            name = request.url.path.rpartition("/")[2]
            return httpx.Response(200, content=json.dumps({"image": name, "size": SIZE}))
        return httpx.Response(200, content=text, headers={"Content-Type": "text/event-stream"})

    return httpx.MockTransport(handle)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "broke off"),
        ('event: stage\ndata: {"stage":"decode"}\n\n', "broke off"),
        (f"event: answer\ndata: {ANSWER}", "broke off"),
        ("event: token\ndata: {}\n\n", "cannot read"),
        ("event: answer\ndata: 511\n\n", "cannot read"),
        ("event: error\ndata: <html>\n\n", "status 500"),
    ],
)
def test_a_stream_that_cannot_be_read_is_no_answer(text: str, told: str) -> None:
    with (
        WorkerClient("https://worker.example", transport=lying(text)) as client,
        pytest.raises(ModelUnavailable, match=told),
    ):
        client.answer([ask("what?", [])])


def test_what_a_later_version_tells_is_no_trouble() -> None:
    """An event of another name, another field, and a line end of Unicode's in the answer."""
    answer = ANSWER.replace("511", "5\u20281")
    text = (
        'event: map\ndata: {}\n\nevent: token\ndata: {"token":"5","start":0,"sure":1}\n\n'
        f"event: answer\ndata: {answer}\n\n"
    )
    heard: list[Event] = []
    with WorkerClient("https://worker.example", transport=lying(text)) as client:
        assert client.answer([ask("what?", heard)])[0].answer == "5\u20281"
    assert heard == [TokenEvent(token="5", start=0)]


def test_the_error_in_a_stream_is_of_its_kind() -> None:
    body = {"error": {"code": "invalid_request", "message": "Ask shorter."}}
    text = f"event: error\ndata: {json.dumps(body)}\n\n"
    with (
        WorkerClient("https://worker.example", transport=lying(text)) as client,
        pytest.raises(InvalidRequest, match="Ask shorter"),
    ):
        client.answer([ask("what?", [])])


def test_events_are_plain_data() -> None:
    """A listener is no part of what is sent of a request."""
    assert "listener" not in ask("what?", []).model_dump()
    assert StageEvent(stage="crop").model_dump() == {"stage": "crop"}
