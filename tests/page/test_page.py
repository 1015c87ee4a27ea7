"""A person with a browser: asks, asks again, brings broken files, meets a worker that is away."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from time import monotonic, sleep

import httpx
import pytest
import uvicorn
from PIL import Image

from laser_tools.client import WorkerClient
from laser_tools.engine.base import Engine
from laser_tools.images import UNDECODABLE, open_image_file
from laser_tools.pico import SCENE
from laser_tools.schema import AnswerRequest, GroundedAnswer, MethodName
from laser_tools.worker.backends.local import LocalBackend
from laser_tools.worker.http.app import create_app
from tests.page.conftest import PATIENCE_MS, Open
from tests.page.steps import ask, problem, said, upload
from tests.worker.harness import ALICE, ScriptedEngine, settings

YELLOW, RED = "What number is on the yellow square?", "What number is on the red star?"
SHAPES = ("yellow square", "red star", "green square", "yellow circle", "purple circle")
pytestmark = pytest.mark.timeout(900)  # 20 s where nothing else runs


def answer_of(engine: Engine, question: str, method: MethodName = "laser") -> GroundedAnswer:
    """The engine's own answer about the example."""
    request = AnswerRequest(image=open_image_file(SCENE), question=question, method=method)
    return engine.answer([request])[0]


def test_the_example_is_answered_with_its_evidence(pico: Engine, open_page: Open) -> None:
    page, truth = open_page(pico), answer_of(pico, YELLOW)
    assert ask(page) == "511" == truth.answer
    assert said(page, "plain") == answer_of(pico, YELLOW, "plain").answer
    assert truth.confidence is not None
    sure = page.locator(".lt-laser .lt-sure strong").inner_text()
    assert sure == f"{100 * truth.confidence:.0f} %"
    assert page.locator(".lt-laser .lt-route b").inner_text() == truth.route
    assert truth.localisation is not None
    assert page.locator("#picture .legend-item").all_inner_texts() == ["crop", "evidence"]
    assert page.locator("#picture img").count() == 3  # the image, its crop and its evidence
    assert page.locator("#heat-map .lt-layer").count() == 1
    assert page.locator("#layers .chosen").inner_text() == str(truth.localisation.layer_idx)
    assert page.locator("#margins tr").count() == 1 + len(truth.margins)
    assert page.locator("#crops img").count() >= 1
    assert page.locator("#seconds b").count() == 2
    page.get_by_text("JSON").click()
    page.get_by_text('"vaq"').first.wait_for()


def test_the_slider_fades_the_heat_map(pico: Engine, open_page: Open) -> None:
    page = open_page(pico)
    ask(page)
    layer = page.locator("#heat-map .lt-layer")
    assert layer.evaluate("e => getComputedStyle(e).opacity") == "0.75"
    slider = page.locator("#heat-share input[type=range]")
    slider.fill("0.2")
    page.wait_for_function(
        "() => getComputedStyle(document.querySelector('.lt-layer')).opacity === '0.2'"
    )


def test_a_second_question_sees_the_image_no_more(pico: Engine, open_page: Open) -> None:
    page = open_page(pico)
    ask(page, YELLOW)
    assert ask(page, RED) == answer_of(pico, RED).answer
    assert "image reused" in page.locator(".lt-laser .lt-facts").inner_text()
    assert page.locator(".lt-question").inner_text() == RED


def test_an_upload_takes_the_place_of_the_example(
    pico: Engine, open_page: Open, tmp_path: Path
) -> None:
    page, file = open_page(pico), tmp_path / "turned.jpg"
    sideways = Image.Exif()
    sideways[0x112] = 6  # shown turned by a quarter, so stored turned back
    Image.open(SCENE).convert("RGB").rotate(90, expand=True).save(file, quality=95, exif=sideways)
    ask(page)
    upload(page, file)
    page.locator("#answers h2").wait_for(state="hidden")  # those were about the example
    assert ask(page) == "511"


def test_choices_are_kept_to(pico: Engine, open_page: Open) -> None:
    page = open_page(pico)
    assert ask(page, YELLOW, "697\n511\n36") == "511"
    page.fill("#choices textarea", "511")
    page.click("#ask")
    assert "two or more" in problem(page)


@pytest.mark.parametrize("data", [b"not an image", SCENE.read_bytes()[:3000]])
def test_a_broken_file_is_told_in_words(
    data: bytes, pico: Engine, open_page: Open, tmp_path: Path
) -> None:
    page, file = open_page(pico), tmp_path / "broken.png"
    file.write_bytes(data)
    upload(page, file)
    page.click("#ask")
    assert problem(page) == UNDECODABLE
    page.click("#example")
    assert ask(page) == "511"


