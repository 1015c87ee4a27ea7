"""An answer in HTML: words, bars and tables. All that a model or a person wrote is escaped.

Colours and shapes are in style.css; the numbers that a bar shows stand beside it as text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from laser_tools.demo.pictures import Shown, data_url, heat_layer
from laser_tools.images.upright import UprightImage
from laser_tools.schema import Abstain, Box, GroundedAnswer, Localisation, Route, TokenMargin

NAMES = {"plain": "Asked plainly", "laser": "Through LASER"}
WAITING = {"plain": "reads the whole image", "laser": "looks, crops and checks"}
ROUTES: dict[Route, str] = {
    "plain": "Read from the whole image; nothing was looked for.",
    "direct": "The whole image was sure enough: no closer look was needed.",
    "zoom": "Read close up.",
    "verify": "Read close up, and checked against the same crops with the evidence hidden.",
    "kept": "Read from the whole image, which was surer than a closer look.",
}
REASONS: dict[Abstain, str] = {
    "not_there": "No answer: the model says that this is not in the image.",
    "unclear": "No answer: the model says that the question has several.",
    "not_sure": "No answer: nobody is sure enough.",
}
STAGES = {
    "encode": "sees the image",
    "attend": "compares attention",
    "crop": "crops",
    "decode": "writes the answer",
}
MAX_TOKENS_SHOWN = 12
_HEAD = "<tr><th>token</th><th>margin</th><th></th><th>p</th><th>VAT</th></tr>"


def working(done: Sequence[GroundedAnswer], waiting: Sequence[str], seconds: float) -> str:
    """The state of a question that is being answered."""
    steps = [f"<li class='done'>{NAMES[answer.method]}</li>" for answer in done]
    steps += [f"<li>{NAMES[method]}</li>" for method in waiting]
    return (
        f"<div class='lt-working' role='status'><ol>{''.join(steps)}</ol>"
        f"<span class='lt-clock'>{seconds:.1f} s</span><i class='lt-sweep'></i></div>"
    )


def answers(question: str, done: Sequence[GroundedAnswer], waiting: Sequence[str] = ()) -> str:
    """Plain beside LASER under their question; an empty card for what is still waited for."""
    cards = [_card(answer) for answer in done] + [_empty_card(method) for method in waiting]
    head = f"<h2 class='lt-question'>{escape(question)}</h2>"
    return f"{head}<div class='lt-pair'>{''.join(cards)}</div>"


def _card(answer: GroundedAnswer) -> str:
    said = escape(answer.answer) or "(nothing)"
    kind = "lt-card lt-abstained" if answer.abstain else "lt-card"
    why = f"<p class='lt-why'>{REASONS[answer.abstain]}</p>" if answer.abstain else ""
    return (
        f"<article class='{kind} lt-{escape(answer.method)}'>"
        f"<h3>{NAMES.get(answer.method, escape(answer.method))}</h3>"
        f"<p class='lt-answer'>{said}</p>{why}{_confidence(answer.confidence)}"
        f"<p class='lt-route'><b>{answer.route}</b> {ROUTES[answer.route]}</p>"
        f"<p class='lt-facts'>{_facts(answer)}</p></article>"
    )


def _empty_card(method: str) -> str:
    return (
        f"<article class='lt-card lt-{method} lt-empty'><h3>{NAMES[method]}</h3>"
        f"<p class='lt-answer'>…</p><p class='lt-route'>{WAITING[method]}</p></article>"
    )


def _confidence(confidence: float | None) -> str:
    if confidence is None:
        return "<p class='lt-sure lt-none'>No calibration for this model: confidence unknown</p>"
    percent = f"<strong>{100 * confidence:.0f} %</strong>"
    return f"<p class='lt-sure'><span>Confidence</span>{bar(confidence)}{percent}</p>"


def bar(share: float) -> str:
    """A bar of that share of its width."""
    return f"<i class='lt-bar'><i style='width:{100 * min(max(share, 0.0), 1.0):.1f}%'></i></i>"


def _facts(answer: GroundedAnswer) -> str:
    facts = [escape(answer.model)]
    if "total" in answer.timings_s:
        facts.append(f"{answer.timings_s['total']:.2f} s")
    if answer.prefix_hits:
        facts.append("image reused")
    return " · ".join(facts)


def heat(image: Shown, where: Localisation | None) -> str:
    """The image with its map above it, as opaque as the slider says (--heat)."""
    if where is None:
        return _nothing("No map: this route did not look for a place.")
    x0, y0, x1, y1 = where.map_box.normalised(image.original)
    place = f"left:{x0:.2%};top:{y0:.2%};width:{x1 - x0:.2%};height:{y1 - y0:.2%}"
    return (
        f"<figure class='lt-heat'><img alt='' src='{data_url(image.pixels, 'jpeg')}'>"
        f"<img class='lt-layer' alt='attention map' style='{place}' "
        f"src='{data_url(heat_layer(where), 'png')}'></figure>"
    )


def crops(image: UprightImage, boxes: Sequence[Box]) -> str:
    """The crops that the answer was read from, cut from the original, each with its place."""
    if not boxes:
        return _nothing("No crop: the whole image was read.")
    return "".join(_crop(image, box) for box in boxes)


def _crop(image: UprightImage, box: Box) -> str:
    pixels = data_url(Shown.of(image.crop(box)).pixels, "jpeg")
    place = f"x {box.x0}-{box.x1}, y {box.y0}-{box.y1} px"
    return (
        f"<figure class='lt-crop'><img alt='crop' src='{pixels}'>"
        f"<figcaption>{place}</figcaption></figure>"
    )


def layers(where: Localisation | None) -> str:
    """VAQ of every layer as a row of bars; the one that gives most of the map's peak is marked."""
    if where is None or not where.vaq:
        return _nothing("No VAQ: this route compared no layers.")
    top = max(where.vaq) or 1.0
    bars = [_layer_bar(i, vaq, vaq / top, i == where.layer_idx) for i, vaq in enumerate(where.vaq)]
    vaq = f"VAQ {where.vaq[where.layer_idx]:.3f}"
    note = f"Layer <b>{where.layer_idx}</b> gives most of the map's peak; {vaq}"
    return f"<div class='lt-layers'>{''.join(bars)}</div><p class='lt-note'>{note}</p>"


