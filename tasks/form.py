"""The form of a flow's parameters in the Prefect UI."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from prefect import Flow
from pydantic_core import to_jsonable_python


def with_form(flow: Flow[..., Any], order: Sequence[str]) -> None:
    """Let the form have a flow's parameters in this order, and let none of them be asked for.

    A deployment holds what a run needs. The UI looks at the flow alone: a parameter without a default, and *Quick run*
    opens the whole form instead of a run. How the flow itself is called stays as it is.
    """
    signature = inspect.signature(flow.fn)
    parameters = [signature.parameters[name] for name in order]
    shown = [
        parameter.replace(
            kind=inspect.Parameter.KEYWORD_ONLY,
            default=None if parameter.default is parameter.empty else parameter.default,
        )
        for parameter in parameters
    ]
    flow.__signature__ = signature.replace(parameters=shown)  # type: ignore[attr-defined]
    # Prefect does it by FastAPI's encoder, for which it imports all of FastAPI at the beginning of a run.
    flow.serialize_parameters = _serialized  # type: ignore[method-assign]


def _serialized(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as the server has them: models as their fields, by their names in JSON."""
    return {name: to_jsonable_python(value, by_alias=True) for name, value in parameters.items()}