def test_no_image_and_no_question_are_told_in_words(pico: Engine, open_page: Open) -> None:
    page = open_page(pico)
    page.fill("#question textarea", "  ")
    page.click("#ask")
    assert problem(page) == "There is no question yet. Write one."
    page.click('#image button[aria-label="Remove Image"]')
    page.click("#ask")
    page.locator(".toast-body").get_by_text("no image yet").wait_for()


def test_twenty_questions_in_a_row(pico: Engine, open_page: Open) -> None:
    page = open_page(pico)
    questions = [f"What number is on the {SHAPES[i % len(SHAPES)]}?" for i in range(20)]
    answers = [ask(page, question) for question in questions]
    assert answers[:5] * 4 == answers  # the same question, the same answer
    assert answers[:5] == [answer_of(pico, question).answer for question in questions[:5]]


def test_a_cancelled_question_stops_the_model(open_page: Open) -> None:
    engine = ScriptedEngine()
    page = open_page(engine)
    page.fill("#question textarea", "slow")
    page.click("#ask")
    engine.entered.acquire()
    page.click("#cancel")
    page.locator("#status").get_by_text("Cancelled.").wait_for()
    end_s = monotonic() + 60
    while not engine.stopped and monotonic() < end_s:
        sleep(0.01)
    assert engine.stopped == 1
    assert ask(page, "next") == "next"


def test_a_closed_tab_stops_the_model(open_page: Open) -> None:
    engine = ScriptedEngine()
    page = open_page(engine)
    page.fill("#question textarea", "slow")
    page.click("#ask")
    engine.entered.acquire()
    page.close()
    end_s = monotonic() + 60
    while not engine.stopped and monotonic() < end_s:
        sleep(0.01)
    assert engine.stopped == 1


def test_what_a_model_writes_is_text(open_page: Open) -> None:
    """Here the model repeats the question."""
    page, mark = open_page(ScriptedEngine()), "<i id=owned>x</i>"
    assert ask(page, mark) == mark
    assert page.locator("#owned").count() == 0
    assert "confidence unknown" in page.locator(".lt-laser .lt-sure").inner_text()
    assert "did not look" in page.locator("#heat-map").inner_text()


@contextmanager
def worker(engine: Engine, port: int) -> Iterator[None]:
    """A worker over `engine` at a port of this machine."""
    asked = settings()
    app = create_app(LocalBackend(asked, lambda: engine), asked)
    server = uvicorn.Server(uvicorn.Config(app, port=port, ws="none", log_config=None))
    thread = Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            sleep(0.01)
        yield
    finally:
        server.should_exit = True
        thread.join()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
    return port


def test_a_worker_that_is_away_and_comes_back(pico: Engine, open_page: Open) -> None:
    port = free_port()
    with WorkerClient(f"http://127.0.0.1:{port}", ALICE) as client:
        page = open_page(client)
        page.click("#ask")
        assert "cannot be reached" in problem(page)
        with worker(pico, port):
            assert ask(page) == "511"
        page.click("#ask")
        assert "cannot be reached" in problem(page)
        with worker(pico, port):
            assert ask(page) == "511"


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_window(width: int, pico: Engine, open_page: Open) -> None:
    page = open_page(pico, width)
    ask(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_page_is_for_this_machine_and_holds_to_itself(open_page: Open) -> None:
    url = open_page(ScriptedEngine()).url
    assert httpx.get(url, headers={"Host": "laser.example"}).status_code == 400  # a rebound name
    reply = httpx.get(url)
    assert "default-src 'self'" in reply.headers["content-security-policy"]
    assert "http://fonts" not in reply.text
    assert "https://fonts" not in reply.text


@pytest.mark.parametrize("meta", [{"meta": {"_type": "gradio.FileData"}}, {}])
def test_a_form_that_names_another_file_is_refused(
    meta: dict[str, object], open_page: Open, tmp_path: Path
) -> None:
    """A path counts only if the file was uploaded."""
    engine, file = ScriptedEngine(), tmp_path / "private.png"
    url = open_page(engine).url
    file.write_bytes(SCENE.read_bytes())
    upload = {"path": str(file), "orig_name": "private.png", **meta}
    with httpx.Client(base_url=url, timeout=PATIENCE_MS / 1000) as client:
        events = client.get("config").json()["dependencies"]
        (index,) = (event["id"] for event in events if len(event["inputs"]) == 3)
        body = {"data": [upload, YELLOW, ""], "fn_index": index, "session_hash": "stranger"}
        client.post("gradio_api/queue/join", json=body).raise_for_status()
        lines = client.get("gradio_api/queue/data?session_hash=stranger").text.splitlines()
    told = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    assert [item["success"] for item in told if item["msg"] == "process_completed"] == [False]
    assert engine.asked == []
