"""A person with a browser talks about pictures: attaches, asks on, cancels, brings broken files."""

from __future__ import annotations

from pathlib import Path
from time import monotonic, sleep

import pytest

from laser_tools.engine.base import Engine
from laser_tools.images import UNDECODABLE
from laser_tools.pico import SCENE
from laser_tools.schema import AnswerRequest, GroundedAnswer
from tests.page.conftest import Beside, Open
from tests.page.steps import attach, open_chat, say
from tests.tools.fakes import ColourEngine, scene
from tests.worker.harness import ScriptedEngine

YELLOW = "What number is on the yellow square?"
SMALL = "What colour is the small rectangle?"
pytestmark = pytest.mark.timeout(900)  # 20 s where nothing else runs


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    (file := tmp_path / "scene.png").write_bytes(scene())
    return file


def test_a_picture_is_asked_about_and_asked_about_again(
    pico: Engine, open_page: Open, open_beside: Beside
) -> None:
    page = open_page(pico)
    open_chat(page)
    first = say(page, YELLOW, SCENE)
    assert first.locator(".lt-answer").inner_text() == "511"
    assert first.locator(".lt-sure strong").inner_text() in ("Almost certain", "Quite sure")
    assert "%" in first.locator(".lt-sure").inner_text()
    assert first.locator("figure img[alt=evidence]").evaluate("image => image.naturalWidth") > 0
    assert page.locator("#log .lt-asked figcaption").inner_text().startswith("img_1")
    assert page.locator("#box textarea").input_value() == ""
    assert first.locator("details li").count() >= 2
    again = say(page, "What number is on the red star?")
    assert "img_1" in again.inner_text()
    assert page.locator("#log .lt-asked img").count() == 1, "it was not uploaded again"
    other = open_beside(page)
    open_chat(other)
    assert say(other, YELLOW).inner_text() == "Please give me an image first."
    stranger = say(other, f"In img_1, {YELLOW}").inner_text()  # then what it did
    assert (
        stranger.splitlines()[0]
        == "I could not look at the image: Unknown image 'img_1'. Known: none."
    )


def test_a_second_picture_is_the_one_that_is_meant(
    open_page: Open, picture: Path, tmp_path: Path
) -> None:
    page = open_page(ColourEngine(), 390)
    (other := tmp_path / "other.png").write_bytes(scene(colour="blue"))
    open_chat(page)
    answers = [
        say(page, words, file).locator(".lt-answer").inner_text()
        for words, file in ((SMALL, picture), (SMALL, other), (f"In img_1, {SMALL}", None))
    ]
    assert answers == ["red", "blue", "red"]
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.click("#anew")
    page.locator("#log .lt-reply").first.wait_for(state="detached")
    assert say(page, SMALL).inner_text() == "Please give me an image first."


def test_a_broken_file_is_told_in_words_that_come_back(open_page: Open, tmp_path: Path) -> None:
    page = open_page(ColourEngine())
    (broken := tmp_path / "broken.png").write_bytes(b"no image")
    open_chat(page)
    assert say(page, SMALL, broken).inner_text() == UNDECODABLE
    page.locator(".toast-body").last.get_by_text(UNDECODABLE).wait_for()
    assert page.locator("#box textarea").input_value() == SMALL
    assert page.locator("#log .lt-asked").count() == 0


class Unsure(ColourEngine):
    def answered_with(self, request: AnswerRequest) -> GroundedAnswer:
        withheld = {"answer": "not sure", "abstain": "not_sure"}
        return super().answered_with(request).model_copy(update=withheld)


def test_no_answer_is_said_plainly(open_page: Open, picture: Path) -> None:
    page = open_page(Unsure())
    open_chat(page)
    reply = say(page, SMALL, picture)
    assert reply.locator(".lt-answer").inner_text() == "I cannot see that."
    assert reply.locator("img").count() == 0


def test_a_cancelled_message_stops_the_model_and_comes_back(open_page: Open, picture: Path) -> None:
    engine = ScriptedEngine()
    page = open_page(engine)
    open_chat(page)
    attach(page, picture)
    page.fill("#box textarea", "slow")
    page.press("#box textarea", "Enter")
    engine.entered.acquire()
    page.locator("#log .lt-steps").get_by_text("slow").wait_for()
    page.click("#box .stop-button")
    page.locator("#log .lt-steps").wait_for(state="detached")
    end_s = monotonic() + 60
    while not engine.stopped and monotonic() < end_s:
        sleep(0.01)
    assert engine.stopped == 1
    assert page.locator("#box textarea").input_value() == "slow"
    page.fill("#box textarea", "next <i id=owned>x</i>")
    page.press("#box textarea", "Enter")
    page.locator("#log .lt-reply").wait_for()
    assert page.locator("#owned").count() == 0, "what a person or a model writes is text"


def test_what_nobody_expected_leaves_the_chat_usable(open_page: Open, picture: Path) -> None:
    page = open_page(ScriptedEngine())
    open_chat(page)
    assert "terminal" in say(page, "bug", picture).inner_text()
    page.locator("#box .submit-button").wait_for()
    assert page.locator("#box textarea").input_value() == "bug"
