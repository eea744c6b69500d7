"""Charts: images that any XML parser takes, small, with every text from outside as text."""

from xml.etree import ElementTree as ET

import pytest

from labelmill.report.charts import costs_chart, labels_chart, points_words, rates_chart, seconds_chart

SVG = "{http://www.w3.org/2000/svg}"
MANY = {f"标签 {number} 的一个很长很长很长很长很长很长的名字": number + 1 for number in range(300)}


def texts_in(svg):
    """The words in a chart."""
    return [element.text for element in ET.fromstring(svg).iter(f"{SVG}text")]  # noqa: S314  (our own)


@pytest.mark.parametrize(
    "svg",
    [
        labels_chart(MANY, MANY),
        labels_chart({}),
        labels_chart({"a": 0}),
        costs_chart([("2026-01-01", 0.001 * number) for number in range(100)]),
        costs_chart([]),
        costs_chart([("2026-01-01", None), ("2026-01-02", 0.0)]),
        seconds_chart([(number / 10, number) for number in range(1, 21)]),
        seconds_chart([]),
        rates_chart([("a very long name of a strategy " * 9, 1.0, "1 a second"), ("b", None, "–")], "Rates"),
        rates_chart([], "Rates"),
    ],
)
def test_a_chart_is_small_and_well_formed(svg):
    """Hundreds of labels or runs, or none, give an image under 10 kB, with nothing outside it or active in it."""
    assert len(svg.encode()) < 10_000
    elements = list(ET.fromstring(svg).iter())  # noqa: S314  (our own)
    assert {element.tag for element in elements} <= {
        f"{SVG}{tag}" for tag in ("svg", "title", "rect", "text")
    }
    sizes = [
        float(element.get(name)) for element in elements for name in ("width", "height") if element.get(name)
    ]
    assert all(size >= 0 for size in sizes)


def test_hostile_labels_are_text_in_an_image(hostile):
    """A label adds no element and no attribute, however it is written."""
    plain = ET.fromstring(labels_chart({"plain": 2, "money": 1}, {"plain": 1}))  # noqa: S314  (our own)
    found = ET.fromstring(labels_chart({hostile: 2, "money": 1}, {hostile: 1}))  # noqa: S314  (our own)
    assert [element.tag for element in found.iter()] == [element.tag for element in plain.iter()]
    assert [set(element.attrib) for element in found.iter()] == [
        set(element.attrib) for element in plain.iter()
    ]


def test_letters_that_xml_forbids_do_not_break_an_image():
    """Non-characters and lone surrogates become spaces."""
    assert texts_in(labels_chart({"a\ufffeb\ud800c\x00d": 1}))[0] == "a b c d"


def test_labels_show_their_share_and_its_change():
    """The largest stand first, with the change in percentage points where there is a last run."""
    assert texts_in(labels_chart({"a": 1, "b": 3}))[:4] == ["b", "75.0%", "a", "25.0%"]
    assert texts_in(labels_chart({"a": 1, "b": 3}, {"a": 1, "b": 1}))[:2] == ["b", "75.0% (+25.0 pp)"]
    many = texts_in(labels_chart(MANY))
    assert "288 more" in many
    assert many[0].endswith("…")


def test_what_is_not_shown_of_many_labels_dwarfs_nothing():
    """The rest has words and no bar, so that the longest bar is a label's; a label that no row has is shown as such."""
    shown = {f"label {number:02}": 10 - number // 2 for number in range(12)}
    labels = {**shown, **{f"more {number}": 4 for number in range(200)}}
    svg = labels_chart(labels, labels)
    widths = [float(rect.get("width")) for rect in ET.fromstring(svg).iter(f"{SVG}rect")]  # noqa: S314  (our own)
    assert len(widths) == 2 * len(shown)
    assert widths[0] == max(widths) == 320
    assert texts_in(svg)[-3:-1] == ["200 more", "together 89.9% (±0)"]
    assert texts_in(labels_chart({"a": 3, "unused": 0}))[2:4] == ["unused", "0.0%"]


def test_an_unknown_cost_is_a_question_mark():
    """It is not a bar of no height, which would say that it cost nothing."""
    assert "?" in texts_in(costs_chart([("2026-01-01", None), ("2026-01-02", 0.5)]))
    assert "this run: unknown" in texts_in(costs_chart([("2026-01-01", 0.5), ("2026-01-02", None)]))


@pytest.mark.parametrize(
    ("difference", "words"), [(0.012, "+1.2 pp"), (-0.5, "-50.0 pp"), (0, "±0"), (-0.0001, "±0")]
)
def test_a_change_of_a_share_is_in_percentage_points(difference, words):
    """With its sign, and never as minus nothing."""
    assert points_words(difference) == words


def test_rates_are_bars_by_their_size():
    """The fastest has the longest bar, half as fast is half as long, an unknown rate has none, and words stand beside."""
    svg = rates_chart([("one", 2.0, "2/s"), ("two", 4.0, "4/s"), ("none", None, "–")], "Rates")
    widths = [float(rect.get("width")) for rect in ET.fromstring(svg).iter(f"{SVG}rect")]  # noqa: S314  (our own)
    assert widths[1] == 2 * widths[0] > 0
    assert widths[2] == 0
    assert texts_in(svg) == ["one", "2/s", "two", "4/s", "none", "–"]
