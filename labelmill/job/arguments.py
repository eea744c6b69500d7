"""A job told by the arguments of a call: the values of its file, and which argument each place of it is."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from labelmill.errors import JobRefused, Mistake
from labelmill.job.model import Section

CALL = "labelmill.label"
"""What the mistakes of such a job stand under, where a job file's stand under its path."""


@dataclass
class JobArguments:
    """What a call says of its job.

    Attributes:
        values: the job's values, as a job file would have them.
        names: the arguments that have another name than their place in the job, by that place.
        mistakes: arguments that contradict each other, or that no value of a job can be made of.
    """

    values: dict[str, Any] = field(default_factory=lambda: {"source": {}, "output": {}})
    names: dict[str, str] = field(default_factory=lambda: {"source.text": "text", "output.path": "output"})
    mistakes: list[Mistake] = field(default_factory=list)

    def section(self, name: str, told: Mapping[str, Any] | Section | None) -> None:
        """Take a section as it is told."""
        if isinstance(told, Section):
            told = {place: getattr(told, place) for place in told.model_fields_set}
        if told is not None:
            self.values[name] = dict(told) if isinstance(told, Mapping) else told

    def field(self, place: str, value: Any, name: str) -> None:
        """Take one field of a section, which has an argument of its own; None is none."""
        if value is None:
            return
        section, _, inner = place.partition(".")
        known = self.values.setdefault(section, {})
        if not isinstance(known, dict):
            return  # no section at all, which the job's own check says
        if known.get(inner, value) != value:
            sentence = f"found {value!r}, and {place} is {known[inner]!r}; give one of them"
            self.mistakes.append(Mistake(name, sentence))
        known[inner] = value
        self.names[place] = name

    def labels(self, told: Any) -> None:
        """Take the labels: names with meanings, or names alone, in their order."""
        if isinstance(told, Mapping):
            self.values["labels"] = dict(told)
            return
        if isinstance(told, (str, bytes, set, frozenset)) or not isinstance(told, Iterable):
            why = ", which has no order" if isinstance(told, (set, frozenset)) else ""
            sentence = f"found {told!r}{why}, expected a list of names, or a dict of names and what they mean"
            self.mistakes.append(Mistake("labels", sentence))
            return
        names = list(told)
        others = [name for name in names if not isinstance(name, str)]
        if others:
            self.mistakes.append(Mistake("labels", f"found {others[0]!r} among the names, expected text"))
            return
        twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        self.mistakes += [Mistake("labels", f"{name!r} is there {names.count(name)} times") for name in twice]
        self.values["labels"] = {str(name): "" for name in names}

    def refusal(self, refused: JobRefused, known: Mapping[str, str] = MappingProxyType({})) -> JobRefused:
        """A job's mistakes, as the call has them: each at its argument.

        Args:
            refused: the mistakes.
            known: what the caller knows by another name than it has in a sentence.
        """
        return JobRefused([self._of_call(mistake, known) for mistake in refused.mistakes])

    def _of_call(self, mistake: Mistake, known: Mapping[str, str]) -> Mistake:
        place, sentence = mistake.where, mistake.sentence
        for under in (CALL, self.values["name"]):
            place = place.removeprefix(f"{under}, ")
        place = place.removeprefix("--model-base-url or ")
        for told, name in known.items():
            sentence = sentence.replace(told, name)
        return Mistake(self.names.get(place, place), sentence)


def path_told(told: Any) -> Any:
    """A path as a job has it; what is none is left as it is, for the job's check to say so."""
    return os.fspath(told) if isinstance(told, os.PathLike) else told
