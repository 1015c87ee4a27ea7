"""`laser-tools ask` and `laser-tools zoom`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from pydantic import BaseModel, ValidationError

from laser_tools.cli import console
from laser_tools.errors import InvalidRequest
from laser_tools.images import open_image_file
from laser_tools.schema import (
    AnswerRequest,
    Box,
    GroundedAnswer,
    Localisation,
    MethodName,
    ZoomRequest,
    ZoomResult,
)

if TYPE_CHECKING:
    from laser_tools.options import PromptOptions
    from laser_tools.vlm.model import VLM

Request = TypeVar("Request", bound=BaseModel)
ImageFile = Annotated[Path, typer.Argument(help="A PNG, JPEG or WebP file.")]

PICTURES = (".png", ".pdf", ".svg")


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command()(ask)
    app.command()(zoom)


def ask(
    image: ImageFile,
    question: Annotated[str, typer.Argument(help="What to ask about the image.")],
    method: Annotated[
        MethodName, typer.Option(help="laser: look, crop, verify. plain: just ask. Or a peer.")
    ] = "laser",
    compare: Annotated[bool, typer.Option("--compare", help="Ask plainly as well.")] = False,
    choice: Annotated[
        list[str] | None, typer.Option(help="Allow only this answer; repeat for each.")
    ] = None,
    box: Annotated[
        str | None, typer.Option(metavar="X0,Y0,X1,Y1", help="Look here (pixels), do not search.")
    ] = None,
    abstain_below: Annotated[
        float | None, typer.Option(help='Say "not sure" if the confidence is lower (0-1).')
    ] = None,
    max_error: Annotated[
        float | None,
        typer.Option(help='Say "not sure" so that of the answers given no more are wrong (0-1).'),
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(help="The longest answer, in tokens.")] = 16,
    model: console.Model = "pico",
    device: console.Device = None,
    revision: console.Revision = None,
    dtype: console.Dtype = None,
    freeze: console.Freeze = None,
    options: console.Options = None,
    worker: console.Worker = None,
    save: Annotated[
        Path | None, typer.Option(help="Draw the evidence to this file (PNG, PDF, SVG).")
    ] = None,
    as_json: console.AsJson = False,
) -> None:
    """Ask IMAGE a QUESTION and show where the answer comes from."""
    if not worker:
        console.require("Asking a model in this process", "engine")
    if save is not None:
        console.require("Drawing the evidence", "engine")
        check_drawable(save)
    picture = open_image_file(image)
    methods = dict.fromkeys(["plain", method]) if compare else [method]
    requests = [
        make(
            AnswerRequest,
            image=picture,
            question=question,
            choices=tuple(choice) if choice else None,
            box=None if name == "plain" != method else _box(box, picture.size),
            method=name,
            max_new_tokens=max_new_tokens,
            abstain_below=abstain_below,
            max_error=max_error,
        )
        for name in methods
    ]
    if worker:
        with console.remote(worker, device, revision, dtype, freeze, options) as client:
            answers = client.answer(requests)
    else:
        changed = console.options_of(method, options)
        vlm = console.load_model(model, device, revision, dtype, freeze=freeze)
        answers = _answer(requests, vlm, changed)
    if save is not None:
        _draw(requests[-1], answers, save)
    if as_json:
        found = {answer.method: console.plain_data(answer) for answer in answers}
        console.echo_json({"question": question, "answers": found})
    else:
        typer.echo("\n".join([question, *(_shown(answer) for answer in answers)]))
        if save is not None:
            typer.echo(f"wrote {save}")


def check_drawable(path: Path) -> None:
    """Raise InvalidRequest for a path that cannot be drawn to, before the model is loaded."""
    if path.suffix.lower() not in PICTURES:
        raise InvalidRequest(f"--save draws {', '.join(PICTURES)}; not '{path.name}'.")
    if not path.parent.is_dir():
        raise InvalidRequest(f"--save needs a folder that is there; that of '{path}' is not.")


def make(kind: type[Request], **fields: object) -> Request:
    """A request of `kind`; a field out of bounds becomes InvalidRequest with one sentence."""
    try:
        return kind(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"][:1]) or "request"
        raise InvalidRequest(f"The {name} cannot be used: {first['msg']}.") from None


def _box(text: str | None, size: tuple[int, int]) -> Box | None:
    """The box that was typed. Raises InvalidRequest if it is none, or not inside the image."""
    if text is None:
        return None
    try:
        x0, y0, x1, y1 = (int(part) for part in text.split(","))
        box = Box(x0=x0, y0=y0, x1=x1, y1=y1)
    except ValueError:
        raise InvalidRequest("A box is X0,Y0,X1,Y1 in whole pixels, X0 < X1 and Y0 < Y1.") from None
    if box.x1 > size[0] or box.y1 > size[1]:
        raise InvalidRequest(f"The box must be inside the image of {size[0]}x{size[1]} pixels.")
    return box


def _answer(
    requests: list[AnswerRequest], vlm: VLM, options: PromptOptions
) -> list[GroundedAnswer]:
    """Answer one request at a time, so that the seconds of each are its own."""
    from laser_tools.engine.local import LocalEngine

    engine = LocalEngine(vlm, options)
    with console.progress(len(requests), "asking") as bar:
        answers = []
        for request in requests:
            answers += engine.answer([request])
            bar.update()
    return answers


def _draw(request: AnswerRequest, answers: list[GroundedAnswer], path: Path) -> None:
    from laser_tools.figures.evidence import evidence_figure

    plain = answers[0] if len(answers) > 1 else None
    evidence_figure(request.image.pixels, answers[-1], plain, path, request.question)


def _shown(answer: GroundedAnswer) -> str:
    """A headline, and below it where the answer comes from and what it took."""
    sure = "not calibrated" if answer.confidence is None else f"{answer.confidence:.2f}"
    why = f", abstains: {answer.abstain}" if answer.abstain else ""
    way = f"route {answer.route}{why}"
    lines = [f"  {answer.method:<12}{answer.answer!r:<14} confidence {sure}, {way}"]
    if answer.localisation is not None:
        lines.append(f"    layer     {_layer(answer.localisation)}")
    lines += [f"    evidence  {pixels(region.box)}" for region in answer.evidence]
    lines += [f"    crop      {pixels(box)}" for box in answer.crop_boxes]
    return "\n".join([*lines, f"    seconds   {seconds(answer.timings_s)}"])


def _layer(where: Localisation) -> str:
    """The layer that decided, as far as the result tells how."""
    return f"{where.layer_idx} (of the map's peak)" if where.vaq else str(where.layer_idx)


def pixels(box: Box) -> str:
    return f"x {box.x0}-{box.x1}, y {box.y0}-{box.y1} px"


def seconds(timings_s: dict[str, float]) -> str:
    """Stage times in one line."""
    return ", ".join(f"{stage} {spent:.3f}" for stage, spent in timings_s.items())


def zoom(
    image: ImageFile,
    what: Annotated[str, typer.Argument(help='What to look for, e.g. "the red star".')],
    n_regions: Annotated[int, typer.Option(help="How many places at most.")] = 1,
    model: console.Model = "pico",
    device: console.Device = None,
    revision: console.Revision = None,
    dtype: console.Dtype = None,
    freeze: console.Freeze = None,
    options: console.Options = None,
    worker: console.Worker = None,
    as_json: console.AsJson = False,
) -> None:
    """Find WHAT in IMAGE: evidence boxes and the crops around them."""
    if not worker:
        console.require("Looking with a model in this process", "engine")
    request = make(ZoomRequest, image=open_image_file(image), what=what, n_regions=n_regions)
    if worker:
        with console.remote(worker, device, revision, dtype, freeze, options) as client:
            result = client.zoom([request])[0]
    else:
        from laser_tools.engine.local import LocalEngine

        changed = console.options_from(options)
        vlm = console.load_model(model, device, revision, dtype, freeze=freeze)
        result = LocalEngine(vlm, changed).zoom([request])[0]
    if as_json:
        console.echo_json({"what": what, **console.plain_data(result)})
    else:
        typer.echo("\n".join([what, *_places(result)]))


def _places(result: ZoomResult) -> list[str]:
    lines = [f"  layer {_layer(result.localisation)}"]
    for i, (region, crop) in enumerate(zip(result.evidence, result.crop_boxes, strict=True), 1):
        lines.append(f"  {i}  {pixels(region.box)}  ({100 * region.score:.0f} % of the attention)")
        lines.append(f"     crop {pixels(crop)}")
    if not result.evidence:
        lines.append("  nothing: the words changed nothing in where the model looks")
    return [*lines, f"  seconds {seconds(result.timings_s)}"]
