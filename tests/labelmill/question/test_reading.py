"""Reading: which label a text names, in whatever stands around it."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from labelmill.question.reading import LabelSet, named_in_json, normalise, visible

NAMES = ("Sport", "技术", "Hard News", "C++", "No.", "No")
LABELS = LabelSet(NAMES)

PAIRS = [
    *('""', "''", "``", "“”", "„“", "‘’", "«»", "»«", "‹›", "〝〞", "「」", "『』", "《》", "〈〉", "【】", "〔〕", "〖〗"),
    *("[]", "()", "{}", "<>", "＂＂", "＇＇", "｀｀", "［］", "（）", "｛｝", "＜＞", "｢｣", "**", "__", "$$", "＊＊", "＿＿"),
    *(("**", "**"), ("__", "__"), ("***", "***"), ("~~", "~~"), ("～～", "～～"), ("```", "```"), ("``", "``")),
    *(("```\n", "\n```"), ("```text\n", "\n```"), (r"\boxed{", "}"), (r"$\boxed{\text{", "}}$")),
    *(("<answer>", "</answer>"), ("<label>", "</label>"), ("<|begin_of_box|>", "<|end_of_box|>")),
    *(("**Label:** ", ""), ("**Answer**: ", ""), ("**Category: ", "**"), ("> **", "**")),
    ("<|START_RESPONSE|>", "<|END_RESPONSE|>"),
]  # fmt: skip
ENDINGS = [*".。｡!！?？,，;；:：、…", "...", "。\n", " .", "\n"]
PREFIXES = [
    "Label: ",
    "Label:",
    "label：",
    "Answer: ",
    "Final answer:\n",
    "Category: ",
    "标签：",
    "类别：",
    "答案：",
    "结果: ",
]
LIST_MARKS = [
    "- ",
    "* ",
    "• ",
    "•",
    "+ ",
    "1. ",
    "1) ",
    "(1) ",
    "12. ",
    "１．　",
    "1、",
    "# ",
    "### ",
    "> ",
    "– ",
]
INVISIBLE = [
    "\u200b",
    "\u200d",
    "\u200e",
    "\u200f",
    "\u202a",
    "\u202e",
    "\u2060",
    "\u2066",
    "\u2069",
    "\ufeff",
    "\u00ad",
    "\u00a0",
]
LEAKED = [
    *("<|im_end|>", "<|endoftext|>", "</s>", "<|eot_id|>", "<end_of_turn>", "<|end|>", "[/INST]", "<|eom_id|>"),
    *("<｜end▁of▁sentence｜>", "<|return|>", "<|end_of_text|>", "<eos>", "<turn|>", "<|im_end|>\n", "<|eot_id|>" * 6),
]  # fmt: skip
BEFORE = [
    *PREFIXES,
    *LIST_MARKS,
    *INVISIBLE,
    " ",
    "\n",
    "<s>",
    "[INST]",
    "<|im_start|>assistant\n",
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
]
AFTER = [*ENDINGS, *INVISIBLE, *LEAKED, " ", "\u3000"]


@pytest.mark.parametrize("name", NAMES)
def test_a_label_is_itself(name):
    """Every label matches, whatever its case, width and white space."""
    for said in (
        name,
        name.upper(),
        name.lower(),
        f" {name}\n",
        name.replace(" ", "\u3000"),
        name.replace(" ", " \t\n"),
    ):
        assert LABELS.match(said) == name
    assert LABELS.match("\uff33\uff30\uff2f\uff32\uff34") == "Sport"
    assert LABELS.match("\uff23\uff0b\uff0b") == "C++"


@pytest.mark.parametrize("pair", PAIRS, ids=repr)
def test_a_label_in_a_pair(pair):
    """Quotes, brackets, emphasis, fences and tags come off, with an ending inside or outside of them."""
    opening, closing = pair
    for said in (
        f"{opening}Sport{closing}",
        f"{opening}Sport.{closing}",
        f"{opening}Sport{closing}。",
        f" {opening} sport {closing} ",
    ):
        assert LABELS.match(said) == "Sport", said


@pytest.mark.parametrize("before", BEFORE, ids=ascii)
def test_a_label_after_what_is_none(before):
    """A prefix, a list's mark, a heading's, an invisible character and a template's mark come off."""
    for said in (f"{before}Sport", f"{before}**技术**.", f'{before}"Hard News"'):
        assert LABELS.match(said) in NAMES, said


@pytest.mark.parametrize("after", AFTER, ids=ascii)
def test_a_label_before_what_is_none(after):
    """An ending of either width, an invisible character and leaked end marks come off."""
    for said in (f"Sport{after}", f"技术{after}{after}", f"**Hard News**{after}"):
        assert LABELS.match(said) in NAMES, said


