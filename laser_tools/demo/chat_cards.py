"""The chat's messages in HTML. All that a model or a person wrote is escaped.

Colours and shapes are in style.css.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from PIL import Image

from laser_tools.demo.cards import REASONS, ROUTES, bar
from laser_tools.demo.chatting import Step, Turn
from laser_tools.demo.pictures import data_url
from laser_tools.figures import evidence_image
from laser_tools.images.upright import UprightImage
from laser_tools.schema import GroundedAnswer
from laser_tools.tools.chatbot import Reply
from laser_tools.tools.results import LaserResult

SHOWN_PX = 960  # the longer side of a picture in the chat
LINES_PER_SIDE = 220  # thick, as the picture is shown small
SURE = (
    (0.95, "Almost certain"),
    (0.8, "Quite sure"),
    (0.6, "Fairly sure"),
    (0.0, "Not very sure"),
)
NO_CALIBRATION = "No calibration for this model: nobody knows how sure this is"
CANNOT_SEE = "I cannot see that."
NOTHING_SAID = "The planner said nothing. Ask again in other words."
MOST_CHARS = 160  # of what a step asks: a chat model may ask anything


def asked(text: str, images: Mapping[str, UprightImage]) -> str:
    """A person's message: the pictures with their handles, then the words."""
    shown = "".join(_attached(handle, image) for handle, image in images.items())
    return f"<div class='lt-asked'>{shown}{_words(text)}</div>"


def _attached(handle: str, image: UprightImage) -> str:
    width, height = image.size
    return _figure(image.pixels, handle, f"<b>{handle}</b> {width} × {height} px")


def looking(turn: Turn) -> str:
    """A turn that goes on, with its steps so far; the last one is at work."""
    steps = "".join(f"<li>{_step(step)}</li>" for step in turn.steps) or "<li>Thinking</li>"
    return f"<div class='lt-steps' role='status'><ol>{steps}</ol><i class='lt-sweep'></i></div>"


def _step(step: Step) -> str:
    image, about = _short(step.image), f"<q>{_short(step.about)}</q>"
    looks = step.tool == "zoom_to_evidence"
    return f"Looking in {image} for {about}" if looks else f"Asking {image}: {about}"


def replied(turn: Turn, reply: Reply, scripted: bool) -> str:
    """A reply and what it rests on. The words of the scripted planner say what a card shows."""
    words = _words(reply.text)
    if reply.seen is not None:
        shown = _found(reply, reply.seen)
        said = shown if scripted else words + shown
    elif reply.withheld is not None:
        answer = f"<p class='lt-answer'>{CANNOT_SEE}</p>"
        said = (answer if scripted else words) + f"<p class='lt-why'>{REASONS[reply.withheld]}</p>"
    else:
        said = words or f"<p class='lt-why'>{NOTHING_SAID}</p>"
    kind = "lt-reply lt-unseen" if reply.withheld else "lt-reply"
    return f"<article class='{kind}'>{said}{_looked(turn)}</article>"


def _short(text: str) -> str:
    return escape(text if len(text) <= MOST_CHARS else f"{text[:MOST_CHARS]} …")


def _words(text: str) -> str:
    return f"<p class='lt-words'>{escape(text)}</p>" if text.strip() else ""


def _found(reply: Reply, seen: LaserResult) -> str:
    """The original with the evidence drawn in, beside the answer and the crops."""
    answer, picture = seen.result, seen.picture
    assert isinstance(answer, GroundedAnswer)  # `supporting` quotes no search
    assert picture is not None  # `reply_in` adds it
    drawn = evidence_image(picture, answer, LINES_PER_SIDE)
    legend = f"<b>{escape(seen.original)}</b> <i class='lt-box'></i> evidence"
    legend += " <i class='lt-dashes'></i> crop" if seen.crops else ""
    crops = reply.crops if seen.crops else ()
    read = "".join(_figure(crop, "crop", "Read close up") for crop in crops)
    return (
        f"<div class='lt-found'>{_figure(drawn, 'evidence', legend)}"
        f"<div><p class='lt-answer'>{escape(answer.answer)}</p>{_sure(answer.confidence)}"
        f"<p class='lt-route'>{ROUTES[answer.route]}</p>{read}</div></div>"
    )


def _sure(confidence: float | None) -> str:
    """The confidence in words, and beside them the number."""
    if confidence is None:
        return f"<p class='lt-sure lt-none'>{NO_CALIBRATION}</p>"
    words = next(words for least, words in SURE if confidence >= least)
    percent = f"<span>{100 * confidence:.0f} %</span>"
    return f"<p class='lt-sure'><strong>{words}</strong>{bar(confidence)}{percent}</p>"


def _figure(picture: Image.Image, alt: str, caption: str) -> str:
    small = picture.copy()
    small.thumbnail((SHOWN_PX, SHOWN_PX))
    source = data_url(small, "jpeg")
    return f"<figure><img alt='{alt}' src='{source}'><figcaption>{caption}</figcaption></figure>"


def _looked(turn: Turn) -> str:
    """The steps, folded away."""
    if not turn.steps:
        return ""
    steps = "".join(f"<li>{_step(step)}</li>" for step in turn.steps)
    n = len(turn.steps)
    title = f"{n} look{'s' if n > 1 else ''} · {turn.seconds:.1f} s"
    return f"<details class='lt-looked'><summary>{title}</summary><ol>{steps}</ol></details>"
