"""What is said of labels and of a job's own wording."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelmill.check.job import checked_job
from labelmill.check.prompt import label_mistakes, prompt_mistakes
from labelmill.job.file import draft_of_file
from labelmill.job.model import Prompt
from labelmill.question.reading import LabelSet


def _labels(*names):
    return label_mistakes(dict.fromkeys(names, ""))


def test_there_must_be_two_labels(job_file, mistakes_in):
    """None and one are refused, and the one there is is named."""
    assert _labels() == [("labels", "there must be two labels or more, and there is none")]
    assert _labels("技术") == [("labels", "there must be two labels or more, and there is only '技术'")]
    assert _labels("a", "b") == []
    lines = ('"sport" = "football, match"\n"money" = ""', "")
    assert mistakes_in(job_file(lines)) == {"labels": "there must be two labels or more, and there is none"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Sport", "sport"),
        ("sport", " sport "),
        ("big news", "big  news"),
        ("STRASSE", "straße"),
        ("ABC", "ＡＢＣ"),
        ("技术", "技术\u3000"),
        ("a b", "a\u00a0b"),
        ("é", "e\u0301"),
    ],
)
def test_labels_that_an_answer_could_not_tell_apart(one, other):
    """Labels that differ only by case, width or space are refused, with both names."""
    assert _labels(one, "other", other) == [
        ("labels", f"{one!r} and {other!r} differ only by case, width or space; rename one")
    ]


@pytest.mark.parametrize("mark", ["\u200b", "\ufeff", "\u202e", "\u00ad", "\u200d", "\ufe0f"])
def test_labels_that_differ_by_what_nobody_sees(mark):
    """A model can't be told to answer with the one and not with the other."""
    assert _labels("sport", "other", f"spo{mark}rt") == [
        ("labels", f"'sport' and {f'spo{mark}rt'!r} differ only by what can't be seen; rename one")
    ]


COLONS = [":", " : ", ": b", "：", "：乙", ":b:c", " ﹕ b"]


@pytest.mark.parametrize("end", COLONS)
@pytest.mark.parametrize(("first", "second"), [("A", "a"), ("甲", "甲"), ("a b", "A  B")])
def test_a_label_that_begins_like_another_with_its_meaning(end, first, second):
    """The model is told to answer with what stands before the colon, and both would be the same, in either order."""
    names = [first, f"{second}{end}"]
    for labels in (names, names[::-1]):
        ((place, sentence),) = _labels(*labels, "other")
        assert place == "labels"
        assert sentence.startswith(f"{names[1]!r} begins like {names[0]!r} with its meaning")


@pytest.mark.parametrize(
    "names",
    [
        ("A", "AB: c"),
        ("A: b", "A: c"),
        ("A", "(A: b)"),
        ("b", "A: b"),
        ("A", ": A"),
        ("A", "-A"),
        ("A", "[A]"),
        ("1", "10:30"),
    ],
)
def test_labels_with_colons_that_stand_apart(names):
    """A colon alone makes nothing the same."""
    assert _labels(*names) == []


def test_a_label_that_reads_like_another_in_the_list():
    """An answer that repeats the line of the one would name the other."""
    assert _labels("A", "- a", "other") == [
        ("labels", "'- a' reads like 'A' as it stands in the list of labels; rename one")
    ]


@pytest.mark.parametrize("name", ["", " ", "\t", "\u3000", "\u200b", "\ufeff \u200b"])
def test_a_blank_label(name):
    """A label needs a name."""
    assert _labels("a", "b", name) == [("labels", f"the label {name!r} is blank")]


@pytest.mark.parametrize("name", ["two\nlines", "a\rb", "a\u2028b", "a\x0bb", "a\n"])
def test_a_label_of_two_lines(name):
    """A label stands on one line of the prompt and of the answer, whatever breaks the line."""
    assert _labels("a", name) == [
        ("labels", f"the label {name!r} holds a line break, which a short answer can't")
    ]


@pytest.mark.parametrize(
    "name",
    ["C++", "{braces}", "a: b", '"quoted"', "'", "技术/科学", "a.b", "🙂", "=", "[x]", "#", "a\tb", "<b>"],
)
def test_unusual_labels(job_file, name):
    """Punctuation, emoji, braces and other scripts make fine labels, in the file and in an answer."""
    assert _labels("sport", name) == []
    assert LabelSet(["sport", name]).match(name) == name
    quoted = name.replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t")
    job = checked_job(draft_of_file(job_file(('"money" = ""', f'"{quoted}" = "x"'))))
    assert list(job.labels) == ["sport", name]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1), unique=True, min_size=2, max_size=5
    )
)
def test_labels_without_a_mistake_are_told_apart(names):
    """In a label set without a mistake every label matches itself and no other."""
    if not _labels(*names):
        labels = LabelSet(names)
        assert [labels.match(name) for name in names] == names