def _layer_bar(i: int, vaq: float, share: float, chosen: bool) -> str:
    kind = " class='chosen'" if chosen else ""
    return (
        f"<div{kind} title='layer {i}: {vaq:.3f}'><i style='height:{100 * max(share, 0.01):.1f}%'>"
        f"</i><span>{i}</span></div>"
    )


def margins(tokens: Sequence[TokenMargin]) -> str:
    """Margin, probability and VAT margin of every token of the answer."""
    if not tokens:
        return _nothing("The model wrote no token.")
    shown = tokens[:MAX_TOKENS_SHOWN]
    finite = [token.margin for token in shown if math.isfinite(token.margin)]
    top = max(finite, default=1.0) or 1.0
    rows = "".join(_token_row(token, top) for token in shown)
    more = len(tokens) - len(shown)
    note = f"<p class='lt-note'>and {more} more</p>" if more else ""
    return f"<table class='lt-margins'>{_HEAD}{rows}</table>{note}"


def _token_row(token: TokenMargin, top: float) -> str:
    finite = math.isfinite(token.margin)
    vat = "–" if token.vat_margin is None else f"{token.vat_margin:+.2f}"
    return (
        f"<tr><td><code>{escape(_bare(token.token))}</code></td>"
        f"<td class='lt-wide'>{bar(token.margin / top if finite else 1.0)}</td>"
        f"<td>{f'{token.margin:.2f}' if finite else '∞'}</td><td>{token.probability:.2f}</td>"
        f"<td>{vat}</td></tr>"
    )


def _bare(token: str) -> str:
    """The token without its tokenizer's marks for word starts and continuations."""
    return token.strip().lstrip("▁Ġ").removeprefix("##") or "␣"


def seconds(done: Sequence[GroundedAnswer]) -> str:
    """The time of each stage, one striped bar for each answer, on one scale."""
    longest = max((sum(_stages(answer).values()) for answer in done), default=0.0)
    if not longest:
        return _nothing("This engine does not tell its seconds.")
    rows = "".join(_stripes(answer, longest) for answer in done)
    key = "".join(f"<li class='lt-{stage}'>{said}</li>" for stage, said in STAGES.items())
    return f"<div class='lt-seconds'>{rows}<ul>{key}</ul></div>"


def _stages(answer: GroundedAnswer) -> dict[str, float]:
    return {stage: answer.timings_s.get(stage, 0.0) for stage in STAGES}


def _stripes(answer: GroundedAnswer, longest: float) -> str:
    stripes = "".join(
        f"<i class='lt-{stage}' style='width:{100 * spent / longest:.2f}%' "
        f"title='{STAGES[stage]}: {spent:.3f} s'></i>"
        for stage, spent in _stages(answer).items()
    )
    total = answer.timings_s.get("total", sum(_stages(answer).values()))
    return f"<div><span>{escape(answer.method)}</span><p>{stripes}</p><b>{total:.2f} s</b></div>"


def _nothing(why: str) -> str:
    return f"<p class='lt-nothing'>{why}</p>"


def problem(text: str) -> str:
    """An expected failure, which stays on the page when its pop-up is gone."""
    return f"<p class='lt-problem' role='alert'>{escape(text)}</p>"
