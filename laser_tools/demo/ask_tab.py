"""The tab that asks plainly and through LASER: a form, what it shows, and what happens when."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import gradio as gr

from laser_tools.demo import cards
from laser_tools.demo.asking import METHODS, News, ask, opened, requests_for
from laser_tools.demo.forms import QUIET, Changes, as_shown, uploaded
from laser_tools.demo.pictures import CROP, EVIDENCE, Shown
from laser_tools.engine.base import Engine
from laser_tools.errors import LaserError
from laser_tools.figures.style import LASER_COLOUR, PLAIN_COLOUR
from laser_tools.images.upright import UprightImage
from laser_tools.pico import SCENE
from laser_tools.schema import AnswerRequest, GroundedAnswer

EXAMPLE_QUESTION = json.loads(SCENE.with_suffix(".json").read_text(encoding="utf-8"))["question"]
HEAT = 0.75  # of the map's opacity, as in style.css
SET_HEAT = "(share) => document.body.style.setProperty('--heat', share)"
SHOW_RESULTS = """() => {
  if (innerWidth < 700) document.getElementById("results").scrollIntoView({behavior: "smooth"})
}"""

Upload = dict[str, Any]  # the fields of gradio's ImageData
Answering = Callable[[Upload | None, str | None, str | None], AsyncIterator[Changes]]


@dataclass(frozen=True)
class Form:
    """The fields that a person fills in."""

    image: gr.Image
    question: gr.Textbox
    choices: gr.Textbox
    ask: gr.Button
    cancel: gr.Button
    example: gr.Button


@dataclass(frozen=True)
class Results:
    """The parts of the page about a question; `details` holds all below `answers`."""

    status: gr.HTML
    answers: gr.HTML
    details: gr.Column
    picture: gr.AnnotatedImage
    heat: gr.HTML
    crops: gr.HTML
    layers: gr.HTML
    margins: gr.HTML
    seconds: gr.HTML
    raw: gr.JSON

    def all(self) -> list[gr.blocks.Block]:
        return list(vars(self).values())


def build(engine: Engine) -> None:
    """Put form and results of `engine` into the page that is being made."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=300, elem_classes="lt-form"):
            form = _form()
        with gr.Column(scale=9, min_width=300, elem_id="results"):
            results = _results()
    _connect(engine, form, results)


def _form() -> Form:
    image = gr.Image(
        str(SCENE), label="Image", type="filepath", sources=["upload", "clipboard"],
        height=320, buttons=["fullscreen"], elem_id="image",
        placeholder="Drop a PNG, JPEG or WebP here",
    )  # fmt: skip
    question = gr.Textbox(
        EXAMPLE_QUESTION, label="Question", lines=2, max_lines=5, elem_id="question",
        placeholder="What number is on the yellow square?",
    )  # fmt: skip
    choices = gr.Textbox(
        label="Choices (optional)", lines=2, max_lines=8, elem_id="choices",
        placeholder="One to a line; the answer is one of them",
    )  # fmt: skip
    with gr.Row(elem_classes="lt-buttons"):
        button = gr.Button("Ask", variant="primary", elem_id="ask", scale=3)
        cancel = gr.Button("Cancel", variant="stop", visible=False, elem_id="cancel", scale=3)
        example = gr.Button("Example", variant="secondary", elem_id="example", min_width=90)
    return Form(image, question, choices, button, cancel, example)


def _results() -> Results:
    status = gr.HTML(_hint(), elem_id="status", apply_default_css=False)
    answers = gr.HTML(elem_id="answers", apply_default_css=False)
    with gr.Column(visible=False) as details:
        with gr.Row(equal_height=False):
            with gr.Column(min_width=280):
                picture = _picture()
            with gr.Column(min_width=280):
                heat = _heat()
        with gr.Row(equal_height=True):
            with gr.Column(min_width=220):
                crops = _panel("Crops", "crops")
            with gr.Column(min_width=220):
                layers = _panel("VAQ per layer", "layers")
            with gr.Column(min_width=220):
                margins = _panel("Margins per token", "margins")
        seconds = _panel("Seconds", "seconds")
        with gr.Accordion("JSON", open=False):
            raw = gr.JSON(show_label=False, max_height=420)
    return Results(status, answers, details, picture, heat, crops, layers, margins, seconds, raw)


