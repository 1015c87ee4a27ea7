"""The things that a question asks about, as phrases of it.

FOCUS (arXiv 2506.21710) has the model name them, from examples in its prompt: that takes a model
that can follow examples, which small ones cannot, and one generation more. Here they are the words
after an article, up to a word that names nothing. A question without such a phrase is searched for
all of its words that may name something.
"""

from __future__ import annotations

import re

MAX_TARGETS = 4
ARTICLES = frozenset({"a", "an", "the"})
GRAMMAR_WORDS = """
about above am and any are as at be before behind below beside between by can carry carries closest
contain contains could count did directly do does each far farther find for from further had has
have he held hold holds how i if image in inside is it its left many may me more most much my near
nearest next not of on one or other our out over picture please read right say says see seen she
should show shows shown than that their them there these they this those to under up was we wear
wearing wears were what when where which who whose why will with written you your
"""
ATTRIBUTE_WORDS = """
color colour kind label letter material name number pattern position shape size text type word
"""
GRAMMAR = frozenset((GRAMMAR_WORDS + ATTRIBUTE_WORDS).split())
"""Words that end a phrase: grammar, what questions do with things, and what they ask of them."""


def targets(question: str) -> tuple[str, ...]:
    """At most `MAX_TARGETS` phrases, in the question's order; all of it where it names nothing."""
    return named(question) or (question.strip(),)


def named(question: str) -> tuple[str, ...]:
    """At most `MAX_TARGETS` phrases, in the question's order; none of "What colour is it?"."""
    phrases: list[list[str]] = []
    after_article = False
    for word in re.findall(r"\w+(?:['’-]\w+)*|[^\w\s]", question):
        names = word[0].isalnum() and word.lower() not in GRAMMAR | ARTICLES
        if word.lower() in ARTICLES:
            phrases.append([])
        if names and after_article:
            phrases[-1].append(word)
        after_article = word.lower() in ARTICLES or (names and after_article)
    found = dict.fromkeys(" ".join(phrase) for phrase in phrases if phrase)
    words = _naming_words(question)
    return tuple(found)[:MAX_TARGETS] or ((words,) if words else ())


def _naming_words(question: str) -> str:
    words = re.findall(r"\w+(?:['’-]\w+)*", question)
    return " ".join(word for word in words if word.lower() not in GRAMMAR | ARTICLES)
