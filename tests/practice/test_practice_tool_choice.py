"""Tools are called as OpenAI's models call them: by name, with arguments that follow the schema."""

import json
from enum import StrEnum

import openai
import pytest
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, SecretStr

from practice import FaultKind, PracticeSettings


class Topic(StrEnum):
    """Topics."""

    TECHNOLOGY = "技术"
    SPORTS = "体育"


class Labeled(BaseModel):
    """A label."""

    label: Topic


def tool(name, description, **properties):
    """A function with these parameters."""
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {
        "type": "function",
        "function": {"name": name, "description": description, "parameters": parameters},
    }


TOOLS = [
    tool("get_weather", "The weather in a city", city={"type": "string"}),
    tool("search", "Look for news about something", query={"type": "string"}, most={"type": "integer"}),
]


def called(answer):
    """Name and arguments of the one tool an answer calls."""
    (call,) = answer.choices[0].message.tool_calls
    return call.function.name, json.loads(call.function.arguments)


def test_the_tool_that_suits_the_text_is_called(ask):
    """Name and description decide; the arguments follow the tool's schema, and the answer says that it calls."""
    answer = ask("What is the weather in Tokyo? 软件", tools=TOOLS)
    assert called(answer) == ("get_weather", {"city": "技术"})
    assert (answer.choices[0].finish_reason, answer.choices[0].message.content) == ("tool_calls", None)
    assert called(ask("Any news? 软件", tools=TOOLS)) == ("search", {"query": "技术", "most": 0})


def test_the_tool_that_is_asked_for_is_called(ask):
    """A choice by name overrules the text; the choice of none brings an answer in words."""
    choice = {"type": "function", "function": {"name": "search"}}
    assert called(ask("the weather", tools=TOOLS, tool_choice=choice))[0] == "search"
    assert ask("足球比赛", tools=TOOLS, tool_choice="none").choices[0].message.content == "体育"


def test_a_result_is_answered_in_words(client):
    """After a tool's result no tool is called again, so that a client's loop comes to an end."""
    call = {"id": "call_1", "type": "function", "function": {"name": "search", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "any news?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "none"},
    ]
    answer = client.chat.completions.create(model="m", messages=messages, tools=TOOLS).choices[0]
    assert (answer.message.tool_calls, answer.finish_reason) == (None, "stop")


def test_tools_are_paid_for(ask):
    """The tools are part of the input."""
    assert ask("any news?", tools=TOOLS).usage.prompt_tokens > ask("any news?").usage.prompt_tokens + 50


def test_structured_output_by_function_calling_works(practice):
    """LangChain's other way to a structured answer gets its label too."""
    model = ChatOpenAI(base_url=practice.base_url, api_key=SecretStr("practice"), model="m", max_retries=0)
    structured = model.with_structured_output(Labeled, method="function_calling")
    prompt = [("system", "- 技术: 软件\n- 体育: 足球"), ("user", "新软件")]
    assert structured.invoke(prompt) == Labeled(label=Topic.TECHNOLOGY)


def test_faults_meet_tool_calls_too(practice, ask):
    """A refusal or an empty answer calls nothing; a truncated call says so."""
    for fault in (FaultKind.REFUSAL, FaultKind.EMPTY):
        practice.configure(PracticeSettings(stubborn_faults={fault: 1.0}))
        assert ask("any news?", tools=TOOLS).choices[0].message.tool_calls is None
    practice.configure(PracticeSettings(stubborn_faults={FaultKind.TRUNCATED: 1.0}))
    assert ask("any news?", tools=TOOLS).choices[0].finish_reason == "length"


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ({"tools": "x"}, "tools"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice"),
        ({"functions": [{}]}, "functions"),
    ],
)
def test_wrong_tools_are_refused(ask, asked, name):
    """400 that names the parameter."""
    with pytest.raises(openai.BadRequestError) as refused:
        ask("x", extra_body=asked)
    assert refused.value.param == name
