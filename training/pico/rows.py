"""Rows of training: some views of a scene, and behind them questions that do not see each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
from transformers import PreTrainedTokenizerFast

from laser_tools.evaluation.benchmarks.microscenes import questions as asks
from laser_tools.evaluation.benchmarks.microscenes.asking import Question, View, phrase
from laser_tools.evaluation.benchmarks.microscenes.scenes import Scene, Split, Thing
from laser_tools.evaluation.benchmarks.microscenes.unanswerable import beside, none
from laser_tools.evaluation.benchmarks.microscenes.words import HABITS, NOTHING, with_article
from training.pico.build import GRID, INSTRUCTION
from training.pico.cells import MAX_LABEL, characters
from training.pico.diets import PAIRS, TRIPLES, Diet
from training.pico.questions import carrier, location, placed
from training.pico.views import (
    ANYWHERE,
    INSIDE,
    INSIDE_OTHER,
    MASKED_NEAR,
    NEAR,
    NEAR_OTHER,
    ViewSpec,
    what_is_seen,
)

KINDS = (
    "existence", "attribute", "reading", "tiny", "habit", "broken", "relation",
    "neighbour reading", "same label", "counting", "comparison", "location", "placed", "carrier",
    "none", "largest", "masked",
)  # fmt: skip
"""What accuracies are told apart by: "label" is asked as reading, tiny, habit or broken habit."""

INSTRUCTION_SHARE = 0.3
NO_LABELS = (-1,) * (2 * MAX_LABEL)
READ_KINDS = ("reading", "tiny", "habit", "broken", "neighbour reading", "same label")
READABLE_SHARE = 0.85  # of questions for labels, where there are crops: those inside of these
MASKED_SHARE = 0.3  # of questions about a view with a masked thing: about that
BLANK_SHARE = 0.05  # of questions for labels: of things without one
COMPARED_SHARE = 0.4  # of questions, where two labels can be read and compared
COMPARED_BLIND_SHARE = 0.3  # of these the last position seldom has to read two labels at once
CLOSE = (NEAR, NEAR_OTHER, ANYWHERE, INSIDE, INSIDE_OTHER, MASKED_NEAR)  # labels can be read in
LABEL_KINDS = ("label", "neighbour reading", "same label", "carrier")
Asker = Callable[[np.random.Generator, View], Question | None]


@dataclass(frozen=True)
class Segment:
    """One question and answer behind the images. `blind`: its tokens before the last prompt
    position see no image, so that the last one has to look, as in large models. `places`: the cells
    (row * GRID + column in the first view) of the thing named and of the thing asked for, or -1;
    `labels`: the codes of their characters, -1 for all of them where nothing is to be read."""

    kind: str  # one of KINDS
    prompt_ids: list[int]
    answer_ids: list[int]
    blind: bool
    places: tuple[int, int]
    labels: tuple[int, ...] = NO_LABELS


@dataclass(frozen=True)
class Row:
    """One packed sequence: the views (indices into `views.KINDS`) and the questions behind them."""

    scene_id: int
    views: tuple[int, ...]
    segments: list[Segment]


def label(rng: np.random.Generator, view: View) -> Question | None:
    """Any label, of the kind that its lettering and the scene's habit make it; now and then a
    thing that carries none."""
    blank = [thing for thing in view.things if not thing.label]
    asked = blank if rng.random() < BLANK_SHARE else [t for t in view.things if t.label]
    question = asks.read(rng, view, asked, "reading")
    if question is None:
        return None
    thing = question.evidence[0]
    return replace(question, type=_label_kind(thing), answer=thing.label or NOTHING)


def _label_kind(thing: Thing) -> str:
    lettering = thing.lettering
    if not thing.label:
        return "none"
    if lettering == "habit":
        return "habit" if thing.label == HABITS[thing.colour] else "broken"
    return "tiny" if lettering == "tiny" else "reading"


def narrowed(view: View, names: set[str]) -> View:
    """A view in which only the things of these names are asked about; the others stay in the way,
    so that "the star" or "left of it" still say which."""
    asked = tuple(thing for thing in view.things if thing.name in names)
    others = tuple(thing for thing in view.things if thing.name not in names)
    return replace(view, things=asked, cut=(*view.cut, *others))


def twins(rng: np.random.Generator, view: View) -> Question | None:
    """Do any two things say the same, be they near each other or far apart?"""
    return asks.compare_labels(rng, list(permutations([t for t in view.things if t.label], 2)))


def _neighbour(rng: np.random.Generator, view: View) -> Question | None:
    return asks.read_neighbour(rng, view, [t for t in view.things if t.label])


class RowMaker:
    """Writes rows: picks the views, asks the questions, and tokenises them."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, diet: Diet, split: Split) -> None:
        self.tokenizer, self.diet = tokenizer, diet
        self._ids: dict[str, list[int]] = {}
        self._askers: dict[str, Asker] = {
            **asks.ANSWERABLE,
            "label": label,
            "neighbour reading": _neighbour,
            "location": location,
            "carrier": carrier,
            "largest": asks.largest,
            "beside": beside,
            "twins": twins,
            "placed": placed,
            "none": none(split),
        }

    def ids(self, text: str) -> list[int]:
        if text not in self._ids:
            self._ids[text] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return self._ids[text]

    def views(self, rng: np.random.Generator, images: int) -> tuple[int, ...]:
        """The views of a row with so many images."""
        if images == 1:
            return (int(rng.choice(len(self.diet.single), p=self.diet.single)),)
        shares = PAIRS if images == 2 else TRIPLES
        return list(shares)[rng.choice(len(shares), p=list(shares.values()))]

    def row(
        self,
        rng: np.random.Generator,
        scene_id: int,
        scene: Scene,
        specs: Sequence[ViewSpec],
        images: int,
    ) -> Row:
        """A row on one view, or on an image and its crops: asked is about the first."""
        views = self.views(rng, images)
        view = what_is_seen(scene, specs[views[0]])
        masked = specs[views[0]].masked
        if masked:
            view = replace(view, cut=(*view.cut, masked))
        shown = {t.name for v in views[1:] for t in what_is_seen(scene, specs[v]).things}
        near = view if views[0] in CLOSE and images == 1 else narrowed(view, shown)
        asked = [self._asked(rng, view, near, masked) for _ in range(self.diet.questions)]
        return Row(scene_id, views, [self._segment(rng, question, view) for question in asked])

    def _asked(
        self, rng: np.random.Generator, view: View, near: View, masked: Thing | None
    ) -> Question:
        """A question of the diet; where the view has no subject for it, one without an answer."""
        if masked and rng.random() < MASKED_SHARE:
            return _about_masked(rng, masked)
        compared = twins(rng, near) or twins(rng, near)
        if compared and rng.random() < COMPARED_SHARE:
            return compared
        kind = list(self.diet.mix)[rng.choice(len(self.diet.mix), p=list(self.diet.mix.values()))]
        if kind in LABEL_KINDS and near.things and rng.random() < READABLE_SHARE:
            question = self._askers[kind](rng, near)
        else:
            question = self._askers[kind](rng, view)
        while question is None:
            question = self._askers[("existence", "none", "attribute")[rng.integers(3)]](rng, view)
        return question

    def _segment(self, rng: np.random.Generator, question: Question, view: View) -> Segment:
        text = question.text
        if rng.random() < INSTRUCTION_SHARE:
            text = f"{text} {INSTRUCTION}".strip()
        prompt = self.ids(f"{text} assistant:")
        answer_ids = [*self.ids(question.answer), self.tokenizer.eos_token_id]
        share = self.diet.blind_share
        if question.type == "same label":
            share = min(share, COMPARED_BLIND_SHARE)
        blind = bool(rng.random() < share)
        places, labels = _places(question, view), _labels(question)
        return Segment(question.type, prompt, answer_ids, blind, places, labels)