@st.composite
def wrapped(draw, name):
    """A label in a few random envelopes."""
    said = name
    for _ in range(draw(st.integers(0, 4))):
        opening, closing = draw(
            st.one_of(
                st.sampled_from(PAIRS),
                st.sampled_from(AFTER).map(lambda mark: ("", mark)),
            )
        )
        said = f"{opening}{said}{closing}"
    return draw(st.sampled_from(["", *BEFORE])) + said


@settings(max_examples=300, deadline=None)
@given(st.data(), st.sampled_from(["Sport", "技术", "Hard News", "C++"]))
def test_a_label_in_any_envelopes_is_that_label(data, name):
    """Whatever is wrapped around a label, in whatever order, it reads as that label."""
    said = data.draw(wrapped(name))
    assert LABELS.match(said) == name, said


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=12) | st.sampled_from(NAMES).flatmap(wrapped))
@example("No..")
def test_whatever_is_said_a_label_stands_in_it(said):
    """What reads as a label holds it, whole."""
    name = LABELS.match(said)
    assert name is None or normalise(name) in visible(normalise(said))


@pytest.mark.parametrize(
    "said",
    [
        *("Sports", "Spor", "Sp ort", "HardNews", "C", "C+", "技 术", "技術", "科技", "Ѕport", "Sp\u00f6rt", "1", "-Sport"),
        *("Sport or 技术", "Sport, 技术", "Sport/No", "Sport\n技术", "- Sport\n- 技术", "Sport Sport", "the label is Sport"),
        *("Sport: football", "Sport because of the match", "Sport\n\nThe text is about football.", "Not Sport", "{label}"),
        *('"Sport', "Sport”", "(Sport", "*Sport", "[Sport)", "<answer>Sport", "Sport\x00", "Sport\ufffd", "Sport\ud800"),
        *("Label: Sport or 技术", "Labels: Sport", "Sport: 技术", "1.Sport", "Answer = Sport", '{"label": "Sport"}', "", ".", '""'),
        *("<think>Sport</think>", "<|im_end|>", "Sport<|im_end|>技术", "Sport <|im_start|>user"),
    ],
)  # fmt: skip
def test_a_near_miss_names_none(said):
    """Another word, two labels, a sentence, half a pair: none, however near."""
    assert LABELS.match(said) is None


@pytest.mark.parametrize(
    ("names", "said", "label"),
    [
        (["[A]", "A"], "[A].", "[A]"),
        (["[A]", "A"], "[A]", "[A]"),
        (["[A]", "A"], '"[A]"', "[A]"),
        (["[A]", "A"], "A.", "A"),
        (["[A]", "A"], "(A)", "A"),
        (["《红楼梦》", "红楼梦"], "《红楼梦》。", "《红楼梦》"),
        (["《红楼梦》", "红楼梦"], "“红楼梦”", "红楼梦"),
        (["sport (other)", "sport"], "sport (other).", "sport (other)"),
        (["sport (other)", "sport"], '"sport (other)"', "sport (other)"),
        (["sport (other)", "sport"], "(sport (other))", "sport (other)"),
        (["体育（其他）", "体育"], "体育（其他）。", "体育（其他）"),
        (["体育（其他）", "体育"], "体育(其他)", "体育（其他）"),
        (['"A"', "A"], '"A"', '"A"'),
        (['"A"', "A"], '"A".', '"A"'),
        (["A.", "A"], "A.", "A."),
        (["A.", "A"], "A..", "A."),
        (["A!", "A"], "**A!**", "A!"),
        (["A: b", "A"], "A: b", "A: b"),
        (["A: b", "A"], '"A: b".', "A: b"),
        (["A: b", "A"], "A:", "A"),
        (["Label: A", "A"], "Label: A", "Label: A"),
        (["- A", "A"], "- A", "- A"),
        (["- A", "A"], "- A.", "- A"),
        (["- A", "A"], "* A", "A"),
        (["#1", "1"], "#1", "#1"),
        (["#1", "1"], "# 1", "1"),
        (["1", "2"], "1.", "1"),
        (["1", "2"], "1. 2", None),
        (["1", "2"], "1) 2", None),
        (["A", "2"], "1. 2", "2"),
        (["answer", "question"], "Answer: question", None),
        (["answer", "question"], "Label: question", "question"),
        (["1.5", "5"], "1.5", "1.5"),
        (["5", "6"], "1.5", None),
        (["-5", "5"], "-5", "-5"),
        (["6", "5"], "-5", None),
        (["</s>", "sport"], "</s>", "</s>"),
        (["<b>", "b"], "<b>", "<b>"),
        (["<b>", "b"], "“<b>”", "<b>"),
        (["می‌خواهم", "نه"], "«می‌خواهم»", "می‌خواهم"),
        (["می‌خواهم", "نه"], "میخواهم", "می‌خواهم"),
        (["👨‍👩‍👧", "👨👩👧"], "👨‍👩‍👧", "👨‍👩‍👧"),
        (["👨‍👩‍👧", "👨👩👧"], "👨👩👧", "👨👩👧"),
        (["❤️", "✂️"], "❤", "❤️"),
        (["__init__", "init"], "__init__", "__init__"),
        (["__init__", "init"], "`__init__`", "__init__"),
        (["No.", "No"], '"No."', "No."),
        (["C#", "C"], "C#.", "C#"),
    ],
)  # fmt: skip
def test_labels_with_marks_of_their_own(names, said, label):
    """A label's own brackets, colons, quotes and endings belong to it; the longest reading counts."""
    assert LabelSet(names).match(said) == label


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text("aA[](){}\"'.:-*_ <>/12#", min_size=1, max_size=6), min_size=2, max_size=5))
def test_labels_of_any_marks_are_themselves_and_no_other(names):
    """However labels are made of marks and of one another, each reads as itself, in quotes too."""
    names = list({normalise(name): name for name in names if normalise(name)}.values())
    labels = LabelSet(names)
    for name in names:
        assert labels.match(name) == name
        if not any(normalise(f"«{name}»") == normalise(other) for other in names):
            assert labels.match(f"«{name}»") == name


