"""Which label suits a text, by the characters and words it shares with the label's name and description.

This is counting, not understanding: phrases of a description that stand in the text weigh most, longer ones
more; then single words (English, with a plural's s and the like taken off) and runs of one to three
characters (Chinese, Japanese, Korean). What several labels share counts less for each of them.
"""

import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from practice.dice import roll
from practice.tokens import CJK

LONGEST_TEXT = 20_000
"""Characters of a text that are looked at: scoring must stay cheap whatever arrives."""

_PHRASE_ENDS = re.compile(r"[,，、;；。./／|:：!！?？()（）\[\]【】“”\"'‘’《》<>\n]+")
_CJK_RUN = re.compile(f"[{CJK}]+")
_CJK_CONNECTIVES = re.compile("以及|或者|等|和|与|及|或|的|类")
_WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")
_FEW_MEANINGS = frozenset(
    {"a", "an", "and", "as", "by", "etc", "for", "in", "of", "on", "or", "the", "to", "with"}
)

# Runs weigh by their characters, phrases by their characters or words to this power, words all the same.
_GRAM_WEIGHTS = {1: 0.12, 2: 0.7, 3: 1.0}
_PHRASE_POWER = 1.5
_WORD_WEIGHT = 2.0


@dataclass(frozen=True)
class _LabelSet:
    """A label set made ready: for every feature, the labels that have it and the weight it brings each."""

    names: tuple[str, ...]
    grams: Mapping[str, tuple[float, tuple[int, ...]]]
    words: Mapping[str, tuple[float, tuple[int, ...]]]
    phrases: tuple[tuple[str, float, tuple[int, ...]], ...]
    """Runs with CJK characters, looked for in the text without its blanks."""
    word_phrases: tuple[tuple[str, float, tuple[int, ...]], ...]
    """Two or more words, looked for in the text's words."""


def score_labels(text: str, labels: tuple[tuple[str, str], ...]) -> tuple[str, dict[str, float]]:
    """The best label of a text and every label's score.

    Args:
        text: what is to be labeled.
        labels: (name, description) pairs; descriptions may be empty.

    Returns:
        The name of the label with the highest score (a hash of text and name decides between equals), and the
        scores by name, 0 or more, made for `probabilities_of`.

    Raises:
        ValueError: there are no labels.
    """
    if not labels:
        raise ValueError("There are no labels to choose from.")
    prepared = _prepare(labels)
    totals = [0.0] * len(prepared.names)
    folded = _fold(text[:LONGEST_TEXT])
    squeezed = "".join(folded.split())
    words = _words(folded)
    word_line = f" {' '.join(words)} "
    for grams, known in ((_cjk_grams(squeezed), prepared.grams), (set(words), prepared.words)):
        for feature in grams & known.keys():
            _add(totals, *known[feature])
    for phrase, weight, owners in prepared.phrases:
        if phrase in squeezed:
            _add(totals, weight, owners)
    for phrase, weight, owners in prepared.word_phrases:
        if phrase in word_line:
            _add(totals, weight, owners)
    scores = dict(zip(prepared.names, totals, strict=True))
    top = max(totals)
    best = [name for name, score in scores.items() if score == top]
    return (best[0] if len(best) == 1 else max(best, key=lambda name: roll(text, name))), scores


def probabilities_of(scores: Mapping[str, float]) -> dict[str, float]:
    """The softmax of the scores: fractions that sum to 1."""
    top = max(scores.values())
    raised = {name: math.exp(score - top) for name, score in scores.items()}
    total = sum(raised.values())
    return {name: value / total for name, value in raised.items()}


def _add(totals: list[float], weight: float, owners: tuple[int, ...]) -> None:
    for owner in owners:
        totals[owner] += weight


@lru_cache(maxsize=64)
def _prepare(labels: tuple[tuple[str, str], ...]) -> _LabelSet:
    grams: dict[str, set[int]] = defaultdict(set)
    words: dict[str, set[int]] = defaultdict(set)
    phrases: dict[str, set[int]] = defaultdict(set)
    word_phrases: dict[str, set[int]] = defaultdict(set)
    names = tuple(dict.fromkeys(name for name, _ in labels))
    for name, description in labels:
        owner = names.index(name)
        for phrase in _phrases(f"{name},{description}"):
            found = [word for word in _words(phrase) if word not in _FEW_MEANINGS]
            for word in found:
                words[word].add(owner)
            if len(found) > 1:
                word_phrases[f" {' '.join(found)} "].add(owner)
            for piece in _cjk_pieces(phrase):
                phrases[piece].add(owner)
                for gram in _cjk_grams(piece):
                    grams[gram].add(owner)
    return _LabelSet(
        names,
        {gram: (_GRAM_WEIGHTS[len(gram)] / len(of), tuple(of)) for gram, of in grams.items()},
        {word: (_WORD_WEIGHT / len(of), tuple(of)) for word, of in words.items()},
        tuple((phrase, len(phrase) ** _PHRASE_POWER / len(of), tuple(of)) for phrase, of in phrases.items()),
        tuple(
            (phrase, _WORD_WEIGHT * phrase.count(" ") ** _PHRASE_POWER / len(of), tuple(of))
            for phrase, of in word_phrases.items()
        ),
    )


def _fold(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _phrases(described: str) -> list[str]:
    return [phrase for phrase in _PHRASE_ENDS.split(_fold(described)) if phrase.strip()]


def _cjk_pieces(phrase: str) -> set[str]:
    """The parts of a phrase with CJK characters, between blanks, and again between words like "and"."""
    pieces = {part for part in phrase.split() if _CJK_RUN.search(part)}
    pieces |= {piece for part in pieces for piece in _CJK_CONNECTIVES.split(part) if _CJK_RUN.search(piece)}
    return {piece for piece in pieces if len(piece) > 1}


def _cjk_grams(text: str) -> set[str]:
    return {
        run[start : start + length]
        for run in _CJK_RUN.findall(text)
        for length in _GRAM_WEIGHTS
        for start in range(len(run) - length + 1)
    }


def _words(folded: str) -> list[str]:
    return [_stem(word) for word in _WORD.findall(folded)]


def _stem(word: str) -> str:
    """A word without the commonest English endings: enough for plurals to meet their singulars."""
    word = word.removesuffix("'s")
    if len(word) > 4 and word.endswith("ies"):  # noqa: PLR2004 - "ties" stays
        return word[:-3] + "y"
    if len(word) > 5 and word.endswith("ing"):  # noqa: PLR2004 - "sing", "bring" stay
        return word[:-3]
    if word.endswith(("ches", "shes", "sses", "xes")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):  # noqa: PLR2004 - "gas" stays
        return word[:-1]
    return word
