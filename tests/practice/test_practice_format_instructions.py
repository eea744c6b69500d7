"""A schema in the prompt is followed like one beside it."""

from enum import StrEnum

import pytest
from langchain_core.output_parsers import PydanticOutputParser
from pydantic import BaseModel

from practice.question import schema_in


class Topic(StrEnum):
    """Topics."""

    TECHNOLOGY = "技术"
    SPORTS = "体育"


class Labeled(BaseModel):
    """A label."""

    reason: str
    label: Topic


PARSER = PydanticOutputParser(pydantic_object=Labeled)


def test_langchain_s_format_instructions_are_followed(ask):
    """What LangChain's parser asks for in words is what it can parse."""
    text = f"足球比赛\n\n{PARSER.get_format_instructions()}"
    answer = ask(text).choices[0].message.content
    assert PARSER.parse(answer) == Labeled(reason="", label=Topic.SPORTS)


@pytest.mark.parametrize(
    "text",
    [
        "",
        '```\n{"properties": {}}\n```',
        "output schema:\n```\n{not json}\n```",
        "output schema:\n```\n{}\n```",
        'output schema:\n```\n{"properties": 7}\n```',
    ],
)
def test_other_texts_hold_no_schema(text):
    """Only an object's schema, introduced as the output's, is taken for one."""
    assert schema_in([text]) is None


def test_the_first_schema_counts():
    """Later texts do not matter once a schema is found."""
    texts = [f'output schema:\n```json\n{{"properties": {{"{name}": {{}}}}}}\n```' for name in "ab"]
    assert schema_in(["words", *texts]) == {"properties": {"a": {}}}
