"""`laser-tools compare`: one question, several methods, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from laser_tools.cli import console
from laser_tools.cli.ask import ImageFile, check_drawable, make, pixels
from laser_tools.errors import InvalidRequest
from laser_tools.images import open_image_file
from laser_tools.schema import AnswerRequest, GroundedAnswer, MethodName

if TYPE_CHECKING:
    from laser_tools.engine.base import Engine
    from laser_tools.options import PromptOptions
    from laser_tools.vlm.model import VLM

ALL = get_args(MethodName)

Methods = Annotated[str, typer.Option(help=f"all, or some of {', '.join(ALL)}, with commas.")]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(compare)


def compare(
    image: ImageFile,
    question: Annotated[str, typer.Argument(help="What to ask about the image.")],
    methods: Methods = "all",
    choice: Annotated[
        list[str] | None, typer.Option(help="Allow only this answer; repeat for each.")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(help="The longest answer, in tokens.")] = 16,
    model: console.Model = "pico",
    device: console.Device = None,
    revision: console.Revision = None,
    dtype: console.Dtype = None,
    options: console.Options = None,
    worker: console.Worker = None,
    save: Annotated[
        Path | None, typer.Option(help="Draw them side by side to this file (PNG, PDF, SVG).")
    ] = None,
    as_json: console.AsJson = False,
) -> None:
    """Ask IMAGE a QUESTION by several methods, side by side.

    It shows where each looked and what it took. The image is read once before any clock runs, so
    that all methods find it prefilled alike. An option is set for every method that has it.
    """
    if not worker:
        console.require("Asking a model in this process", "engine")
    if save is not None:
        console.require("Drawing the answers", "engine")
        check_drawable(save)
    names = _names(methods)
    request = make(
        AnswerRequest,
        image=open_image_file(image),
        question=question,
        choices=tuple(choice) if choice else None,
        max_new_tokens=max_new_tokens,
    )
    if worker:
        with console.remote(worker, device, revision, dtype, options) as client:
            answers = _asked(dict.fromkeys(names, client), request)
    else:
        changed = _options(names, options or [])
        vlm = console.load_model(model, device, revision, dtype)
        answers = _asked(_engines(vlm, changed), request)
    if save is not None:
        _draw(request, answers, save)
    if as_json:
        found = {name: console.plain_data(answer) for name, answer in answers.items()}
        console.echo_json({"question": question, "answers": found})
    else:
        typer.echo("\n".join([question, *_table(answers), *([f"wrote {save}"] if save else [])]))


def _names(methods: str) -> list[MethodName]:
    """The methods, each once. Raises InvalidRequest for a name that is none."""
    names = ALL if methods == "all" else [name.strip() for name in methods.split(",")]
    for name in names:
        if name not in ALL:
            raise InvalidRequest(f"There is no method '{name}'; there are {', '.join(ALL)}.")
    return cast("list[MethodName]", list(dict.fromkeys(names)))


def _options(names: Sequence[MethodName], pairs: Sequence[str]) -> dict[MethodName, PromptOptions]:
    """The options of each method, changed by those texts that it has a field for.

    Raises InvalidRequest for a text that is no method's.
    """
    from laser_tools.methods import METHODS

    fields = {name: METHODS[name].options.model_fields for name in names}
    for pair in pairs:
        if not any(pair.partition("=")[0] in known for known in fields.values()):
            raise InvalidRequest(f"None of the methods asked has an option '{pair}' (KEY=VALUE).")
    own = {name: [p for p in pairs if p.partition("=")[0] in fields[name]] for name in names}
    return {name: console.options_of(name, own[name]) for name in names}


def _engines(vlm: VLM, options: Mapping[MethodName, PromptOptions]) -> dict[MethodName, Engine]:
    """An engine per method, all over one model and the images that it holds."""
    from laser_tools.engine.local import LocalEngine

    return {name: LocalEngine(vlm, own) for name, own in options.items()}


def _asked(
    engines: Mapping[MethodName, Engine], request: AnswerRequest
) -> dict[str, GroundedAnswer]:
    """An answer per method, one after the other, so that the seconds of each are its own."""
    with console.progress(len(engines) + 1, "asking") as bar:
        first = next(iter(engines.values()))
        first.answer([request.model_copy(update={"method": "plain"})])  # prefills the image
        bar.update()
        answers: dict[str, GroundedAnswer] = {}
        for name, engine in engines.items():
            (answers[name],) = engine.answer([request.model_copy(update={"method": name})])
            bar.update()
    return answers


def _draw(request: AnswerRequest, answers: Mapping[str, GroundedAnswer], path: Path) -> None:
    from laser_tools.figures.comparison import comparison_figure

    comparison_figure(request.image.pixels, answers, path, request.question)


def _table(answers: Mapping[str, GroundedAnswer]) -> list[str]:
    head = ("method", "answer", "confidence", "route", "layer", "passes", "seconds", "crop")
    rows = [head, *(_row(name, answer) for name, answer in answers.items())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    padded = (zip(row, widths, strict=True) for row in rows)
    return ["  " + "  ".join(text.ljust(width) for text, width in row).rstrip() for row in padded]


def _row(name: str, answer: GroundedAnswer) -> tuple[str, ...]:
    confidence, where = answer.confidence, answer.localisation
    return (
        name,
        repr(answer.answer),
        "-" if confidence is None else f"{confidence:.2f}",
        answer.route,
        "-" if where is None else str(where.layer_idx),
        str(answer.passes),
        f"{answer.timings_s.get('total', 0.0):.3f}",
        "; ".join(pixels(box) for box in answer.crop_boxes) or "-",
    )