MEANINGS = {"sport": "football, match", "money": "", "A: b": "c", "A": "b: c", "科技": "软件；硬件"}


@pytest.mark.parametrize(
    ("said", "label"),
    [
        ("sport: football, match", "sport"),
        ("- sport: football, match", "sport"),
        ("Sport：football,  match.", "sport"),
        ("**sport: football, match**", "sport"),
        ("科技: 软件;硬件", "科技"),
        ("sport: football", None),
        ("sport: football, match, team", None),
        ("money: football, match", None),
        ("money:", "money"),
        ("football, match", None),
        ("A: b: c", None),
        ("sport: football, match\nmoney", None),
    ],
)
def test_a_label_with_its_own_description_is_that_label(said, label):
    """What the prompt shows after a label may be said with it, word for word; nothing else may."""
    assert LabelSet(MEANINGS).match(said) == label


@pytest.mark.parametrize(
    ("said", "label"),
    [
        ("sport\nsport", "sport"),
        ("sport\n\n- Sport.\r\n**sport**", "sport"),
        ("sport\nsport: football, match", "sport"),
        ("sport\nmoney", None),
        ("sport\nsports", None),
        ("sport sport", None),
        ("sport, sport", None),
    ],
)
def test_the_same_label_on_every_line_is_that_label(said, label):
    """A model that repeats itself line by line names one label; two labels are none."""
    assert LabelSet(MEANINGS).match(said) == label