def _picture() -> gr.AnnotatedImage:
    return gr.AnnotatedImage(
        label="Evidence", color_map={EVIDENCE: LASER_COLOUR, CROP: PLAIN_COLOUR},
        elem_id="picture", buttons=["fullscreen"],
    )  # fmt: skip


def _heat() -> gr.HTML:
    heat = _panel("Where it looked", "heat-map")
    share = gr.Slider(0, 1, HEAT, label="Heat map", step=0.01, elem_id="heat-share", buttons=[])
    share.input(None, share, None, js=SET_HEAT)
    return heat


def _panel(title: str, name: str) -> gr.HTML:
    return gr.HTML(
        label=title, show_label=True, container=True, padding=True, elem_id=name,
        elem_classes="lt-panel", apply_default_css=False,
    )  # fmt: skip


def _hint() -> str:
    words = "The example is ready: press <b>Ask</b>, or drop in an image of yours."
    return f"<p class='lt-hint'>{words}</p>"


def _connect(engine: Engine, form: Form, results: Results) -> None:
    """Set up the page's events; a file's path is taken as it is, as `images` alone opens images."""
    asked = gr.on(
        [form.ask.click, form.question.submit], _answering(engine, form, results),
        [form.image, form.question, form.choices],
        [*results.all(), form.ask, form.cancel],
        preprocess=False, trigger_mode="once", **QUIET,
    )  # fmt: skip
    asked.success(None, js=SHOW_RESULTS)
    form.cancel.click(None, cancels=[asked]).then(
        lambda: {**_running(form, False), results.status: cards.problem("Cancelled.")},
        None, [results.status, form.ask, form.cancel], queue=False, **QUIET,
    )  # fmt: skip
    form.image.change(
        lambda: {results.answers: "", results.details: gr.update(visible=False)},
        None, [results.answers, results.details], queue=False, **QUIET,
    )  # fmt: skip
    form.example.click(
        lambda: (str(SCENE), EXAMPLE_QUESTION, ""),
        None, [form.image, form.question, form.choices], queue=False, **QUIET,
    )  # fmt: skip


def _answering(engine: Engine, form: Form, results: Results) -> Answering:
    """The function that gradio calls with the form's values, as the browser sent them."""

    async def answer(
        upload: Upload | None, question: str | None, choices: str | None
    ) -> AsyncIterator[Changes]:
        try:
            image = await opened(uploaded(upload["path"]) if upload else None)
            requests = requests_for(image, question or "", choices or "")
            async with aclosing(ask(engine, requests)) as news:
                async for item in news:
                    said = await _shown(results, requests[0], item)
                    yield {**_running(form, True), **said}
        except LaserError as error:
            yield {**_running(form, False), results.status: cards.problem(error.public_text)}
            raise as_shown(error) from None
        yield {**_running(form, False), results.status: ""}

    return answer


def _running(form: Form, now: bool) -> Changes:
    return {form.ask: gr.update(visible=not now), form.cancel: gr.update(visible=now)}


async def _shown(results: Results, request: AnswerRequest, news: News) -> Changes:
    """Changes of the page at this moment: everything once all answers are there."""
    waiting = METHODS[len(news.answers) :]
    said = cards.answers(request.question, news.answers, waiting)
    if waiting:
        status = cards.working(news.answers, waiting, news.seconds)
        return {results.status: status, results.answers: said,
                results.details: gr.update(visible=False)}  # fmt: skip
    details = await asyncio.to_thread(_details, results, request.image, news.answers)
    return {results.answers: said, results.details: gr.update(visible=True), **details}


def _details(results: Results, image: UprightImage, answers: tuple[GroundedAnswer, ...]) -> Changes:
    answer, shown = answers[-1], Shown.of(image)
    return {
        results.picture: (shown.pixels, shown.outlines(answer)),
        results.heat: cards.heat(shown, answer.localisation),
        results.crops: cards.crops(image, answer.crop_boxes),
        results.layers: cards.layers(answer.localisation),
        results.margins: cards.margins(answer.margins),
        results.seconds: cards.seconds(answers),
        results.raw: _plain_data(answers),
    }


def _plain_data(answers: tuple[GroundedAnswer, ...]) -> Mapping[str, Any]:
    """The answers as JSON data; an infinite margin is the text "Infinity"."""
    return {answer.method: json.loads(answer.model_dump_json()) for answer in answers}
