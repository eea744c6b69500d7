"""Thoughts: which models think before they answer, and how much room an answer needs for that.

    model  ->  thinks(model): by what the job says, else by its name  ->  room_for_thoughts(model): tokens beside the label's
    answer ->  was_cut_in_thoughts(answer)  ->  wider(room): what the next request has

Names and settings are data, in `thinking.toml`. The room is part of `max_tokens = "auto"` alone: a number of the job's own is
the longest answer, thoughts and all.
"""

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from labelmill.job.model import Model
from labelmill.question.answers import ENDING_OF_REASON, Answer, Ending
from labelmill.question.failures import Failure
from labelmill.question.reading import spoken_in

FIRST_ROOM = 2_048
"""Tokens of thoughts about one text: GPT-5 and the o-series take some hundred at their usual effort, R1 and Qwen3 up to two
thousand. What is not used is not paid for.
"""
MOST_ROOM = 32_768
"""No text to be sorted needs more: who thinks longer about one goes round in circles."""
_WIDENS_BY = 4


def thinks(model: Model) -> bool:
    """Whether a job's model thinks before it answers, as far as its settings or its name tell."""
    said = [_is_on(model, switch) for switch in _data()["switch"]]
    if False in said:
        return False
    return True in said or _is_known(model.name)


def room_for_thoughts(model: Model) -> int:
    """How many tokens `auto` leaves for thoughts before anything was asked: none for a model that isn't known to think.

    A budget that the job itself sets for them is held, beside the label.
    """
    if not thinks(model):
        return 0
    budgets = [_value_at(model, switch["place"]) for switch in _data()["switch"] if switch.get("budget")]
    told = [budget for budget in budgets if isinstance(budget, int) and not isinstance(budget, bool)]
    return max(FIRST_ROOM, *told, 0)


def wider(room: int) -> int:
    """The room that comes after one which was too small; the same where there is none."""
    return max(room, min(room * _WIDENS_BY, MOST_ROOM)) if room else FIRST_ROOM


def room_that_holds(room: int, tokens: int) -> int:
    """A room in which so many tokens of thoughts have place, from one that may be too small; the widest where none has."""
    while room < tokens and wider(room) > room:
        room = wider(room)
    return room


def was_cut_in_thoughts(answer: Answer) -> bool:
    """Whether an answer ran into the limit that its request set, and thoughts are what took the room."""
    if answer.error or answer.refusal:
        return False
    if ENDING_OF_REASON.get((answer.finish_reason or "").strip().casefold()) is not Ending.CUT_OFF:
        return False
    has_thoughts = answer.usage is not None and answer.usage.reasoning_tokens > 0
    return has_thoughts or bool(answer.reasoning.strip()) or spoken_in(answer.content).has_thoughts


def refuses_room(failure: Failure) -> bool:
    """Whether a refusal may mean that the longest answer, with its room for thoughts, is more than the model takes.

    A text may be too long by itself all the same: asked with less room, it is refused again.
    """
    if failure.kind == "too_long":
        return True
    return failure.kind in {"denied", "bad_request"} and bool(_TOO_MUCH.search(failure.message.casefold()))


_LIMIT = r"max(?:imum)?[_ ](?:completion_|output_|new_)?tokens"
_SIZE = r"too large|at most|range|less than|lower than|exceeds?|greater than|larger than|out of bounds"
_TOO_MUCH = re.compile(rf"{_LIMIT}.{{0,120}}(?:{_SIZE})|(?:{_SIZE}).{{0,60}}{_LIMIT}", re.DOTALL)
"""OpenAI: "max_tokens is too large: 90000. This model supports at most 16384"; DashScope: "Range of max_tokens should be
[1, 8192]"; DeepSeek: "the valid range of max_tokens is [1, 8192]". `providers/wordings.toml` has their sources.
"""


def _is_known(name: str) -> bool:
    bare = name.casefold().rpartition("/")[2]
    return any(
        pattern.search(bare) and not (unless and unless.search(bare)) for pattern, unless in _patterns()
    )


def _is_on(model: Model, switch: Mapping[str, Any]) -> bool | None:
    """Whether a setting switches thoughts on or off; None where the job doesn't have it."""
    value = _value_at(model, switch["place"])
    if value is None:
        return None
    folded = value.casefold() if isinstance(value, str) else value
    return not any(
        folded == off and isinstance(folded, bool) is isinstance(off, bool) for off in switch["off"]
    )


def _value_at(model: Model, place: str) -> Any:
    """What stands at a place of `[model]`; case and underscores don't count in the names."""
    value: Any = {"reasoning_effort": model.reasoning_effort, "extra_body": model.extra_body}
    for name in place.split("."):
        if not isinstance(value, Mapping):
            return None
        value = next((inner for known, inner in value.items() if _plain(known) == _plain(name)), None)
    return value


def _plain(name: str) -> str:
    return name.replace("_", "").casefold()


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], re.Pattern[str] | None], ...]:
    return tuple(
        (re.compile(entry["pattern"]), re.compile(entry["unless"]) if "unless" in entry else None)
        for entry in _data()["model"]
    )


@cache
def _data() -> dict[str, Any]:
    return tomllib.loads(files(__package__).joinpath("thinking.toml").read_text(encoding="utf-8"))