@pytest.mark.parametrize(
    "words",
    [
        {},
        {"system": "Sort. {labels}"},
        {"user": "{text}"},
        {"user": "Text: {text}\nLabels: {labels}"},
        {"system": "Sort.", "user": "{text} {labels}"},
        {"system": '请分类：{labels}。回答如 {{"label": "x"}}', "user": "“{text}”"},
    ],
)
def test_good_wording(words):
    """Any wording that shows the model its labels and its text is fine."""
    assert prompt_mistakes(Prompt(**words)) == []


@pytest.mark.parametrize(
    ("words", "place", "sentence"),
    [
        ({"user": "Sort this"}, "prompt.user", "it has no {text}, so the model would not see the row"),
        ({"user": ""}, "prompt.user", "it has no {text}, so the model would not see the row"),
        ({"system": "Sort."}, "prompt.system", "it has no {labels}, and neither has prompt.user: the model would not see them"),
        ({"system": "Sort.", "user": "{text}"}, "prompt.system", "it has no {labels}, and neither has prompt.user: the model would not see them"),
        ({"user": "{text} {title}"}, "prompt.user", "it names {title}, but there is only {labels} and {text}; write a literal brace twice"),
        ({"user": "{text} {}"}, "prompt.user", "it names {}, but there is only {labels} and {text}; write a literal brace twice"),
        ({"user": "{text} {0}"}, "prompt.user", "it names {0}, but there is only"),
        ({"system": '{labels} {"label": 1}'}, "prompt.system", 'it names {"label": 1}, but there is only'),
        ({"system": "{labels.x} {labels}"}, "prompt.system", "it names {labels.x}, but there is only"),
        ({"user": "{text} {text:d}"}, "prompt.user", "it names {text:d}, but there is only"),
        ({"user": "{text} {text!r}"}, "prompt.user", "it names {text!r}, but there is only"),
        ({"user": "{text} {"}, "prompt.user", "its braces don't match (Single '{' encountered in format string); write a literal brace twice"),
        ({"user": "{text} }"}, "prompt.user", "its braces don't match (Single '}' encountered in format string)"),
    ],
)  # fmt: skip
def test_wording_that_would_fail_or_mislead(words, place, sentence):
    """Wording that hides the text or the labels, or names what there isn't, is refused before the first request."""
    ((found_place, found_sentence),) = prompt_mistakes(Prompt(**words))
    assert found_place == place
    assert found_sentence.startswith(sentence)


@pytest.mark.parametrize(
    ("prompt", "labels", "is_good"),
    [
        ({"system": "", "user": "{labels}: {text}"}, ("a", "b"), True),
        ({"system": "", "user": "sport or money? {text}"}, ("sport", "money"), True),
        ({"system": "是体育还是财经？"}, ("体育", "财经"), True),
        ({"system": "", "user": "sports or money? {text}"}, ("sport", "money"), False),
        ({"system": "Sort."}, ("S", "t"), False),
        ({"system": "是体育吗？"}, ("体育", "财经"), False),
    ],
)
def test_labels_may_stand_in_the_words_themselves(prompt, labels, is_good):
    """All of them, each as a word of its own; then no `{labels}` is needed."""
    assert (prompt_mistakes(Prompt(**prompt), dict.fromkeys(labels, "")) == []) is is_good


def test_a_prompt_without_a_system_message_that_shows_no_labels():
    """An empty system message is one that the job has taken away; the sentence says so."""
    sentence = "it is empty, so that there is no system message, and prompt.user has no {labels}: the model would not see them"
    assert prompt_mistakes(Prompt(system="")) == [("prompt.system", sentence)]
    assert prompt_mistakes(Prompt(system="", user="{text}")) == [("prompt.system", sentence)]


def test_a_separator_that_a_label_holds_is_refused(job_file, mistakes_in):
    """The model would read one label as two; the label is named, and the file's reader gets it."""
    path = job_file(('"money" = ""', '"money, banks" = ""'), more='[prompt]\nlabel_separator = ", "\n')
    assert mistakes_in(path) == {
        "prompt.label_separator": (
            "the label 'money, banks' holds ', ' itself, so that the model would see two; choose another separator"
        )
    }
    assert prompt_mistakes(Prompt(label_separator="、"), {"money, banks": "", "sport": ""}) == []


def test_wording_mistakes_reach_the_job_files_reader(job_file, mistakes_in):
    """Both messages are checked, each at its place."""
    path = job_file(more="[prompt]\nsystem = 'Sort {label}'\nuser = 'x'\n")
    assert mistakes_in(path) == {
        "prompt.system": (
            "it names {label}, but there is only {labels} and {text}; write a literal brace twice / "
            "it has no {labels}, and neither has prompt.user: the model would not see them"
        ),
        "prompt.user": "it has no {text}, so the model would not see the row",
    }
