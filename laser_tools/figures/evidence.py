"""The evidence of one answer as a figure: image with map and boxes, crops, VAQ, margins.

Needs matplotlib (the `engine` extra). Draws on figures of its own, never on pyplot's state.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from laser_tools.figures.panels import MAP_COLOURS, draw_crop, draw_whole
from laser_tools.figures.style import (
    FAINT,
    LASER_COLOUR,
    MUTED,
    PLAIN_COLOUR,
    drawable,
    styled_figure,
)
from laser_tools.schema import GroundedAnswer, Localisation, TokenMargin

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.gridspec import SubplotSpec

WIDTH_IN = 7.2  # inches: a double column
IMAGE_WIDTH = 0.40  # of the figure's width
HEIGHTS_IN = (3.5, 6.0)  # least and most; in between the image decides
CAPTION_IN, FOOT_IN, LINE_IN = 0.45, 0.42, 0.21  # around the panels; one line of caption
MAX_TOKENS_SHOWN = 10
TITLE_CHARS = 72  # per line, at most two lines


def evidence_figure(
    image: Image.Image,
    answer: GroundedAnswer,
    plain: GroundedAnswer | None,
    path: Path,
    question: str = "",
) -> None:
    """Write the evidence of `answer` to `path` (its suffix picks the format; PNG, PDF, SVG).

    `image` is the upright RGB original that every box refers to. `plain`, if given, is the answer
    to the same question without LASER, shown beside it. What an answer does not have (a map on
    the plain route, say) is left out, not invented. Raises MissingExtra without matplotlib.
    """
    lines = wrapped(question, TITLE_CHARS)
    captions = CAPTION_IN + LINE_IN * (len(lines) + (1 if plain is None else 2))
    with styled_figure(WIDTH_IN, _height_in(image, captions)) as figure:
        _captions(figure, answer, plain, lines)
        _panels(figure, image, answer, top_in=captions)
        figure.savefig(path)


def _height_in(image: Image.Image, captions_in: float) -> float:
    picture = WIDTH_IN * IMAGE_WIDTH * image.height / image.width
    return min(max(picture + captions_in + FOOT_IN, HEIGHTS_IN[0]), HEIGHTS_IN[1])


def _panels(figure: Figure, image: Image.Image, answer: GroundedAnswer, top_in: float) -> None:
    height = figure.get_figheight()
    top, bottom = 1 - top_in / height, FOOT_IN / height
    pictures = figure.add_gridspec(
        1,
        2,
        width_ratios=(1.0, 0.58),
        left=0.015,
        right=0.665,
        top=top,
        bottom=bottom,
        wspace=0.05,
    )
    curves = figure.add_gridspec(
        2, 1, left=0.735, right=0.985, top=top, bottom=bottom + 0.02, hspace=0.62
    )
    _draw_image(figure.add_subplot(pictures[0]), image, answer)
    _draw_crops(figure, pictures[1], image, answer)
    _draw_vaq(figure.add_subplot(curves[0]), answer.localisation)
    _draw_margins(figure.add_subplot(curves[1]), answer.margins)


def _captions(
    figure: Figure, answer: GroundedAnswer, plain: GroundedAnswer | None, lines: list[str]
) -> None:
    """Question and answers across the top."""
    step = LINE_IN / figure.get_figheight()
    top = 1 - step
    for line in lines:
        figure.text(0.015, top, line, fontsize=11, fontweight="bold", va="center")
        top -= step * 1.1
    for result in (plain, answer):
        if result is not None:
            colour = PLAIN_COLOUR if result.method == "plain" else LASER_COLOUR
            _answer_line(figure, top, result, colour)
            top -= step


def wrapped(question: str, width: int) -> list[str]:
    """At most two lines of `width` characters."""
    return textwrap.wrap(drawable(question), width, max_lines=2, placeholder=" …")


def _answer_line(figure: Figure, y: float, result: GroundedAnswer, colour: str) -> None:
    figure.text(0.015, y, result.method, color=colour, fontweight="bold", va="center", fontsize=9)
    said = textwrap.shorten(drawable(result.answer), 60, placeholder=" …") or "(nothing)"
    figure.text(0.105, y, f"“{said}”", va="center", fontsize=9)
    figure.text(0.985, y, _facts(result), va="center", ha="right", color=MUTED, fontsize=8)


def _facts(result: GroundedAnswer) -> str:
    sure = "no calibration" if result.confidence is None else f"confidence {result.confidence:.2f}"
    facts = [sure, f"route {result.route}"]
    if "total" in result.timings_s:
        facts.append(f"{result.timings_s['total']:.2f} s")
    return "  ·  ".join(facts)


def _draw_image(axes: Axes, image: Image.Image, answer: GroundedAnswer) -> None:
    axes.set_title(_image_title(answer))
    draw_whole(axes, image, answer)
    _key(axes, answer)


def _image_title(answer: GroundedAnswer) -> str:
    if answer.localisation is None:
        return "image"
    if answer.method == "laser":
        return "image, contrastive attention"
    where = answer.localisation
    layer = "" if where.vaq else f" (layer {where.layer_idx})"  # the panel of VAQ names it
    return f"image, attention map{layer}"


def _key(axes: Axes, answer: GroundedAnswer) -> None:
    """Draw the legend of lines and colours below the image."""
    from matplotlib.lines import Line2D

    handles = []
    if answer.evidence:
        handles.append(Line2D([], [], color=LASER_COLOUR, linewidth=1.4, label="evidence"))
    if answer.crop_boxes:
        handles.append(Line2D([], [], color=MUTED, linestyle=(0, (4, 2)), label="crop"))
    if handles:
        axes.legend(
            handles=handles,
            loc="upper left",
            bbox_to_anchor=(-0.01, 0.0),
            ncols=2,
            borderaxespad=0.3,
            handlelength=1.8,
        )
    if answer.localisation is not None:
        _colour_scale(axes)


def _colour_scale(axes: Axes) -> None:
    scale = axes.inset_axes((0.62, -0.05, 0.26, 0.022))
    scale.imshow(np.linspace(0, 1, 64)[None], cmap=MAP_COLOURS, aspect="auto")
    scale.set_axis_off()
    for x, side, text in ((-0.04, "right", "0"), (1.04, "left", "max")):
        scale.text(
            x, 0.4, text, transform=scale.transAxes, ha=side, va="center", fontsize=7, color=MUTED
        )


def _draw_crops(
    figure: Figure, space: SubplotSpec, image: Image.Image, answer: GroundedAnswer
) -> None:
    """Each crop below the one before, best first."""
    rows = space.subgridspec(max(len(answer.crop_boxes), 1), 1, hspace=0.22)
    if not answer.crop_boxes:
        why = f"The {answer.route} route answered\nfrom the whole image."
        _empty(figure.add_subplot(rows[0]), "no crop", why)
    for i, box in enumerate(answer.crop_boxes):
        axes = figure.add_subplot(rows[i])
        axes.set_title(f"crop, {box.width} x {box.height} px")
        draw_crop(axes, image, box, answer.evidence)


def _empty(axes: Axes, title: str, why: str) -> None:
    axes.set_title(title)
    axes.set_axis_off()
    axes.set_anchor("N")
    axes.annotate(
        why, (0, 1), (0, -6), "axes fraction", "offset points", va="top", color=MUTED, fontsize=7
    )


def _draw_vaq(axes: Axes, where: Localisation | None) -> None:
    if where is None or not where.vaq:
        _empty(axes, "VAQ per layer", "No layers were compared.")
        return
    layers = range(len(where.vaq))
    colours = [LASER_COLOUR if i == where.layer_idx else FAINT for i in layers]
    axes.bar(layers, where.vaq, color=colours, width=0.75)
    axes.set_title("VAQ per layer")
    axes.set_xlabel("layer", labelpad=1)
    axes.set_xticks(list(layers)[:: max(len(where.vaq) // 8, 1)])
    axes.margins(x=0.02, y=0.2)
    axes.annotate(
        "peak",
        (where.layer_idx, where.vaq[where.layer_idx]),
        xytext=(0, 3),
        textcoords="offset points",
        ha="center",
        color=LASER_COLOUR,
        fontsize=7,
    )


def _draw_margins(axes: Axes, margins: tuple[TokenMargin, ...]) -> None:
    shown = margins[:MAX_TOKENS_SHOWN]
    if not shown:
        _empty(axes, "margin per token", "The model wrote no token.")
        return
    x, two_streams = np.arange(len(shown)), any(m.vat_margin is not None for m in shown)
    width = 0.36 if two_streams else 0.6
    shift = width / 2 if two_streams else 0.0
    axes.bar(x - shift, _heights(shown), width, color=PLAIN_COLOUR, label="decoding")
    if two_streams:
        vat = [m.vat_margin or 0.0 for m in shown]
        axes.bar(x + shift, vat, width, color=LASER_COLOUR, label="VAT")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2, borderaxespad=0.2)
    axes.axhline(0, color=MUTED, linewidth=0.6)
    axes.set_title("margin per token")
    axes.set_ylabel("logits", labelpad=1)
    axes.set_xticks(x, [_token_name(m.token) for m in shown])
    axes.set_xlim(-0.6, max(len(shown), 3) - 0.4)


def _heights(margins: Sequence[TokenMargin]) -> list[float]:
    """Bar heights; a token without a rival (infinite margin) is as high as the highest other."""
    top = max((m.margin for m in margins if math.isfinite(m.margin)), default=1.0)
    return [m.margin if math.isfinite(m.margin) else top for m in margins]


def _token_name(token: str) -> str:
    """The token's text without its tokenizer's marks for word starts and continuations."""
    bare = token.strip().lstrip("▁Ġ").removeprefix("##")
    return drawable(bare)[:10] or "␣"
