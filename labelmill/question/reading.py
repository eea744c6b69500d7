"""Reading: which label a text names. Exactly one, or none; never the nearest."""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any

from labelmill.question.envelopes import normalise, unwrapped, visible

_ROOM_CHARACTERS = 1000
_MOST_READINGS = 64
"""Layers are few; a text that has more ways to be unwrapped was made to have them."""

_OBJECT = re.compile(r'\{\s*"')
_LANGUAGE = re.compile(r"[\w+-]*\s")
_FENCE = "```"
_KEY = "label"
_CALL_KEYS = frozenset({"arguments", "parameters"})
"""Where a tool call that a model wrote as text has its arguments: OpenAI's and Hermes' word, and Llama's."""


class LabelSet:
    """The labels of a job, and the one way an answer is matched with them: exactly, after normalising and unwrapping.

    Made of labels alone, or of a mapping to what they mean: a label that is followed by its own description, as the
    prompt shows it, is that label.
    """

    def __init__(self, labels: Iterable[str]) -> None:
        self._name_of = {normalise(name): name for name in labels}
        names = sorted(self._name_of)
        self._beginnings = {
            self._name_of[name] for name, following in pairwise(names) if following.startswith(name)
        }
        meanings = labels.items() if isinstance(labels, Mapping) else ()
        described = [
            (normalise(f"{name}{colon}{meaning}"), name)
            for name, meaning in meanings
            if meaning.strip()
            for colon in (":", ": ")
        ]
        self._seen = _unambiguous(
            [(visible(key), name) for key, name in [*self._name_of.items(), *described]], self._name_of
        )
        # Decomposed, a character is a few; and normalising takes the square of the time for some texts.
        longest = max(map(len, [*self._name_of, *self._seen]), default=0)
        self._most_characters = _ROOM_CHARACTERS + 4 * longest

    def named(self, text: str) -> str | None:
        """The label that `text` is, with nothing around it."""
        return self._name_of.get(normalise(text)) if len(text) <= self._most_characters else None

    def match(self, text: str) -> str | None:
        """The label that `text` names; None where it names none, or more than one.

        Layers come off one at a time and the longest reading counts: with the labels `[A]` and `A`, `[A].` is `[A]`.
        A text of several lines names a label where each of them names the same.
        """
        name = self.named(text)
        if name is not None or len(text) > self._most_characters:
            return name
        name = self._unwrapped(text)
        if name is not None or "\n" not in text:
            return name
        lines = {line for line in map(normalise, text.splitlines()) if line}
        named = {self._unwrapped(line) for line in lines}
        return named.pop() if len(named) == 1 else None

    def begins_another(self, name: str) -> bool:
        """Whether a longer label begins with this one, so that an answer cut short could look like it."""
        return name in self._beginnings

    def _unwrapped(self, text: str) -> str | None:
        waiting = {visible(normalise(text))}
        for _ in range(_MOST_READINGS):
            if not waiting:
                return None
            longest = max(map(len, waiting))
            readings = [reading for reading in waiting if len(reading) == longest]
            named = {self._seen[reading] for reading in readings if reading in self._seen}
            if named:
                return named.pop() if len(named) == 1 else None
            waiting.difference_update(readings)
            for reading in readings:
                waiting.update(shorter for shorter, taken in unwrapped(reading) if not self._names_one(taken))
        return None

    def _names_one(self, taken: str) -> bool:
        """Whether what was taken for an envelope is a label too: "1. 2" names two where both are."""
        return taken in self._seen or taken.strip("(*_.):、 ") in self._seen


def _unambiguous(pairs: Iterable[tuple[str, str]], names: Mapping[str, str]) -> dict[str, str]:
    """The mapping that the pairs make, without the keys that belong to two names; a name's own key is its own."""
    named: dict[str, set[str]] = {}
    for key, name in pairs:
        named.setdefault(key, set()).add(name)
    return {**{key: next(iter(several)) for key, several in named.items() if len(several) == 1}, **names}


def named_in_json(text: str, labels: LabelSet, *, alone: bool = False) -> set[str | None]:
    """The labels that the JSON in a text gives, None among them where it gives something that is none.

    The text is JSON, or JSON in a fence, or words with objects among them, unless it has to be `alone`. JSON that isn't
    whole says nothing, nor does any beside it; words around it that name a label themselves count as well.
    """
    claims, around = _claims_in(text)
    if alone and any(words.strip() for words in around):
        return set()
    named = {None if claim is None else labels.match(claim) for claim in claims}
    return named | {name for words in around if (name := labels.match(words))} if named else named


def _claims_in(text: str) -> tuple[list[str | None], tuple[str, ...]]:
    """What JSON in a text gives as its label, each time it does, and the words before and after it."""
    body = text.strip()
    if body.startswith(_FENCE) and body.endswith(_FENCE):
        body = body[len(_FENCE) : -len(_FENCE)]
        body = body[named.end() :] if (named := _LANGUAGE.match(body)) else body
    try:
        return list(_claims_of(_DECODER.decode(body))), ()
    except (ValueError, RecursionError):  # a thousand brackets are no label either
        pass
    claims: list[str | None] = []
    first = _OBJECT.search(body)
    found, end = first, 0
    while found:
        try:
            value, end = _DECODER.raw_decode(body, found.start())
        except (ValueError, RecursionError):
            return [], ()
        claims += _claims_of(value)
        found = _OBJECT.search(body, end)
    return claims, (body[: first.start()], body[end:]) if first else ()


def _claims_of(value: Any) -> Iterator[str | None]:
    """What a JSON value gives as its label, None where that can be none. An object is a tuple of its pairs."""
    match value:
        case str():
            yield value
        case list():
            for item in value:
                yield from _claims_of(item) if isinstance(item, str | tuple) else [None]
        case tuple():
            asked = _values(value, {_KEY})
            for item in asked:
                yield from _said(item)
            for item in [] if asked else _values(value, _CALL_KEYS):
                yield from _called(item)


def _values(pairs: tuple[tuple[str, Any], ...], keys: Collection[str]) -> list[Any]:
    return [value for key, value in pairs if key.strip().casefold() in keys]


def _said(value: Any) -> list[str | None]:
    """The labels under a key `label`: one, as text or as a whole number, or a list of them."""
    items = value if isinstance(value, list) else [value]
    return [
        str(item) if isinstance(item, str | int) and not isinstance(item, bool) else None for item in items
    ]


def _called(arguments: Any) -> list[str | None]:
    """The labels in a tool call's arguments, which are an object or its JSON."""
    if isinstance(arguments, str):
        try:
            arguments = _DECODER.decode(arguments)
        except (ValueError, RecursionError):
            return [None]
    pairs = arguments if isinstance(arguments, tuple) else ()
    return [label for item in _values(pairs, {_KEY}) for label in _said(item)]


_DECODER = json.JSONDecoder(object_pairs_hook=tuple)