def test_labels_that_begin_another():
    """A label that a longer one begins with is known, at any place in the order."""
    labels = LabelSet(["sport news", "sport", "spa", "SPORT NEWS LOCAL", "体育", "体育新闻"])
    begins = {
        name
        for name in ["sport news", "sport", "spa", "SPORT NEWS LOCAL", "体育", "体育新闻"]
        if labels.begins_another(name)
    }
    assert begins == {"sport", "sport news", "体育"}


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ('{"label": "Sport"}', {"Sport"}),
        (' \n{"label" : "sport."}\n', {"Sport"}),
        ('{"reason": "a match", "label": "Sport", "confidence": 0.9}', {"Sport"}),
        ('{"Label": "Sport"}', {"Sport"}),
        ('{" LABEL ": "Sport"}', {"Sport"}),
        ('{"label": ["Sport"]}', {"Sport"}),
        ('{"label": ["Sport", "sport"]}', {"Sport"}),
        ('["Sport"]', {"Sport"}),
        ('[{"label": "Sport"}]', {"Sport"}),
        ('"Sport"', {"Sport"}),
        ('```json\n{"label": "Sport"}\n```', {"Sport"}),
        ('```\n{"label": "Sport"}\n```', {"Sport"}),
        ('```json\n"Sport"\n```', {"Sport"}),
        ('```JSON\n["Sport"]```', {"Sport"}),
        ('Here it is:\n```json\n{"label": "Sport"}\n```\nI hope this helps!', {"Sport"}),
        ('The answer is {"label": "Sport"}.', {"Sport"}),
        ('{"label": "Sport"} and more', {"Sport"}),
        ('{"label": "Sport"}<|im_end|>', {"Sport"}),
        ('{"label": "Sport"}\n{"label": "Sport"}', {"Sport"}),
        ('Of {Sport, 技术}: {"label": "Sport"}', {"Sport"}),
        ('<tool_call>{"name": "label", "arguments": {"label": "Sport"}}</tool_call>', {"Sport"}),
        ('{"name": "f", "parameters": {"label": "Sport"}}', {"Sport"}),
        ('{"name": "f", "arguments": "{\\"label\\": \\"Sport\\"}"}', {"Sport"}),
        ('{"label": "Sport"}{"label": "技术"}', {"Sport", "技术"}),
        ('{"label": "Sport", "label": "技术"}', {"Sport", "技术"}),
        ('{"label": "Sport", "Label": "技术"}', {"Sport", "技术"}),
        ('{"label": ["Sport", "技术"]}', {"Sport", "技术"}),
        ('["Sport", "技术"]', {"Sport", "技术"}),
        ('技术\n{"label": "Sport"}', {"Sport", "技术"}),
        ('{"label": "Sport"}\n技术.', {"Sport", "技术"}),
        ('{"label": "Sport"} {"label": "Sports"}', {"Sport", None}),
        ('{"label": "Sport or 技术"}', {None}),
        ('{"label": null}', {None}),
        ('{"label": true}', {None}),
        ('{"label": {"label": "Sport"}}', {None}),
        ('{"label": ["Sport", null]}', {None, "Sport"}),
        ('["Sport", 1]', {None, "Sport"}),
        ('{"name": "f", "arguments": "{"}', {None}),
        ('{"category": "Sport"}', set()),
        ('{"label": "Sport"', set()),
        ('{"label": "Sport"} {"label": "技', set()),
        ('{"thought": {"label": "Sport"}, "label": "技', set()),
        ('{"label": []}', set()),
        ("Sport", set()),
        ("{}", set()),
        ("null", set()),
        ("9" * 5000, set()),
        ("", set()),
    ],
)
def test_json_in_whatever_stands_around_it(said, named):
    """Objects that have the key `label` say it, in a fence or a sentence; broken ones say nothing, two say both."""
    assert named_in_json(said, LABELS) == named


def test_a_label_that_is_a_number_may_be_one_in_json():
    """A model that is asked for "4" writes 4; true is no 1."""
    labels = LabelSet(["1", "4"])
    assert named_in_json('{"label": 4}', labels) == {"4"}
    assert named_in_json('{"label": true}', labels) == {None}
    assert named_in_json('{"label": 4.0}', labels) == {None}


@given(st.sampled_from(NAMES), st.booleans(), st.sampled_from(["", "```json\n", "Well: ", "\ufeff"]))
def test_the_schemas_json_is_its_label(name, ascii_only, before):
    """Every label comes back out of the JSON it is asked for in, escaped or not."""
    said = before + json.dumps({"label": name}, ensure_ascii=ascii_only)
    assert named_in_json(said, LABELS) == {name}


def test_among_thoughts_an_object_has_to_stand_alone():
    """Where only the whole counts, words around an object take its say."""
    assert named_in_json('{"label": "Sport"}', LABELS, alone=True) == {"Sport"}
    assert named_in_json('maybe {"label": "Sport"}', LABELS, alone=True) == set()


@pytest.mark.parametrize(
    "said",
    [
        "a" * 1_000_000,
        " " * 1_000_000,
        "(" * 500 + "Sport" + ")" * 500,
        "- " * 300 + "x" + ". " * 300,
        "[" * 1_000_000,
        "{" * 1_000_000,
        '{"' * 500_000,
        '{"a":' * 200_000,
        '{"label":"x"}' * 50_000,
        "```" + " " * 1_000_000,
        '{"arguments":' * 400 + "1" + "}" * 400,
        "\u0301\u0316" * 500_000,
        "\ufdfa" * 100_000,
        "<|im_end|>" * 200,
        "Sport\n" * 200 + "x",
        '"' * 1000,
    ],
    ids=lambda said: f"{said[:9]!a}-{len(said)}",
)
def test_a_hostile_text_takes_no_time_and_names_none(said):
    """No text blows up, however it is made of brackets, marks or nested JSON."""
    assert LABELS.match(said) is None
    assert named_in_json(said, LABELS) <= {None}


def test_a_long_label_still_matches_decomposed_and_wrapped():
    """The bound on a text's length leaves room for any form of the longest label."""
    long = "é" * 3000
    labels = LabelSet([long, "b"])
    assert labels.match('"' + "e\u0301" * 3000 + '"') == long
    assert labels.match("é" * 2999) is None
