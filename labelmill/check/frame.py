"""What can be wrong with a frame's columns, as (argument, sentence). Its texts are checked as those of a file are."""

from collections.abc import Sequence

from labelmill.check.dataset import columns_hint, first_few, taken_sentence
from labelmill.dataset.columns import free_prefix, label_columns, names_in_the_way
from labelmill.dataset.frames import Frame
from labelmill.dataset.template import TemplateError, TextTemplate, read_template
from labelmill.errors import Mistake


def frame_mistakes(frame: Frame, text: object, prefix: object) -> list[Mistake]:
    """What is wrong with the columns of a frame; what is wrong with the arguments themselves is the job's check to say.

    Args:
        frame: the frame.
        text: the column that holds the text, or a template, as it was given.
        prefix: what the names of our columns begin with, as it was given.
    """
    names = [name for name in frame.columns if isinstance(name, str)]
    template = _template_of(text)
    missing = [] if template is None else _missing(frame, template, names)
    taken = first_few(_taken(names, prefix if isinstance(prefix, str) else ""))
    return [Mistake("text", sentence) for sentence in missing] + [
        Mistake("data", sentence) for sentence in taken
    ]


def _template_of(text: object) -> TextTemplate | None:
    try:
        return read_template(text) if isinstance(text, str) and text else None
    except TemplateError:
        return None


def _missing(frame: Frame, template: TextTemplate, names: Sequence[str]) -> list[str]:
    wanted = list(dict.fromkeys(template.columns))
    found = [
        f"the frame has no column {column!r}{columns_hint(column, names)}"
        for column in wanted
        if column not in names
    ]
    twice = frame.named_more_than_once(wanted)
    return [*found, *(f"the frame has several columns {column!r}; rename all but one" for column in twice)]


def _taken(names: Sequence[str], prefix: str) -> list[str]:
    in_the_way = names_in_the_way(names, prefix)
    if not in_the_way:
        return []
    other = f'have ours begin with another prefix: column_prefix="{free_prefix(names)}"'
    ours = list(label_columns(prefix))
    if set(ours) <= set(names):
        return [f"the frame was labeled before: it has the columns {', '.join(ours)}; drop them, or {other}"]
    found = [taken_sentence("the frame", name, our) for name, our in in_the_way.items()]
    return [f"{found[0]}; rename it, or {other}", *found[1:]]
