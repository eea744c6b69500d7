"""Labels as prompts list them: in lines, or within a sentence; and what of a message is text, not listing.

Lines: `- NAME: DESCRIPTION`, `- NAME`, with `*`, `•` or a number as well; bare lines where the line before them introduces
labels. A sentence: `one of: A, B or C`, `Labels: [A | B]`, `以下类别之一：A、B`, `从A、B、C中选择`; a description may follow a
name in brackets. Where all stands in one message, the line that lists the labels is no text, nor are marks such as `Text:`
before it and `Label:` behind it.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

Labels = tuple[tuple[str, str], ...]
"""Pairs of a name and a description, which may be empty."""

_DASH = r"(?:-|[*•·]|\d{1,3}[.)、])[ \t]*"
_LINE = r"^[ \t]*(?:-[ \t]|[*•·][ \t]|\d{1,3}[.)、][ \t]*)[^\n]*\S[^\n]*"
_LINES = re.compile(rf"{_LINE}(?:\n{_LINE})*", re.MULTILINE)
_BULLET = re.compile(rf"^[ \t]*{_DASH}")
_NAME_ENDS = re.compile(r":\s|:$|：")

_INTRODUCING = (
    r"(?:\bone of\b|\blabels?\b|\bcategor(?:y|ies)\b|\bclass(?:es)?\b|\btopics?\b|\boptions?\b|\bchoices?\b"
    r"|\bchoose (?:from|between|among)\b|\bfollowing\b|\beither\b|类别|标签|分类|类型|类目|主题|选项|之一|选择)"
    r"[^\n:：.。!?？]{0,60}[:：][ \t]*"
)
_INTRODUCED = re.compile(rf"{_INTRODUCING}(?P<list>[^\n]*\S)", re.IGNORECASE)
_BARE_LINES = re.compile(rf"{_INTRODUCING}\n(?P<list>[^\n]*\S[^\n]*(?:\n[^\n]*\S[^\n]*)+)", re.IGNORECASE)
_MARKED_TEXT = re.compile(
    r"(?:(?:the )?(?:text|input|document|headline|title|content|sentence|article|review)|文本|内容|正文|文章|标题|新闻|输入|句子|评论)"
    r"[ \t]*[:：]\s*(?P<text>.*?)"
    r"(?:\n\s*(?:(?:the )?(?:label|category|class|topic|answer|output)|分类|类别|标签|答案|输出|回答|结果)[ \t]*[:：])?",
    re.IGNORECASE | re.DOTALL,
)
_WITHIN = re.compile(
    r"(?:\bone of|\bchoose (?:from|between|among)|\beither|\bas|\binto)(?P<list>[ \t]+[^\n]*\S)"
    r"|从(?P<zh>[^\n。，]+?)(?:之中|中|里)(?:选|挑|任选)",
    re.IGNORECASE,
)
_ENDS = re.compile(r"[.!?](?=\s|$)|[。！？]")
_OPENING, _CLOSING = "[({【（「《\"'`“‘*", "])}】）」》\"'`”’*.。"
_SEPARATORS = ("、", r"[,，]", r"[;；]", r"\|", r"/")
_OTHER_SIGNS = re.compile(r"[,，;；。]| - ")
_OR = re.compile(r"\s+or\s+|或者|或|以及")
_AND = re.compile(r"\s+and\s+|和|及|与")
_LEADING = re.compile(r"^(?:or|and|或者|或|以及|和)\s*(?![A-Za-z])|^(?:or|and)\s+", re.IGNORECASE)
_NO_NAME = re.compile(
    r"^(?:the|these|those|this|that|following|your|my|its|it|nothing|only|with|none of|do not|don't)\s+\S"
    r"|不要|只回答|仅",
    re.IGNORECASE,
)
_DESCRIBED = re.compile(r"^(?P<name>[^(（]+?)\s*[(（](?P<description>[^)）]*)[)）]$")
_BRACKETS = re.compile(r"[(（][^()（）]*[)）]")
_MOST_WORDS = 6
_LONGEST_NAME = 60


@dataclass(frozen=True)
class Listing:
    """Labels that stand in a text, from here to there."""

    start: int
    end: int
    labels: Labels

    @property
    def names(self) -> frozenset[str]:
        """Their names, in lower case."""
        return frozenset(name.casefold() for name, _ in self.labels)


def listings_in(content: str) -> Iterator[Listing]:
    """The listings of a text, in their order; a sentence without a colon counts only where nothing else does."""
    found = [Listing(*lines.span(), _labels_of(lines[0])) for lines in _LINES.finditer(content)]
    found += _in_sentences(content, _INTRODUCED)
    found = found or list(_in_sentences(content, _WITHIN))
    end = 0
    for listing in sorted(found, key=lambda listing: listing.start):
        if listing.start >= end:
            end = listing.end
            yield listing


@lru_cache(maxsize=64)
def labels_in(instructions: str) -> Labels:
    """The labels of a message that comes with every request; lines go before sentences there."""
    lines = _LINES.search(instructions)
    if lines is not None:
        return _labels_of(lines[0])
    if (bare := _BARE_LINES.search(instructions)) is not None:
        return _labels_of(bare["list"])
    return next((listing.labels for listing in listings_in(instructions)), ())


def labels_and_text(
    instructions: Sequence[str], parts: Sequence[str], named: Collection[str] = ()
) -> tuple[Labels, str]:
    """The labels that a request lists and the text it wants labeled.

    Args:
        instructions: the system messages.
        named: the labels that a schema names.
        parts: the first user message. What follows the text there and lists the same labels once more is a
            correction, which some dialects put into the same message: it makes no other text.
    """
    labels = next((found for content in instructions if (found := labels_in(content))), ())
    known = frozenset(name.casefold() for name in ([name for name, _ in labels] or named))
    content = "\n".join(parts)
    listings = list(listings_in(content))
    text = _before_correction(content, parts, listings, known)
    if labels or not listings or text != content:
        return labels, text
    # Their place is here: what remains is the text.
    first, *others = listings
    text = _before_correction(content, parts, others, first.names)
    is_sentence = _LINES.match(content, first.start) is None
    start = content.rfind("\n", 0, first.start) + 1 if is_sentence else first.start
    rest = (text[:start] + text[first.end :]).strip()
    marked = _MARKED_TEXT.fullmatch(rest)
    return first.labels, marked["text"].strip() if marked else rest


def _before_correction(
    content: str, parts: Sequence[str], listings: Sequence[Listing], known: frozenset[str]
) -> str:
    ends: list[int] = []
    for part in parts:
        ends.append((ends[-1] + 1 if ends else 0) + len(part))
    for listing in listings:
        if listing.names != known or not known:
            continue
        place = next(place for place, end in enumerate(ends) if listing.start < end)
        if place:
            return content[: ends[place - 1]]
        rest_of_part = content[listing.end : ends[0]].partition("\n")
        start = content.rfind("\n", 0, listing.start) + 1
        before = content[:start].rstrip("\n")
        if before.endswith((":", "：")):
            # The line that introduces them is the correction's too.
            start = before.rfind("\n") + 1
        if start and not rest_of_part[2].strip():
            return content[:start].rstrip()
    return content


def _labels_of(lines: str) -> Labels:
    return tuple(_name_and_description(_BULLET.sub("", line).strip()) for line in lines.split("\n"))


def _name_and_description(line: str) -> tuple[str, str]:
    name, *description = _NAME_ENDS.split(line, maxsplit=1)
    return name.strip(), "".join(description).strip()


def _in_sentences(content: str, pattern: re.Pattern[str]) -> Iterator[Listing]:
    for found in pattern.finditer(content):
        group = "list" if found["list"] is not None else "zh"
        written = found[group]
        if (end := _ENDS.search(_without_brackets(written))) is not None:
            written = written[: end.start()]
        labels = _listed(written, is_introduced=pattern is _INTRODUCED)
        if len(labels) > 1:
            yield Listing(found.start(), found.start(group) + len(written), labels)


def _listed(written: str, *, is_introduced: bool) -> Labels:
    """The labels of a list such as `A, B or C`; none where it is no list.

    What is introduced by a colon holds names, however they begin; a sentence may hold anything.
    """
    written = written.strip()
    if written[:1] in _OPENING:
        written = written.strip(_OPENING + _CLOSING)
    separator = next((each for each in _SEPARATORS if len(_split(written, each)) > 1), None)
    *others, last = _split(written, separator) if separator else [written]
    if separator:
        # A sign of another kind ends the list: `A、B，不要输出其他内容`.
        last = _parted(_OTHER_SIGNS, last)[0]
    *middle, last = [piece for piece in _parted(_OR, last) if piece.strip()] or [""]
    names = [_LEADING.sub("", piece.strip()).strip() for piece in (*others, *middle, *_halves(last, others))]
    # What follows a list may look like one more of it; what begins like a sentence is none.
    while names and (not names[-1] or _NO_NAME.search(names[-1])):
        names.pop()
    if not is_introduced and any(map(_NO_NAME.search, names)):
        return ()
    labels = [_described(name) for name in names]
    return tuple(label for label in labels if label is not None) if None not in labels else ()


def _split(written: str, separator: str) -> list[str]:
    """The pieces between separators that stand in no brackets."""
    pieces, depth, piece = [], 0, ""
    for sign in written:
        depth += (sign in "(（") - (sign in ")）")
        if depth == 0 and re.fullmatch(separator, sign):
            pieces.append(piece)
            piece = ""
        else:
            piece += sign
    return [*pieces, piece]


def _without_brackets(written: str) -> str:
    """The same, as long, with nothing to be read within brackets."""
    return _BRACKETS.sub(lambda found: "_" * len(found[0]), written)


def _parted(pattern: re.Pattern[str], written: str) -> list[str]:
    """The pieces between what a pattern finds outside brackets."""
    places = [found.span() for found in pattern.finditer(_without_brackets(written))]
    starts, ends = [0, *(end for _, end in places)], [*(start for start, _ in places), len(written)]
    return [written[start:end] for start, end in zip(starts, ends, strict=True)]


def _halves(last: str, others: Sequence[str]) -> list[str]:
    """`B和C` as two, where neither is longer than what stands before them: a label may hold such a word itself."""
    halves = [half for half in _parted(_AND, last) if half.strip()]
    most = max((len(other.strip()) for other in others), default=_LONGEST_NAME)
    return halves if len(halves) == 2 and max(len(half.strip()) for half in halves) <= most else [last]  # noqa: PLR2004


def _described(written: str) -> tuple[str, str] | None:
    described = _DESCRIBED.match(written)
    name, description = (described["name"], described["description"]) if described else (written, "")
    name = name.strip(_OPENING + _CLOSING + " \t")
    if not name or len(name) > _LONGEST_NAME or len(name.split()) > _MOST_WORDS:
        return None
    return name, description.strip()