def _places(question: Question, view: View) -> tuple[int, int]:
    """Where the first and the last thing of a question about one or two things are."""
    if len(question.evidence) not in (1, 2) or question.type == "counting":
        return -1, -1
    cells = [
        int(GRID * thing.y / view.size[1]) * GRID + int(GRID * thing.x / view.size[0])
        for thing in question.evidence
    ]
    beside_nothing = question.type == "none"  # the thing named is there, what is asked for is not
    return cells[0], -1 if beside_nothing else cells[-1]


def _about_masked(rng: np.random.Generator, thing: Thing) -> Question:
    """A masked thing is not there; its label can only be guessed."""
    if thing.label and rng.random() < 0.6:
        return Question("masked", phrase(rng, "reading", thing=thing.name), thing.label, ())
    text = phrase(rng, "existence", a_thing=with_article(thing.name))
    return Question("masked", text, "no", ())


def _labels(question: Question) -> tuple[int, ...]:
    """The characters of the thing named and of the thing asked for, where both are to be read.

    Of a neighbour reading only the second is.
    """
    if question.type not in READ_KINDS:
        return NO_LABELS
    first, second = (tuple(characters(question.evidence[at].label)) for at in (0, -1))
    only_second = question.type == "neighbour reading"
    return (*(NO_LABELS[:MAX_LABEL] if only_second else first), *second)
